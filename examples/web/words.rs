//! Periods of time in words.

/// Names only the largest unit, rounded down.
pub(crate) fn in_words(seconds: f64) -> String {
    let (count, unit) = match seconds.round() as u64 {
        0 => return "a moment".to_owned(),
        seconds @ 1..60 => (seconds, "second"),
        seconds @ 60..3_600 => (seconds / 60, "minute"),
        seconds @ 3_600..86_400 => (seconds / 3_600, "hour"),
        seconds => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}
