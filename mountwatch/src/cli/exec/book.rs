//! The steps of the index while a command runs.

use crate::agent::{Status, Subscription, Tracker};
use crate::leaks::{Ledger, Left};
use crate::model::{Coverage, Holders, NamespaceInode};
use crate::state::Snapshot;
use anyhow::Context;
use hashbrown::HashSet;
use std::sync::Arc;

/// A ledger, and the snapshot up to which it goes.
pub(super) struct Book<'a> {
    tracker: &'a Tracker,
    start: Arc<Snapshot>,
    latest: Arc<Snapshot>,
    changes: Subscription,
    ledger: Ledger,
    /// Losses before the start.
    losses: u64,
}

impl<'a> Book<'a> {
    pub(super) fn begin(tracker: &'a Tracker) -> anyhow::Result<Self> {
        let losses = tracker.status().context("ask how the index is doing")?.losses;
        let (start, changes) = tracker.subscribe().context("follow the changes")?;
        let ledger = Ledger::new(&start);
        Ok(Self { tracker, latest: Arc::clone(&start), start, changes, ledger, losses })
    }

    /// Takes what is there.
    pub(super) fn take(&mut self) -> anyhow::Result<()> {
        while let Some(step) = self.changes.try_recv() {
            if let Ok(step) = step {
                self.ledger.take(&step);
                self.latest = Arc::clone(&step.snapshot);
            } else {
                let (now, changes) = self.tracker.subscribe().context("follow the changes")?;
                self.ledger.skip_to(&self.start, &now);
                (self.latest, self.changes) = (now, changes);
            }
        }
        Ok(())
    }

    /// Takes everything that happened before the call.
    pub(super) fn catch_up(&mut self) -> anyhow::Result<()> {
        // Whoever follows is told before whoever asks.
        self.tracker.now().context("bring the index up to date")?;
        self.take()
    }

    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.latest
    }

    /// Those whose holders have to be known.
    pub(super) fn namespaces(&self) -> HashSet<NamespaceInode> {
        let of_mounts = self.ledger.namespaces_of_mounts(&self.latest);
        of_mounts.into_iter().chain(self.ledger.namespaces()).collect()
    }

    /// Whether nothing is known that holds one of the namespaces that were made.
    pub(super) fn is_dying(&self, holders: &Holders) -> bool {
        let bound = self.latest.bound_namespaces();
        self.ledger.namespaces().any(|inode| {
            let holder = holders.get(&inode);
            let is_held =
                holder.is_some_and(|known| known.processes > 0 || known.descriptor_of.is_some());
            !is_held && !bound.contains(&inode)
        })
    }

    pub(super) fn left(&self, holders: &Holders) -> anyhow::Result<Left> {
        let from = self
            .tracker
            .viewpoint_of_task(&self.latest, std::process::id())
            .context("find the root directory of this process")?;
        Ok(self.ledger.left(&self.latest, from, holders))
    }

    /// What may be wrong with the judgement, one sentence each. `has_unknown`: there is something of
    /// which nobody knows who made it.
    pub(super) fn notes(&self, status: &Status, has_unknown: bool) -> Vec<String> {
        let mut notes = Vec::new();
        let is_polling = matches!(self.latest.coverage(), Coverage::Polling(_));
        if is_polling {
            notes.push(format!(
                "the back end {} does not see who mounts: everything counts that is there now and was \
                 not before, whoever made it; `mountwatch doctor` says what would help",
                status.backend
            ));
        }
        if *self.latest.coverage() == Coverage::Stale {
            notes.push(String::from(
                "the index is stale: something was lost and is not repaired yet, so that this may not \
                 be all; run it again",
            ));
        }
        let lost = status.losses.saturating_sub(self.losses);
        if lost > 0 || self.ledger.gaps() > 0 {
            notes.push(format!(
                "changes were lost while the command ran ({lost} losses, {} gaps): what they were \
                 about was looked up again, but not who made it; a larger --ring-bytes may help",
                self.ledger.gaps()
            ));
        }
        if has_unknown && !is_polling {
            notes.push(String::from(
                "of some of this nobody knows who made it (owner unknown): it may be of others",
            ));
        }
        notes
    }
}
