//! Connections: taken up to a limit, and closed if they say nothing.

use super::limits::{self, Counters, Held, count};
use super::peer::Peer;
use hashbrown::HashMap;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Sleep, sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

/// The preface of HTTP/2 and the head of the first frame.
const HANDSHAKE_BYTES: usize = 24 + 9;
/// The kernel refuses a descriptor: others have to be closed first.
const ACCEPT_AGAIN: Duration = Duration::from_millis(20);

type OpenCount = Held<fn(&Counters) -> &AtomicU64>;

/// Places by user, for those who may not see everything.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Arc<Mutex<HashMap<u32, usize>>>);

/// A place that is taken.
#[derive(Debug)]
pub(super) struct Place(Places, Option<u32>);

impl Places {
    /// A place, if this user has one left.
    pub(super) fn take(&self, peer: &Peer, max: usize) -> Option<Place> {
        if peer.is_privileged {
            return Some(Place(self.clone(), None));
        }
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = places.entry(peer.uid).or_insert(0);
        if *taken >= max {
            return None;
        }
        *taken += 1;
        Some(Place(self.clone(), Some(peer.uid)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(uid) = self.1 else { return };
        let mut places = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = places.get_mut(&uid) {
            *taken -= 1;
            if *taken == 0 {
                places.remove(&uid);
            }
        }
    }
}

/// Takes connections until nobody wants them any more.
pub(super) fn incoming(
    listener: UnixListener,
    group: u32,
    counters: &Arc<Counters>,
) -> ReceiverStream<io::Result<Connection>> {
    let (sender, receiver) = mpsc::channel(1);
    let counters = Arc::clone(counters);
    tokio::spawn(async move {
        let places = Arc::new(Semaphore::new(limits::CONNECTIONS_MAX));
        let users = Places::default();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = sender.closed() => return,
            };
            let Ok((stream, _)) = accepted else {
                sleep(ACCEPT_AGAIN).await;
                continue;
            };
            // One that finds no place is closed at once, and its client sees that.
            let taken = Arc::clone(&places).try_acquire_owned().ok().and_then(|place| {
                let peer = Peer::of(&stream, group).ok()?;
                let of_user = users.take(&peer, limits::CONNECTIONS_OF_USER_MAX)?;
                Some((place, of_user, peer))
            });
            let Some((place, of_user, peer)) = taken else {
                count(&counters.connections_refused);
                continue;
            };
            let connection = Connection::new(stream, peer, (place, of_user), &counters);
            if sender.send(Ok(connection)).await.is_err() {
                return;
            }
        }
    });
    ReceiverStream::new(receiver)
}

/// A connection that has a place.
pub(super) struct Connection {
    stream: UnixStream,
    peer: Arc<Peer>,
    /// Until it said that it speaks HTTP/2: bytes that are missing, and the end of patience.
    handshake: Option<(usize, Pin<Box<Sleep>>)>,
    counters: Arc<Counters>,
    _places: (OwnedSemaphorePermit, Place),
    _open: OpenCount,
}

impl Connection {
    fn new(
        stream: UnixStream,
        peer: Peer,
        places: (OwnedSemaphorePermit, Place),
        counters: &Arc<Counters>,
    ) -> Self {
        let patience = Box::pin(sleep(limits::HANDSHAKE_MAX));
        Self {
            stream,
            peer: Arc::new(peer),
            handshake: Some((HANDSHAKE_BYTES, patience)),
            counters: Arc::clone(counters),
            _places: places,
            _open: Held::new(counters, |counters| &counters.connections),
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Arc<Peer>;

    fn connect_info(&self) -> Arc<Peer> {
        Arc::clone(&self.peer)
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let result = pin!(&mut this.stream).poll_read(context, buffer);
        let read = buffer.filled().len() - before;
        // Looked at after what is there was read: it may have come in time, and we be late.
        if let Some((missing, patience)) = &mut this.handshake {
            *missing = missing.saturating_sub(read);
            if *missing == 0 {
                this.handshake = None;
            } else if patience.as_mut().poll(context).is_ready() {
                count(&this.counters.connections_silent);
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        result
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        pin!(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        pin!(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        pin!(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        pin!(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
