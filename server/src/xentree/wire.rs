//! Small conversions between what is stored and what the contract's types hold.

use trueline_runtime::Patch;

/// An optional property that is always sent, null where there is nothing.
pub(super) fn nullable<T>(value: Option<T>) -> Patch<T> {
    value.map_or(Patch::Null, Patch::Value)
}

/// Whole seconds between two instants; none if the second is earlier.
pub(super) fn seconds_between(from_ms: i64, to_ms: i64) -> i64 {
    (to_ms - from_ms).max(0) / 1000
}

/// A count for the wire.
pub(super) fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// A count that the contract gives 32 bits.
pub(super) fn small(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// A text of at most so many characters, with a sign that there was more.
pub(super) fn shorten(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let cut: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{}…", cut.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_whole_seconds_and_never_negative() {
        assert_eq!(seconds_between(1_500, 4_400), 2);
        assert_eq!(seconds_between(4_400, 1_500), 0);
    }

    #[test]
    fn short_texts_stay_and_long_ones_say_so() {
        assert_eq!(shorten("abc", 3), "abc");
        assert_eq!(shorten("ab cd", 4), "ab…");
        assert_eq!(shorten("éééé", 2), "é…");
    }
}
