//! When to read again.

use std::time::{Duration, Instant};

/// Between two readings that nobody asked for, at the least.
const PERIOD: Duration = Duration::from_secs(1);
/// The same after our own namespace said that it changed.
const AFTER_WAKE: Duration = Duration::from_millis(100);
/// How many times as long as the last reading the pause is at the least: readings that nobody
/// asked for take a fifth of one processor at the most.
const REST: u32 = 4;

/// Why a reading would be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Somebody asks: the answer must not be older than the question.
    Asked,
    /// A descriptor says that something changed.
    Woken,
    /// Time went by.
    Tick,
}

/// When the last reading was, and how long it took.
#[derive(Debug, Default)]
pub(super) struct Pace {
    last: Option<(Instant, Duration)>,
    is_woken: bool,
}

impl Pace {
    /// Whether to read now.
    pub(super) fn is_due(&mut self, why: Why, now: Instant) -> bool {
        self.is_woken |= why == Why::Woken;
        let Some((end, took)) = self.last else { return true };
        let pause = if self.is_woken { AFTER_WAKE } else { PERIOD };
        why == Why::Asked || now.saturating_duration_since(end) >= pause.max(took * REST)
    }

    /// How long the last reading took, in microseconds.
    pub(super) fn took_us(&self) -> u64 {
        self.last.map_or(0, |(_, took)| u64::try_from(took.as_micros()).unwrap_or(u64::MAX))
    }

    /// A reading is over.
    pub(super) fn done(&mut self, begin: Instant, end: Instant) {
        self.last = Some((end, end.saturating_duration_since(begin)));
        self.is_woken = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_does_not_wait_and_the_rest_is_paced() {
        let begin = Instant::now();
        let after = |ms| begin + Duration::from_millis(ms);
        let mut pace = Pace::default();
        assert!(pace.is_due(Why::Tick, begin));
        pace.done(begin, after(10));
        assert!(pace.is_due(Why::Asked, after(11)));
        assert!(!pace.is_due(Why::Tick, after(900)));
        assert!(pace.is_due(Why::Tick, after(1_010)));
        // A wake that came too soon is not forgotten.
        assert!(!pace.is_due(Why::Woken, after(50)));
        assert!(pace.is_due(Why::Tick, after(110)));
        // What takes long is done less often.
        pace.done(begin, after(1_000));
        assert!(!pace.is_due(Why::Woken, after(4_900)));
        assert!(pace.is_due(Why::Tick, after(5_000)));
    }
}
