//! Watch and WaitForMount: the calls that stay.

use super::journal::{Entry, Gap, Place, Reader, Step};
use super::limits::{self, Counters, Held, count};
use super::scope::{of_path, only, path, peer_of};
use super::{Agent, Service};
use crate::model::{Coverage, Namespace, NamespaceInode};
use crate::proto::event::to_what;
use crate::proto::mount::{as_of, to_coverage};
use crate::proto::v1;
use crate::query::{HostWay, MountQueries, SnapshotView, Viewpoint, is_at_or_below};
use crate::render::{Happening, Said, Scene, What as Told};
use crate::state::Snapshot;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::{Instant, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use v1::event::Kind;
use v1::watch_response::{Bookmark, Compacted, Lost, Started, Synced, What};

/// What a call of Watch gives.
pub(super) type Watching = ReceiverStream<Result<v1::WatchResponse, Status>>;
type Sender = mpsc::Sender<Result<v1::WatchResponse, Status>>;

/// The reader is gone, or was told why it has to begin anew.
struct Ended;

/// What a watcher wants.
#[derive(Debug)]
struct Filter {
    /// The one namespace that is told of.
    namespace: Option<NamespaceInode>,
    /// At or below this path, as seen from the root of the namespace.
    path: Option<Vec<u8>>,
    kinds: Vec<Kind>,
    operations: bool,
    /// The one namespace that the caller may see: operations of others name paths of theirs.
    only: Option<NamespaceInode>,
    /// Operations of which changes were told lately.
    told: VecDeque<u64>,
}

/// Operations that a watcher remembers: their ends come soon after their changes.
const TOLD_MAX: usize = 64;

/// A watcher's place among all.
pub(super) struct Admission {
    _permit: OwnedSemaphorePermit,
    _of_user: super::incoming::Place,
    _open: Held<fn(&Counters) -> &AtomicU64>,
    reader: Reader,
}

impl Agent {
    /// A place for a call that stays.
    async fn admit(&self, peer: &super::peer::Peer) -> Result<Admission, Status> {
        let taken = Arc::clone(&self.watchers).try_acquire_owned().ok();
        let taken = taken.zip(self.watchers_of_users.take(peer, limits::WATCHERS_OF_USER_MAX));
        let Some((permit, of_user)) = taken else {
            count(&self.counters.watchers_refused);
            return Err(Status::resource_exhausted(
                "as many calls of Watch and WaitForMount are open as the agent allows: end some, \
                 or follow several paths with one",
            ));
        };
        let open = Held::new(&self.counters, (|all| &all.watchers) as fn(&Counters) -> &AtomicU64);
        let reader = self.journal.reader().await;
        let reader = reader.ok_or_else(|| Status::unavailable("the agent ends"))?;
        Ok(Admission { _permit: permit, _of_user: of_user, _open: open, reader })
    }
}

impl Service {
    pub(super) async fn follow(
        &self,
        request: Request<v1::WatchRequest>,
    ) -> Result<Response<Watching>, Status> {
        let (peer, asked) = (peer_of(&request)?, request.into_inner());
        let filter = asked.filter.unwrap_or_default();
        let kinds = kinds(&filter.kinds)?;
        let admission = self.admit(&peer).await?;
        // After the journal has begun: whatever follows this state is in it.
        let now = self.fresh(None).await?;
        let only = only(&peer)?;
        let (namespace, path) = if filter.namespace_only || !filter.path.is_empty() {
            let view = self.view(&peer, asked.viewpoint.as_ref(), None).await?;
            let known = view.snapshot().namespace(view.viewpoint().namespace);
            let wanted = (!filter.path.is_empty()).then(|| path_from_root(&view, &filter.path));
            (known.map(|known| known.inode), wanted.transpose()?)
        } else {
            (only, None)
        };
        let place = match asked.after {
            Some(after) if after.instance == self.instance => {
                Place { revision: after.revision, told: after.events }
            }
            // Of another run: nothing of what followed is kept.
            Some(_) => Place { revision: 0, told: Some(0) },
            None => Place { revision: now.revision().0, told: None },
        };
        if place.revision > now.revision().0 {
            return Err(Status::invalid_argument(format!(
                "there is no revision {}: the index is at {}",
                place.revision,
                now.revision()
            )));
        }
        let (sender, receiver) = mpsc::channel(limits::STREAM_MESSAGES_MAX);
        let watcher = Watcher {
            agent: Arc::clone(&self.0),
            sender,
            filter: Filter {
                namespace,
                path,
                kinds,
                operations: filter.operations,
                only,
                told: VecDeque::new(),
            },
            place,
            coverage: now.coverage().clone(),
            admission,
        };
        let initial = (asked.initial && asked.after.is_none()).then_some(now);
        let mut end = self.end.subscribe();
        tokio::spawn(async move {
            let sender = watcher.sender.clone();
            tokio::select! {
                _ = watcher.run(initial) => {}
                () = sender.closed() => {}
                _ = end.wait_for(|ends| *ends) => {
                    let _ = sender.try_send(Err(Status::unavailable("the agent ends")));
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    pub(super) async fn wait(
        &self,
        request: Request<v1::WaitForMountRequest>,
    ) -> Result<Response<v1::WaitForMountResponse>, Status> {
        let (peer, asked) = (peer_of(&request)?, request.into_inner());
        let deadline = (asked.timeout_ms > 0)
            .then(|| Instant::now().checked_add(Duration::from_millis(asked.timeout_ms)))
            .flatten();
        let admission = self.admit(&peer).await?;
        let mut growth = admission.reader.growth();
        let mut end = self.end.subscribe();
        let latest = v1::Freshness {
            at_least: Some(v1::freshness::AtLeast::Latest(v1::freshness::Latest {})),
        };
        let mut freshness = None;
        loop {
            growth.mark_unchanged();
            let view = self.view(&peer, asked.viewpoint.as_ref(), freshness).await?;
            let answer = view.mount_at(path(&asked.path)).map_err(of_path)?;
            if answer.value.is_none() == asked.until_unmounted {
                return Ok(Response::new(v1::WaitForMountResponse {
                    as_of: Some(as_of(self.instance, answer.revision, &answer.coverage)),
                    mount: answer
                        .value
                        .as_ref()
                        .map(|info| self.mount(&peer, view.snapshot(), info)),
                }));
            }
            freshness = Some(&latest);
            let waited = async {
                tokio::select! {
                    grown = growth.changed() => grown.is_ok(),
                    _ = end.wait_for(|ends| *ends) => false,
                }
            };
            let goes_on = match deadline {
                None => waited.await,
                Some(deadline) => timeout_at(deadline, waited).await.map_err(|_| {
                    Status::deadline_exceeded("what is waited for did not happen in time")
                })?,
            };
            if !goes_on {
                return Err(Status::unavailable("the agent ends"));
            }
        }
    }
}

/// One call of Watch.
struct Watcher {
    agent: Arc<Agent>,
    sender: Sender,
    filter: Filter,
    place: Place,
    coverage: Coverage,
    admission: Admission,
}

impl Watcher {
    async fn run(mut self, initial: Option<Arc<Snapshot>>) -> Result<(), Ended> {
        let mut growth = self.admission.reader.growth();
        // Whether it can go on is known before it is said that it does.
        self.steps().await?;
        self.say(What::Started(Started {})).await?;
        if let Some(snapshot) = initial {
            self.present(&snapshot).await?;
        }
        let mut said = self.place;
        loop {
            growth.mark_unchanged();
            let (steps, end) = self.steps().await?;
            let is_up_to_date = steps.is_empty();
            for step in steps {
                said = self.step(&step, said).await?;
            }
            if is_up_to_date {
                self.place = Place { revision: self.place.revision.max(end), told: None };
                said = self.rest(&mut growth, said).await?;
            }
        }
    }

    /// Waits for something to read; says how far the reader is, if nothing else did for long.
    async fn rest(
        &mut self,
        growth: &mut watch::Receiver<u64>,
        said: Place,
    ) -> Result<Place, Ended> {
        let soon = tokio::time::timeout(limits::BOOKMARK_EVERY, growth.changed()).await;
        match soon {
            Ok(grown) => grown.map_err(|_| Ended).map(|()| said),
            Err(_) if said == self.place => Ok(said),
            Err(_) => {
                self.say(What::Bookmark(Bookmark {})).await?;
                Ok(self.place)
            }
        }
    }

    /// What the journal has next.
    async fn steps(&mut self) -> Result<(Vec<Arc<Step>>, u64), Ended> {
        match self.admission.reader.after(self.place) {
            Ok(found) => Ok(found),
            Err(gap) => {
                let what = match gap {
                    Gap::Lost => What::Lost(Lost {
                        why: String::from("the agent was too slow: begin with what is there now"),
                    }),
                    Gap::Compacted => What::Compacted(Compacted {
                        why: String::from(
                            "what follows this position is not kept: begin with what is there now",
                        ),
                    }),
                };
                count(&self.agent.counters.compacted);
                self.say(what).await?;
                Err(Ended)
            }
        }
    }

    /// Says what is wanted of a step. Gives the place that was said last.
    async fn step(&mut self, step: &Step, said: Place) -> Result<Place, Ended> {
        let told = match self.place {
            Place { revision, told: Some(told) } if revision == step.revision => told,
            _ => 0,
        };
        let mut said = said;
        if self.coverage != *step.coverage {
            self.coverage = Coverage::clone(&step.coverage);
        }
        let count = u32::try_from(step.entries.len()).unwrap_or(u32::MAX);
        for (entry, number) in step.entries.iter().zip(1..).skip(told as usize) {
            let told = (number < count).then_some(number);
            self.place = Place { revision: step.revision, told };
            if let Some(what) = self.filter.wanted(entry, step) {
                self.filter.note(&what);
                // A message has some kilobytes of fields.
                Box::pin(self.say(what)).await?;
                said = self.place;
            }
        }
        self.place = Place { revision: step.revision, told: None };
        Ok(said)
    }

    /// Every mount that is there, a namespace at a time, then `synced`.
    async fn present(&self, snapshot: &Arc<Snapshot>) -> Result<(), Ended> {
        let mut namespaces: Vec<_> = snapshot.namespaces().collect();
        namespaces.sort_by_key(|known| (known.id, known.inode));
        for namespace in namespaces {
            if self.filter.namespace.is_some_and(|only| only != namespace.inode) {
                continue;
            }
            // The work of one namespace at a time: others have their turn in between.
            for what in self.present_in(snapshot, namespace) {
                self.say(what).await?;
            }
        }
        self.say(What::Synced(Synced {})).await
    }

    fn present_in(&self, snapshot: &Snapshot, namespace: &Namespace) -> Vec<What> {
        let mut before = Scene::new(snapshot, self.agent.secrets);
        let mut now = Scene::new(snapshot, self.agent.secrets);
        now.learn(namespace.key);
        let mounts = namespace.keys().filter_map(|key| snapshot.mount(key));
        let whats = mounts.map(|mount| {
            let (revision, coverage) = (snapshot.revision(), snapshot.coverage());
            let what = Told::Present(mount);
            let happening = Happening { wall_ns: 0, what, revision, coverage };
            to_what(&Said::of(&happening, &mut before, &mut now), 0)
        });
        whats
            .filter(|what| match what {
                What::Present(mount) => self.filter.is_inside(mount),
                _ => true,
            })
            .collect()
    }

    async fn say(&self, what: What) -> Result<(), Ended> {
        let message = v1::WatchResponse {
            position: Some(v1::Position {
                instance: self.agent.instance,
                revision: self.place.revision,
                events: self.place.told,
            }),
            coverage: Some(to_coverage(&self.coverage)),
            what: Some(what),
        };
        self.sender.send(Ok(message)).await.map_err(|_| Ended)
    }
}

impl Filter {
    /// The message, if it is wanted.
    fn wanted(&self, entry: &Entry, step: &Step) -> Option<What> {
        let may_be = match entry.kind {
            Some(kind) => self.kinds.is_empty() || self.kinds.contains(&kind),
            None => self.operations || !entry.is_operation,
        };
        let what = if may_be { entry.what() } else { None };
        what.filter(|what| self.wants(what, entry.kind, step))
    }

    fn wants(&self, what: &What, kind: Option<Kind>, step: &Step) -> bool {
        if let What::Operation(done) = what {
            return self.is_concerned(done);
        }
        let Some(kind) = kind else { return true };
        if self.namespace.is_none() && self.path.is_none() {
            return true;
        }
        let What::Event(event) = what else { return true };
        let mounts = [&event.mount, &event.before];
        match kind {
            Kind::Rename => self.is_renamed(step),
            // Namespaces, and mounts of which only a name that was given is known, are at no path.
            _ if event.mount.is_none() => {
                let glimpsed = event.glimpsed.as_ref().and_then(|found| found.namespace);
                let inode = event.namespace.or(glimpsed).map(NamespaceInode);
                self.path.is_none() && inode == self.namespace
            }
            _ => mounts.into_iter().flatten().any(|mount| self.is_inside(mount)),
        }
    }

    /// Remembers which operation a change is part of: whoever was told of it is told of that too.
    fn note(&mut self, what: &What) {
        let What::Event(event) = what else { return };
        if event.operation == 0 || !self.operations || self.told.back() == Some(&event.operation) {
            return;
        }
        if self.told.len() >= TOLD_MAX {
            self.told.pop_front();
        }
        self.told.push_back(event.operation);
    }

    /// An operation concerns whom it is about: those in its mount namespace, if a path that it was
    /// given is at or below the one that is watched; and those who were told of changes of it, if they
    /// may see where it came from.
    fn is_concerned(&self, done: &v1::Operation) -> bool {
        let is_from = |wanted: Option<NamespaceInode>| {
            wanted.is_none_or(|only| done.namespace == Some(only.0))
        };
        if !is_from(self.only) {
            return false;
        }
        if self.told.contains(&done.id) {
            return true;
        }
        let texts = || done.texts.iter().filter_map(|given| given.text.as_deref());
        let is_at = |above: &Vec<u8>| texts().any(|text| is_at_or_below(text, above));
        is_from(self.namespace) && self.path.as_ref().is_none_or(is_at)
    }

    fn is_inside(&self, mount: &v1::Mount) -> bool {
        let is_in = self.namespace.is_none_or(|only| mount.namespace == Some(only.0));
        let is_at = self.path.as_ref().is_none_or(|above| {
            mount.mountpoint.as_deref().is_some_and(|path| is_at_or_below(path, above))
        });
        is_in && is_at
    }

    /// Whether a mount that is wanted has another path after a rename.
    fn is_renamed(&self, step: &Step) -> bool {
        let (Some(inode), Some((old, new))) = (self.namespace, &step.states) else { return true };
        let below = |snapshot: &Snapshot| {
            let namespace = snapshot.namespace_by_inode(inode)?;
            let from = snapshot.viewpoint_of_namespace(namespace.key)?;
            Some(snapshot.below(self.path.as_deref().unwrap_or(b"/"), from))
        };
        below(old) != below(new)
    }
}

fn kinds(kinds: &[i32]) -> Result<Vec<Kind>, Status> {
    let known = |kind: &i32| match Kind::try_from(*kind) {
        Ok(Kind::Unspecified) | Err(_) => {
            Err(Status::invalid_argument(format!("there is no kind of event with number {kind}")))
        }
        Ok(kind) => Ok(kind),
    };
    kinds.iter().map(known).collect()
}

/// A path of a viewpoint as seen from the root of its namespace.
fn path_from_root(view: &SnapshotView, bytes: &[u8]) -> Result<Vec<u8>, Status> {
    // Refuses what is no path.
    view.covering(path(bytes)).map_err(of_path)?;
    let (snapshot, from) = (view.snapshot(), view.viewpoint());
    let whole = snapshot
        .viewpoint_of_namespace(from.namespace)
        .unwrap_or(Viewpoint::nowhere(from.namespace));
    match snapshot.host_path(bytes, from, whole, None) {
        Some(found) if found.way == HostWay::SameMount => {
            Ok(std::os::unix::ffi::OsStringExt::into_vec(found.path.into_os_string()))
        }
        _ => Err(Status::failed_precondition(
            "no path from the root of the mount namespace leads to the viewpoint",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_kinds_are_refused() {
        assert_eq!(kinds(&[1, 6]).unwrap(), [Kind::Attach, Kind::Rename]);
        for kind in [0, 9, -1] {
            assert_eq!(kinds(&[kind]).unwrap_err().code(), tonic::Code::InvalidArgument);
        }
    }
}
