use super::super::{Check, Level, Meta, Seen, Verdicts};
use super::{bad_call, doors, judge_refusal, refused, vocabulary};
use crate::case::{BadCredentialSource, Case};
use crate::plan::Planner;

/// `auth.malformed`.
pub(super) struct Malformed;

static META: Meta = Meta {
    id: "auth.malformed",
    level: Level::Must,
    title: "credentials that are none are refused, and never break the service",
    rationale: "Whoever is not let in yet can send anything; a parser that fails on it is open to everybody. RFC 9110 \
                section 11.6.2; OWASP API2:2023.",
    sends: "one operation of each scheme with: nothing after the scheme's name, two words, the name of another scheme, \
            dots, quotes and a NUL as text, 8 KiB, bytes that are no ASCII, and a JWT whose parts are no JSON",
    demands: "401, never a status from 500 up",
    guards: "one operation per scheme, because all stand behind the same gate; a 400 or 431 for what cannot be a header of \
             the scheme at all is as good",
    fault: "a token with non-ASCII bytes is answered 500",
};

impl Check for Malformed {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn plan(&self, planner: &Planner<'_>, cases: &mut Vec<Case>) {
        let mut done: Vec<&str> = Vec::new();
        for door in doors(planner) {
            let (_, operation, scheme) = door;
            if done.contains(&scheme) {
                continue;
            }
            done.push(scheme);
            let answer = vocabulary(planner, scheme).and_then(|one| one.malformed.as_ref());
            let literal = |text: &str| BadCredentialSource::Literal(text.to_owned());
            let verbatim = |text: &str| BadCredentialSource::Verbatim(text.to_owned());
            let sources = [
                ("empty", literal("")),
                ("two-words", literal("one two")),
                ("other-scheme", verbatim("Basic dHJ1ZWxpbmU6dHJ1ZWxpbmU=")),
                ("scheme-only", verbatim("Bearer")),
                ("no-scheme", verbatim("trueline")),
                ("dots", literal("...")),
                ("quotes", literal("' OR '1'='1' -- \"\\%00")),
                ("long", literal(&"A".repeat(8 * 1024))),
                ("latin-1", literal("tr\u{fc}eline-\u{ff}\u{fe}")),
                ("not-a-jwt", literal("bm90.anNvbg.c2lnbmF0dXJl")),
            ];
            for (name, source) in sources {
                let mut expect = refused(planner, operation, &[answer]);
                if let crate::case::Expect::Refused { statuses, codes } = &mut expect {
                    statuses.extend([400, 431]);
                    // What shape a wreck has is a matter of taste; that it is refused is not.
                    codes.clear();
                }
                cases.extend(bad_call(planner, &META, door, name, source, expect));
            }
        }
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        judge_refusal(&META, seen, verdicts, "a malformed credential");
    }
}
