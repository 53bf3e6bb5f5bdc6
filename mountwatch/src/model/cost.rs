//! What tracking costs everybody else.

use std::fmt;

/// Below this part of the time before, a difference is noise: one in thirty.
const NOISE: u64 = 30;

/// The cheapest system call (getppid) without and with the back end, measured at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyscallCost {
    /// Nanoseconds before.
    pub before_ns: u64,
    /// Nanoseconds after.
    pub after_ns: u64,
}

impl SyscallCost {
    /// Whether the difference is more than what two measurements of the same differ by.
    pub fn is_felt(self) -> bool {
        self.after_ns > self.before_ns + (self.before_ns / NOISE).max(1)
    }

    /// How much longer it takes, in percent of the time before.
    pub fn percent(self) -> u64 {
        let more = self.after_ns.saturating_sub(self.before_ns);
        more.saturating_mul(100) / self.before_ns.max(1)
    }
}

/// A sentence.
impl fmt::Display for SyscallCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { before_ns, after_ns } = *self;
        if self.is_felt() {
            let (more, percent) = (after_ns - before_ns, self.percent());
            write!(
                f,
                "each system call of each process takes {more} ns more while this runs: the \
                 cheapest one took {before_ns} ns before and takes {after_ns} ns now ({percent} % \
                 more)"
            )
        } else {
            write!(
                f,
                "system calls take no longer than without it ({before_ns} ns for the cheapest)"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_felt_is_said_and_noise_is_not() {
        let text = |before_ns, after_ns| SyscallCost { before_ns, after_ns }.to_string();
        insta::assert_snapshot!(text(80, 110), @"each system call of each process takes 30 ns more while this runs: the cheapest one took 80 ns before and takes 110 ns now (37 % more)");
        insta::assert_snapshot!(text(80, 82), @"system calls take no longer than without it (80 ns for the cheapest)");
        insta::assert_snapshot!(text(80, 60), @"system calls take no longer than without it (80 ns for the cheapest)");
        assert_eq!(SyscallCost { before_ns: 0, after_ns: u64::MAX }.percent(), u64::MAX);
    }
}
