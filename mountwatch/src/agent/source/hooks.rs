//! The back end `hooks`.

use super::{Backend, Drained, Sink, SourceError, Target};
use crate::agent::Config;
use crate::agent::losses::{LossWatch, Lost};
use crate::agent::selftest::{self, SelfTest};
use crate::kernel::gauge::Gauge;
use crate::kernel::hooks::{OF_OPERATIONS, Wishes};
use crate::kernel::host;
use crate::kernel::load::{Hooks, LoadConfig, LoadError, operation_of};
use crate::kernel::namespaces;
use crate::kernel::poll::Why;
use crate::kernel::ring::Ring;
use crate::kernel::scan::{Scanner, Whose};
use crate::model::{Dialect, Event, NamespaceInode};
use crate::state::Retired;
use crate::wire::call::CallReader;
use crate::wire::record::{self, Record};
use mountwatch_common::hook::{self, Hook};
use mountwatch_common::record::CallRecord;
use mountwatch_common::{control, counter, limits};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Starts it.
pub(super) fn start(config: &Config) -> Result<Box<dyn Backend>, SourceError> {
    Ok(Box::new(HookSource::load(config)?))
}

/// Programs on the kernel's own functions.
pub(in crate::agent) struct HookSource {
    // Dropped in this order: the programs leave first, so that the ring is not filled for nobody.
    hooks: Hooks,
    ring: Ring,
    /// Absent while it runs.
    scanner: Option<Scanner>,
    epoch: u64,
    losses: LossWatch,
    /// Records that could not be decoded: as good as lost.
    undecoded: u64,
    reader: CallReader,
    cut: Cut,
    dialect: Dialect,
    selftest: SelfTest,
}

/// Cuts one record short, on purpose.
#[derive(Debug, Default)]
struct Cut {
    at: Option<u64>,
    /// Records since the first seed.
    count: u64,
    is_seeded: bool,
}

impl Cut {
    fn apply<'a>(&mut self, record: &'a [u8]) -> &'a [u8] {
        self.count += u64::from(self.is_seeded);
        let is_cut = self.is_seeded && self.at == Some(self.count);
        if is_cut { record.get(..8).unwrap_or_default() } else { record }
    }
}

impl Backend for HookSource {
    fn name(&self) -> &'static str {
        "hooks"
    }

    fn dialect(&self) -> Dialect {
        self.dialect
    }

    fn blind(&self) -> Vec<String> {
        [self.hooks.blind(), &self.selftest.blind].concat()
    }

    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.ring.as_fd()]
    }

    fn drain(&mut self, _why: Why, events: &mut Vec<Event>) -> Result<Drained, SourceError> {
        Ok(self.drain(events))
    }

    fn scan(
        &mut self,
        target: Target,
        sink: &mut dyn Sink,
    ) -> Result<Vec<NamespaceInode>, SourceError> {
        let mut found = Vec::new();
        match target {
            Target::All => {
                for namespace in namespaces::all()? {
                    found.push(namespace.inode);
                    self.scan_fd(namespace.inode, namespace.fd, sink);
                }
            }
            Target::Namespace(inode) => match namespaces::open(inode, None)? {
                Some(fd) => {
                    found.push(inode);
                    self.scan_fd(inode, fd, sink);
                }
                // Its death is told; until then it may be one that nothing leads to.
                None => sink.not_found(inode, false),
            },
            Target::Task(tid) => {
                let take = |text: &[u8], events, lost| sink.take(text, events, lost);
                self.scan(Whose::Task(tid), take)?;
            }
        }
        Ok(found)
    }

    fn forget(&mut self, keys: &[Retired]) {
        let addresses: Vec<u64> = keys
            .iter()
            .map(|key| match key {
                Retired::Dentry(key) => key.0,
                Retired::Super(key) => key.0,
            })
            .collect();
        self.hooks.forget(&addresses);
    }

    fn attached(&self) -> Vec<(String, String, String)> {
        let name = |hook| hook::name(hook).to_owned();
        let attached = self.hooks.attached().iter();
        attached
            .map(|at| (name(at.hook), at.function.to_owned(), at.kind.name().to_owned()))
            .collect()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let losses = self.hooks.losses(true);
        let mut counters: Vec<_> = counter::NAMES.into_iter().zip(losses.counters).collect();
        let missed = counters.get_mut(counter::OPERATIONS_MISSED as usize);
        if let Some((_, count)) = missed {
            *count += losses.skips_of_operations;
        }
        counters.push(("recursion_misses", losses.recursion_misses));
        counters.push(("records_undecoded", self.undecoded));
        counters
    }

    fn raise_epoch(&mut self) -> Result<(), SourceError> {
        self.raise_epoch()
    }

    fn unattributed(&self) -> Vec<String> {
        [self.hooks.unattributed(), &self.selftest.unattributed].concat()
    }

    fn set_followed(&mut self, is_followed: bool) {
        if let Err(error) = self.hooks.control(control::FOLLOWED, u64::from(is_followed)) {
            log::warn!("operations may be told late: {error}");
        }
    }

    fn seeded(&mut self) {
        self.cut.is_seeded = true;
    }

    fn flush_log(&mut self) {
        self.hooks.flush_log();
    }

    fn commits_lost(&self) -> u64 {
        self.hooks.commits_lost()
    }

    fn gauge(&self) -> Option<Gauge> {
        self.hooks.gauge(&self.ring)
    }

    fn selftest(&self) -> Option<&SelfTest> {
        Some(&self.selftest)
    }
}

/// Names of the hooks to leave out.
fn without(config: &Config) -> Vec<String> {
    let of_operations: &[_] = if config.operations { &[] } else { &OF_OPERATIONS };
    let names = of_operations.iter().map(|hook| hook::name(*hook).to_owned());
    config.without_hooks.iter().cloned().chain(names).collect()
}

impl HookSource {
    fn load(config: &Config) -> Result<Self, LoadError> {
        // Before the hooks are there: they need not tell of it.
        let dialect = host::dialect();
        let mut hooks = Hooks::load(&LoadConfig {
            ring_bytes: config.ring_bytes,
            wishes: Wishes {
                without: without(config),
                fallback: config.fallback_hooks.clone(),
                mute: config.mute_hooks.clone(),
                no_fentry: config.no_fentry,
            },
            kernel_log: config.kernel_log,
            descendants_of: config.descendants_of,
            roots_max: config.faults.roots_max.unwrap_or(limits::ROOTS_MAX),
        })?;
        let ring = hooks.take_ring().ok_or(LoadError::Incomplete("ring buffer"))?;
        let dialect = dialect.unwrap_or_else(|error| {
            log::warn!("cannot ask how this kernel writes mountinfo, `#` may be wrong: {error}");
            Dialect::default()
        });
        hooks.control(control::EPOCH, 1)?;
        let selftest = SelfTest::default();
        let mut source = Self {
            hooks,
            ring,
            scanner: None,
            epoch: 1,
            losses: LossWatch::default(),
            undecoded: 0,
            reader: CallReader::default(),
            cut: Cut { at: config.faults.cut_record, ..Cut::default() },
            dialect,
            selftest,
        };
        source.selftest = selftest::run(&mut source);
        Ok(source)
    }

    /// From now on everything is told anew.
    pub(in crate::agent) fn raise_epoch(&mut self) -> Result<(), SourceError> {
        self.epoch += 1;
        Ok(self.hooks.control(control::EPOCH, self.epoch)?)
    }

    /// Which hooks are attached.
    pub(in crate::agent) fn attached_hooks(&self) -> Vec<Hook> {
        self.hooks.attached().iter().map(|attached| attached.hook).collect()
    }

    /// Attaches other functions in place of a hook; their names.
    pub(in crate::agent) fn switch_on(&mut self, hook: Hook) -> Vec<String> {
        self.hooks.switch_on(hook).into_iter().map(str::to_owned).collect()
    }

    /// As if nothing had been told yet. What is told meanwhile stays in the ring, and what was told
    /// and not yet noted as told was told in an earlier epoch.
    pub(in crate::agent) fn forget_everything(&mut self) -> Result<(), SourceError> {
        self.drain(&mut Vec::new());
        self.raise_epoch()?;
        self.hooks.forget_all();
        Ok(())
    }

    /// Drains up to the position at the begin of the call. A slot that is reserved and not yet
    /// submitted blocks those behind it: its program runs on another CPU and is waited for.
    pub(in crate::agent) fn drain(&mut self, events: &mut Vec<Event>) -> Drained {
        let goal = self.ring.produced();
        let ring_used_bytes = goal.saturating_sub(self.ring.consumed());
        while self.ring.consumed() < goal {
            let decoded = self.ring.next().map(|bytes| record::decode(self.cut.apply(&bytes)));
            let Some(decoded) = decoded else {
                std::thread::yield_now();
                continue;
            };
            match decoded {
                Ok(Record::Event(event)) => events.push(event),
                Ok(Record::Call(call)) => events.extend(self.ended(&call)),
                Ok(Record::Argument(record, text)) => self.reader.take_text(&record, text),
                Ok(Record::Component(component)) => self.reader.take_component(component),
                Ok(Record::Glance(_)) => {}
                Err(error) => {
                    log::error!("a record was not understood: {error}");
                    self.undecoded += 1;
                }
            }
        }
        let lost = self.losses.look(&mut self.hooks, self.undecoded);
        Drained { lost, ring_used_bytes, ..Drained::default() }
    }

    fn ended(&mut self, record: &CallRecord) -> Option<Event> {
        Some(self.reader.ended(record, operation_of(record)?))
    }

    /// Reads a mountinfo while the `scan` hook tells each mount of its namespace; `step` gets each
    /// piece of text with the events that came until then. `false`: a line may not have been told.
    pub(in crate::agent) fn scan(
        &mut self,
        whose: Whose,
        mut step: impl FnMut(&[u8], Vec<Event>, Lost),
    ) -> Result<bool, SourceError> {
        let skips = self.hooks.losses(false).skips_in_scans;
        let own = u64::from(std::process::id());
        self.hooks.control(control::SCAN_TGID, own)?;
        let mut scanner = self.scanner.take().unwrap_or_else(Scanner::spawn);
        let result = scanner.scan(whose, |text| {
            let mut events = Vec::new();
            let drained = self.drain(&mut events);
            step(text, events, drained.lost);
            ControlFlow::Continue(())
        });
        self.scanner = Some(scanner);
        self.hooks.control(control::SCAN_TGID, 0)?;
        let mut events = Vec::new();
        let drained = self.drain(&mut events);
        step(b"", events, drained.lost);
        result?;
        Ok(self.hooks.losses(false).skips_in_scans == skips)
    }

    fn scan_fd(&mut self, inode: NamespaceInode, fd: OwnedFd, sink: &mut dyn Sink) {
        sink.begin();
        match self.scan(Whose::Namespace(fd), |text, events, lost| sink.take(text, events, lost)) {
            Ok(is_whole) => sink.end(inode, is_whole),
            Err(error) => sink.refused(inode, &error),
        }
    }
}
