use trueline_spec::contract::{ParameterPlace, PathPiece};

use super::super::{Break, Check, Level, Meta, Seen, Verdicts};
use crate::case::{Call, CallBody, Caller, Case, Expect, FaultNote, Part, Phase, RawBytes, Twist};
use crate::check::response::shorten;
use crate::finding::Offending;
use crate::plan::Planner;

/// `error.envelope`.
pub(super) struct Envelope;

static META: Meta = Meta {
    id: "error.envelope",
    level: Level::Must,
    title: "every failure is dressed in the error envelope",
    rationale: "Clients parse one error shape; the failures that frameworks answer by themselves (unknown path, wrong \
                method, unreadable body, wrong media type, too large a body) are the ones that usually break it. The \
                contract's `error-envelope`, or its error schemas.",
    sends: "an unknown path; a method that a path does not have; for each operation with a body: JSON cut off in the \
            middle, no JSON at all, another media type, no media type, a body over the size limit",
    demands: "every answer from 400 up is JSON that fits the envelope's schema; unknown paths and methods get the status \
              and code that the contract names",
    guards: "answers to HEAD have no body; without an envelope in the contract only the operation's own error schemas \
             count, and a redirection from an unknown path is inconclusive",
    fault: "the router's own 404 has an empty body",
};

impl Check for Envelope {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn plan(&self, planner: &Planner<'_>, cases: &mut Vec<Case>) {
        unmatched(planner, cases);
        for (index, operation) in planner.operations() {
            let Some(caller) = planner.callers(operation).into_iter().next() else { continue };
            let Some(plain) = planner.plain_call(index, &caller) else { continue };
            if operation.body.is_some() {
                bad_bodies(planner, &operation.id, plain, cases);
            }
        }
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        let status = seen.response.status;
        match &seen.call.expect {
            Expect::UnknownPath => unmatched_answer(seen, verdicts, true),
            Expect::UnknownMethod => unmatched_answer(seen, verdicts, false),
            _ => {}
        }
        if status < 400 || seen.exchange.request.method == http::Method::HEAD {
            return;
        }
        let (Some(clause), Some(validator)) = (seen.clauses().envelope, seen.subject.envelope_validator()) else {
            return;
        };
        let who = seen.operation().map_or("a path or method that nobody has", |operation| operation.id.as_str());
        let broken = |actual: String, pointer: String, cause: String| {
            Break::new(&META, clause, format!("the {status} of {who} is not in the error envelope"))
                .with_values("a JSON body that fits the envelope's schema", actual)
                .with_cause(cause)
                .with_offending(Offending::Body(pointer))
        };
        let json = seen.response.media_type().is_some_and(|media| media.contains("json"));
        match seen.exchange.json() {
            Some(body) if json && validator.is_valid(body) => verdicts.hold(clause),
            Some(body) if json => {
                if let Some(error) = validator.iter_errors(body).next() {
                    let pointer = error.instance_path().to_string();
                    let keyword = error.schema_path().to_string();
                    verdicts.broke(broken(shorten(&error.to_string()), pointer, keyword));
                }
            }
            _ => {
                let media = seen.response.media_type().unwrap_or_else(|| "no media type".to_owned());
                let size = seen.response.body.len();
                verdicts.broke(broken(
                    format!("{size} bytes with {media}"),
                    String::new(),
                    format!("no envelope {status}"),
                ));
            }
        }
    }
}

/// What the contract says of unknown paths and methods.
fn unmatched_answer(seen: &Seen<'_>, verdicts: &mut Verdicts, path: bool) {
    let clauses = seen.clauses();
    let clause = if path { clauses.unknown_path } else { clauses.unknown_method };
    let status = seen.response.status;
    let Some(envelope) = &seen.contract().envelope else {
        // Without a word in the contract: anything that is a refusal. Who is sent elsewhere, to the path without its last
        // slash as a rule, is told nothing yet.
        if (300..400).contains(&status) {
            verdicts.inconclusive.push(clause);
            return;
        }
        verdicts.decide((400..500).contains(&status), clause, || {
            Break::new(&META, clause, "what the contract does not have is answered with success")
                .with_values("a status from 400 to 499", status.to_string())
                .with_cause(seen.exchange.request.method.to_string())
                .with_offending(Offending::Status)
        });
        return;
    };
    let unmatched = &envelope.vocabulary.unmatched;
    let promised = if path { &unmatched.path } else { &unmatched.method };
    let code = seen.exchange.json().and_then(|body| seen.subject.code_of(body));
    let fits = seen.contract().status_of(promised) == Some(status)
        && promised.code().is_none_or(|promised| code.is_none() || code == Some(promised));
    verdicts.decide(fits, clause, || {
        let what = if path { "an unknown path" } else { "an unknown method" };
        let expected = seen.contract().status_of(promised).map(|status| status.to_string()).unwrap_or_default();
        Break::new(&META, clause, format!("{what} is not answered as the contract says"))
            .with_values(format!("{expected} {promised}"), format!("{status} {}", code.unwrap_or_default()))
            .with_cause(format!("{what} {status}"))
            .with_offending(Offending::Status)
    });
}

/// Whether an operation's path template takes a path.
fn is_documented(planner: &Planner<'_>, path: &str) -> bool {
    let pieces: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    planner.subject.contract.operations.iter().any(|operation| {
        let template = crate::collection::normal(&operation.path);
        let documented: Vec<&str> = template.split('/').collect();
        documented.len() == pieces.len()
            && documented.iter().zip(&pieces).all(|(one, piece)| one.contains("{}") || one == piece)
    })
}

fn unmatched(planner: &Planner<'_>, cases: &mut Vec<Case>) {
    let Some((first, _)) = planner.operations().next() else { return };
    let caller = planner
        .free_principals()
        .map(|(name, _)| Caller::Principal(name.to_owned()))
        .next()
        .unwrap_or(Caller::Anonymous);
    let call = |operation: usize, twist: Twist, expect: Expect, caller: &Caller| Call {
        operation,
        caller: caller.clone(),
        from: None,
        arguments: Vec::new(),
        body: None,
        twist: Some(twist),
        expect,
    };
    // Next to the first operation: what is elsewhere on the host, such as the pages of a user interface, is not the contract's.
    let literal = match planner.subject.operation(first).path.pieces.first() {
        Some(PathPiece::Literal(text)) => text.trim_end_matches('/'),
        _ => "",
    };
    let folder = literal.rfind('/').map_or("", |slash| &literal[..slash]);
    for (name, path) in [
        ("plain", "/trueline-no-such-path"),
        ("slash", "/trueline-no-such-path/"),
        ("nested", "/trueline-no-such-path/a/b/"),
        ("encoded", "/trueline%2Fno%2Fsuch%2Fpath"),
    ] {
        let beside = format!("{folder}{path}");
        let path = if is_documented(planner, &beside) { path.to_owned() } else { beside };
        let call = call(first, Twist::Path(path), Expect::UnknownPath, &caller);
        cases.push(planner.single(Phase::Boundary, META.id, format!("unmatched/path/{name}"), call));
    }
    let contract = &planner.subject.contract;
    let mut seen = std::collections::BTreeSet::new();
    for (index, operation) in planner.operations() {
        if !seen.insert(&operation.path.text) {
            continue;
        }
        let has = |method: &str| {
            contract.operations.iter().any(|other| other.path == operation.path && other.method.as_str() == method)
        };
        // Where ids stand in the path, one that nothing has: the wrong method must not find anything to act on.
        let Some(harmless) = planner.harmless_call(index, &caller) else { continue };
        if let Some(method) = ["PUT", "PATCH", "POST", "DELETE", "GET"].into_iter().find(|method| !has(method)) {
            let mut call = harmless;
            call.arguments.retain(|argument| operation.parameters[argument.parameter].place == ParameterPlace::Path);
            call.body = None;
            call.twist = Some(Twist::Method(method.to_owned()));
            call.expect = Expect::UnknownMethod;
            let id = format!("unmatched/method/{method}{}", operation.path);
            cases.push(planner.single(Phase::Boundary, META.id, id, call));
        }
    }
}

fn bad_bodies(planner: &Planner<'_>, id: &str, plain: Call, cases: &mut Vec<Case>) {
    let operation = planner.subject.operation(plain.operation);
    let Some(body) = &operation.body else { return };
    let fault = |keyword: &str| {
        Expect::Invalid(FaultNote {
            part: Part::Body,
            instance: String::new(),
            schema: String::new(),
            keyword: keyword.to_owned(),
        })
    };
    let mut add = |name: &str, keyword: &str, content_type: Option<&str>, bytes: RawBytes| {
        let mut call = plain.clone();
        call.body = Some(CallBody::Raw { content_type: content_type.map(str::to_owned), bytes });
        call.expect = fault(keyword);
        cases.push(planner.single(Phase::Boundary, META.id, format!("{id}/body/{name}"), call));
    };
    let json = body.media.iter().any(|media| media.media_type == "application/json");
    if json {
        let text = |text: &str| RawBytes::Text(text.to_owned());
        add("cut-off", "malformed", Some("application/json"), text(r#"{"a": [1, "#));
        add("not-json", "malformed", Some("application/json"), text("<a>b</a>"));
        add("trailing", "malformed", Some("application/json"), text("{} {}"));
        // Nothing at all is what an optional body may be.
        if body.required {
            add("empty", "malformed", Some("application/json"), text(""));
        }
        add(
            "not-utf-8",
            "malformed",
            Some("application/json"),
            RawBytes::Bytes(vec![b'{', b'"', 0xff, b'"', b':', b'1', b'}']),
        );
        let limit = operation.max_body_bytes;
        if let Some(limit) = limit {
            // White space before a value is valid JSON, so that only the size is wrong.
            add("too-large", "too-large", Some("application/json"), RawBytes::Repeat { byte: b' ', count: limit + 1 });
        }
    }
    if !body.media.iter().any(|media| media.media_type == "*/*") {
        let other =
            if body.media.iter().any(|media| media.media_type == "text/csv") { "image/png" } else { "text/csv" };
        if json {
            // The valid body under another name, so that nothing but the name can be the reason.
            let mut call = plain.clone();
            call.twist = Some(Twist::ContentType(other.to_owned()));
            call.expect = fault("media-type");
            cases.push(planner.single(Phase::Boundary, META.id, format!("{id}/body/media-type"), call));
        } else {
            add("media-type", "media-type", Some(other), RawBytes::Text("a,b".to_owned()));
        }
    }
}
