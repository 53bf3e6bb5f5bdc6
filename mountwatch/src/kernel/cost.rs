//! What system calls cost.
//!
//! A program on a tracepoint of one system call makes every system call of every process take the
//! kernel's slow path. How much that is depends on the processor and the kernel, so it is measured.

use std::time::Instant;

/// System calls of one round: short, so that some rounds are not interrupted.
const CALLS: u32 = 1_000;
/// Rounds; the shortest counts.
const ROUNDS: u32 = 20;

/// Nanoseconds of the cheapest system call (getppid(2)), from some 20,000 of them: a few
/// milliseconds.
pub fn syscall_ns() -> u64 {
    let round = |_| {
        let begin = Instant::now();
        for _ in 0..CALLS {
            std::hint::black_box(std::os::unix::process::parent_id());
        }
        u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    };
    let shortest = (0..ROUNDS).map(round).min().unwrap_or(0);
    shortest / u64::from(CALLS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_call_takes_more_than_nothing_and_less_than_a_millisecond() {
        let ns = syscall_ns();
        assert!((1..1_000_000).contains(&ns), "{ns}");
    }
}
