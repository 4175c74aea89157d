use trueline_spec::contract::ParameterPlace;
use trueline_spec::vocabulary::Effect;

use super::super::{Break, Check, Level, Meta, Purpose, Seen, Sequence, Verdicts};
use crate::case::{Call, CallBody, Case, Expect, Phase, RawBytes, Script, Twist, WireScript, Wreck};
use crate::finding::Offending;
use crate::plan::{Planner, preferred_media};

/// `input.survives`.
pub(super) struct Survives;

static META: Meta = Meta {
    id: "input.survives",
    level: Level::Must,
    title: "no wreck of a message or of a connection harms the service",
    rationale: "What no client sends on purpose arrives all the same: from proxies that break, scripts that guess, and people \
                who mean harm. RFC 9112 sections 3.2, 6.1, 6.3 and 11.2 (request smuggling); RFC 8259 sections 4, 6, 8; CWE-444.",
    sends: "each operation with a JSON body: members twice, NUL and lone surrogates in texts, a byte order mark, UTF-16, numbers \
            beyond every range, thousands of members, bytes that claim to be compressed; each reading operation: odd bytes in \
            path, query and headers; over TCP: messages cut off, slow, contradicting themselves or no HTTP at all, each followed \
            by a healthy request",
    demands: "no status from 500 up; two lengths are refused and a hidden request is not answered; the healthy request is \
              answered as ever",
    guards: "whether such a request is refused or taken is a matter of taste, so nothing else is concluded; a closed connection \
             is an answer; 501 and 505 are, too; a plain request that fails likewise clears the odd one",
    fault: "a NUL in a text is answered 500",
};

impl Check for Survives {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn plan(&self, planner: &Planner<'_>, cases: &mut Vec<Case>) {
        let mut wired = (false, false);
        for (index, operation) in planner.operations() {
            let Some(caller) = planner.callers(operation).into_iter().next() else { continue };
            let Some(mut plain) = planner.plain_call(index, &caller) else { continue };
            plain.expect = Expect::Survives;
            let mut add = |name: &str, call: Call| {
                cases.push(planner.single(Phase::Hostile, META.id, format!("{}/{name}", operation.id), call));
            };
            if operation.effect == Effect::Read {
                addresses(planner, &plain, &mut add);
            }
            bodies(planner, &plain, &mut add);
            if !planner.options.wire {
                continue;
            }
            let body = operation.body.is_some();
            let done = if body { &mut wired.1 } else { &mut wired.0 };
            if !*done && (body || operation.effect == Effect::Read) {
                *done = true;
                for how in wrecks(body) {
                    let name = serde_json::to_value(how).ok().and_then(|name| name.as_str().map(str::to_owned));
                    cases.push(Case {
                        id: format!("{}/{}/wire/{}", Phase::Hostile, operation.id, name.unwrap_or_default()),
                        phase: Phase::Hostile,
                        check: META.id.into(),
                        script: Script::Wire(Box::new(WireScript { call: plain.clone(), how })),
                    });
                }
            }
        }
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        if seen.call.expect != Expect::Survives || !matches!(seen.case.script, Script::Single(_)) {
            return;
        }
        let Some(clause) = seen.clauses().of_operation(seen.call.operation).input else { return };
        let status = seen.response.status;
        verdicts.decide(status < 500 || matches!(status, 501 | 503 | 505), clause, || {
            let operation = &seen.contract().operations[seen.call.operation];
            let what = seen.case.id.rsplit('/').next().unwrap_or_default();
            Break::new(&META, clause, format!("{} answers {status} to a wreck of a request ({what})", operation.id))
                .with_values("an answer below 500", status.to_string())
                .with_cause(what.to_owned())
                .with_offending(Offending::Status)
        });
    }

    fn judge_sequence(&self, sequence: &Sequence<'_>, verdicts: &mut Verdicts) {
        let (Script::Wire(wire), true) = (&sequence.case.script, sequence.is_planned_by(&META)) else { return };
        let operation = sequence.subject.operation(wire.call.operation);
        let Some(clause) = sequence.subject.clauses.of_operation(wire.call.operation).input else { return };
        let broken = |what: String, expected: &str, actual: String, act: &str| {
            Break::new(&META, clause, format!("{} {what}", operation.id))
                .with_values(expected, actual)
                .with_cause(format!("{:?} {what}", wire.how))
                .with_offending(Offending::Status)
                .in_act(act)
        };
        let answers: Vec<u16> = sequence.acts("wreck").filter_map(|step| step.exchange.status()).collect();
        if let Some(status) = answers.iter().find(|status| **status >= 500 && !matches!(status, 501 | 503 | 505)) {
            let what = format!("answers {status} to a wreck of a message");
            verdicts.broke(broken(what, "an answer below 500, or none", status.to_string(), "wreck"));
            return;
        }
        if wire.how == Wreck::TwoLengths && answers.iter().any(|status| *status < 300) {
            let what = "takes a message with two lengths".to_owned();
            verdicts.broke(broken(what, "400, or a closed connection", format!("{answers:?}"), "wreck"));
            return;
        }
        if wire.how == Wreck::LengthAndChunks && answers.len() > 1 {
            let what = "answers a request that was hidden in another one's body".to_owned();
            verdicts.broke(broken(what, "one answer", format!("{} answers", answers.len()), "wreck"));
            return;
        }
        let Some(health) = sequence.steps.iter().rfind(|step| step.purpose == Purpose::Health) else { return };
        let status = health.exchange.status();
        verdicts.decide(status.is_some_and(|status| status < 500), clause, || {
            let actual = status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
            broken("is not healthy after a wreck of a message".to_owned(), "an answer as ever", actual, "health")
        });
    }
}

fn wrecks(body: bool) -> Vec<Wreck> {
    if body {
        vec![Wreck::CutBody, Wreck::SlowBody, Wreck::TwoLengths, Wreck::LengthAndChunks, Wreck::BadChunk]
    } else {
        vec![Wreck::CutHeader, Wreck::NotHttp, Wreck::LongLine, Wreck::ManyHeaders, Wreck::NulInHeader, Wreck::NoHost]
    }
}

/// Odd bytes in path, query and headers of a reading request.
fn addresses(planner: &Planner<'_>, plain: &Call, add: &mut dyn FnMut(&str, Call)) {
    let operation = planner.subject.operation(plain.operation);
    let literal = |value: &str| {
        let mut path = String::new();
        for piece in &operation.path.pieces {
            match piece {
                trueline_spec::contract::PathPiece::Literal(text) => path.push_str(text),
                trueline_spec::contract::PathPiece::Parameter(_) => path.push_str(value),
            }
        }
        path
    };
    let path = |path: String| Call {
        twist: Some(Twist::Path(path)),
        arguments: plain
            .arguments
            .iter()
            .filter(|one| operation.parameters[one.parameter].place != ParameterPlace::Path)
            .cloned()
            .collect(),
        ..plain.clone()
    };
    if operation.path_parameters().next().is_some() {
        let long = "a".repeat(4096);
        for (name, value) in [
            ("path-nul", "%00"),
            ("path-not-utf-8", "%ff%fe"),
            ("path-not-encoded", "%zz"),
            ("path-up", "..%2f..%2fetc%2fpasswd"),
            ("path-long", long.as_str()),
            ("path-quote", "'%20OR%20'1'='1"),
        ] {
            // Without its value the encoder would refuse the call, so that the path is put in whole.
            let mut call = path(literal(value));
            call.arguments.clone_from(&plain.arguments);
            add(name, call);
        }
    } else {
        let base = literal("");
        for (name, query) in [
            ("query-not-utf-8", "?%ff=%fe".to_owned()),
            ("query-nul", "?a=%00&limit=%00".to_owned()),
            ("query-not-encoded", "?a=%zz&=&&?".to_owned()),
            ("query-many", format!("?{}", "a=1&".repeat(2_000))),
        ] {
            add(name, path(format!("{base}{query}")));
        }
    }
    for (name, header, value) in [
        ("accept-nothing", "accept", "application/x-trueline-nothing"),
        ("accept-broken", "accept", ";;;q=,/"),
        ("condition-broken", "if-none-match", "\"unfinished"),
        ("date-broken", "if-modified-since", "yesterday"),
        ("range-broken", "range", "bytes=9999999999-1"),
        ("language-broken", "accept-language", "-;q=x,*"),
    ] {
        add(name, Call { twist: Some(Twist::Header(header.to_owned(), value.to_owned())), ..plain.clone() });
    }
}

/// Wrecks of a JSON body.
fn bodies(planner: &Planner<'_>, plain: &Call, add: &mut dyn FnMut(&str, Call)) {
    let operation = planner.subject.operation(plain.operation);
    let Some(documented) = &operation.body else { return };
    if documented.media[preferred_media(documented)].media_type != "application/json" {
        return;
    }
    let Some(CallBody::Value { value: serde_json::Value::Object(members), .. }) = &plain.body else { return };
    let text = serde_json::Value::Object(members.clone()).to_string();
    let name =
        members.iter().find(|(_, value)| value.is_string()).or_else(|| members.iter().next()).map(|(name, _)| name);
    let key = serde_json::Value::from(name.map_or("a", String::as_str)).to_string();
    let with = |literal: &str| format!("{{{key}:{literal}{}{}", if members.is_empty() { "" } else { "," }, &text[1..]);
    // The last of two members with one name is what most parsers keep (RFC 8259 section 4), so the odd one stands last.
    let last = |literal: &str| {
        let comma = if members.is_empty() { "" } else { "," };
        format!("{}{comma}{key}:{literal}}}", &text[..text.len() - 1])
    };
    let json = Some("application/json".to_owned());
    let many: String = (0..5_000).map(|number| format!(",\"m{number}\":0")).collect();
    let raw = |content_type: &Option<String>, bytes: RawBytes| Call {
        body: Some(CallBody::Raw { content_type: content_type.clone(), bytes }),
        ..plain.clone()
    };
    for (name, body) in [
        ("body-twice", with("1")),
        ("body-nul", last("\"a\\u0000b\"")),
        ("body-lone-surrogate", last("\"\\ud800\"")),
        ("body-beyond-numbers", last("1e400")),
        ("body-long-number", last(&"9".repeat(400))),
        ("body-not-a-number", last("NaN")),
        ("body-comment", format!("/* a */{text}")),
        ("body-many-members", format!("{}{many}}}", &text[..text.len() - 1])),
        ("body-text", "\"text\"".to_owned()),
        ("body-null", "null".to_owned()),
        ("body-byte-order-mark", format!("\u{feff}{text}")),
    ] {
        add(name, raw(&json, RawBytes::Text(body)));
    }
    let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    add("body-utf-16", raw(&Some("application/json; charset=utf-16".to_owned()), RawBytes::Bytes(wide)));
    add("body-no-charset", raw(&Some("application/json; charset=nonsense".to_owned()), RawBytes::Text(text.clone())));
    add("body-no-boundary", raw(&Some("multipart/form-data".to_owned()), RawBytes::Text(text.clone())));
    let mut packed = raw(&json, RawBytes::Text(text));
    packed.twist = Some(Twist::Header("content-encoding".to_owned(), "gzip".to_owned()));
    add("body-not-compressed", packed);
}
