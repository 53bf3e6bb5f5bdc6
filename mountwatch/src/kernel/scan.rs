//! Reads one namespace's mountinfo once, piece by piece.
//!
//! The text is not what matters: while a thread of this process reads it, the hook `scan` tells
//! each of its lines into the ring buffer. So each piece is read only when its reader says go on,
//! and the ring never gets more than one piece at a time.
//!
//! A thread of its own enters the namespace, because a process-less namespace can be read in no
//! other way. It leaves it at once: neither a descriptor nor a task of ours keeps one alive.

use super::sys;
use rustix::fs::{Mode, OFlags};
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use thiserror::Error;

/// Room for one piece. The kernel gives at most one buffer of a page at a time, unless a single
/// line is longer.
const PIECE_BYTES: usize = 64 << 10;
/// The reading thread's own file, below `/proc`.
const OWN: &str = "thread-self/mountinfo";

/// Why a namespace was not scanned.
#[derive(Debug, Error)]
pub enum ScanError {
    /// The thread.
    #[error("cannot start a thread to scan mount namespaces: {0}")]
    Thread(#[source] io::Error),
    /// It ended.
    #[error("the thread that scans mount namespaces ended; this is a bug, please report it")]
    Ended,
    /// It could not prepare itself.
    #[error("cannot prepare to scan mount namespaces: {0}; mount /proc, and run as root")]
    Prepare(#[source] io::Error),
    /// The namespace cannot be entered.
    #[error(
        "cannot enter a mount namespace: {0}; run as root, or with CAP_SYS_ADMIN and CAP_SYS_CHROOT"
    )]
    Enter(#[source] io::Error),
    /// Our own cannot be entered again.
    #[error("cannot go back into the own mount namespace: {0}")]
    Return(#[source] io::Error),
    /// Its mountinfo cannot be read.
    #[error("cannot read the mountinfo of a mount namespace: {0}")]
    Read(#[source] io::Error),
}

/// Whose mountinfo is read.
#[derive(Debug)]
pub enum Whose {
    /// That of whoever enters this namespace.
    Namespace(OwnedFd),
    /// A thread's: what its own root directory shows of its namespace.
    Task(u32),
}

impl From<OwnedFd> for Whose {
    fn from(namespace: OwnedFd) -> Self {
        Self::Namespace(namespace)
    }
}

/// The thread that scans, started by the first scan.
#[derive(Debug, Default)]
pub struct Scanner {
    thread: Option<Thread>,
}

#[derive(Debug)]
struct Thread {
    requests: Option<Sender<Whose>>,
    answers: Receiver<Answer>,
    go_on: SyncSender<ControlFlow<()>>,
    handle: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Answer {
    Piece(Vec<u8>),
    End(Result<(), ScanError>),
}

impl Scanner {
    /// A scanner; its thread starts with its first scan.
    pub fn spawn() -> Self {
        Self::default()
    }

    /// Scans one namespace. `step` gets each piece of text, which ends at the end of a line, in
    /// the caller's thread; the next piece is read when it returns.
    pub fn scan(
        &mut self,
        whose: impl Into<Whose>,
        mut step: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), ScanError> {
        let thread = match &mut self.thread {
            Some(thread) => thread,
            none => none.insert(Thread::start().map_err(ScanError::Thread)?),
        };
        let result = thread.scan(whose.into(), &mut step);
        if matches!(result, Err(ScanError::Ended | ScanError::Return(_) | ScanError::Prepare(_))) {
            // It stands in another namespace, or nowhere: the next scan gets a new one.
            self.thread = None;
        }
        result
    }
}

impl Thread {
    fn start() -> io::Result<Self> {
        let (requests, from_caller) = channel();
        let (to_caller, answers) = channel();
        let (go_on, may_go_on) = sync_channel(1);
        let handle = std::thread::Builder::new()
            .name("scan".to_owned())
            .spawn(move || serve(&from_caller, &to_caller, &may_go_on))?;
        Ok(Self { requests: Some(requests), answers, go_on, handle: Some(handle) })
    }

    fn scan(
        &mut self,
        whose: Whose,
        step: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), ScanError> {
        let requests = self.requests.as_ref().ok_or(ScanError::Ended)?;
        requests.send(whose).map_err(|_| ScanError::Ended)?;
        loop {
            match self.answers.recv().map_err(|_| ScanError::Ended)? {
                Answer::Piece(text) => {
                    self.go_on.send(step(&text)).map_err(|_| ScanError::Ended)?;
                }
                Answer::End(result) => return result,
            }
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(handle) = self.handle.take() {
            let _ = handle.join();
        }
    }
}

/// What the thread needs to find everywhere.
struct Home {
    /// `/proc`, opened before the thread goes to where it may not be mounted.
    proc: OwnedFd,
    /// The thread's own namespace. It is this process's own, which lives anyway.
    namespace: OwnedFd,
}

fn serve(requests: &Receiver<Whose>, answers: &Sender<Answer>, go_on: &Receiver<ControlFlow<()>>) {
    let mut home = prepare();
    while let Ok(whose) = requests.recv() {
        let result = match (&home, whose) {
            (Ok(home), Whose::Namespace(namespace)) => visit(home, namespace, answers, go_on),
            (Ok(home), Whose::Task(tid)) => {
                read(home, &format!("{tid}/mountinfo"), answers, go_on).map_err(ScanError::Read)
            }
            (Err(_), _) => Err(ScanError::Ended),
        };
        let result = match std::mem::replace(&mut home, Err(io::Error::other("unused"))) {
            Ok(same) => {
                home = Ok(same);
                result
            }
            Err(error) => Err(ScanError::Prepare(error)),
        };
        let is_over = matches!(result, Err(ScanError::Return(_) | ScanError::Prepare(_)));
        if answers.send(Answer::End(result)).is_err() || is_over {
            return;
        }
    }
}

fn prepare() -> io::Result<Home> {
    let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = rustix::fs::open(c"/proc", directory, Mode::empty())?;
    let own = OFlags::RDONLY | OFlags::CLOEXEC;
    let namespace = rustix::fs::openat(&proc, c"thread-self/ns/mnt", own, Mode::empty())?;
    sys::unshare_fs()?;
    Ok(Home { proc, namespace })
}

fn visit(
    home: &Home,
    namespace: OwnedFd,
    answers: &Sender<Answer>,
    go_on: &Receiver<ControlFlow<()>>,
) -> Result<(), ScanError> {
    sys::enter(namespace.as_fd()).map_err(ScanError::Enter)?;
    drop(namespace);
    // Its file is closed when this returns, before the thread leaves.
    let result = read(home, OWN, answers, go_on).map_err(ScanError::Read);
    sys::enter(home.namespace.as_fd()).map_err(ScanError::Return)?;
    result
}

fn read(
    home: &Home,
    path: &str,
    answers: &Sender<Answer>,
    go_on: &Receiver<ControlFlow<()>>,
) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&home.proc, path, flags, Mode::empty())?;
    let mut file = std::fs::File::from(file);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let bytes = match file.read(&mut piece) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let Some(text) = piece.get(..bytes).filter(|text| !text.is_empty()) else { return Ok(()) };
        let is_heard = answers.send(Answer::Piece(text.to_vec())).is_ok();
        if !is_heard || !matches!(go_on.recv(), Ok(ControlFlow::Continue(()))) {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_reads_whole_lines_or_says_why_not() {
        let mut scanner = Scanner::spawn();
        let mut text = Vec::new();
        for _ in 0..2 {
            let own = std::fs::File::open("/proc/self/ns/mnt").unwrap();
            let result = scanner.scan(OwnedFd::from(own), |piece| {
                assert!(piece.ends_with(b"\n"));
                text.extend_from_slice(piece);
                ControlFlow::Continue(())
            });
            match result {
                Ok(()) => assert!(!text.is_empty()),
                // Without privileges no namespace can be entered, not even our own.
                Err(error) => assert!(matches!(error, ScanError::Enter(_)), "{error}"),
            }
        }
    }
}
