//! How long to wait before another try, in all the ways in which providers tell it. The time now comes in.
//!
//! | source | form |
//! |---|---|
//! | `retry-after-ms` (OpenAI, Azure) | milliseconds |
//! | `retry-after` (RFC 9110, section 10.2.3) | seconds, also fractional, or a date |
//! | `details[].retryDelay` in the body (google.rpc.RetryInfo) | `34.07s` |
//! | `anthropic-ratelimit-*-reset` | a date (RFC 3339) |
//! | `x-ratelimit-reset-*` (OpenAI and compatible hosts), `ratelimit-reset` | `6m0s`, `17ms`, seconds, or Unix time |
//! | the message, when nothing else tells it | `Please try again in 20s.` |

use crate::hub::{ChatError, ErrorClass};

/// Limits that header fields tell: what is left, and when it is whole again.
const LIMITS: [(&str, &str); 12] = [
    ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"),
    ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"),
    ("anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset"),
    ("anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset"),
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    ("x-ratelimit-remaining-input-images", "x-ratelimit-reset-input-images"),
    ("x-ratelimit-remaining-requests-day", "x-ratelimit-reset-requests-day"),
    ("x-ratelimit-remaining-tokens-minute", "x-ratelimit-reset-tokens-minute"),
    ("x-ratelimit-remaining", "x-ratelimit-reset"),
    ("ratelimit-remaining", "ratelimit-reset"),
    ("ratelimitbysize-remaining", "ratelimitbysize-reset"),
];

/// When a request that was refused with `error` may be tried again, in milliseconds from `now` (Unix time in milliseconds). `header`
/// gives the value of a header field of the answer, asked for in small letters.
///
/// What is said of this refusal (`retry-after-ms`, `retry-after`, the body) comes before what is said of limits in general, and that counts
/// only when a limit was the reason: of the limits that are used up the one that lasts longest, else the one that is over first.
pub fn retry_after<'a>(error: &ChatError, header: impl Fn(&str) -> Option<&'a str>, now: u64) -> Option<u64> {
    let exact = header("retry-after-ms").and_then(number).filter(|ms| *ms > 0.0).map(ceil);
    let told = exact.or_else(|| header("retry-after").and_then(|v| moment(v, now))).or(error.retry_after_ms);
    told.or_else(|| if waits(error.class) { reset(header, now) } else { None })
}

/// A limit that a header field tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    /// The header field that tells what is left, for example `x-ratelimit-remaining-tokens`.
    pub name: &'static str,
    /// What is left of it.
    pub remaining: u64,
    /// When it is whole again, in milliseconds from now; none when that was not told.
    pub reset_ms: Option<u64>,
}

/// The limits that an answer tells, refused or not. `header` and `now` are as for [`retry_after`].
pub fn rate_limits<'a>(header: impl Fn(&str) -> Option<&'a str>, now: u64) -> Vec<RateLimit> {
    let told = |(name, reset): &(&'static str, &'static str)| {
        let remaining = header(name).and_then(number)? as u64;
        Some(RateLimit { name, remaining, reset_ms: header(reset).and_then(|v| moment(v, now)) })
    };
    LIMITS.iter().filter_map(told).collect()
}

/// Whether waiting helps.
pub(crate) fn waits(class: ErrorClass) -> bool {
    matches!(class, ErrorClass::RateLimited | ErrorClass::QuotaExceeded | ErrorClass::Overloaded)
}

fn reset<'a>(header: impl Fn(&str) -> Option<&'a str>, now: u64) -> Option<u64> {
    let limits = LIMITS.iter().filter_map(|(left, reset)| {
        let over = header(reset).and_then(|v| moment(v, now))?;
        Some((header(left).and_then(number).is_some_and(|n| n <= 0.0), over))
    });
    let limits: Vec<(bool, u64)> = limits.collect();
    let used_up = limits.iter().filter(|(used_up, _)| *used_up).map(|(_, over)| *over).max();
    used_up.or_else(|| limits.iter().map(|(_, over)| *over).filter(|over| *over > 0).min())
}

/// A moment as milliseconds from `now`: seconds, a duration, Unix time in seconds or milliseconds, or a date.
fn moment(value: &str, now: u64) -> Option<u64> {
    let value = value.trim();
    if let Some(number) = number(value) {
        return Some(match number {
            // No wait is as long as a Unix time is large.
            n if n >= 1e12 => (n as u64).saturating_sub(now),
            n if n >= 1e9 => ceil(n * 1000.0).saturating_sub(now),
            n => ceil(n * 1000.0),
        });
    }
    duration(value).or_else(|| date(value).map(|at| at.saturating_sub(now)))
}

/// A number that is not negative.
fn number(value: &str) -> Option<f64> {
    value.trim().parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0)
}

fn ceil(ms: f64) -> u64 {
    ms.ceil() as u64
}

/// Seconds, possibly fractional, or a duration; dates need the time now.
pub(crate) fn seconds(value: &str) -> Option<u64> {
    number(value).map(|s| ceil(s * 1000.0)).or_else(|| duration(value.trim()))
}

/// A duration with units and nothing after it, in milliseconds: `34.07s`, `6m0s`, `17ms`, `1 hour`.
pub(crate) fn duration(text: &str) -> Option<u64> {
    let (ms, rest) = leading_duration(text)?;
    rest.trim().is_empty().then_some(ms)
}

/// The duration that a text begins with, and what follows it.
fn leading_duration(text: &str) -> Option<(u64, &str)> {
    let (mut rest, mut total, mut found) = (text, 0.0, false);
    while let Some((ms, after)) = leading_unit(rest) {
        (rest, total, found) = (after, total + ms, true);
    }
    found.then(|| (ceil(total), rest))
}

fn leading_unit(text: &str) -> Option<(f64, &str)> {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let amount = number(text[..end].trim_end_matches('.'))?;
    let unit = text[end..].trim_start();
    let end = unit.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(unit.len());
    let ms = match &unit[..end] {
        "ms" | "millisecond" | "milliseconds" => 1.0,
        "s" | "sec" | "secs" | "second" | "seconds" => 1000.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60_000.0,
        "h" | "hr" | "hour" | "hours" => 3_600_000.0,
        "d" | "day" | "days" => 86_400_000.0,
        _ => return None,
    };
    Some((amount * ms, &unit[end..]))
}

/// The wait that a message names.
pub(crate) fn in_message(message: &str) -> Option<u64> {
    let lower = message.to_ascii_lowercase();
    ["try again in ", "retry in ", "retry after ", "try again after "]
        .iter()
        .find_map(|phrase| leading_duration(&lower[lower.find(phrase)? + phrase.len()..]))
        .map(|(ms, _)| ms)
}

/// A date as Unix time in milliseconds: `2025-01-31T12:00:00Z` (RFC 3339), `Wed, 21 Oct 2015 07:28:00 GMT` (RFC 9110).
fn date(text: &str) -> Option<u64> {
    if let Some((_, rest)) = text.split_once(", ") {
        let mut words = rest.split(' ');
        let day = words.next()?.parse().ok()?;
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let month = words.next()?;
        let month = months.iter().position(|m| *m == month)? as i64 + 1;
        let year = words.next()?.parse().ok()?;
        return unix_ms(year, month, day, words.next()?, 0);
    }
    let (day, time) = text.split_once(['T', 't', ' '])?;
    let mut numbers = day.split('-').map(|n| n.parse::<i64>().ok());
    let (year, month, day) = (numbers.next()??, numbers.next()??, numbers.next()??);
    let (time, offset) = match time.find(['Z', 'z', '+', '-']) {
        Some(at) if time[at..].starts_with(['Z', 'z']) => (&time[..at], 0),
        Some(at) => {
            let (hours, minutes) = time[at + 1..].split_once(':')?;
            let (hours, minutes) = (hours.parse::<u8>().ok().filter(|h| *h < 24)?, minutes.parse::<u8>().ok().filter(|m| *m < 60)?);
            let offset = i64::from(hours) * 60 + i64::from(minutes);
            (&time[..at], if time[at..].starts_with('-') { -offset } else { offset })
        }
        None => (time, 0),
    };
    unix_ms(year, month, day, time, offset)
}

/// `time` is `07:28:00` with an optional fraction, `offset` what it is ahead of UTC, in minutes.
fn unix_ms(year: i64, month: i64, day: i64, time: &str, offset: i64) -> Option<u64> {
    let mut parts = time.split(':');
    let (hour, minute) = (parts.next()?.parse::<i64>().ok()?, parts.next()?.parse::<i64>().ok()?);
    let second = number(parts.next()?)?;
    let fits = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !fits || !(0..24).contains(&hour) || !(0..60).contains(&minute) || second >= 61.0 || parts.next().is_some() {
        return None;
    }
    // Days since 1970, with years that begin in March so that a leap day is the last of its year.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468;
    let minutes = days * 1440 + hour * 60 + minute - offset;
    u64::try_from(minutes * 60_000).ok().map(|ms| ms + ceil(second * 1000.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2025-01-31T12:00:00Z.
    const NOW: u64 = 1_738_324_800_000;

    #[test]
    fn limits_of_an_answer() {
        let headers = [
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "6m0s"),
            ("x-ratelimit-remaining-tokens", "149984"),
            ("anthropic-ratelimit-tokens-remaining", "12"),
            ("anthropic-ratelimit-tokens-reset", "2025-01-31T12:00:05Z"),
            ("ratelimit-remaining", "many"),
        ];
        let header = |name: &str| headers.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
        let found = rate_limits(header, NOW);
        let found: Vec<_> = found.iter().map(|l| (l.name, l.remaining, l.reset_ms)).collect();
        assert_eq!(
            found,
            [
                ("anthropic-ratelimit-tokens-remaining", 12, Some(5000)),
                ("x-ratelimit-remaining-requests", 0, Some(360_000)),
                ("x-ratelimit-remaining-tokens", 149_984, None),
            ]
        );
    }

    #[test]
    fn moments() {
        let check = |value: &str, expect: Option<u64>| assert_eq!(moment(value, NOW), expect, "{value}");
        check("1", Some(1000));
        check(" 0.25 ", Some(250));
        check("0", Some(0));
        check("17ms", Some(17));
        check("6m0s", Some(360_000));
        check("1h2m3.5s", Some(3_723_500));
        check("34.074824224s", Some(34_075));
        check("20 seconds", Some(20_000));
        check("1738324830", Some(30_000));
        check("1738324830500", Some(30_500));
        check("2025-01-31T12:00:05Z", Some(5000));
        check("2025-01-31T12:00:05.25Z", Some(5250));
        check("2025-01-31T13:01:00+01:00", Some(60_000));
        check("2025-01-31T07:01:00-05:00", Some(60_000));
        check("2024-02-29T00:00:00Z", Some(0));
        check("Fri, 31 Jan 2025 12:00:30 GMT", Some(30_000));
        check("Wed, 21 Oct 2015 07:28:00 GMT", Some(0));
        for none in [
            "",
            "-1",
            "inf",
            "soon",
            "5 apples",
            "2025-01-31",
            "2025-13-31T12:00:00Z",
            "Fri, 31 Foo 2025 12:00:30 GMT",
            "1s more",
            "2025-01-01T00:00:00+9223372036854775807:00",
            "2025-01-01T00:00:00+24:00",
        ] {
            check(none, None);
        }
        assert_eq!((date("1970-01-01T00:00:00Z"), date("2000-03-01T00:00:00Z")), (Some(0), Some(951_868_800_000)));
    }

    #[test]
    fn sentences() {
        let check = |message: &str, expect: Option<u64>| assert_eq!(in_message(message), expect, "{message}");
        check("Rate limit reached. Please try again in 1m26.4s. Visit us.", Some(86_400));
        check("Please retry in 34.07s.", Some(34_070));
        check("Please retry after 60 seconds.", Some(60_000));
        check("Please try again in 6ms.", Some(6));
        check("Please try again in a while.", None);
        check("Nothing of the kind.", None);
    }

    #[test]
    fn what_is_said_of_this_refusal_comes_first() {
        let check = |class: ErrorClass, headers: &[(&str, &'static str)], expect: Option<u64>| {
            let error = ChatError { retry_after_ms: Some(7000).filter(|_| class == ErrorClass::Timeout), ..ChatError::new(class, "m") };
            let header = |name: &str| headers.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
            assert_eq!(retry_after(&error, header, NOW), expect, "{headers:?}");
        };
        use ErrorClass::*;
        check(RateLimited, &[("retry-after-ms", "1500"), ("retry-after", "2")], Some(1500));
        // Azure rounds down to nothing.
        check(RateLimited, &[("retry-after-ms", "0"), ("retry-after", "1")], Some(1000));
        check(RateLimited, &[("retry-after", "2"), ("x-ratelimit-reset-tokens", "6m0s")], Some(2000));
        // The body's own.
        check(Timeout, &[("x-ratelimit-reset-tokens", "6m0s")], Some(7000));
        check(Timeout, &[("retry-after", "1")], Some(1000));
        check(
            RateLimited,
            &[
                ("x-ratelimit-remaining-requests", "0"),
                ("x-ratelimit-reset-requests", "8.64s"),
                ("x-ratelimit-remaining-tokens", "90"),
                ("x-ratelimit-reset-tokens", "6m0s"),
            ],
            Some(8640),
        );
        check(RateLimited, &[("x-ratelimit-reset-requests", "8.64s"), ("x-ratelimit-reset-tokens", "0s")], Some(8640));
        check(
            Overloaded,
            &[
                ("anthropic-ratelimit-requests-remaining", "0"),
                ("anthropic-ratelimit-requests-reset", "2025-01-31T12:00:10Z"),
                ("anthropic-ratelimit-tokens-remaining", "0"),
                ("anthropic-ratelimit-tokens-reset", "2025-01-31T12:00:20Z"),
            ],
            Some(20_000),
        );
        // Every answer has these, also one that no limit caused.
        check(InvalidRequest, &[("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "8s")], None);
        check(RateLimited, &[], None);
    }
}
