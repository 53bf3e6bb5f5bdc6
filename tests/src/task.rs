//! Tasks that run commands on request: processes of their own, and a thread in such a process.
//!
//! A task is this binary, started again, with two sockets as standard input and output: the first
//! one carries the commands of the process, the second one those of its thread, if one is started.
//! A request is the names of the other tasks and the line of the command; the line is read again
//! on the other side. So a task that was killed in the middle of something leaves nothing behind.

use crate::command::{self, Command};
use crate::execute::{Executor, Failure};
use crate::words;
use anyhow::{Context as _, Result, bail};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::process::Signal;
use std::fmt::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{fs, thread};

/// The argument that makes this binary a task.
pub(crate) const ARGUMENT: &str = "run-as-task";
/// More than the longest request: a path of 4,096 bytes, each written as four.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// A thread that was told to end is gone long before.
const END_LIMIT: Duration = Duration::from_secs(5);

/// What a task answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// It succeeded; a descriptor's number or another number.
    Done(i64),
    /// The kernel refused, with this error.
    Refused(String),
    /// It could not even be tried.
    Failed(String),
}

/// A task, seen from the tests.
#[derive(Debug)]
pub(crate) struct Task {
    socket: OwnedFd,
    /// Its ID as a thread; for a process also the process ID.
    pub(crate) tid: u32,
    /// The process in which it is.
    pub(crate) pid: u32,
    /// The process, unless it is a thread of another task.
    process: Option<Child>,
    thread_socket: Option<OwnedFd>,
}

impl Task {
    /// Starts a process. It ends with the thread that calls this, at the latest.
    pub(crate) fn start() -> Result<Self> {
        let (socket, theirs) = socket_pair()?;
        let (thread_socket, thread_theirs) = socket_pair()?;
        let process = std::process::Command::new("/proc/self/exe")
            .arg(ARGUMENT)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::from(thread_theirs))
            .spawn()
            .context("cannot start a task")?;
        let pid = process.id();
        let thread_socket = Some(thread_socket);
        Ok(Self { socket, tid: pid, pid, process: Some(process), thread_socket })
    }

    /// Starts a thread in the task's process.
    pub(crate) fn start_thread(&mut self, how: &str) -> Result<Self> {
        let socket = self.thread_socket.take().context("the process has a thread already")?;
        match self.run("", &format!("thread {how}"))? {
            Reply::Done(tid) => Ok(Self {
                socket,
                tid: u32::try_from(tid)?,
                pid: self.pid,
                process: None,
                thread_socket: None,
            }),
            reply => bail!("cannot start a thread: {reply:?}"),
        }
    }

    /// Runs one command and waits for its end. `others` are the other tasks as `NAME=TID `.
    pub(crate) fn run(&self, others: &str, line: &str) -> Result<Reply> {
        let request = format!("{others}\n{line}");
        rustix::net::send(&self.socket, request.as_bytes(), SendFlags::NOSIGNAL)
            .context("the task is gone")?;
        let reply = receive(self.socket.as_fd())?.context("the task has ended")?;
        let reply = String::from_utf8_lossy(&reply).into_owned();
        Ok(match reply.split_once(' ') {
            Some(("done", number)) => Reply::Done(number.parse()?),
            Some(("refused", error)) => Reply::Refused(error.to_owned()),
            Some(("failed", why)) => Reply::Failed(why.to_owned()),
            _ => bail!("the task answered {reply:?}"),
        })
    }

    /// Ends it and waits until it is gone.
    pub(crate) fn end(mut self, by_kill: bool) -> Result<()> {
        let directory = format!("/proc/{}/task/{}", self.pid, self.tid);
        if let Some(mut process) = self.process.take() {
            if by_kill {
                process.kill()?;
            }
            drop(self.socket);
            self.thread_socket = None;
            let status = process.wait()?;
            if !by_kill && !status.success() {
                bail!("the task ended with {status} (signal {:?})", status.signal());
            }
        } else {
            drop(self.socket);
            let start = Instant::now();
            while fs::metadata(&directory).is_ok() {
                if start.elapsed() > END_LIMIT {
                    bail!("the thread does not end");
                }
                thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }

    /// Ends it, however it is.
    pub(crate) fn kill(mut self) {
        if let Some(mut process) = self.process.take() {
            // It may be gone already: then there is nothing to do.
            drop(process.kill());
            drop(process.wait());
        }
    }
}

fn socket_pair() -> Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .context("cannot make a pair of sockets")
}

/// One message; `None` at the end.
fn receive(socket: BorrowedFd<'_>) -> Result<Option<Vec<u8>>> {
    let mut message = vec![0; MESSAGE_BYTES_MAX];
    loop {
        match rustix::net::recv(socket, &mut message[..], RecvFlags::empty()) {
            Ok((0, _)) | Err(Errno::CONNRESET) => return Ok(None),
            Ok((length, _)) => {
                message.truncate(length);
                return Ok(Some(message));
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot read from the socket"),
        }
    }
}

/// What the process of a task does: the other side of [`Task::start`].
pub(crate) fn serve_process() -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let socket = std::io::stdin().as_fd().try_clone_to_owned()?;
    let thread_socket = std::io::stdout().as_fd().try_clone_to_owned()?;
    // With the copies alone the end of a task is the end of its socket.
    rustix::stdio::dup2_stdin(std::io::stderr())?;
    rustix::stdio::dup2_stdout(std::io::stderr())?;
    serve(socket.as_fd(), Executor::new()?, Some(thread_socket))
}

fn serve(
    socket: BorrowedFd<'_>,
    mut executor: Executor,
    mut thread_socket: Option<OwnedFd>,
) -> Result<()> {
    while let Some(request) = receive(socket)? {
        let answer = match answer(&mut executor, &request, &mut thread_socket) {
            Ok(number) => format!("done {number}"),
            Err(Failure::Kernel(error)) => format!("refused {}", name_of(error)),
            Err(Failure::Command(why)) => format!("failed {why}"),
        };
        rustix::net::send(socket, answer.as_bytes(), SendFlags::NOSIGNAL)?;
    }
    Ok(())
}

fn answer(
    executor: &mut Executor,
    request: &[u8],
    thread_socket: &mut Option<OwnedFd>,
) -> Result<i64, Failure> {
    let wrong = |error: anyhow::Error| Failure::Command(format!("{error:#}"));
    let end = request.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (others, line) = request.split_at(end);
    for other in String::from_utf8_lossy(others).split_whitespace() {
        if let Some((name, Ok(number))) =
            other.split_once('=').map(|(name, number)| (name, number.parse()))
        {
            executor.others.insert(name.to_owned(), number);
        }
    }
    let line = line.get(1..).unwrap_or_default();
    let parsed = command::parse(&words::split(line).map_err(wrong)?).map_err(wrong)?;
    let Command::Thread { how } = parsed else { return executor.run(&parsed) };
    let Some(socket) = thread_socket.take() else {
        return Err(Failure::Command("the process has a thread already".to_owned()));
    };
    let mut in_thread = executor.for_thread()?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let started = in_thread.run(&Command::Unshare { how });
        let is_started = started.is_ok();
        let tid = i64::from(rustix::thread::gettid().as_raw_nonzero().get());
        drop(sender.send(started.map(|_| tid)));
        if is_started {
            drop(serve(socket.as_fd(), in_thread, None));
        }
    });
    receiver.recv().unwrap_or_else(|_| Err(Failure::Command("the thread ended at once".to_owned())))
}

/// The name of an error as errno(3) has it.
pub(crate) fn name_of(error: Errno) -> String {
    const NAMES: &[(Errno, &str)] = &[
        (Errno::ACCESS, "EACCES"),
        (Errno::AGAIN, "EAGAIN"),
        (Errno::BADF, "EBADF"),
        (Errno::BUSY, "EBUSY"),
        (Errno::EXIST, "EEXIST"),
        (Errno::INVAL, "EINVAL"),
        (Errno::ISDIR, "EISDIR"),
        (Errno::LOOP, "ELOOP"),
        (Errno::NAMETOOLONG, "ENAMETOOLONG"),
        (Errno::NODEV, "ENODEV"),
        (Errno::NOENT, "ENOENT"),
        (Errno::NOSPC, "ENOSPC"),
        (Errno::NOSYS, "ENOSYS"),
        (Errno::NOTDIR, "ENOTDIR"),
        (Errno::NOTEMPTY, "ENOTEMPTY"),
        (Errno::OPNOTSUPP, "EOPNOTSUPP"),
        (Errno::PERM, "EPERM"),
        (Errno::ROFS, "EROFS"),
        (Errno::XDEV, "EXDEV"),
    ];
    match NAMES.iter().find(|(known, _)| *known == error) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("errno{}", error.raw_os_error()),
    }
}

/// `NAME=NUMBER ` for each.
pub(crate) fn bindings<'a>(names: impl Iterator<Item = (&'a str, i64)>) -> String {
    names.fold(String::new(), |mut text, (name, number)| {
        write!(text, "{name}={number} ").expect("writing to a string does not fail");
        text
    })
}

/// The mount namespace that a task is in, as `mnt:[INODE]`; `None` if it is gone.
pub(crate) fn namespace_of(pid: u32, tid: u32) -> Option<String> {
    let link = fs::read_link(format!("/proc/{pid}/task/{tid}/ns/mnt")).ok()?;
    Some(String::from_utf8_lossy(link.as_os_str().as_bytes()).into_owned())
}
