//! The client: gets the table over the socket, and another one when there is.

use crate::protocol::{REPLY_BYTES, Reply, Request, Status};
use crate::reader::{Answer, Binds, MappedError, MountInfo, Reader, WhichMount};
use crate::transfer::{receive, send};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// How often a table may be left for another one within one question.
const TABLES_MAX: u32 = 8;

/// The mounts of one namespace, kept by an agent. Asks the agent only to connect, when the table grew
/// or the agent was started again, and in [`Mapped::sync`].
#[derive(Debug)]
pub struct Mapped {
    socket: PathBuf,
    namespace: Option<u32>,
    stream: UnixStream,
    reader: Reader,
}

impl Mapped {
    /// The mounts that this process sees, from its root directory.
    pub fn connect(socket: impl AsRef<Path>) -> Result<Self, MappedError> {
        Self::open(socket.as_ref(), None)
    }

    /// The mounts of any namespace, by the inode of `/proc/PID/ns/mnt`: for root and the group that
    /// the socket belongs to.
    pub fn connect_to(socket: impl AsRef<Path>, namespace: u32) -> Result<Self, MappedError> {
        Self::open(socket.as_ref(), Some(namespace))
    }

    fn open(socket: &Path, namespace: Option<u32>) -> Result<Self, MappedError> {
        let fail = |call| move |error: io::Error| MappedError::Io { call, error };
        let stream = UnixStream::connect(socket).map_err(fail("connect to the agent"))?;
        let own = match namespace {
            None => {
                Some(File::open("/proc/self/ns/mnt").map_err(fail("open this mount namespace"))?)
            }
            Some(_) => None,
        };
        let request = namespace.map_or(Request::Own, Request::Any);
        let sent = send(&stream, &request.bytes(), own.as_ref().map(AsFd::as_fd));
        sent.map_err(fail("ask the agent for the table"))?;
        let (bytes, file) = receive(&stream).map_err(fail("get the table from the agent"))?;
        let reply = done(&bytes)?;
        let file = file.ok_or_else(|| MappedError::Refused("it sent no table".into()))?;
        let reader = Reader::open(file)?.with_view(reply.view);
        Ok(Self { socket: socket.to_owned(), namespace, stream, reader })
    }

    /// The table that is read at present.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Asks the agent to bring the table up to now, and waits for that (a round trip): answers after
    /// this show everything that happened before the call. Gives the moment, CLOCK_MONOTONIC.
    pub fn sync(&mut self) -> Result<u64, MappedError> {
        let mut is_again = false;
        loop {
            match self.ask_to_sync() {
                Err(MappedError::Io { .. }) if !is_again => {
                    *self = Self::open(&self.socket, self.namespace)?;
                    is_again = true;
                }
                other => return other,
            }
        }
    }

    fn ask_to_sync(&mut self) -> Result<u64, MappedError> {
        let fail = |error: io::Error| MappedError::Io { call: "ask the agent to sync", error };
        send(&self.stream, &Request::Sync.bytes(), None).map_err(fail)?;
        let (bytes, _) = receive(&self.stream).map_err(fail)?;
        Ok(done(&bytes)?.fresh_ns)
    }

    fn ask<T>(
        &mut self,
        question: impl Fn(&Reader) -> Result<Answer<T>, MappedError>,
    ) -> Result<Answer<T>, MappedError> {
        for _ in 0..TABLES_MAX {
            match question(&self.reader) {
                Err(MappedError::Moved | MappedError::Closed | MappedError::NotKept(_)) => {
                    *self = Self::open(&self.socket, self.namespace)?;
                }
                other => return other,
            }
        }
        question(&self.reader)
    }

    /// As [`Reader::is_mount_point`].
    pub fn is_mount_point(
        &mut self,
        path: &[u8],
        binds: Binds,
    ) -> Result<Answer<bool>, MappedError> {
        self.ask(|reader| reader.is_mount_point(path, binds))
    }

    /// As [`Reader::mount_at`].
    pub fn mount_at(&mut self, path: &[u8]) -> Result<Answer<Option<MountInfo>>, MappedError> {
        self.ask(|reader| reader.mount_at(path))
    }

    /// As [`Reader::covering`].
    pub fn covering(&mut self, path: &[u8]) -> Result<Answer<Option<MountInfo>>, MappedError> {
        self.ask(|reader| reader.covering(path))
    }

    /// As [`Reader::below`].
    pub fn below(&mut self, path: &[u8]) -> Result<Answer<Vec<MountInfo>>, MappedError> {
        self.ask(|reader| reader.below(path))
    }

    /// As [`Reader::list`].
    pub fn list(&mut self) -> Result<Answer<Vec<MountInfo>>, MappedError> {
        self.ask(Reader::list)
    }

    /// As [`Reader::mount`].
    pub fn mount(&mut self, which: WhichMount) -> Result<Answer<Option<MountInfo>>, MappedError> {
        self.ask(|reader| reader.mount(which))
    }

    /// As [`Reader::children`].
    pub fn children(&mut self, which: WhichMount) -> Result<Answer<Vec<MountInfo>>, MappedError> {
        self.ask(|reader| reader.children(which))
    }
}

fn done(bytes: &[u8; REPLY_BYTES]) -> Result<Reply, MappedError> {
    let reply = Reply::parse(bytes);
    let reply = reply.ok_or_else(|| MappedError::Refused("it speaks another version".into()))?;
    let why = match reply.status {
        Status::Done => return Ok(reply),
        Status::Denied => "only root and the socket's group see other mount namespaces",
        Status::NoNamespace => "there is no such mount namespace",
        Status::BadRequest => "it knows no such request",
        Status::Failed => "it has no index",
    };
    Err(MappedError::Refused(why.into()))
}
