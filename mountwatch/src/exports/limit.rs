//! How much an export takes: a flood costs lines, never the disk or the memory.

/// Whether a line may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// It counts against the rate.
    Line,
    /// It says what is missing: it must not be missing itself. There are few of them.
    Notice,
}

/// Lines in a second: a bucket of tokens, which holds those of one second.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    per_second: u64,
    /// Nanoseconds of time that are saved up, at most a second.
    saved_ns: u64,
    last_ns: u64,
}

const SECOND_NS: u64 = 1_000_000_000;

impl Rate {
    /// So many in each second; 0 for any number.
    pub fn new(per_second: u64) -> Self {
        Self { per_second, saved_ns: SECOND_NS, last_ns: 0 }
    }

    /// Whether a line of that kind may pass.
    pub fn lets(&mut self, urgency: Urgency, now_ns: u64) -> bool {
        urgency == Urgency::Notice || self.admits(now_ns)
    }

    /// Whether one more may pass at this time, in nanoseconds of any clock that does not go back.
    pub fn admits(&mut self, now_ns: u64) -> bool {
        if self.per_second == 0 {
            return true;
        }
        let passed_ns = now_ns.saturating_sub(self.last_ns);
        self.last_ns = now_ns;
        self.saved_ns = self.saved_ns.saturating_add(passed_ns).min(SECOND_NS);
        let price_ns = (SECOND_NS / self.per_second).max(1);
        let admits = self.saved_ns >= price_ns;
        if admits {
            self.saved_ns -= price_ns;
        }
        admits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holds_so_many_and_no_more() {
        let mut rate = Rate::new(100);
        let admitted = |rate: &mut Rate, from_ns: u64, count: u64, step_ns: u64| {
            (0..count).filter(|step| rate.admits(from_ns + step * step_ns)).count()
        };
        assert_eq!(admitted(&mut rate, SECOND_NS, 1_000, 0), 100, "a burst of one second");
        assert_eq!(admitted(&mut rate, 2 * SECOND_NS, 1_000, SECOND_NS / 1_000), 199);
        assert_eq!(admitted(&mut rate, 60 * SECOND_NS, 1_000, 0), 100, "no more is saved up");
        assert_eq!(admitted(&mut Rate::new(0), 0, 1_000, 0), 1_000);
    }

    #[test]
    fn what_says_that_something_is_missing_passes_always() {
        let mut rate = Rate::new(1);
        assert!(rate.lets(Urgency::Line, SECOND_NS) && !rate.lets(Urgency::Line, SECOND_NS));
        assert!(rate.lets(Urgency::Notice, SECOND_NS));
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_gives_nothing() {
        let mut rate = Rate::new(1);
        assert!(rate.admits(5 * SECOND_NS));
        assert!(!rate.admits(5 * SECOND_NS));
        assert!(!rate.admits(0));
    }
}
