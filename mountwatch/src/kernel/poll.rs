//! The back end for hosts that allow nothing better: mountinfo, read again and compared. No program
//! runs in the kernel.
//!
//! | when | what is read |
//! |---|---|
//! | somebody asks | every mount namespace, so that the answer is right as of the question |
//! | our own mountinfo says that it changed (poll(2)) | every mount namespace, ten times a second at the most |
//! | a second went by | every mount namespace: no descriptor says that another one changed |
//!
//! **No descriptor of another namespace is held.** An open mountinfo would tell at once what changes
//! there, but it keeps the namespace alive, with all that is mounted in it: a container's disks could
//! not be detached because of us. Our own namespace lives anyway. Besides, poll(2) tells neither of
//! remounts nor, on most kernels, of propagation types, so that the periodic reading is needed all
//! the same.
//!
//! A thread enters each namespace (see [`Scanner`]), so that its whole table is seen, from its root
//! directory. A text that is the same as the last time, byte for byte, costs nothing more; one that
//! is another one is read until two readings in a row are equal, since the kernel gives it in pieces
//! between which mounts can move.

mod book;
mod ids;
mod pace;
mod reading;
#[cfg(test)]
mod tests;

use super::host;
use super::namespaces::{self, FoundNamespace, NamespacesError};
use super::scan::{ScanError, Scanner};
use crate::model::{DentryKey, Dialect, Event, NamespaceId, NamespaceInode, Origin};
use book::{Book, Tell};
use hashbrown::HashMap;
use mountwatch_common::hook;
use pace::Pace;
pub use pace::Why;
use reading::Reading;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;
use thiserror::Error;

/// Our own mount table: the one file of its kind that is kept open.
const OWN: &str = "/proc/self/mountinfo";
/// How often a table that moves is read, before what was read last is taken.
const TRIES: usize = 4;

/// What it can never see, one sentence each.
const BLIND: &[&str] = &[
    "polling: mount tables are read again once in a second and before each answer; what comes and \
     goes in between leaves no trace, and of several changes of one mount the last is seen",
    "who made a change, and when, is not known: the time is that of the reading",
    "a mount that cannot be reached from the root directory of its namespace is not seen, nor what \
     a process with such a root directory sees",
    "a renamed directory is told as a change of the mounts below it",
    "mounts of several subvolumes of one btrfs all show the options of one of them",
];
/// Where mounts have no unique IDs that we could ask for.
const BLIND_TO_IDS: &str = "a mount that gets the ID of one that left, on the same file system, is \
     told as a change of that one";

/// Why the back end `poll` does not work.
#[derive(Debug, Error)]
pub enum PollError {
    /// No `/proc`.
    #[error("cannot open {OWN}: {0}; mount /proc")]
    Own(#[source] io::Error),
    /// Namespaces cannot be listed.
    #[error(transparent)]
    Namespaces(#[from] NamespacesError),
    /// Namespaces cannot be read.
    #[error(transparent)]
    Scan(#[from] ScanError),
}

/// The back end `poll` at work.
#[derive(Debug)]
pub struct Poll {
    own: File,
    reader: Reader,
    book: Book,
    pace: Pace,
    dialect: Dialect,
    /// Namespaces that cannot be read, in sentences.
    unreadable: Vec<String>,
    has_ids: bool,
}

/// What reads, and what it read last.
#[derive(Debug)]
struct Reader {
    scanner: Scanner,
    last: HashMap<NamespaceInode, Last>,
    counters: Counters,
}

/// What was read of a namespace last.
#[derive(Debug, Default)]
struct Last {
    id: Option<NamespaceId>,
    text: Vec<u8>,
    ids: ids::Known,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    rereads: u64,
    looks: u64,
    unequal: u64,
    torn: u64,
}

/// The namespaces that are there, with their IDs.
type Found = HashMap<NamespaceInode, Option<NamespaceId>>;

/// One reading of every namespace.
#[derive(Default)]
struct Round {
    found: Found,
    changed: Vec<Reading>,
    unreadable: Vec<String>,
}

impl Poll {
    /// Starts. Nothing is told yet: [`Self::scan`] does that.
    pub fn start() -> Result<Self, PollError> {
        let mut poll = Self {
            own: File::open(OWN).map_err(PollError::Own)?,
            reader: Reader {
                scanner: Scanner::spawn(),
                last: HashMap::new(),
                counters: Counters::default(),
            },
            book: Book::default(),
            pace: Pace::default(),
            dialect: Dialect::default(),
            unreadable: Vec::new(),
            has_ids: false,
        };
        // Who may not enter even our own namespace had better be told now.
        let own = namespaces::open_by_task(std::process::id())?;
        if let Some(own) = own {
            poll.has_ids = own.id.is_some();
            poll.reader.text(own.fd)?;
        }
        poll.dialect = host::dialect().unwrap_or_else(|error| {
            log::warn!("cannot ask how this kernel writes mountinfo, `#` may be wrong: {error}");
            Dialect::default()
        });
        Ok(poll)
    }

    /// Reads every namespace again if it is time, and tells what changed. Gives the namespaces that
    /// were told as a whole; `None` if it was not time.
    pub fn drain(
        &mut self,
        why: Why,
        out: &mut Vec<Event>,
    ) -> Result<Option<Vec<NamespaceInode>>, PollError> {
        let begin = Instant::now();
        if !self.pace.is_due(why, begin) {
            return Ok(None);
        }
        let listed = self.reread(Tell::Changes, out)?;
        self.pace.done(begin, Instant::now());
        Ok(Some(listed))
    }

    /// Reads one namespace, or all of them, and tells everything anew. Gives those that were found.
    pub fn scan(
        &mut self,
        inode: Option<NamespaceInode>,
        out: &mut Vec<Event>,
    ) -> Result<Vec<NamespaceInode>, PollError> {
        let Some(inode) = inode else {
            let begin = Instant::now();
            let found = self.reread(Tell::Everything, out)?;
            self.pace.done(begin, Instant::now());
            return Ok(found);
        };
        let origin = origin();
        let Some(fd) = namespaces::open(inode, None)? else {
            self.book.namespace_gone(inode, origin, out);
            return Ok(Vec::new());
        };
        let id = super::sys::namespace_id(fd.as_fd()).map_err(NamespacesError::Ask)?;
        let found = FoundNamespace { fd, inode, id: id.map(NamespaceId), task: None };
        let reading = self.reader.read(&found, Tell::Everything)?;
        Ok(self.book.tell(reading.as_slice(), Tell::Everything, origin, out))
    }

    fn reread(
        &mut self,
        tell: Tell,
        out: &mut Vec<Event>,
    ) -> Result<Vec<NamespaceInode>, PollError> {
        let round = self.reader.round(tell)?;
        let origin = origin();
        self.book.keep(&round.found, origin, out);
        if tell == Tell::Everything {
            self.book.tell_names(origin, out);
        }
        self.unreadable = round.unreadable;
        Ok(self.book.tell(&round.changed, tell, origin, out))
    }

    /// The index does not need a dentry any more: it will be told again, by another key, when a
    /// mount needs it. To be called before the next [`Self::scan`].
    pub fn forget(&mut self, key: DentryKey) {
        self.book.forget(key);
    }

    /// Becomes readable when our own namespace changes.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.own.as_fd()
    }

    /// How the kernel writes mountinfo(5).
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Readings of a mount table so far.
    pub fn rereads(&self) -> u64 {
        self.reader.counters.rereads
    }

    /// Questions about single mounts so far.
    pub fn looks(&self) -> u64 {
        self.reader.counters.looks
    }

    /// What watches, as hook, function and kind.
    pub fn attached(&self) -> Vec<(String, String, String)> {
        vec![("poll".to_owned(), OWN.to_owned(), "poll".to_owned())]
    }

    /// Counters for `status`.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let counters = self.reader.counters;
        vec![
            ("readings_unequal", counters.unequal),
            ("lines_torn", counters.torn),
            ("reading_us", self.pace.took_us()),
        ]
    }

    /// What it cannot see, one sentence each.
    pub fn blind(&self) -> Vec<String> {
        let ids = (!self.has_ids).then_some(&BLIND_TO_IDS);
        let always = BLIND.iter().chain(ids).map(|sentence| (*sentence).to_owned());
        always.chain(self.unreadable.iter().cloned()).collect()
    }
}

impl Reader {
    /// Reads every namespace. If that fails half-way nothing of it is told, so that nothing counts
    /// as read.
    fn round(&mut self, tell: Tell) -> Result<Round, PollError> {
        self.try_round(tell).inspect_err(|_| self.last.clear())
    }

    /// A namespace is read while it is open, so that it cannot die in the middle.
    fn try_round(&mut self, tell: Tell) -> Result<Round, PollError> {
        let mut round = Round::default();
        let mut result = Ok(());
        namespaces::each(|found| {
            let (inode, id) = (found.inode, found.id);
            match self.read(&found, tell) {
                Ok(reading) => {
                    round.found.insert(inode, id);
                    round.changed.extend(reading);
                }
                Err(error @ (ScanError::Enter(_) | ScanError::Read(_))) => {
                    let sentence = format!("mount namespace {inode} cannot be read: {error}");
                    round.unreadable.push(sentence);
                }
                Err(error) => {
                    result = Err(error);
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        result?;
        self.last.retain(|inode, last| round.found.get(inode) == Some(&last.id));
        Ok(round)
    }

    /// Reads one namespace. `None`: it is as it was the last time, and not everything is asked for.
    fn read(&mut self, found: &FoundNamespace, tell: Tell) -> Result<Option<Reading>, ScanError> {
        let clone = |fd: &OwnedFd| fd.try_clone().map_err(ScanError::Read);
        let (mut text, mut list) = (self.text(clone(&found.fd)?)?, ids::list(found.id));
        let last = self.last.get(&found.inode).filter(|last| last.id == found.id);
        let is_same = last.is_some_and(|last| last.text == text && last.ids.is(&list));
        if is_same && tell == Tell::Changes {
            return Ok(None);
        }
        for attempt in 0..TRIES {
            if is_same {
                break;
            }
            let (next, ids) = (self.text(clone(&found.fd)?)?, ids::list(found.id));
            let is_equal = next == text && ids == list;
            (text, list) = (next, ids);
            if is_equal {
                break;
            }
            self.counters.unequal += u64::from(attempt + 1 == TRIES);
        }
        Ok(Some(self.reading(found, text, list)))
    }

    fn reading(&mut self, found: &FoundNamespace, text: Vec<u8>, list: Vec<u64>) -> Reading {
        let (mounts, torn) = reading::place(&text);
        self.counters.torn += torn as u64;
        let mut last = self.last.remove(&found.inode).unwrap_or_default();
        if last.id != found.id {
            last = Last::default();
        }
        let looks = &mut self.counters.looks;
        let mut unique = HashMap::new();
        let mut below_root = None;
        if let Some(namespace) = found.id {
            unique = last.ids.learn(namespace, list, looks);
            // The root of a namespace (`mnt_namespace.root`) is not listed, but what sits on it is.
            if let Some(root) = mounts.first().filter(|root| !unique.contains_key(&root.line.id))
                && let Some(child) = mounts.iter().find(|placed| placed.parent == Some(0))
                && let Some(child) = unique.get(&child.line.id).copied()
                && let Some(parent) = ids::parent_of(child, namespace, looks)
            {
                unique.insert(root.line.id, parent);
            }
            below_root = mounts
                .first()
                .and_then(|root| unique.get(&root.line.id))
                .and_then(|root| ids::parent_of(*root, namespace, looks));
        }
        self.last.insert(found.inode, Last { id: found.id, text, ids: last.ids });
        let (inode, id, task) = (found.inode, found.id, found.task);
        Reading { inode, id, task, mounts, unique, below_root }
    }

    fn text(&mut self, namespace: OwnedFd) -> Result<Vec<u8>, ScanError> {
        self.counters.rereads += 1;
        let mut text = Vec::new();
        self.scanner.scan(namespace, |piece| {
            text.extend_from_slice(piece);
            ControlFlow::Continue(())
        })?;
        Ok(text)
    }
}

/// Nobody is known to have done what a reading shows.
fn origin() -> Origin {
    Origin { hook: hook::SCAN, scan: true, ktime_ns: host::monotonic_ns(), ..Origin::NOBODY }
}
