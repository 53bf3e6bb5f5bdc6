//! What was lost since the last look, and of which namespaces.

use crate::kernel::load::{Hooks, Losses};
use crate::model::NamespaceKey;
use std::thread;
use std::time::{Duration, Instant};

/// How long a spare may take to do the work of a program that the kernel skipped. It comes right
/// after it in the same thread, which may be preempted in between.
const SPARE_MAX: Duration = Duration::from_millis(100);
/// Between two looks for it.
const SPARE_PAUSE: Duration = Duration::from_micros(100);
/// How often the programs that are never skipped are looked at all the same.
const THOROUGH_EVERY: Duration = Duration::from_millis(250);

/// What was lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Lost {
    /// Nothing.
    #[default]
    Nothing,
    /// Something of each of these namespaces.
    In(Vec<NamespaceKey>),
    /// Something, and nobody knows of what.
    Anywhere,
}

/// The counters as of the last look.
#[derive(Debug, Default)]
pub(super) struct LossWatch {
    placed: u64,
    unplaced: u64,
    skips_left: u64,
    skips_locked: u64,
    thorough: Option<Instant>,
}

impl LossWatch {
    /// What was lost since the last look. `undecoded`: records so far that nobody understood.
    pub(super) fn look(&mut self, hooks: &mut Hooks, undecoded: u64) -> Lost {
        let is_thorough = self.thorough.is_none_or(|last| last.elapsed() >= THOROUGH_EVERY);
        let mut losses = hooks.losses(is_thorough);
        let since = Instant::now();
        while losses.skips_left() > self.skips_left && since.elapsed() < SPARE_MAX {
            thread::sleep(SPARE_PAUSE);
            losses = hooks.losses(is_thorough);
        }
        if is_thorough {
            self.thorough = Some(Instant::now());
        }
        let mut is_anywhere = self.note(&losses, undecoded, is_thorough);
        let mut places = Vec::new();
        if losses.placed() > self.placed {
            self.placed = losses.placed();
            match hooks.take_places() {
                Some(taken) => places = taken.into_iter().map(NamespaceKey).collect(),
                None => is_anywhere = true,
            }
        }
        match (is_anywhere, places.is_empty()) {
            (true, _) => {
                log::warn!(
                    "something was lost, everything is scanned again: {:?}; skipped so far: {:?}",
                    losses.counters,
                    hooks.skipped()
                );
                Lost::Anywhere
            }
            // The places of losses that were counted after a look may be taken by that look.
            (false, true) => Lost::Nothing,
            (false, false) => Lost::In(places),
        }
    }

    /// Whether something was lost of which nobody knows the place.
    fn note(&mut self, losses: &Losses, undecoded: u64, is_thorough: bool) -> bool {
        let unplaced = losses.unplaced() + undecoded;
        let mut grew = unplaced > self.unplaced || losses.skips_left() > self.skips_left;
        self.unplaced = unplaced;
        self.skips_left = losses.skips_left();
        if is_thorough {
            grew |= losses.skips_locked > self.skips_locked;
            self.skips_locked = losses.skips_locked;
        }
        grew
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skip_is_a_loss_once_and_only_if_no_spare_came() {
        let mut watch = LossWatch::default();
        let skipped = |count| Losses { skips_with_spare: count, ..Losses::default() };
        assert!(!watch.note(&skipped(0), 0, true));
        assert!(watch.note(&skipped(1), 0, false));
        assert!(!watch.note(&skipped(1), 0, false));
        // The spare came late: the next one is a loss again.
        assert!(!watch.note(&skipped(0), 0, false));
        assert!(watch.note(&skipped(1), 0, false));
    }

    #[test]
    fn what_was_not_looked_at_is_not_forgotten() {
        let mut watch = LossWatch::default();
        let locked = |count| Losses { skips_locked: count, ..Losses::default() };
        assert!(watch.note(&locked(2), 0, true));
        assert!(!watch.note(&locked(0), 0, false));
        assert!(!watch.note(&locked(2), 0, true));
        assert!(watch.note(&locked(3), 1, true));
        assert!(watch.note(&locked(3), 2, false));
    }
}
