//! Moments as text.

/// How the kernel's clock and the wall clock stand to each other. Whoever renders reads both
/// clocks; nothing here does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// `CLOCK_REALTIME` now, in nanoseconds.
    pub realtime_ns: u64,
    /// `CLOCK_MONOTONIC` now, in nanoseconds.
    pub monotonic_ns: u64,
}

impl Clock {
    /// The wall clock at a moment of `CLOCK_MONOTONIC`; now for 0, which stands for "not known".
    pub fn wall_ns(self, ktime_ns: u64) -> u64 {
        if ktime_ns == 0 {
            return self.realtime_ns;
        }
        self.realtime_ns.wrapping_sub(self.monotonic_ns).wrapping_add(ktime_ns)
    }
}

const SECONDS_PER_DAY: u64 = 86_400;

/// RFC 3339 in UTC with microseconds: `2026-09-01T12:00:00.123456Z`.
pub fn rfc3339(wall_ns: u64) -> String {
    let seconds = wall_ns / 1_000_000_000;
    let micros = wall_ns % 1_000_000_000 / 1_000;
    let (year, month, day) = date(seconds / SECONDS_PER_DAY);
    let second = seconds % SECONDS_PER_DAY;
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// Year, month and day of a day since 1970: Howard Hinnant's `civil_from_days`. Years begin in
/// March there, so that the leap day is the last one.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_rfc3339() {
        let check = |seconds: u64, expected: &str| {
            assert_eq!(rfc3339(seconds * 1_000_000_000 + 123_456_789), expected);
        };
        check(0, "1970-01-01T00:00:00.123456Z");
        check(951_782_400, "2000-02-29T00:00:00.123456Z");
        check(1_709_251_199, "2024-02-29T23:59:59.123456Z");
        check(1_709_251_200, "2024-03-01T00:00:00.123456Z");
        check(1_798_761_599, "2026-12-31T23:59:59.123456Z");
        check(4_107_542_400, "2100-03-01T00:00:00.123456Z");
    }

    #[test]
    fn the_kernels_clock_becomes_the_walls() {
        let clock = Clock { realtime_ns: 1_000_000, monotonic_ns: 400 };
        assert_eq!(clock.wall_ns(500), 1_000_100);
        assert_eq!(clock.wall_ns(300), 999_900);
        assert_eq!(clock.wall_ns(0), 1_000_000);
        let _ = rfc3339(u64::MAX);
        let _ = Clock { realtime_ns: 0, monotonic_ns: u64::MAX }.wall_ns(u64::MAX);
    }
}
