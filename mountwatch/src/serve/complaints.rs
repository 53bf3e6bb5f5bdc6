//! What is wrong with requests, in the log: one line in a while, whoever sends how many.

use super::limits::COMPLAIN_EVERY;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

#[derive(Debug, Default)]
struct Said {
    at: Option<Instant>,
    /// Those that were not said since.
    more: u64,
}

/// Complaints about requests.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<Said>);

impl Complaints {
    /// Says what is wrong with a request, unless something was said a moment ago.
    pub(super) fn complain(&self, why: &str) {
        if let Some(more) = self.take_turn(Instant::now()) {
            log::warn!("a request was refused: {why}; {more} others since the last such line");
        }
    }

    fn take_turn(&self, now: Instant) -> Option<u64> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said.at.is_some_and(|at| now.duration_since(at) < COMPLAIN_EVERY) {
            said.more += 1;
            return None;
        }
        said.at = Some(now);
        Some(std::mem::take(&mut said.more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_says_how_many_there_were() {
        let complaints = Complaints::default();
        let start = Instant::now();
        assert_eq!(complaints.take_turn(start), Some(0));
        for _ in 0..1_000 {
            assert_eq!(complaints.take_turn(start), None);
        }
        assert_eq!(complaints.take_turn(start + COMPLAIN_EVERY), Some(1_000));
        assert_eq!(complaints.take_turn(start + COMPLAIN_EVERY), None);
    }
}
