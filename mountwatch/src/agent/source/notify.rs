//! The back end `notify`.

use super::{Backend, Sink, SourceError, Target};
use crate::agent::Config;
use crate::agent::losses::Lost;
use crate::kernel::notify::{Drained, Notify, NotifyConfig};
use crate::kernel::poll::Why;
use crate::model::{Dialect, Event, NamespaceInode};
use crate::state::Retired;
use std::os::fd::BorrowedFd;

/// Starts it.
pub(super) fn start(config: &Config) -> Result<Box<dyn Backend>, SourceError> {
    let config = NotifyConfig {
        ring_bytes: config.ring_bytes,
        kernel_log: config.kernel_log,
        descendants_of: config.descendants_of,
        bounded_queue: config.faults.bounded_queue,
    };
    Ok(Box::new(Notify::start(&config)?))
}

impl Backend for Notify {
    fn name(&self) -> &'static str {
        "notify"
    }

    /// Kernels that it needs are all alike.
    fn dialect(&self) -> Dialect {
        Dialect::default()
    }

    fn blind(&self) -> Vec<String> {
        self.blind()
    }

    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.descriptors()
    }

    fn drain(&mut self, why: Why, events: &mut Vec<Event>) -> Result<super::Drained, SourceError> {
        let drained = self.drain(why == Why::Asked, events)?;
        let lost = if drained.lost { Lost::Anywhere } else { Lost::Nothing };
        let Drained { listed, ring_used_bytes, .. } = drained;
        Ok(super::Drained { lost, listed, ring_used_bytes, blind: None })
    }

    fn scan(
        &mut self,
        target: Target,
        sink: &mut dyn Sink,
    ) -> Result<Vec<NamespaceInode>, SourceError> {
        super::scan_at_once(target, sink, |inode, events| self.scan(inode, events))
    }

    fn forget(&mut self, keys: &[Retired]) {
        super::dentries_of(keys).for_each(|key| self.forget(key));
    }

    fn set_followed(&mut self, is_followed: bool) {
        self.set_followed(is_followed);
    }

    fn attached(&self) -> Vec<(String, String, String)> {
        self.attached()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.counters()
    }

    fn unattributed(&self) -> Vec<String> {
        vec![String::from(
            "calls of processes with 32 bits are not told: tracepoints do not see them",
        )]
    }

    fn looks(&self) -> u64 {
        Notify::looks(self)
    }
}
