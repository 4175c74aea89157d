//! Strings by `format`.

use std::collections::BTreeMap;
use std::sync::{LazyLock, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::data::random::Rng;

/// The formats that a validator asserts; the others are hints.
pub(crate) const ASSERTED: [&str; 21] = [
    "base64url",
    "byte",
    "char",
    "http-date",
    "date",
    "date-time",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "iri",
    "iri-reference",
    "json-pointer",
    "regex",
    "relative-json-pointer",
    "time",
    "uri",
    "uri-reference",
    "uri-template",
    "uuid",
];

/// Options for validators of subschemas. The whole schema is judged by [`trueline_spec::schema::validator`]; these judge
/// parts of it on the way there, with the same formats as far as they matter.
pub(crate) fn options() -> jsonschema::ValidationOptions<'static> {
    jsonschema::options()
        .with_draft(jsonschema::Draft::Draft202012)
        .should_validate_formats(true)
        .offline()
        .with_pattern_options(jsonschema::PatternOptions::fancy_regex().backtrack_limit(100_000))
        .with_format("byte", |text: &str| holds("byte", text))
        .with_format("base64url", |text: &str| holds("base64url", text))
}

/// Whether a string is what a format says; true for formats that nobody asserts.
pub(crate) fn holds(format: &str, text: &str) -> bool {
    static VALIDATORS: LazyLock<RwLock<BTreeMap<String, Option<jsonschema::Validator>>>> =
        LazyLock::new(RwLock::default);
    if !ASSERTED.contains(&format) {
        return true;
    }
    let value = Value::String(text.to_owned());
    let answer = |validator: &Option<jsonschema::Validator>| validator.as_ref().is_none_or(|v| v.is_valid(&value));
    if let Ok(known) = VALIDATORS.read()
        && let Some(validator) = known.get(format)
    {
        return answer(validator);
    }
    let validator = trueline_spec::schema::validator(&json!({ "format": format })).ok();
    let holds = answer(&validator);
    if let Ok(mut known) = VALIDATORS.write() {
        known.insert(format.to_owned(), validator);
    }
    holds
}

const WORDS: [&str; 24] = [
    "amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "harbor", "iris", "juniper", "kestrel", "lumen",
    "maple", "north", "ocean", "pine", "quartz", "river", "sierra", "tundra", "umber", "vale", "willow", "zephyr",
];

/// A readable lower-case word.
pub(crate) fn word(rng: &mut Rng) -> &'static str {
    WORDS[rng.below(WORDS.len())]
}

fn letters(rng: &mut Rng, count: u64) -> String {
    (0..count).map(|_| char::from(b'a' + rng.below(26) as u8)).collect()
}

/// A string of a format with a length between `min` and `max` characters; `None` if the format has none, or is unknown.
pub(crate) fn generate(format: &str, rng: &mut Rng, min: u64, max: u64) -> Option<String> {
    let text = match format {
        "date-time" => {
            let fraction = match rng.below(4) {
                0 if max >= 24 => format!(".{:03}", rng.below(1000)),
                _ => String::new(),
            };
            let offset = match rng.below(4) {
                0 if max >= 25 && fraction.is_empty() => ["+02:00", "-05:30", "+00:00"][rng.below(3)],
                _ => "Z",
            };
            format!("{}T{}{fraction}{offset}", date(rng), clock(rng))
        }
        "date" => date(rng),
        "time" => format!("{}Z", clock(rng)),
        "duration" => ["P3D", "PT15M", "P1Y2M10DT2H30M", "PT36H", "P4W", "PT0S"][rng.below(6)].to_owned(),
        "email" | "idn-email" => {
            let host = "example.com";
            let mut local = format!("{}.{}{}", word(rng), word(rng), rng.below(100));
            // The local part may be 64 octets long (RFC 5321, 4.5.3.1.1); more goes into the domain.
            if (local.len() + 1 + host.len()) as u64 > max {
                local = letters(rng, max.saturating_sub(1 + host.len() as u64).clamp(1, 8));
            }
            let mut text = format!("{local}@{host}");
            if text.len() as u64 > max {
                text = format!("{}@{}", letters(rng, 1), short_host(max.saturating_sub(2)));
            }
            let missing = min.saturating_sub(text.len() as u64);
            if missing > 0 {
                let room = 64u64.saturating_sub(local.len() as u64).min(missing);
                local.push_str(&letters(rng, room));
                text = match missing - room {
                    0 => format!("{local}@{host}"),
                    rest => format!("{local}@{}", long_host(host, rest)?),
                };
            }
            text
        }
        "hostname" | "idn-hostname" => {
            let mut text = format!("{}.example.com", word(rng));
            if text.len() as u64 > max {
                text = short_host(max);
            }
            match min.saturating_sub(text.len() as u64) {
                0 => text,
                missing => long_host(&text, missing)?,
            }
        }
        "ipv4" => match max {
            ..=9 => "1.2.3.4".to_owned(),
            _ => format!("192.0.2.{}", rng.below(256)),
        },
        "ipv6" => match max {
            ..=9 => "::1".to_owned(),
            _ if min > 20 => format!("2001:0db8:0000:0000:0000:0000:0000:{:04x}", rng.below(65536)),
            _ => format!("2001:db8::{:x}", rng.below(65536)),
        },
        "uri" | "iri" | "url" | "uri-template" => {
            let base = ["https://example.com/", "http://example.org/", "https://api.example.net/v1/"][rng.below(3)];
            let mut text = format!("{base}{}", word(rng));
            if rng.chance(30) {
                text.push_str(&format!("?page={}", rng.below(50)));
            }
            if text.len() as u64 > max {
                text = match max {
                    8.. => format!("http://{}", short_host(max - 7)),
                    _ => "a:b".to_owned(),
                };
            }
            let missing = min.saturating_sub(text.len() as u64);
            text + &letters(rng, missing)
        }
        "uri-reference" | "iri-reference" => {
            let text = format!("/{}/{}", word(rng), rng.below(1000));
            let text = if text.len() as u64 > max { letters(rng, max) } else { text };
            let missing = min.saturating_sub(text.len() as u64);
            text + &letters(rng, missing)
        }
        "json-pointer" => format!("/{}/{}", word(rng), rng.below(10)),
        "relative-json-pointer" => format!("{}/{}", rng.below(4), word(rng)),
        "regex" => format!("^{}[0-9]+$", word(rng)),
        "uuid" => {
            let (high, low) = (rng.next(), rng.next());
            // Version 4, variant 1: readers that look closer than the format does want both.
            format!(
                "{:08x}-{:04x}-4{:03x}-{:x}{:03x}-{:012x}",
                high >> 32,
                (high >> 16) & 0xffff,
                high & 0xfff,
                8 + (low >> 62),
                (low >> 48) & 0xfff,
                low & 0xffff_ffff_ffff
            )
        }
        "byte" => {
            // Whole groups of four, so that any number of characters divisible by four can be met.
            let groups = min.div_ceil(4).max(u64::from(min == 0 && rng.chance(5)) ^ 1);
            let most = max / 4;
            let wanted =
                if groups < most { groups + rng.below(8.min((most - groups) as usize + 1)) as u64 } else { groups };
            if wanted > most {
                return None;
            }
            let last = if wanted > 0 { rng.below(3) } else { 0 };
            let bytes: Vec<u8> = (0..(wanted * 3) as usize - last).map(|_| rng.below(256) as u8).collect();
            STANDARD.encode(bytes)
        }
        "phone" | "phone-number" => format!("+1202555{:04}", rng.below(10_000)),
        "decimal" | "money" | "google-decimal" => format!("{}.{:02}", rng.below(1000), rng.below(100)),
        "int64" | "int32" | "uint64" | "uint32" | "integer" | "long" => rng.below(100_000).to_string(),
        "google-datetime" | "datetime" | "timestamp" => format!("{}T{}Z", date(rng), clock(rng)),
        "google-duration" => format!("{}s", rng.below(3600)),
        "google-fieldmask" => word(rng).to_owned(),
        "base64url" | "base64" => {
            let bytes = (max.min(12).max(min) * 3 / 4).max(1) as usize;
            let mut text = URL_SAFE_NO_PAD.encode((0..bytes).map(|_| rng.below(256) as u8).collect::<Vec<u8>>());
            if (text.len() as u64) < min {
                text = URL_SAFE_NO_PAD.encode(vec![0; bytes + 1]);
            }
            text
        }
        "char" => char::from(b'a' + rng.below(26) as u8).to_string(),
        "http-date" => {
            // 2 January 2023 was a Monday; the day of the week must fit the date.
            let day = rng.below(28);
            let name = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"][day % 7];
            format!("{name}, {:02} Jan 2023 {} GMT", day + 2, clock(rng))
        }
        "hex" => format!("{:08x}", rng.next() as u32),
        "ip" => format!("192.0.2.{}", rng.below(256)),
        "country" | "country-code" => ["DE", "FR", "US", "JP"][rng.below(4)].to_owned(),
        "currency" => ["EUR", "USD", "JPY"][rng.below(3)].to_owned(),
        "ulid" => "01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned(),
        "objectid" | "object-id" => format!("{:016x}{:08x}", rng.next(), rng.next() as u32),
        _ => return None,
    };
    let length = text.chars().count() as u64;
    (min..=max).contains(&length).then_some(text)
}

fn date(rng: &mut Rng) -> String {
    let year = if rng.chance(90) { 2015 + rng.below(20) } else { 1970 + rng.below(130) };
    format!("{year:04}-{:02}-{:02}", 1 + rng.below(12), 1 + rng.below(28))
}

fn clock(rng: &mut Rng) -> String {
    format!("{:02}:{:02}:{:02}", rng.below(24), rng.below(60), rng.below(60))
}

fn short_host(max: u64) -> String {
    ["example.com", "a.example", "e.co", "a.b", "a"]
        .into_iter()
        .find(|host| host.len() as u64 <= max)
        .unwrap_or("a")
        .to_owned()
}

/// Puts labels in front of a host until it is `missing` characters longer.
fn long_host(host: &str, missing: u64) -> Option<String> {
    // A host name has at most 253 characters and a label at most 63 (RFC 1035, 2.3.4).
    if host.len() as u64 + missing > 253 {
        return None;
    }
    if missing == 1 {
        return Some(format!("x{host}"));
    }
    let mut labels = String::new();
    let mut rest = missing;
    while rest > 0 {
        let label = match rest {
            ..=64 => rest - 1,
            // One character cannot be a label and its dot.
            65 => 62,
            _ => 63,
        };
        labels.push_str(&"x".repeat(label as usize));
        labels.push('.');
        rest -= label + 1;
    }
    Some(labels + host)
}

/// Strings that plainly are not of a format, the most telling first; empty for formats that nobody asserts.
pub(crate) fn violations(format: &str) -> &'static [&'static str] {
    match format {
        "date-time" => &["2024-13-45T25:61:61Z", "not-a-date"],
        "date" => &["2024-02-31", "not-a-date"],
        "time" => &["25:61:61Z", "not-a-time"],
        "duration" => &["three days", "1 day"],
        "email" | "idn-email" => &["not-an-email", "@example.com", "a@"],
        "hostname" => &["-bad-.example", "exa mple.com", "a..b"],
        "ipv4" => &["256.256.256.256", "not-an-ip"],
        "ipv6" => &["2001:db8::zzzz", "not-an-ip"],
        "uri" | "iri" => &["not a uri", "://missing-scheme"],
        "uri-reference" | "iri-reference" => &["\\\\not a reference", "%zz"],
        "uri-template" => &["/users/{id", "{"],
        "json-pointer" => &["no-slash", "/~2"],
        "relative-json-pointer" => &["-1/a", "a"],
        "regex" => &["(unclosed", "["],
        "uuid" => &["not-a-uuid", "00000000-0000-0000-0000-00000000000g", "1234"],
        "byte" | "base64url" => &["not base64!", "%%%"],
        "char" => &["ab"],
        "http-date" => &["not-a-date", "2024-05-17T08:30:00Z"],
        _ => &[],
    }
}
