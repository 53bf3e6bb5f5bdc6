//! The thread that keeps the tables and hands them out.

use super::Keeper;
use super::connection::{self, Asked, Peer, Wanted, refusal};
use crate::agent::{Lagged, Subscription, Tracker};
use crate::kernel::host::monotonic_ns;
use crate::kernel::sys_peer;
use crate::model::{Coverage, NamespaceInode, NamespaceKey, Revision};
use crate::state::Published;
use hashbrown::HashMap;
use mountwatch_mapped::protocol::{Reply, Status};
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

/// Time between two barriers, after each of which the tables say that they are level.
const TICK: Duration = Duration::from_millis(100);
/// The same where each barrier is a reading of everything (back end `poll`).
const TICK_POLLING: Duration = Duration::from_secs(1);
/// How long a table is kept that nobody is connected for.
const LINGER: Duration = Duration::from_secs(30);
/// Readers at one time.
const CONNECTIONS_MAX: usize = 1_024;

/// Keeps tables for readers that connect to a socket, until it is dropped.
#[derive(Debug)]
pub struct MappedServer {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl MappedServer {
    /// Starts to serve. `group` is the socket's: whoever belongs to it by its group ID sees every
    /// namespace, as root does; others see their own.
    pub fn start(listener: UnixListener, tracker: Arc<Tracker>, group: u32) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("mapped".into()).spawn(move || {
            if let Err(error) = runtime.block_on(run(listener, tracker, group, stopped)) {
                log::error!("the mapped tables are not kept any more: {error}");
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }

    /// The same for a socket that has a path: the group is that of its file.
    pub fn start_at(
        path: impl AsRef<std::path::Path>,
        listener: UnixListener,
        tracker: Arc<Tracker>,
    ) -> io::Result<Self> {
        let group = std::fs::metadata(path)?.gid();
        Self::start(listener, tracker, group)
    }
}

impl Drop for MappedServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What a connection uses.
#[derive(Clone, Copy, Debug)]
struct Use {
    namespace: NamespaceKey,
    /// A view of its own, of this process.
    view: Option<(u32, u32)>,
}

struct Server {
    tracker: Arc<Tracker>,
    changes: Subscription,
    keeper: Keeper,
    uses: HashMap<u64, Use>,
    idle_since: HashMap<NamespaceKey, Instant>,
}

/// Where readers come in.
struct Door {
    listener: tokio::net::UnixListener,
    group: u32,
    /// Each connection has another one.
    asks: mpsc::Sender<Asked>,
    connections: u64,
}

impl Door {
    /// A reader, unless there are too many.
    fn admit(&mut self, stream: UnixStream) {
        // Who is gone already needs no answer.
        let Ok(credentials) = stream.peer_cred() else { return };
        if self.asks.strong_count() > CONNECTIONS_MAX {
            return;
        }
        self.connections += 1;
        let is_member = || {
            sys_peer::peer_groups(stream.as_fd()).is_ok_and(|groups| groups.contains(&self.group))
        };
        let is_trusted = credentials.uid() == 0 || credentials.gid() == self.group || is_member();
        let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok());
        let peer = Peer { number: self.connections, pid, is_trusted };
        tokio::spawn(connection::serve(stream, peer, self.asks.clone()));
    }

    fn is_empty(&self) -> bool {
        self.asks.strong_count() == 1
    }
}

/// Follows the tracker only while there are readers: nobody else has to pay for them.
async fn run(
    listener: UnixListener,
    tracker: Arc<Tracker>,
    group: u32,
    mut stopped: oneshot::Receiver<()>,
) -> io::Result<()> {
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let (asks, mut asked) = mpsc::channel(CONNECTIONS_MAX);
    let mut door = Door { listener, group, asks, connections: 0 };
    loop {
        tokio::select! {
            _ = &mut stopped => return Ok(()),
            accepted = door.listener.accept() => {
                let Ok((stream, _)) = accepted else {
                    tokio::time::sleep(TICK).await;
                    continue;
                };
                door.admit(stream);
            }
        }
        if keep(&mut door, &tracker, &mut asked, &mut stopped).await?.is_break() {
            return Ok(());
        }
    }
}

/// Keeps tables until the last reader is gone for a while, or it is to stop.
async fn keep(
    door: &mut Door,
    tracker: &Arc<Tracker>,
    asked: &mut mpsc::Receiver<Asked>,
    stopped: &mut oneshot::Receiver<()>,
) -> io::Result<ControlFlow<()>> {
    let (snapshot, changes) = tracker.subscribe().map_err(io::Error::other)?;
    let period =
        if matches!(snapshot.coverage(), Coverage::Polling(_)) { TICK_POLLING } else { TICK };
    let (uses, idle_since) = (HashMap::new(), HashMap::new());
    let (tracker, keeper) = (Arc::clone(tracker), Keeper::new(snapshot));
    let mut server = Server { tracker, changes, keeper, uses, idle_since };
    let mut tick = tokio::time::interval(period);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = &mut *stopped => return Ok(ControlFlow::Break(())),
            step = server.changes.recv() => server.take(step)?,
            _ = tick.tick() => {
                server.tick().await?;
                if server.keeper.table_count() == 0 && door.is_empty() && asked.is_empty() {
                    return Ok(ControlFlow::Continue(()));
                }
            }
            Some(asked) = asked.recv() => server.answer(asked).await?,
            accepted = door.listener.accept() => match accepted {
                Ok((stream, _)) => door.admit(stream),
                Err(_) => tokio::time::sleep(period).await,
            },
        }
    }
}

impl Server {
    /// A published step, into every table.
    fn take(&mut self, step: Option<Result<Arc<Published>, Lagged>>) -> io::Result<()> {
        match step {
            Some(Ok(published)) => {
                self.keeper.apply(&published)?;
                if !published.transaction.changes.is_empty() {
                    self.look_from_views()?;
                }
                Ok(())
            }
            Some(Err(Lagged)) => {
                let (snapshot, changes) = self.tracker.subscribe().map_err(io::Error::other)?;
                self.changes = changes;
                self.keeper.restart(snapshot)
            }
            None => Err(io::Error::other("the tracker ended")),
        }
    }

    /// The barrier: everything that was over before is in the tables after. Gives that moment.
    async fn level(&mut self) -> io::Result<u64> {
        let at_ns = monotonic_ns();
        let revision: Revision = self.tracker.now().map_err(io::Error::other)?.revision();
        while self.keeper.snapshot().revision() < revision {
            let step = self.changes.recv().await;
            self.take(step)?;
        }
        self.keeper.fresh(at_ns);
        Ok(at_ns)
    }

    async fn tick(&mut self) -> io::Result<()> {
        if self.keeper.table_count() == 0 {
            return Ok(());
        }
        self.level().await?;
        self.look_from_views()?;
        let over: Vec<_> = self
            .idle_since
            .iter()
            .filter(|(_, since)| since.elapsed() > LINGER)
            .map(|(namespace, _)| *namespace)
            .collect();
        for namespace in over {
            self.idle_since.remove(&namespace);
            self.keeper.drop_table(namespace);
        }
        Ok(())
    }

    async fn answer(&mut self, asked: Asked) -> io::Result<()> {
        let reply = match asked.wanted {
            Wanted::Sync => {
                let fresh_ns = self.level().await?;
                self.look_from_views()?;
                (Reply { status: Status::Done, view: 0, fresh_ns }, None)
            }
            Wanted::Table { inode, pid } => {
                self.end(asked.connection);
                let fresh_ns = self.level().await?;
                match self.table(asked.connection, inode, pid) {
                    Ok(Ok((view, file))) => {
                        (Reply { status: Status::Done, view, fresh_ns }, Some(file))
                    }
                    Ok(Err(status)) => (refusal(status), None),
                    Err(error) => {
                        log::warn!("no mapped table of namespace {inode}: {error}");
                        (refusal(Status::Failed), None)
                    }
                }
            }
            Wanted::End => {
                self.end(asked.connection);
                return Ok(());
            }
        };
        let _ = asked.answer.send(reply);
        Ok(())
    }

    fn table(
        &mut self,
        connection: u64,
        inode: NamespaceInode,
        pid: Option<u32>,
    ) -> io::Result<Result<(u32, OwnedFd), Status>> {
        let snapshot = Arc::clone(self.keeper.snapshot());
        let Some(namespace) = snapshot.namespace_by_inode(inode).map(|known| known.key) else {
            return Ok(Err(Status::NoNamespace));
        };
        let Some(file) = self.keeper.table(namespace)? else {
            return Ok(Err(Status::NoNamespace));
        };
        let file = file.try_clone_to_owned()?;
        let mut view = None;
        if let Some(pid) = pid {
            let from = self.tracker.viewpoint_of_task(&snapshot, pid).map_err(io::Error::other)?;
            let is_root = Some(from) == snapshot.viewpoint_of_namespace(namespace);
            // Who is in another namespace than that of its descriptor sees that from its root.
            if from.namespace == namespace && !is_root {
                let Some(number) = self.keeper.add_view(from)? else {
                    return Err(io::Error::other("too many processes with a root of their own"));
                };
                view = Some((number, pid));
            }
        }
        self.uses.insert(connection, Use { namespace, view });
        self.idle_since.remove(&namespace);
        Ok(Ok((view.map_or(0, |(number, _)| number), file)))
    }

    /// A connection uses nothing any more.
    fn end(&mut self, connection: u64) {
        let Some(used) = self.uses.remove(&connection) else { return };
        if let Some((number, _)) = used.view {
            self.keeper.drop_view(used.namespace, number);
        }
        if !self.uses.values().any(|other| other.namespace == used.namespace) {
            self.idle_since.insert(used.namespace, Instant::now());
        }
    }

    /// What mounts do to the root directories of those who do not see from their namespace's.
    fn look_from_views(&mut self) -> io::Result<()> {
        let views: Vec<_> = self.uses.values().filter_map(|used| used.view).collect();
        for (number, pid) in views {
            let snapshot = Arc::clone(self.keeper.snapshot());
            // One that is gone keeps what it saw, as long as its connection lives elsewhere.
            if let Ok(from) = self.tracker.viewpoint_of_task(&snapshot, pid) {
                self.keeper.set_view(number, from)?;
            }
        }
        Ok(())
    }
}
