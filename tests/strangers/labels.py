"""Holds a report to the table of its causes: every cause must have a row with its id and a label."""

import json
import re
import sys

LABELS = ("true", "document wrong", "false alarm")


def rows(path):
    """The label of each finding id that the Markdown table at `path` names."""
    try:
        lines = open(path, encoding="utf-8").read().splitlines()
    except FileNotFoundError:
        return {}
    labels = {}
    for line in lines:
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        ids = re.findall(r"\bF[0-9a-f]{10}\b", cells[0])
        label = next((cell for cell in cells if cell in LABELS), None)
        if ids and label is None:
            sys.exit(f"{path}: the row of {ids[0]} has none of the labels {', '.join(LABELS)}")
        labels.update(dict.fromkeys(ids, label))
    return labels


def main(report, table):
    run = json.load(open(report, encoding="utf-8"))
    known = rows(table)
    counts = dict.fromkeys(LABELS, 0)
    strangers = []
    for finding in run["findings"]:
        label = known.get(finding["id"])
        if label is None:
            strangers.append(finding)
        else:
            counts[label] += 1
    operations, totals = run["operations"], run["totals"]
    answered = sum(any(200 <= int(status) < 300 for status in one["statuses"]) for one in operations)
    print(
        f"{len(operations)} operations, {answered} answered 2xx; {totals['requests']} requests in "
        f"{totals['elapsed_ms'] / 1000:.1f} s; {len(run['findings'])} causes: "
        + ", ".join(f"{count} {label}" for label, count in counts.items())
        + f", {len(strangers)} without a label"
    )
    for finding in strangers:
        print(f"  {finding['id']} {finding['check']} {finding['clause']}: {finding['title']}")
    return 1 if strangers or counts["false alarm"] else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
