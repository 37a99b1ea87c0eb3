//! Points in time as text: UTC in RFC 3339, as the log and the container's state carry them.
//!
//! Time zones are left out on purpose: they would cost a read of the zone file in each start.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, such as `2026-11-21T12:09:08.25Z`: nanoseconds without their trailing zeros.
pub fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    rfc3339(since.as_secs(), since.subsec_nanos())
}

/// Seconds and nanoseconds since 1970 as RFC 3339.
fn rfc3339(seconds: u64, nanoseconds: u32) -> String {
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if nanoseconds > 0 {
        text.push_str(format!(".{nanoseconds:09}").trim_end_matches('0'));
    }
    text.push('Z');
    text
}

/// Year, month and day of a day number since 1970-01-01 in the Gregorian calendar.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_IN_400_YEARS: u64 = 146_097;
    // Counted from 0000-03-01 the leap day ends a year, and months follow a pattern of 153 days in five.
    let days = days + 719_468;
    let era = days / DAYS_IN_400_YEARS;
    let day = days % DAYS_IN_400_YEARS;
    let year = (day - day / 1460 + day / 36_524 - day / (DAYS_IN_400_YEARS - 1)) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + carry, month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        assert_eq!(rfc3339(0, 0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_400, 0), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_709_251_199, 1), "2024-02-29T23:59:59.000000001Z");
        assert_eq!(rfc3339(1_795_262_948, 250_000_000), "2026-11-21T12:09:08.25Z");
        assert_eq!(rfc3339(4_107_542_400, 0), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut last = date(0);
        for day in 1..200_000 {
            let next = date(day);
            let follows = next.2 == last.2 + 1 && (next.0, next.1) == (last.0, last.1)
                || next.2 == 1 && next.1 == last.1 + 1 && next.0 == last.0
                || (next.1, next.2) == (1, 1) && (last.1, last.2) == (12, 31) && next.0 == last.0 + 1;
            assert!(follows, "{last:?} {next:?}");
            last = next;
        }
    }
}
