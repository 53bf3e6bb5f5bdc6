//! The back end `poll`.

use super::{Backend, Drained, Sink, SourceError, Target};
use crate::agent::Config;
use crate::kernel::poll::{Poll, Why};
use crate::model::{Dialect, Event, NamespaceInode};
use crate::state::Retired;
use std::os::fd::BorrowedFd;

/// Starts it.
pub(super) fn start(_config: &Config) -> Result<Box<dyn Backend>, SourceError> {
    Ok(Box::new(PollSource { poll: Poll::start()?, seed: 0 }))
}

struct PollSource {
    poll: Poll,
    /// Readings of the first seed.
    seed: u64,
}

impl Backend for PollSource {
    fn name(&self) -> &'static str {
        "poll"
    }

    fn dialect(&self) -> Dialect {
        self.poll.dialect()
    }

    fn blind(&self) -> Vec<String> {
        self.poll.blind()
    }

    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.poll.descriptor()]
    }

    fn drain(&mut self, why: Why, events: &mut Vec<Event>) -> Result<Drained, SourceError> {
        let Some(listed) = self.poll.drain(why, events)? else { return Ok(Drained::default()) };
        Ok(Drained { listed, blind: Some(self.poll.blind()), ..Drained::default() })
    }

    fn scan(
        &mut self,
        target: Target,
        sink: &mut dyn Sink,
    ) -> Result<Vec<NamespaceInode>, SourceError> {
        super::scan_at_once(target, sink, |inode, events| self.poll.scan(inode, events))
    }

    fn forget(&mut self, keys: &[Retired]) {
        super::dentries_of(keys).for_each(|key| self.poll.forget(key));
    }

    fn attached(&self) -> Vec<(String, String, String)> {
        self.poll.attached()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.poll.counters()
    }

    fn is_polling(&self) -> bool {
        true
    }

    fn seeded(&mut self) {
        self.seed = self.poll.rereads();
    }

    fn rereads(&self) -> u64 {
        self.poll.rereads() - self.seed
    }

    fn looks(&self) -> u64 {
        self.poll.looks()
    }
}
