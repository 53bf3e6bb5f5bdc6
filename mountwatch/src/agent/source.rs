//! The back ends behind one face: both give events, both can scan, both have a barrier.

use super::losses::{LossWatch, Lost};
use super::selftest::{self, SelfTest};
use super::{BackendChoice, Config};
use crate::kernel::hooks::Wishes;
use crate::kernel::host;
use crate::kernel::load::{Hooks, LoadConfig, LoadError};
use crate::kernel::namespaces::{self, NamespacesError};
use crate::kernel::notify::{self, LookError, Notify, NotifyConfig, NotifyError};
use crate::kernel::ring::Ring;
use crate::kernel::scan::{ScanError, Scanner, Whose};
use crate::model::{Dialect, Event, Mount, Namespace, NamespaceInode, SuperFlags};
use crate::state::Retired;
use crate::wire::record::{self, Record};
use mountwatch_common::hook::{self, Hook};
use mountwatch_common::{control, counter, limits};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use thiserror::Error;

/// Why tracking could not start. Nothing of it is left behind.
#[derive(Debug, Error)]
pub enum StartError {
    /// A bad configuration.
    #[error("the ring buffer cannot have {0} bytes: give a power of two from {min} to {max}",
        min = limits::RING_BYTES_MIN, max = 1u32 << 30)]
    RingBytes(u32),
    /// A hook to leave out that does not exist.
    #[error("there is no hook {0:?} to leave out")]
    UnknownHook(String),
    /// The back end `hooks` alone was wanted.
    #[error("the back end hooks does not start: {0}")]
    Hooks(#[source] Box<LoadError>),
    /// The back end `notify` alone was wanted.
    #[error("the back end notify does not start: {0}")]
    Notify(#[source] Box<NotifyError>),
    /// None of them starts.
    #[error("no back end starts; {}", reasons(hooks, notify))]
    None {
        /// Why `hooks` does not.
        hooks: Box<LoadError>,
        /// Why `notify` does not.
        notify: Box<NotifyError>,
    },
    /// The first scan failed.
    #[error("the first scan failed: {0}")]
    Seed(#[source] Box<SourceError>),
    /// No thread.
    #[error("no thread could be started: {0}")]
    Thread(#[source] std::io::Error),
    /// The writer ended without a word.
    #[error("the writer thread ended before it started; this is a bug, please report it")]
    Died,
}

/// Why each of two back ends does not start; once, if it is the same.
fn reasons(hooks: &LoadError, notify: &NotifyError) -> String {
    let (hooks, notify) = (hooks.to_string(), notify.to_string());
    if notify.ends_with(&hooks) { hooks } else { format!("hooks: {hooks}; notify: {notify}") }
}

/// What can go wrong while tracking.
#[derive(Debug, Error)]
pub enum SourceError {
    /// A namespace cannot be scanned.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// Namespaces cannot be listed.
    #[error(transparent)]
    Namespaces(#[from] NamespacesError),
    /// The kernel side does not answer.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A question about one mount failed.
    #[error(transparent)]
    Look(#[from] LookError),
    /// The notifications do not come.
    #[error(transparent)]
    Notify(#[from] NotifyError),
}

/// A back end at work.
pub(super) enum Source {
    Hooks(Box<HookSource>),
    Notify(Box<Notify>),
}

pub(super) struct HookSource {
    // Dropped in this order: the programs leave first, so that the ring is not filled for nobody.
    hooks: Hooks,
    ring: Ring,
    /// Absent while it runs.
    scanner: Option<Scanner>,
    epoch: u64,
    losses: LossWatch,
    /// Records that could not be decoded: as good as lost.
    undecoded: u64,
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

/// What one drain gave besides events.
#[derive(Debug, Default)]
pub(super) struct Drained {
    /// What was lost.
    pub(super) lost: Lost,
    /// Namespaces that the events tell as a whole.
    pub(super) listed: Vec<NamespaceInode>,
}

impl Source {
    pub(super) fn start(config: &Config) -> Result<(Self, Vec<String>), StartError> {
        check(config)?;
        match config.backend {
            BackendChoice::Hooks => match HookSource::start(config) {
                Ok(source) => Ok((Self::Hooks(Box::new(source)), Vec::new())),
                Err(error) => Err(StartError::Hooks(Box::new(error))),
            },
            BackendChoice::Notify => match start_notify(config) {
                Ok(source) => Ok((Self::Notify(Box::new(source)), Vec::new())),
                Err(error) => Err(StartError::Notify(Box::new(error))),
            },
            BackendChoice::Auto => match HookSource::start(config) {
                Ok(source) => Ok((Self::Hooks(Box::new(source)), Vec::new())),
                Err(hooks) => match start_notify(config) {
                    Ok(source) => Ok((
                        Self::Notify(Box::new(source)),
                        vec![format!("the back end hooks does not start: {hooks}")],
                    )),
                    Err(notify) => {
                        Err(StartError::None { hooks: Box::new(hooks), notify: Box::new(notify) })
                    }
                },
            },
        }
    }

    /// Ends of changes that found no room in the ring so far.
    pub(super) fn commits_lost(&self) -> u64 {
        match self {
            Self::Hooks(source) => source.hooks.commits_lost(),
            Self::Notify(_) => 0,
        }
    }

    /// The first seed is over.
    pub(super) fn seeded(&mut self) {
        if let Self::Hooks(source) = self {
            source.cut.is_seeded = true;
        }
    }

    /// Hands the kernel side's diagnostics, if there are any, to the log.
    pub(super) fn flush_log(&mut self) {
        if let Self::Hooks(source) = self {
            source.hooks.flush_log();
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Hooks(_) => "hooks",
            Self::Notify(_) => "notify",
        }
    }

    /// How the kernel writes mountinfo(5). Kernels that `notify` needs are all alike.
    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Self::Hooks(source) => source.dialect,
            Self::Notify(_) => Dialect::default(),
        }
    }

    /// What it cannot see, in sentences.
    pub(super) fn blind(&self) -> Vec<String> {
        match self {
            Self::Hooks(source) => [source.hooks.blind(), &source.selftest.blind].concat(),
            Self::Notify(source) => source.blind(),
        }
    }

    /// Descriptors that become readable when there is something to drain.
    pub(super) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Self::Hooks(source) => vec![source.ring.as_fd()],
            Self::Notify(source) => source.descriptors(),
        }
    }

    /// Takes everything that was there when the call began.
    pub(super) fn drain(&mut self, events: &mut Vec<Event>) -> Result<Drained, SourceError> {
        match self {
            Self::Hooks(source) => Ok(source.drain(events)),
            Self::Notify(source) => {
                let drained = source.drain(events)?;
                let lost = if drained.lost { Lost::Anywhere } else { Lost::Nothing };
                Ok(Drained { lost, listed: drained.listed })
            }
        }
    }

    /// From now on everything is told anew.
    pub(super) fn raise_epoch(&mut self) -> Result<(), SourceError> {
        match self {
            Self::Hooks(source) => source.raise_epoch(),
            Self::Notify(_) => Ok(()),
        }
    }

    /// What the self-test found, of the back end that has one.
    pub(super) fn selftest(&self) -> Option<&SelfTest> {
        match self {
            Self::Hooks(source) => Some(&source.selftest),
            Self::Notify(_) => None,
        }
    }

    pub(super) fn forget(&mut self, keys: &[Retired]) {
        match self {
            Self::Hooks(source) => {
                let addresses: Vec<u64> = keys
                    .iter()
                    .map(|key| match key {
                        Retired::Dentry(key) => key.0,
                        Retired::Super(key) => key.0,
                    })
                    .collect();
                source.hooks.forget(&addresses);
            }
            Self::Notify(source) => {
                for key in keys {
                    if let Retired::Dentry(key) = key {
                        source.forget(*key);
                    }
                }
            }
        }
    }

    /// The flags and options of a mount's super block, `None` if this kernel does not tell them of one mount.
    pub(super) fn options_of(
        mount: &Mount,
        namespace: &Namespace,
    ) -> Result<Option<(SuperFlags, Vec<u8>)>, SourceError> {
        let (Some(mount), Some(namespace)) = (mount.unique_id, namespace.id) else {
            return Ok(None);
        };
        Ok(notify::options_of(mount, namespace)?)
    }

    /// Questions about single mounts that the back end asked of its own accord.
    pub(super) fn looks(&self) -> u64 {
        match self {
            Self::Hooks(_) => 0,
            Self::Notify(source) => source
                .counters()
                .into_iter()
                .find_map(|(name, count)| (name == "looks").then_some(count))
                .unwrap_or(0),
        }
    }

    pub(super) fn attached(&self) -> Vec<(String, String, String)> {
        match self {
            Self::Hooks(source) => source
                .hooks
                .attached()
                .iter()
                .map(|at| {
                    let name = hook::name(at.hook).to_owned();
                    (name, at.function.to_owned(), at.kind.name().to_owned())
                })
                .collect(),
            Self::Notify(source) => source.attached(),
        }
    }

    pub(super) fn counters(&self) -> Vec<(&'static str, u64)> {
        match self {
            Self::Hooks(source) => {
                let losses = source.hooks.losses(true);
                let mut counters: Vec<_> =
                    counter::NAMES.into_iter().zip(losses.counters).collect();
                counters.push(("recursion_misses", losses.recursion_misses));
                counters.push(("records_undecoded", source.undecoded));
                counters
            }
            Self::Notify(source) => source.counters(),
        }
    }
}

fn start_notify(config: &Config) -> Result<Notify, NotifyError> {
    Notify::start(&NotifyConfig {
        ring_bytes: config.ring_bytes,
        kernel_log: config.kernel_log,
        bounded_queue: config.faults.bounded_queue,
    })
}

fn check(config: &Config) -> Result<(), StartError> {
    let bytes = config.ring_bytes;
    if !bytes.is_power_of_two() || !(limits::RING_BYTES_MIN..=1 << 30).contains(&bytes) {
        return Err(StartError::RingBytes(bytes));
    }
    let names = config.without_hooks.iter().chain(&config.fallback_hooks);
    for name in names.chain(&config.mute_hooks) {
        if !hook::NAMES.iter().any(|(_, known)| known == name) {
            return Err(StartError::UnknownHook(name.clone()));
        }
    }
    Ok(())
}

impl HookSource {
    fn start(config: &Config) -> Result<Self, LoadError> {
        // Before the hooks are there: they need not tell of it.
        let dialect = host::dialect();
        let mut hooks = Hooks::load(&LoadConfig {
            ring_bytes: config.ring_bytes,
            wishes: Wishes {
                without: config.without_hooks.clone(),
                fallback: config.fallback_hooks.clone(),
                mute: config.mute_hooks.clone(),
                no_fentry: config.no_fentry,
            },
            kernel_log: config.kernel_log,
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
            cut: Cut { at: config.faults.cut_record, ..Cut::default() },
            dialect,
            selftest,
        };
        source.selftest = selftest::run(&mut source);
        Ok(source)
    }

    /// From now on everything is told anew.
    pub(super) fn raise_epoch(&mut self) -> Result<(), SourceError> {
        self.epoch += 1;
        Ok(self.hooks.control(control::EPOCH, self.epoch)?)
    }

    /// Which hooks are attached.
    pub(super) fn attached_hooks(&self) -> Vec<Hook> {
        self.hooks.attached().iter().map(|attached| attached.hook).collect()
    }

    /// Attaches other functions in place of a hook; their names.
    pub(super) fn switch_on(&mut self, hook: Hook) -> Vec<String> {
        self.hooks.switch_on(hook).into_iter().map(str::to_owned).collect()
    }

    /// As if nothing had been told yet. What is told meanwhile stays in the ring, and what was told
    /// and not yet noted as told was told in an earlier epoch.
    pub(super) fn forget_everything(&mut self) -> Result<(), SourceError> {
        self.drain(&mut Vec::new());
        self.raise_epoch()?;
        self.hooks.forget_all();
        Ok(())
    }

    /// Drains up to the position at the begin of the call. A slot that is reserved and not yet
    /// submitted blocks those behind it: its program runs on another CPU and is waited for.
    pub(super) fn drain(&mut self, events: &mut Vec<Event>) -> Drained {
        let goal = self.ring.produced();
        while self.ring.consumed() < goal {
            match self.ring.next() {
                Some(bytes) => match record::decode(self.cut.apply(&bytes)) {
                    Ok(Record::Event(event)) => events.push(event),
                    Ok(Record::Call(_) | Record::Argument(..) | Record::Glance(_)) => {}
                    Err(error) => {
                        log::error!("a record was not understood: {error}");
                        self.undecoded += 1;
                    }
                },
                None => std::thread::yield_now(),
            }
        }
        let lost = self.losses.look(&mut self.hooks, self.undecoded);
        Drained { lost, listed: Vec::new() }
    }

    /// Reads a mountinfo while the `scan` hook tells each mount of its namespace; `step` gets each
    /// piece of text with the events that came until then. `false`: a line may not have been told.
    pub(super) fn scan(
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

    pub(super) fn namespaces() -> Result<Vec<namespaces::FoundNamespace>, SourceError> {
        Ok(namespaces::all()?)
    }

    pub(super) fn open(
        inode: NamespaceInode,
        task: Option<u32>,
    ) -> Result<Option<OwnedFd>, SourceError> {
        Ok(namespaces::open(inode, task)?)
    }
}
