//! The reader: answers out of a table that somebody else writes.
//!
//! Every answer is that of one state: if the table changed meanwhile, the question is asked again. A
//! reader takes nothing for granted: whatever the bytes are, it neither crashes nor loops.

mod info;
mod pass;
#[cfg(test)]
mod tests;
mod walk;

pub use info::{Bind, Binds, MountInfo, Propagation};

use crate::layout::{
    COVERAGE_BLIND, COVERAGE_COMPLETE, COVERAGE_POLLING, COVERAGE_STALE, H_COUNTS, H_COVERAGE,
    H_EPOCH, H_FRESH_MAX_NS, H_FRESH_NS, H_MAGIC, H_NAMESPACE, H_NAMESPACE_ID, H_REVISION,
    H_SENTENCES, H_SEQUENCE, H_STATE, H_VERSION, ID_REUSED, ID_UNIQUE, MAGIC, STATE_LIVE,
    STATE_MOVED, VERSION, high, low,
};
use crate::sequence;
use crate::sys::{Memory, coarse_ns};
use pass::{Broken, Geometry, Look, Pass};
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use thiserror::Error;
use walk::From;

/// CLOCK_MONOTONIC_COARSE is late by a timer tick at most: 10 ms at 100 Hz.
const CLOCK_GRAIN_NS: u64 = 10_000_000;
/// Tries before a reader lets others run: the writer may wait for this processor.
const TRIES_UNTIL_YIELD: u64 = 256;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum MappedError {
    /// The path does not begin with `/`.
    #[error("the path is not absolute: give it from the root directory on")]
    NotAbsolute,
    /// The path has a zero byte in it.
    #[error("the path has a zero byte in it")]
    ZeroByte,
    /// The path has `..` in it, which means something else behind a symbolic link.
    #[error("the path has `..` in it: give it as realpath(3) gives it")]
    ParentDirectory,
    /// The bytes are not those of a table.
    #[error("this is no mapped table of mountwatch")]
    NoTable,
    /// Another version.
    #[error("the mapped table has version {0}, this reader knows {VERSION}: update the older one")]
    Version(u32),
    /// What is in the table makes no sense.
    #[error("the mapped table is damaged: connect again")]
    Damaged,
    /// A larger table took its place.
    #[error("the mapped table was left for a larger one: connect again")]
    Moved,
    /// The namespace is gone, or the agent ended.
    #[error("the mapped table was closed: its mount namespace is gone, or the agent ended")]
    Closed,
    /// Nobody keeps the table.
    #[error(
        "the mapped table is not kept any more: it was last level {0} ms ago; is the agent running?"
    )]
    NotKept(u64),
    /// The agent refused.
    #[error("the agent refuses the mapped table: {0}")]
    Refused(String),
    /// A call failed.
    #[error("cannot {call}: {error}")]
    Io {
        /// What was tried.
        call: &'static str,
        /// Why not.
        #[source]
        error: io::Error,
    },
}

/// How far an answer can be trusted. [`Reader::sentences`] says what cannot be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coverage {
    /// Everything is known and every change is told.
    Complete,
    /// Something was lost or is not known yet, and is looked for.
    Stale,
    /// Known as far as the back end can see.
    Blind,
    /// Read again from time to time: right when nothing moves.
    Polling,
}

/// An answer with what it rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer<T> {
    /// The answer.
    pub value: T,
    /// The state of the index that it was taken from.
    pub revision: u64,
    /// How much of the truth that state is.
    pub coverage: Coverage,
    /// CLOCK_MONOTONIC: everything that was over before that moment is in the answer.
    pub fresh_ns: u64,
    /// How long ago that was, at most. Changes are usually there within microseconds; this is what is
    /// promised.
    pub age_ns: u64,
}

/// A mount by one of its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WhichMount {
    /// The mount ID, which the kernel reuses.
    Id(u32),
    /// The unique mount ID (kernel 6.8).
    UniqueId(u64),
}

impl WhichMount {
    /// The kind of the number, and the number, as the table has them.
    fn number(self) -> (u64, u64) {
        match self {
            Self::Id(id) => (ID_REUSED, u64::from(id)),
            Self::UniqueId(id) => (ID_UNIQUE, id),
        }
    }
}

/// Reads one table.
#[derive(Debug)]
pub struct Reader {
    memory: Memory,
    geometry: Geometry,
    fresh_max_ns: u64,
    view: u32,
    retries: AtomicU64,
}

impl Reader {
    /// A table by the descriptor of its memory, seen from the root of its namespace.
    pub fn open(file: impl AsFd) -> Result<Self, MappedError> {
        let memory =
            Memory::open(file).map_err(|error| MappedError::Io { call: "map the table", error })?;
        Self::new(memory)
    }

    fn new(memory: Memory) -> Result<Self, MappedError> {
        let words = memory.words();
        let word = |at: usize| words.get(at).map(|word| word.load(Ordering::Relaxed));
        if word(H_MAGIC) != Some(MAGIC) {
            return Err(MappedError::NoTable);
        }
        let version = word(H_VERSION).map_or(0, low);
        if version != VERSION {
            return Err(MappedError::Version(version));
        }
        let geometry = Geometry::of(words).ok_or(MappedError::Damaged)?;
        let fresh_max_ns = word(H_FRESH_MAX_NS).unwrap_or(0);
        Ok(Self { memory, geometry, fresh_max_ns, view: 0, retries: AtomicU64::new(0) })
    }

    /// The same, seen from somewhere else: a number that the agent gave.
    #[must_use]
    pub fn with_view(self, view: u32) -> Self {
        Self { view, ..self }
    }

    fn header(&self, at: usize) -> u64 {
        self.memory.words().get(at).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// Inode of the mount namespace.
    pub fn namespace(&self) -> u32 {
        low(self.header(H_NAMESPACE))
    }

    /// ID of the mount namespace, never reused (kernel 6.11).
    pub fn namespace_id(&self) -> Option<u64> {
        Some(self.header(H_NAMESPACE_ID)).filter(|id| *id != 0)
    }

    /// Another one for each table.
    pub fn epoch(&self) -> u64 {
        self.header(H_EPOCH)
    }

    /// How often a question was asked again since the table changed meanwhile.
    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// Whether something is mounted exactly at a path.
    pub fn is_mount_point(&self, path: &[u8], binds: Binds) -> Result<Answer<bool>, MappedError> {
        check(path)?;
        self.ask(|pass, from| {
            let Some(from) = from else { return Ok(false) };
            let end = pass.walk(path, from)?;
            Ok(end.is_mountpoint && (binds == Binds::Count || pass.bind(end.mount)?.is_none()))
        })
    }

    /// What is mounted exactly at a path: the mount on top, if several are stacked.
    pub fn mount_at(&self, path: &[u8]) -> Result<Answer<Option<MountInfo>>, MappedError> {
        check(path)?;
        self.ask(|pass, from| {
            let Some(from) = from else { return Ok(None) };
            let end = pass.walk(path, from)?;
            if end.is_mountpoint { pass.info(end.mount, from) } else { Ok(None) }
        })
    }

    /// The mount on which a path lies, whether or not there is such a file. `None` if the root of
    /// that mount is out of reach: the view is a directory inside of it.
    pub fn covering(&self, path: &[u8]) -> Result<Answer<Option<MountInfo>>, MappedError> {
        check(path)?;
        self.ask(|pass, from| {
            let Some(from) = from else { return Ok(None) };
            let end = pass.walk(path, from)?;
            pass.info(end.mount, from)
        })
    }

    /// Mount ID of the mount on which a path lies: without texts, as fast as a point query.
    pub fn covering_id(&self, path: &[u8]) -> Result<Answer<Option<u32>>, MappedError> {
        check(path)?;
        self.ask(|pass, from| {
            let Some(from) = from else { return Ok(None) };
            let end = pass.walk(path, from)?;
            pass.id(end.mount).map(Some)
        })
    }

    /// What is mounted at a path and below it, covered mounts included, in the kernel's order.
    pub fn below(&self, path: &[u8]) -> Result<Answer<Vec<MountInfo>>, MappedError> {
        check(path)?;
        self.ask(|pass, from| {
            let Some(from) = from else { return Ok(Vec::new()) };
            let found = pass.below(path, from)?;
            pass.infos(found, from)
        })
    }

    /// The mount IDs of the same, without looking whether each can be reached: without texts.
    pub fn ids_below(&self, path: &[u8]) -> Result<Answer<Vec<u32>>, MappedError> {
        check(path)?;
        self.ask(|pass, from| {
            let Some(from) = from else { return Ok(Vec::new()) };
            pass.below(path, from)?.into_iter().map(|mount| pass.id(mount)).collect()
        })
    }

    /// Every mount that is seen, in the kernel's order. The longer it takes, the more likely a change
    /// makes it begin again.
    pub fn list(&self) -> Result<Answer<Vec<MountInfo>>, MappedError> {
        self.ask(|pass, from| {
            let Some(from) = from else { return Ok(Vec::new()) };
            let highest = high(pass.word(u32::try_from(H_COUNTS).map_err(|_| Broken)?)?);
            let mut found = Vec::new();
            for mount in 1..=highest {
                if pass.is_live(mount)? {
                    found.push((pass.order(mount)?, mount));
                }
            }
            found.sort_unstable();
            pass.infos(found.into_iter().map(|(_, mount)| mount).collect(), from)
        })
    }

    /// One mount by its number; `None` if it is not there or not seen.
    pub fn mount(&self, which: WhichMount) -> Result<Answer<Option<MountInfo>>, MappedError> {
        let (kind, id) = which.number();
        self.ask(|pass, from| {
            let (Some(from), Some(mount)) = (from, pass.with_id(kind, id)?) else {
                return Ok(None);
            };
            pass.info(mount, from)
        })
    }

    /// The mounts that sit on one, in the kernel's order; empty if that is not there.
    pub fn children(&self, which: WhichMount) -> Result<Answer<Vec<MountInfo>>, MappedError> {
        let (kind, id) = which.number();
        self.ask(|pass, from| {
            let (Some(from), Some(mount)) = (from, pass.with_id(kind, id)?) else {
                return Ok(Vec::new());
            };
            let children = pass.children(mount)?;
            pass.infos(children, from)
        })
    }

    /// What cannot be seen, in sentences.
    pub fn sentences(&self) -> Result<Answer<Vec<String>>, MappedError> {
        self.ask(|pass, _| {
            let text = pass.text(pass.word(u32::try_from(H_SENTENCES).map_err(|_| Broken)?)?)?;
            let sentences = text.split(|byte| *byte == 0).filter(|sentence| !sentence.is_empty());
            Ok(sentences.map(|sentence| String::from_utf8_lossy(sentence).into_owned()).collect())
        })
    }

    /// Asks until the answer is that of one state.
    fn ask<T>(
        &self,
        look: impl Fn(&mut Pass<'_>, Option<From>) -> Look<T>,
    ) -> Result<Answer<T>, MappedError> {
        let Some(word) = self.memory.words().get(H_SEQUENCE) else {
            return Err(MappedError::Damaged);
        };
        let mut tries = 0;
        loop {
            // What is fresh is read before all else: the answer is no older than that says.
            let age = self.age()?;
            let begin = sequence::begin_read(word);
            if let Some(begin) = begin {
                let mut pass = Pass::new(self.memory.words(), &self.geometry, begin);
                let value = pass.view(self.view).and_then(|from| look(&mut pass, from));
                if pass.is_refused {
                    return Err(MappedError::ParentDirectory);
                }
                let (revision, coverage) = (self.header(H_REVISION), self.header(H_COVERAGE));
                if sequence::end_read(word, begin) {
                    let coverage = coverage_of(low(coverage)).ok_or(MappedError::Damaged)?;
                    let value = value.map_err(|Broken| MappedError::Damaged)?;
                    let (fresh_ns, age_ns) = age;
                    return Ok(Answer { value, revision, coverage, fresh_ns, age_ns });
                }
            }
            tries += 1;
            self.retries.fetch_add(1, Ordering::Relaxed);
            if tries % TRIES_UNTIL_YIELD == 0 {
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
    }

    /// Up to when the table is level, and how long ago that was at most. An error if it is not kept.
    fn age(&self) -> Result<(u64, u64), MappedError> {
        let load =
            |at: usize| self.memory.words().get(at).map_or(0, |word| word.load(Ordering::Acquire));
        match load(H_STATE) {
            STATE_LIVE => {}
            STATE_MOVED => return Err(MappedError::Moved),
            _ => return Err(MappedError::Closed),
        }
        let fresh_ns = load(H_FRESH_NS);
        let age_ns = coarse_ns().saturating_sub(fresh_ns).saturating_add(CLOCK_GRAIN_NS);
        if age_ns > self.fresh_max_ns {
            return Err(MappedError::NotKept(age_ns / 1_000_000));
        }
        Ok((fresh_ns, age_ns))
    }
}

impl Pass<'_> {
    fn id(&self, mount: u32) -> Look<u32> {
        Ok(low(self.mount(mount, crate::layout::M_ID)?))
    }

    fn infos(&mut self, mounts: Vec<u32>, from: From) -> Look<Vec<MountInfo>> {
        let mut infos = Vec::with_capacity(mounts.len());
        for mount in mounts {
            infos.extend(self.info(mount, from)?);
        }
        Ok(infos)
    }
}

fn coverage_of(code: u32) -> Option<Coverage> {
    match code {
        COVERAGE_COMPLETE => Some(Coverage::Complete),
        COVERAGE_STALE => Some(Coverage::Stale),
        COVERAGE_BLIND => Some(Coverage::Blind),
        COVERAGE_POLLING => Some(Coverage::Polling),
        _ => None,
    }
}

/// Whether a path can be asked about; a walk refuses `..`.
fn check(path: &[u8]) -> Result<(), MappedError> {
    if path.first() != Some(&b'/') {
        return Err(MappedError::NotAbsolute);
    }
    if path.contains(&0) {
        return Err(MappedError::ZeroByte);
    }
    Ok(())
}
