//! Results: one line for each test, and a closing line.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// How a test went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It did.
    Passed,
    /// It did not; sentences.
    Failed(Vec<String>),
    /// The kernel is older than what the test needs.
    Skipped(String),
    /// The back end says itself that it cannot see this.
    NotClaimed(String),
}

impl Verdict {
    /// Passed if there is no failure.
    pub(crate) fn of(failures: Vec<String>) -> Self {
        if failures.is_empty() { Self::Passed } else { Self::Failed(failures) }
    }
}

/// All results so far.
#[derive(Debug)]
pub(crate) struct Report {
    start: Instant,
    /// When the test before this one was over.
    before: Instant,
    passed: u32,
    failed: Vec<String>,
    skipped: u32,
    not_claimed: u32,
}

impl Report {
    /// None yet.
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        let failed = Vec::new();
        Self { start: now, before: now, passed: 0, failed, skipped: 0, not_claimed: 0 }
    }

    /// Counts and prints a test.
    pub(crate) fn add(&mut self, name: &str, verdict: Verdict) {
        let seconds = self.before.elapsed().as_secs_f64();
        self.before = Instant::now();
        match verdict {
            Verdict::Passed => {
                self.passed += 1;
                println!("ok {name} ({seconds:.1} s)");
            }
            Verdict::Failed(sentences) => {
                self.failed.push(name.to_owned());
                let mut sentences = sentences.into_iter();
                println!("FAILED {name}: {}", sentences.next().unwrap_or_default());
                for sentence in sentences {
                    println!("    {sentence}");
                }
            }
            verdict => self.note(name, &verdict),
        }
    }

    /// Counts and prints what was left out of a test, or a test that was left out.
    pub(crate) fn note(&mut self, name: &str, verdict: &Verdict) {
        match verdict {
            Verdict::Skipped(why) => {
                self.skipped += 1;
                println!("skipped {name}: {why}");
            }
            Verdict::NotClaimed(why) => {
                self.not_claimed += 1;
                println!("not claimed {name}: {why}");
            }
            Verdict::Passed | Verdict::Failed(_) => {}
        }
    }

    /// Prints the closing line. True if nothing failed and something passed.
    pub(crate) fn finish(&self) -> bool {
        if !self.failed.is_empty() {
            println!("failed: {}", self.failed.join(" "));
        }
        let more = |count: u32, word: &str| {
            if count == 0 { String::new() } else { format!(", {count} {word}") }
        };
        println!(
            "{} passed, {} failed{}{} in {:.1} s",
            self.passed,
            self.failed.len(),
            more(self.skipped, "skipped"),
            more(self.not_claimed, "not claimed"),
            self.start.elapsed().as_secs_f64()
        );
        self.failed.is_empty() && self.passed > 0
    }
}

/// Runs a test in a thread of its own, so that one that hangs fails. The test says where it is.
pub(crate) fn with_limit<T: Send + 'static>(
    limit: Duration,
    test: impl FnOnce(&dyn Fn(&str)) -> T + Send + 'static,
) -> Result<T, String> {
    let place = Arc::new(Mutex::new("the beginning".to_owned()));
    let (sender, receiver) = mpsc::channel();
    let told = Arc::clone(&place);
    let thread = thread::spawn(move || {
        let at = |place: &str| {
            place.clone_into(&mut told.lock().unwrap_or_else(PoisonError::into_inner));
        };
        drop(sender.send(test(&at)));
    });
    let place = || place.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match receiver.recv_timeout(limit) {
        // What the thread still holds is gone when it is joined, its processes included.
        Ok(result) => {
            thread.join().map(|()| result).map_err(|_| format!("panicked at {}", place()))
        }
        Err(mpsc::RecvTimeoutError::Timeout) => {
            Err(format!("hangs for {} s at {}", limit.as_secs(), place()))
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(format!("panicked at {}", place())),
    }
}

/// Tries until it succeeds or the limit is reached; then the last error.
pub(crate) fn eventually<T, E>(
    limit: Duration,
    mut attempt: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    let start = Instant::now();
    loop {
        match attempt() {
            Err(_) if start.elapsed() < limit => thread::sleep(Duration::from_millis(10)),
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_hangs_or_panics_fails_and_says_where() {
        let hung = with_limit(Duration::from_millis(20), |at| {
            at("step 3");
            thread::sleep(Duration::from_secs(1));
        });
        assert_eq!(hung, Err("hangs for 0 s at step 3".to_owned()));
        let panicked = with_limit(Duration::from_secs(5), |at| {
            at("step 4");
            std::panic::panic_any("as wanted");
        });
        assert_eq!(panicked, Err("panicked at step 4".to_owned()));
        assert_eq!(with_limit(Duration::from_secs(5), |_| 7), Ok(7));
    }

    #[test]
    fn only_a_report_without_failures_is_good() {
        let mut report = Report::new();
        assert!(!report.finish());
        report.add("a", Verdict::Passed);
        assert!(report.finish());
        report.add("b", Verdict::of(vec!["no".to_owned()]));
        assert!(!report.finish());
    }
}
