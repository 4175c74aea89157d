"use strict";
// Everything that comes from a service or a document is put into the page as text, never as markup.
(() => {
  const byId = (id) => document.getElementById(id);
  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };

  // Light and dark: as the system says, until somebody says otherwise.
  const theme = byId("theme");
  const root = document.documentElement;
  const remembered = (value) => {
    // Some browsers give a page from a file no storage.
    try {
      if (value) localStorage.setItem("trueline-theme", value);
      return localStorage.getItem("trueline-theme");
    } catch {
      return null;
    }
  };
  const chosen = remembered();
  if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
  theme.hidden = false;
  theme.addEventListener("click", () => {
    const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    const next = (root.dataset.theme || system) === "dark" ? "light" : "dark";
    root.dataset.theme = next;
    remembered(next);
  });

  const copyable = (holder) => {
    const button = make("button", "", "copy");
    button.type = "button";
    button.addEventListener("click", async () => {
      const pre = holder.querySelector("pre");
      try {
        await navigator.clipboard.writeText(pre.textContent);
      } catch {
        const range = document.createRange();
        range.selectNodeContents(pre);
        const selection = getSelection();
        selection.removeAllRanges();
        selection.addRange(range);
        document.execCommand("copy");
        selection.removeAllRanges();
      }
      button.textContent = "copied";
      setTimeout(() => { button.textContent = "copy"; }, 1500);
    });
    holder.append(button);
    return holder;
  };
  document.querySelectorAll(".command").forEach(copyable);

  // The matrix.
  const matrix = document.querySelector(".matrix");
  const onlyBroken = byId("only-broken");
  if (matrix && onlyBroken && matrix.querySelector("tr.clean")) {
    byId("matrix-tools").hidden = false;
    onlyBroken.addEventListener("change", () => matrix.classList.toggle("only-broken", onlyBroken.checked));
  }

  const list = byId("list");
  if (!list) return;

  // Findings are parsed when the first one is opened.
  let findings;
  const finding = (index) => {
    findings = findings || JSON.parse(byId("data").textContent);
    return findings[index];
  };

  const rows = Array.from(list.children, (element, index) => ({
    element,
    index,
    kind: element.dataset.kind,
    family: element.dataset.family,
    operations: element.dataset.operations.split("\n"),
    text: (element.textContent + " " + element.dataset.operations).toLowerCase(),
    shown: true,
  }));

  const marked = (pre, text, from, length) => {
    // Columns count characters, not the halves that JavaScript counts.
    const characters = Array.from(text);
    pre.append(characters.slice(0, from).join(""));
    pre.append(make("mark", "", characters.slice(from, from + length).join("")));
    pre.append(characters.slice(from + length).join(""));
  };

  const body = (pre, lines, note) => {
    if (lines.length === 0) return;
    pre.append("\n");
    for (const line of lines) {
      if (typeof line === "string") {
        pre.append(line + "\n");
      } else if (typeof line === "number") {
        pre.append(make("span", "gapline", `… ${line.toLocaleString("en")} ${line === 1 ? "line" : "lines"}\n`));
      } else {
        const [text, from, length] = line;
        const row = make("span", "line-bad");
        if (length === 0) row.append(text);
        else marked(row, text, from, length);
        if (note) row.append(make("span", "absent", `   ← ${note}`));
        pre.append(row);
      }
    }
  };

  const headers = (pre, pairs, bad) => {
    let found = false;
    for (const [name, value] of pairs) {
      if (bad && name.toLowerCase() === bad.toLowerCase()) {
        found = true;
        const row = make("span", "line-bad");
        row.append(make("mark", "", `${name}: ${value}`));
        pre.append(row);
      } else {
        pre.append(make("span", "name", name), `: ${value}\n`);
      }
    }
    if (bad && !found) pre.append(make("span", "line-bad absent", `(${bad} is not there)`));
  };

  const message = (title, small) => {
    const box = make("div", "message");
    const heading = make("h4", "", title);
    if (small) heading.append(" ", make("small", "", small));
    const pre = make("pre");
    pre.tabIndex = 0;
    box.append(heading, pre);
    return [box, pre];
  };

  const pair = (exchange, shrunk) => {
    const both = make("div", "pair");
    const smaller = shrunk ? `made smaller ${shrunk === 1 ? "once" : shrunk + " times"}` : "";
    const [requestBox, request] = message("Request", smaller);
    request.append(make("span", "start", exchange.request.start), "\n");
    headers(request, exchange.request.headers);
    body(request, exchange.request.body);
    const answer = exchange.response;
    const [responseBox, response] = message(answer ? "Response" : "No response", answer ? `after ${answer.time}` : "");
    if (answer) {
      const start = make("span", answer.bad === "status" ? "line-bad start" : "start");
      if (answer.bad === "status") start.append(make("mark", "", answer.start));
      else start.append(answer.start + "\n");
      response.append(start);
      headers(response, answer.headers, answer.bad_header);
      body(response, answer.body, answer.note);
      const hit = answer.body.some((line) => Array.isArray(line));
      if (answer.note && !hit) response.append(make("span", "line-bad absent", `(${answer.note})`));
    } else {
      response.append(make("span", "line-bad", exchange.failure));
    }
    both.append(requestBox, responseBox);
    return both;
  };

  const command = (box, label, text) => {
    const holder = make("dd", "command");
    holder.append(make("pre", "", text));
    box.append(make("dt", "", label), copyable(holder));
  };

  const render = (one) => {
    const box = make("div", "cause");
    if (one.accepted) box.append(make("p", "ok", one.accepted));

    const versus = make("dl", "versus");
    for (const [label, className] of [["expected", ""], ["actual", "actual"], ["help", ""]]) {
      if (one[label]) versus.append(make("dt", "", label), make("dd", className, one[label]));
    }
    box.append(versus);

    const source = make("div", "source");
    source.append(make("header", "", `${one.at}${one.pointer ? "   " + one.pointer : ""}`));
    if (one.line.trim()) {
      const pre = make("pre");
      marked(pre, one.line, one.mark[0], one.mark[1]);
      source.append(pre);
    }
    box.append(source);

    if (one.exchanges && one.exchanges.length > 0) {
      let shown = pair(one.exchanges[one.shown], one.shrunk);
      if (one.exchanges.length > 1) {
        const steps = make("ol", "steps");
        one.exchanges.forEach((exchange, at) => {
          if (one.gap && one.gap.before === at) steps.append(make("li", "gap", one.gap.text));
          const item = make("li");
          const button = make("button");
          button.type = "button";
          button.setAttribute("aria-current", String(at === one.shown));
          button.append(make("span", "", String(exchange.number)), make("span", "", exchange.summary), make("span", "", exchange.outcome));
          button.addEventListener("click", () => {
            steps.querySelectorAll("button").forEach((other) => other.setAttribute("aria-current", String(other === button)));
            const next = pair(exchange, one.shrunk);
            shown.replaceWith(next);
            shown = next;
          });
          item.append(button);
          steps.append(item);
        });
        box.append(steps);
      }
      box.append(shown);
    } else {
      box.append(make("p", "seen", "Request and response are in report.json; this page would be too large with all of them."));
    }

    const commands = make("dl", "commands");
    if (one.curl) command(commands, "by hand", one.curl);
    command(commands, "replay", `trueline replay ${one.id}`);
    command(commands, "explain", `trueline explain ${one.check}`);
    command(commands, "accept", `trueline accept ${one.id} --reason "…" --until YYYY-MM-DD`);
    box.append(commands);
    const places = one.operations.length ? ` in ${one.operations.join(", ")}` : "";
    box.append(make("p", "seen", `Seen${places}: ${one.cases}. Smallest case: ${one.case}. Clause: ${one.clause}.`));
    return box;
  };

  for (const row of rows) {
    const details = row.element.firstElementChild;
    details.addEventListener("toggle", () => {
      if (details.open && details.childElementCount === 1) details.append(render(finding(row.index)));
    });
  }

  // The filter.
  const form = byId("filter");
  const search = byId("search");
  const family = byId("family");
  const operation = byId("operation");
  const found = byId("found");
  const chips = Array.from(form.querySelectorAll(".chip"));
  form.hidden = false;
  const apply = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const kinds = new Set(chips.filter((chip) => chip.getAttribute("aria-pressed") === "true").map((chip) => chip.dataset.kind));
    let count = 0;
    for (const row of rows) {
      const fits = kinds.has(row.kind)
        && (!family.value || row.family === family.value)
        && (!operation.value || row.operations.includes(operation.value))
        && words.every((word) => row.text.includes(word));
      if (fits !== row.shown) {
        row.shown = fits;
        row.element.hidden = !fits;
      }
      if (fits) count += 1;
    }
    found.textContent = count === rows.length ? `${count.toLocaleString("en")} shown` : `${count.toLocaleString("en")} of ${rows.length.toLocaleString("en")} shown`;
    byId("nothing").hidden = count > 0;
  };
  let waiting;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(apply, 60);
  });
  for (const select of [family, operation]) select.addEventListener("change", apply);
  for (const chip of chips) {
    chip.addEventListener("click", () => {
      chip.setAttribute("aria-pressed", String(chip.getAttribute("aria-pressed") !== "true"));
      apply();
    });
  }
  const clear = () => {
    search.value = family.value = operation.value = "";
    for (const chip of chips) chip.setAttribute("aria-pressed", "true");
    apply();
  };
  byId("clear").addEventListener("click", clear);
  form.addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName)) {
      event.preventDefault();
      search.focus();
    }
  });
  if (matrix) {
    matrix.addEventListener("click", (event) => {
      const link = event.target.closest("a[data-operation]");
      if (!link) return;
      clear();
      family.value = link.dataset.family;
      operation.value = link.dataset.operation;
      apply();
      const first = rows.filter((row) => row.shown);
      if (first.length === 1) first[0].element.firstElementChild.open = true;
    });
  }
  apply();

  // A link to a finding opens it.
  const jump = () => {
    const target = location.hash.length > 1 && byId(decodeURIComponent(location.hash.slice(1)));
    const row = target && rows.find((one) => one.element === target);
    if (!row) return;
    if (!row.shown) clear();
    target.firstElementChild.open = true;
    target.scrollIntoView({ behavior: "instant" });
  };
  addEventListener("hashchange", jump);
  jump();
  if (rows.length === 1) rows[0].element.firstElementChild.open = true;
})();
