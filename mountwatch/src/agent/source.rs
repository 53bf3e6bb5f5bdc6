//! The back ends behind one face: each gives events, can scan, and has a barrier.

mod hooks;
mod notify;
mod poll;

pub(super) use hooks::HookSource;

use super::losses::Lost;
use super::selftest::SelfTest;
use super::{BackendChoice, Config};
use crate::kernel::cost;
use crate::kernel::gauge::Gauge;
use crate::kernel::load::LoadError;
use crate::kernel::namespaces::NamespacesError;
use crate::kernel::notify::{LookError, NotifyError};
use crate::kernel::poll::{PollError, Why};
use crate::kernel::scan::ScanError;
use crate::model::{DentryKey, Dialect, Event, NamespaceInode, SyscallCost};
use crate::state::Retired;
use mountwatch_common::{hook, limits};
use std::os::fd::BorrowedFd;
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
    /// The one back end that was wanted.
    #[error("{0}")]
    Refused(Refused),
    /// None of them starts.
    #[error("no back end starts; {}", reasons(.0))]
    None(Vec<Refused>),
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

/// A back end that does not start.
#[derive(Debug, Error)]
#[error("the back end {backend} does not start: {why}")]
pub struct Refused {
    /// Its name.
    pub backend: &'static str,
    /// Why.
    #[source]
    pub why: Box<SourceError>,
}

/// Why each of them does not start; once, if it is the same.
fn reasons(refused: &[Refused]) -> String {
    let mut told: Vec<(String, String)> = Vec::new();
    for one in refused {
        let why = one.why.to_string();
        match told.iter_mut().find(|(_, before)| why.ends_with(&**before)) {
            Some((names, _)) => *names = format!("{names}, {}", one.backend),
            None => told.push((one.backend.to_owned(), why)),
        }
    }
    let sentences: Vec<_> = told.iter().map(|(names, why)| format!("{names}: {why}")).collect();
    sentences.join("; ")
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
    /// The mount tables cannot be read.
    #[error(transparent)]
    Poll(#[from] PollError),
}

/// What one drain gave besides events.
#[derive(Debug, Default)]
pub(super) struct Drained {
    /// What was lost.
    pub(super) lost: Lost,
    /// Namespaces that the events tell as a whole.
    pub(super) listed: Vec<NamespaceInode>,
    /// Bytes that were in the ring buffer when it began.
    pub(super) ring_used_bytes: u64,
    /// What it cannot see, if that may be something else than before.
    pub(super) blind: Option<Vec<String>>,
}

/// What is to be scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Every mount namespace.
    All,
    /// One mount namespace.
    Namespace(NamespaceInode),
    /// What a task's root directory shows of its namespace, for the options that the text has.
    Task(u32),
}

/// Takes what a scan tells, in the order in which it is told.
pub(super) trait Sink {
    /// The scan of some namespaces begins: what they do not tell from here on is gone.
    fn begin(&mut self);
    /// Events, with the piece of mountinfo that was read with them, if it was read.
    fn take(&mut self, text: &[u8], events: Vec<Event>, lost: Lost);
    /// A namespace is told. `is_whole`: each of its mounts.
    fn end(&mut self, inode: NamespaceInode, is_whole: bool);
    /// A namespace cannot be scanned.
    fn refused(&mut self, inode: NamespaceInode, error: &SourceError);
    /// A namespace is not found. `is_gone`: then it is not there any more.
    fn not_found(&mut self, inode: NamespaceInode, is_gone: bool);
}

/// A back end at work.
pub(super) trait Backend {
    /// Its name on the command line.
    fn name(&self) -> &'static str;
    /// How the kernel writes mountinfo(5).
    fn dialect(&self) -> Dialect;
    /// What it cannot see, in sentences.
    fn blind(&self) -> Vec<String>;
    /// Descriptors that become readable when there is something to drain.
    fn descriptors(&self) -> Vec<BorrowedFd<'_>>;
    /// Takes everything that was there when the call began.
    fn drain(&mut self, why: Why, events: &mut Vec<Event>) -> Result<Drained, SourceError>;
    /// Tells a target anew; all namespaces that were found.
    fn scan(
        &mut self,
        target: Target,
        sink: &mut dyn Sink,
    ) -> Result<Vec<NamespaceInode>, SourceError>;
    /// The index needs these no more.
    fn forget(&mut self, keys: &[Retired]);
    /// What is attached, as hook, function and kind.
    fn attached(&self) -> Vec<(String, String, String)>;
    /// Counters for `status`.
    fn counters(&self) -> Vec<(&'static str, u64)>;

    /// Whether it reads everything again from time to time.
    fn is_polling(&self) -> bool {
        false
    }
    /// From now on everything is told anew.
    fn raise_epoch(&mut self) -> Result<(), SourceError> {
        Ok(())
    }
    /// The first seed is over.
    fn seeded(&mut self) {}
    /// Hands the kernel side's diagnostics, if there are any, to the log.
    fn flush_log(&mut self) {}
    /// Ends of changes that found no room in the ring so far.
    fn commits_lost(&self) -> u64 {
        0
    }
    /// Readings of a whole mount table since the first seed.
    fn rereads(&self) -> u64 {
        0
    }
    /// Questions about single mounts that it asked of its own accord.
    fn looks(&self) -> u64 {
        0
    }
    /// What is not told of who made a change, in sentences. No matter of the index.
    fn unattributed(&self) -> Vec<String> {
        Vec::new()
    }
    /// Whether somebody waits for operations.
    fn set_followed(&mut self, _is_followed: bool) {}
    /// What says whether anything was told or lost since, if something can without a system call.
    fn gauge(&self) -> Option<Gauge> {
        None
    }
    /// What the self-test found, of the back end that has one.
    fn selftest(&self) -> Option<&SelfTest> {
        None
    }
}

type Start = fn(&Config) -> Result<Box<dyn Backend>, SourceError>;

/// The back ends, the best first.
const BACKENDS: [(&str, BackendChoice, Start); 3] = [
    ("hooks", BackendChoice::Hooks, hooks::start),
    ("notify", BackendChoice::Notify, notify::start),
    ("poll", BackendChoice::Poll, poll::start),
];

/// What a start gave.
pub(super) struct Started {
    /// The back end that is wanted, or the best that starts.
    pub(super) source: Box<dyn Backend>,
    /// Those that would be better.
    pub(super) refused: Vec<Refused>,
    /// What it costs each system call; `None` for a back end without programs.
    pub(super) cost: Option<SyscallCost>,
}

/// Starts the back end that is wanted, or the best.
pub(super) fn start(config: &Config) -> Result<Started, StartError> {
    check(config)?;
    let mut refused = Vec::new();
    // Who asks for the one without programs need not wait for a measurement.
    let before_ns = if config.backend == BackendChoice::Poll { 0 } else { cost::syscall_ns() };
    for (backend, choice, start) in BACKENDS {
        if config.backend != BackendChoice::Auto && config.backend != choice {
            continue;
        }
        match start(config) {
            Ok(source) => {
                let measure = || SyscallCost { before_ns, after_ns: cost::syscall_ns() };
                let cost = (!source.is_polling()).then(measure);
                return Ok(Started { source, refused, cost });
            }
            Err(why) => refused.push(Refused { backend, why: Box::new(why) }),
        }
    }
    match (config.backend, refused.pop()) {
        (BackendChoice::Auto, last) => {
            Err(StartError::None(refused.into_iter().chain(last).collect()))
        }
        (_, Some(refused)) => Err(StartError::Refused(refused)),
        (_, None) => Err(StartError::None(refused)),
    }
}

/// A scan in one piece, of one namespace or of all, by a back end that tells what a namespace has and
/// not what a task of it sees.
fn scan_at_once<Error>(
    target: Target,
    sink: &mut dyn Sink,
    scan: impl FnOnce(Option<NamespaceInode>, &mut Vec<Event>) -> Result<Vec<NamespaceInode>, Error>,
) -> Result<Vec<NamespaceInode>, SourceError>
where
    SourceError: From<Error>,
{
    let wanted = match target {
        Target::All => None,
        Target::Namespace(inode) => Some(inode),
        Target::Task(_) => return Ok(Vec::new()),
    };
    let mut events = Vec::new();
    sink.begin();
    let found = scan(wanted, &mut events)?;
    sink.take(b"", events, Lost::Nothing);
    if let Some(inode) = wanted.filter(|_| found.is_empty()) {
        sink.not_found(inode, true);
    }
    for inode in &found {
        sink.end(*inode, true);
    }
    Ok(found)
}

/// The dentries among what the index does not need any more, for back ends that keep no others.
fn dentries_of(keys: &[Retired]) -> impl Iterator<Item = DentryKey> + '_ {
    keys.iter().filter_map(|key| match key {
        Retired::Dentry(key) => Some(*key),
        Retired::Super(_) => None,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_that_all_share_is_said_once() {
        let refused = |backend, why| Refused { backend, why: Box::new(why) };
        let calls = NotifyError::Calls(LoadError::NotPermitted);
        let same = [
            refused("hooks", SourceError::Load(LoadError::NotPermitted)),
            refused("notify", SourceError::Notify(calls)),
        ];
        let text = StartError::None(same.into()).to_string();
        assert!(
            text.starts_with("no back end starts; hooks, notify: the kernel refused"),
            "{text}"
        );
        assert_eq!(text.matches("refused").count(), 1, "{text}");
    }
}
