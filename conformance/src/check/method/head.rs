use trueline_spec::vocabulary::Effect;

use super::super::{Break, Check, Level, Meta, Sequence, Verdicts};
use crate::case::{Act, Case, Expect, Phase, Script, Twist};
use crate::finding::Offending;
use crate::plan::Planner;

/// `method.head`.
pub(super) struct Head;

static META: Meta = Meta {
    id: "method.head",
    level: Level::Must,
    title: "HEAD is GET without the body",
    rationale: "RFC 9110 section 9.3.2: the server should send the same header fields as for GET and must not send content. \
                Caches and link checkers rely on it.",
    sends: "each reading operation once with GET and once with HEAD",
    demands: "where HEAD is taken: the status of the GET, no content, the same Content-Type and ETag",
    guards: "a service that does not take HEAD says so with 404, 405 or 501, which is fine unless the document has HEAD; \
             fields that GET itself changes from call to call are not compared; what anything but JSON streams is left out",
    fault: "HEAD answers 400 where GET answers 200",
};

impl Check for Head {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn plan(&self, planner: &Planner<'_>, cases: &mut Vec<Case>) {
        for (index, operation) in planner.operations() {
            let streams =
                operation.responses.iter().flat_map(|one| &one.media).any(|media| media.item_schema.is_some());
            if operation.method != http::Method::GET || operation.effect != Effect::Read || streams {
                continue;
            }
            let Some(caller) = planner.callers(operation).into_iter().next() else { continue };
            let Some(get) = planner.plain_call(index, &caller) else { continue };
            let mut head = get.clone();
            head.twist = Some(Twist::Method("HEAD".to_owned()));
            head.expect = Expect::Survives;
            let acts = vec![Act::new("get", get), Act::new("head", head)];
            cases.push(planner.chain(Phase::Hostile, META.id, format!("{}/head", operation.id), index, acts, false));
        }
    }

    fn judge_sequence(&self, sequence: &Sequence<'_>, verdicts: &mut Verdicts) {
        let (Script::Chain(chain), true) = (&sequence.case.script, sequence.is_planned_by(&META)) else { return };
        let operation = sequence.subject.operation(chain.about);
        let Some(clause) = sequence.subject.clauses.of_operation(chain.about).input else { return };
        let (Some(get), Some(head)) = (sequence.act("get"), sequence.act("head")) else { return };
        let (Some(get), Some(head)) = (get.exchange.response(), head.exchange.response()) else { return };
        let documented = sequence
            .subject
            .contract
            .operations
            .iter()
            .any(|other| other.method == http::Method::HEAD && other.path == operation.path);
        let untaken = matches!(head.status, 404 | 405 | 501) && !documented;
        if get.status != 200 || untaken || matches!(head.status, 401 | 403 | 429) || head.status >= 500 {
            return;
        }
        let broken = |what: &str, expected: String, actual: String, offending: Offending| {
            Break::new(&META, clause, format!("HEAD on {}: {what}", operation.path))
                .with_values(expected, actual)
                .with_cause(what.to_owned())
                .with_offending(offending)
                .in_act("head")
        };
        if head.status != get.status {
            let (expected, actual) = (format!("{}, as for GET", get.status), head.status.to_string());
            verdicts.broke(broken("another status than GET", expected, actual, Offending::Status));
            return;
        }
        if !head.body.is_empty() {
            let (expected, actual) = ("no content".to_owned(), format!("{} bytes", head.body.len()));
            verdicts.broke(broken("an answer with content", expected, actual, Offending::Body(String::new())));
            return;
        }
        for name in ["content-type", "etag"] {
            if let (Some(of_get), of_head) = (get.header(name), head.header(name))
                && of_head.is_some_and(|of_head| of_head != of_get)
            {
                let actual = of_head.unwrap_or_default().to_owned();
                verdicts.broke(broken(
                    "other fields than GET",
                    of_get.to_owned(),
                    actual,
                    Offending::Header(name.to_owned()),
                ));
                return;
            }
        }
        verdicts.hold(clause);
    }
}
