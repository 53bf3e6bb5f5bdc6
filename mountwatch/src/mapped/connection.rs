//! One reader's connection: who it is, what it may see, what it asks for.

use crate::model::NamespaceInode;
use mountwatch_mapped::protocol::{REQUEST_BYTES, Reply, Request, Status};
use mountwatch_mapped::{receive_some, send};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

/// `f_type` of a file of /proc/PID/ns (include/uapi/linux/magic.h).
const NSFS_MAGIC: i64 = 0x6e73_6673;

/// What a connection wants of the one that keeps the tables.
#[derive(Debug)]
pub(super) enum Wanted {
    /// A table; for a process that sees it from its own root directory.
    Table { inode: NamespaceInode, pid: Option<u32> },
    /// Everything up to now.
    Sync,
    /// It is over.
    End,
}

/// A question with where its answer goes.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) connection: u64,
    pub(super) wanted: Wanted,
    pub(super) answer: oneshot::Sender<(Reply, Option<OwnedFd>)>,
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) number: u64,
    pub(super) pid: Option<u32>,
    /// Root, or of the socket's group: sees every namespace.
    pub(super) is_trusted: bool,
}

/// Answers one reader until it goes.
pub(super) async fn serve(stream: UnixStream, peer: Peer, asks: mpsc::Sender<Asked>) {
    while let Ok((bytes, file)) = request(&stream).await {
        let reply = match wanted(&bytes, file, peer) {
            Ok(wanted) => ask(&asks, peer, wanted).await,
            Err(status) => Some((refusal(status), None)),
        };
        let Some((reply, table)) = reply else { break };
        if send(&stream, &reply.bytes(), table.as_ref().map(AsFd::as_fd)).is_err() {
            break;
        }
    }
    let (answer, _) = oneshot::channel();
    let _ = asks.send(Asked { connection: peer.number, wanted: Wanted::End, answer }).await;
}

pub(super) fn refusal(status: Status) -> Reply {
    Reply { status, view: 0, fresh_ns: 0 }
}

async fn ask(
    asks: &mpsc::Sender<Asked>,
    peer: Peer,
    wanted: Wanted,
) -> Option<(Reply, Option<OwnedFd>)> {
    let (answer, answered) = oneshot::channel();
    asks.send(Asked { connection: peer.number, wanted, answer }).await.ok()?;
    answered.await.ok()
}

async fn request(stream: &UnixStream) -> io::Result<([u8; REQUEST_BYTES], Option<OwnedFd>)> {
    let mut bytes = [0; REQUEST_BYTES];
    let (mut got, mut file) = (0, None);
    while let Some(rest) = bytes.get_mut(got..).filter(|rest| !rest.is_empty()) {
        stream.readable().await?;
        match stream.try_io(Interest::READABLE, || receive_some(stream.as_fd(), rest)) {
            Ok((more, given)) => {
                got += more;
                file = given.or(file);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok((bytes, file))
}

/// What is asked for, if the peer has a right to it.
fn wanted(
    bytes: &[u8; REQUEST_BYTES],
    file: Option<OwnedFd>,
    peer: Peer,
) -> Result<Wanted, Status> {
    match (Request::parse(bytes), file) {
        // A descriptor of a namespace is the right to look into it: the kernel gave it to whoever may.
        // A process ID would be none, for it may be another process by now. The descriptor is closed at
        // once, for it keeps the namespace alive.
        (Some(Request::Own), Some(file)) => {
            let inode = namespace_of(&file).ok_or(Status::BadRequest)?;
            Ok(Wanted::Table { inode, pid: peer.pid })
        }
        (Some(Request::Any(inode)), _) if peer.is_trusted => {
            Ok(Wanted::Table { inode: NamespaceInode(inode), pid: None })
        }
        (Some(Request::Any(_)), _) => Err(Status::Denied),
        (Some(Request::Sync), _) => Ok(Wanted::Sync),
        _ => Err(Status::BadRequest),
    }
}

/// The inode of a namespace's file. Inodes of nsfs are unique among all kinds of namespaces.
fn namespace_of(file: &OwnedFd) -> Option<NamespaceInode> {
    let file_system = rustix::fs::fstatfs(file).ok()?;
    #[expect(clippy::useless_conversion, reason = "narrower on other architectures")]
    let is_namespace = i64::from(file_system.f_type) == NSFS_MAGIC;
    let inode = rustix::fs::fstat(file).ok()?.st_ino;
    is_namespace.then(|| u32::try_from(inode).ok()).flatten().map(NamespaceInode)
}
