//! Secrets: what a report, a log or a replay shows in their place. A secret of the profile has a name, and a case that holds
//! one is recorded with the name and restored from the profile when it is run again. What a service makes up (tokens, keys,
//! cookies) is only hidden.

use std::sync::{LazyLock, Mutex};

use base64::Engine;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use regex::Regex;
use serde_json::Value;

use super::Run;
use crate::case::Case;
use crate::exchange::Response;
use crate::profile::Profile;
use crate::subject::lock;

/// A shorter secret is replaced where it stands as a word of its own only: it may be part of any text by accident.
const DISTINCT: usize = 6;

/// Nothing this short can be kept from anybody.
const SHORTEST: usize = 3;

/// A string that a service returns as a documented secret, and that is long enough to be one.
const RETURNED: usize = 8;

/// A string that a service returns under a name that only sounds like a secret.
const SUSPECT: usize = 16;

/// What stands where a text was cut.
const CUT: char = '…';

/// So many characters of a secret at a cut are too many.
const REMNANT: usize = 4;

/// RFC 3986 section 2.3: what a careful client leaves as it is.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Every secret that was seen, the longest first.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    known: Mutex<Vec<Secret>>,
}

#[derive(Debug)]
struct Secret {
    text: String,
    shown: String,
    /// It stays the same for the whole run.
    lasting: bool,
}

impl Secrets {
    /// The profile's own.
    pub(super) fn of(profile: &Profile) -> Self {
        let secrets = Secrets::default();
        for (text, shown) in of_profile(profile) {
            secrets.learn(&text, &shown, true);
        }
        secrets
    }

    /// Learns a secret in every form in which it may go over the wire.
    pub(super) fn learn(&self, text: &str, shown: &str, lasting: bool) {
        if text.len() < SHORTEST {
            return;
        }
        let mut known = lock(&self.known);
        if known.iter().any(|secret| secret.text == text) {
            return;
        }
        let quoted = Value::from(text).to_string();
        let quoted = quoted[1..quoted.len() - 1].to_owned();
        // JSON in a string of JSON: a service that repeats the body that it was sent.
        let twice = Value::from(quoted.as_str()).to_string();
        let twice = twice[1..twice.len() - 1].to_owned();
        let base64 = base64::engine::general_purpose::STANDARD.encode(text);
        let percent = utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let gentle = utf8_percent_encode(text, RESERVED).to_string();
        let form = gentle.replace("%20", "+");
        known.push(Secret { text: text.to_owned(), shown: shown.to_owned(), lasting });
        let forms = [quoted, twice, percent, gentle, form];
        let forms = forms.map(|form| (form, shown.to_owned())).into_iter().chain([(base64, format!("{shown}_BASE64"))]);
        for (text, shown) in forms {
            if !known.iter().any(|secret| secret.text == text) {
                known.push(Secret { text, shown, lasting: false });
            }
        }
        // A token may contain a shorter secret.
        known.sort_by_key(|secret| std::cmp::Reverse(secret.text.len()));
    }

    /// A text with every known secret replaced by its name.
    pub(super) fn redact(&self, text: &str) -> String {
        let mut redacted = text.to_owned();
        for Secret { text, shown, .. } in lock(&self.known).iter() {
            if !redacted.contains(text.as_str()) {
                continue;
            }
            redacted = if text.len() < DISTINCT {
                replace_word(&redacted, text, shown)
            } else {
                redacted.replace(text.as_str(), shown)
            };
        }
        if redacted.contains(CUT) { self.redact_cut(&redacted) } else { redacted }
    }

    /// What a check has cut to size may end, or go on, in the middle of a secret.
    fn redact_cut(&self, text: &str) -> String {
        let known = lock(&self.known);
        let mut parts: Vec<String> = text.split(CUT).map(str::to_owned).collect();
        let last = parts.len() - 1;
        for (index, part) in parts.iter_mut().enumerate() {
            for Secret { text: secret, shown, .. } in known.iter().filter(|secret| secret.text.len() > REMNANT) {
                if index < last {
                    let kept = part.trim_end().to_owned();
                    let ends = |length: &usize| secret.is_char_boundary(*length) && kept.ends_with(&secret[..*length]);
                    if let Some(length) = (REMNANT..secret.len()).rev().find(ends) {
                        *part = format!("{}{shown} ", &kept[..kept.len() - length]);
                    }
                }
                if index > 0 {
                    let kept = part.trim_start().to_owned();
                    let starts = |from: &usize| secret.is_char_boundary(*from) && kept.starts_with(&secret[*from..]);
                    if let Some(from) = (1..=secret.len() - REMNANT).find(starts) {
                        *part = format!(" {shown}{}", &kept[secret.len() - from..]);
                    }
                }
            }
        }
        parts.join(&CUT.to_string())
    }

    /// Secrets that stay the same for the whole run, and that no text holds by accident.
    pub(super) fn lasting(&self) -> Vec<String> {
        let known = lock(&self.known);
        known.iter().filter(|secret| secret.lasting && secret.text.len() >= 8).map(|one| one.text.clone()).collect()
    }

    fn in_case(&self, case: Case) -> Case {
        changed(case, &|text| self.redact(text))
    }
}

impl Run {
    /// Learns a secret that came up in the run.
    pub(super) fn learn_secret(&self, text: &str, shown: String) {
        self.secrets.learn(text, &shown, false);
    }

    /// A text with every known secret replaced by its name.
    pub(crate) fn redact(&self, text: &str) -> String {
        self.secrets.redact(text)
    }

    /// Secrets that stay the same for the whole run: passwords and static credentials.
    pub(crate) fn lasting_secrets(&self) -> Vec<String> {
        self.secrets.lasting()
    }

    /// A case as it may be written down.
    pub(super) fn redact_case(&self, case: Case) -> Case {
        self.secrets.in_case(case)
    }

    /// Whether a value that was made smaller still has each secret whole, or not at all: pieces of a password are not to be
    /// sent around, nor would anybody know them again in a report.
    pub(super) fn keeps_secrets(&self, before: &Value, after: &Value) -> bool {
        let known = |text: &str| lock(&self.secrets.known).iter().any(|secret| secret.text == text);
        let strings = super::sessions::strings;
        let keys: Vec<String> =
            strings(before).into_iter().filter(|(_, text)| known(text)).map(|(key, _)| key).collect();
        strings(after).iter().all(|(key, text)| !keys.contains(key) || known(text))
    }

    /// Learns what a service made up and must stay between it and its caller: what stands in an answer under the name of a
    /// secret.
    pub(super) fn learn_returned(&self, response: &Response, body: Option<&Value>) {
        for (key, text) in body.map(super::sessions::strings).unwrap_or_default() {
            let documented =
                self.subject.secret_names().contains(&key) || self.subject.shown_once_names().contains(&key);
            // Error messages have members of such names too, and a sentence or a plain word is no secret.
            let random = text.len() >= SUSPECT && !text.contains(' ') && text.contains(|c: char| c.is_ascii_digit());
            if text.len() >= RETURNED && documented || random && is_secret_name(&key) {
                self.learn_secret(text, hidden(text));
            }
        }
        for (name, value) in &response.headers {
            let Ok(text) = value.to_str() else { continue };
            if *name == http::header::SET_COOKIE {
                let value = text.split(';').next().and_then(|pair| pair.split_once('=')).map(|(_, value)| value.trim());
                if let Some(value) = value.filter(|value| value.len() >= RETURNED) {
                    self.learn_secret(value, hidden(value));
                }
            } else if text.len() >= RETURNED && is_secret_name(name.as_str()) {
                self.learn_secret(text, hidden(text));
            }
        }
        if let (Ok(text), Some(tokens)) = (std::str::from_utf8(&response.body), JWT.as_ref()) {
            for token in tokens.find_iter(text) {
                self.learn_secret(token.as_str(), hidden(token.as_str()));
            }
        }
    }
}

/// RFC 7519: what can only be a signed token, wherever it stands.
static JWT: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*").ok());

/// What stands in the place of a secret that nobody can be asked for again.
fn hidden(text: &str) -> String {
    format!("(secret of {} characters)", text.chars().count())
}

/// Whether a key or header says that its value is a secret.
fn is_secret_name(name: &str) -> bool {
    let words = words(name);
    let is = |word: &str| words.iter().any(|one| one == word);
    let last = words.last().map_or("", String::as_str);
    // A cursor of a list is often called a token.
    if ["page", "next", "previous", "continuation", "sync", "cursor", "type"].iter().any(|word| is(word)) {
        return false;
    }
    matches!(
        last,
        "password"
            | "passwd"
            | "passphrase"
            | "secret"
            | "token"
            | "access"
            | "refresh"
            | "jwt"
            | "apikey"
            | "credential"
    ) || (last == "key" && ["api", "access", "secret", "private"].iter().any(|word| is(word)))
}

/// `accessToken`, `access_token` and `X-Access-Token` have the same words.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = vec![String::new()];
    let mut lower = false;
    for c in name.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && lower) {
            words.push(String::new());
        }
        lower = c.is_lowercase();
        if let (true, Some(word)) = (c.is_alphanumeric(), words.last_mut()) {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The secrets of a profile with their names, no name twice.
fn of_profile(profile: &Profile) -> Vec<(String, String)> {
    let mut secrets: Vec<(String, String)> = Vec::new();
    let mut add = |text: &str, shown: String| {
        if text.len() < SHORTEST || secrets.iter().any(|(known, _)| known == text) {
            return;
        }
        let taken = |shown: &str| secrets.iter().any(|(_, known)| known == shown);
        let numbered = (2..).map(|number| format!("{shown}_{number}"));
        if let Some(shown) = [shown.clone()].into_iter().chain(numbered).find(|shown| !taken(shown)) {
            secrets.push((text.to_owned(), shown));
        }
    };
    for (name, principal) in &profile.principals {
        let name = super::sessions::shout(name);
        if let Some(credential) = &principal.credential {
            add(credential, format!("${name}_CREDENTIAL"));
        }
        if let Some(credential) = principal.credential_env.as_ref().and_then(|variable| std::env::var(variable).ok()) {
            add(&credential, format!("${name}_CREDENTIAL"));
        }
        for (scheme, credential) in &principal.credentials {
            add(credential, format!("${name}_{}", super::sessions::shout(scheme)));
        }
        let bodies = [
            principal.login.as_ref().map(|login| &login.body),
            principal.register.as_ref().map(|register| &register.body),
            principal.mint.as_ref().map(|mint| &mint.body),
        ];
        for (key, value) in bodies.into_iter().flatten().flat_map(super::sessions::strings) {
            // What is different in every run is learnt in the run.
            let lasts = !value.contains("{run}");
            if lasts && (is_secret_name(&key) || super::sessions::is_secret_key(&key)) {
                add(value, format!("${name}_{}", super::sessions::shout(&key)));
            }
        }
    }
    for bad in &profile.bad_credentials {
        add(&bad.credential, format!("$BAD_{}", super::sessions::shout(&bad.kind.to_string())));
    }
    secrets
}

/// A recorded case with the profile's secrets in the place of their names.
pub(super) fn restored(case: Case, profile: &Profile) -> Case {
    let mut secrets = of_profile(profile);
    // `$A_KEY_2` before `$A_KEY`.
    secrets.sort_by_key(|(_, shown)| std::cmp::Reverse(shown.len()));
    changed(case, &|text| {
        secrets.iter().fold(text.to_owned(), |text, (secret, shown)| text.replace(shown.as_str(), secret))
    })
}

/// A case in which every string is another one. Strings stay strings, so what was a case stays one.
fn changed(case: Case, change: &dyn Fn(&str) -> String) -> Case {
    fn walk(value: &mut Value, change: &dyn Fn(&str) -> String) {
        match value {
            Value::String(text) => *text = change(text),
            Value::Array(items) => items.iter_mut().for_each(|item| walk(item, change)),
            Value::Object(members) => members.values_mut().for_each(|member| walk(member, change)),
            _ => {}
        }
    }
    let changed = serde_json::to_value(&case).and_then(|mut value| {
        if let Some(script) = value.get_mut("script") {
            walk(script, change);
        }
        serde_json::from_value(value)
    });
    // A word of the case's own language that is a secret at the same time; then the case is not worth the secret.
    changed.unwrap_or_else(|_| {
        let call = crate::case::Call {
            operation: case.operation(),
            caller: crate::case::Caller::Anonymous,
            from: None,
            arguments: Vec::new(),
            body: None,
            twist: None,
            expect: crate::case::Expect::Valid { bound: false },
        };
        Case { script: crate::case::Script::Single(Box::new(call)), ..case }
    })
}

/// Replaces a word where nothing that could belong to it stands on either side.
fn replace_word(text: &str, word: &str, by: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(word) {
        let end = at + word.len();
        let before = rest[..at].chars().next_back().or_else(|| out.chars().next_back());
        let alone = !before.is_some_and(char::is_alphanumeric)
            && !rest[end..].chars().next().is_some_and(char::is_alphanumeric);
        out.push_str(&rest[..at]);
        out.push_str(if alone { by } else { word });
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_told_from_other_names() {
        for name in
            ["password", "access_token", "accessToken", "X-Api-Key", "refresh", "client_secret", "apiKey", "JWT"]
        {
            assert!(is_secret_name(name), "{name}");
        }
        for name in
            ["next_page_token", "token_type", "max_tokens", "tokens", "key", "title", "access_level", "nextToken"]
        {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn every_form_of_a_secret_is_replaced() {
        let secrets = Secrets::default();
        secrets.learn("pa\"ss w/ord+1", "$A", true);
        for form in ["pa\"ss w/ord+1", "pa\\\"ss w/ord+1", "pa%22ss%20w%2Ford%2B1", "pa%22ss+w%2Ford%2B1"] {
            assert_eq!(secrets.redact(&format!("x={form}&y")), "x=$A&y", "{form}");
        }
        assert_eq!(secrets.redact("Basic cGEic3Mgdy9vcmQrMQ=="), "Basic $A_BASE64");
    }

    #[test]
    fn what_is_left_of_a_secret_at_a_cut_is_replaced() {
        let secrets = Secrets::default();
        secrets.learn("abcdefghijkl", "$A", true);
        assert_eq!(secrets.redact("x abcdef … ijkl y"), "x $A … $A y");
        assert_eq!(secrets.redact("x abcde… z"), "x $A … z");
        assert_eq!(secrets.redact("xabc … jkl"), "xabc … jkl");
    }

    #[test]
    fn a_short_secret_is_a_word_of_its_own() {
        let secrets = Secrets::default();
        secrets.learn("demo", "$A", true);
        assert_eq!(
            secrets.redact("{\"password\":\"demo\",\"text\":\"demonstration\"}"),
            "{\"password\":\"$A\",\"text\":\"demonstration\"}"
        );
        assert_eq!(secrets.redact("demodemo demo"), "demodemo $A");
    }
}
