//! The keeper of the tables: from each published step to what it changes in each of them.

use super::source::{OfNamespace, code_of};
use crate::model::{ChangeKind, DentryKey, Mount, NamespaceKey};
use crate::query::Viewpoint;
use crate::state::{Published, Snapshot};
use hashbrown::HashMap;
use mountwatch_mapped::layout;
use mountwatch_mapped::writer::{Footing, Identity, Room, Touched, Writer};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// How old a table may become before its readers say that nobody keeps it: longer than the tracker
/// waits for a change that was begun, and much longer than the time between two barriers.
const FRESH_MAX_NS: u64 = 5_000_000_000;
/// How often a table may turn out to be too small while it is made.
const DOUBLINGS_MAX: u32 = 12;

/// Keeps the tables of those mount namespaces that were asked for. Not one of its methods waits.
#[derive(Debug)]
pub struct Keeper {
    snapshot: Arc<Snapshot>,
    tables: HashMap<NamespaceKey, Writer>,
    fresh_ns: u64,
    /// Tables that did not have what the index has, and were made anew.
    healed: u64,
}

impl Keeper {
    /// No tables yet; the state from which the steps go on.
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        Self { snapshot, tables: HashMap::new(), fresh_ns: 0, healed: 0 }
    }

    /// The state that the tables show.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// How many tables are kept.
    pub fn table_count(&self) -> usize {
        self.tables.len()
    }

    /// Tables that turned out to be wrong and were made anew; 0 unless there is a bug.
    pub fn healed(&self) -> u64 {
        self.healed
    }

    /// The memory of a namespace's table, sealed. It is made if there is none yet, which takes time
    /// for each of its mounts; from then on each change is written. `None`: no such namespace.
    pub fn table(&mut self, namespace: NamespaceKey) -> io::Result<Option<BorrowedFd<'_>>> {
        if self.snapshot.namespace(namespace).is_none() {
            return Ok(None);
        }
        if !self.tables.contains_key(&namespace) {
            let table = make(&self.snapshot, namespace, None)?;
            table.fresh(self.fresh_ns);
            self.tables.insert(namespace, table);
        }
        Ok(self.tables.get(&namespace).map(Writer::file))
    }

    /// Bytes of memory that a table takes.
    pub fn memory_bytes(&self, namespace: NamespaceKey) -> io::Result<u64> {
        self.tables.get(&namespace).map_or(Ok(0), Writer::memory_bytes)
    }

    /// Nobody reads this table any more.
    pub fn drop_table(&mut self, namespace: NamespaceKey) {
        if let Some(table) = self.tables.remove(&namespace) {
            table.leave(layout::STATE_CLOSED);
        }
    }

    /// Writes a published step into every table, in time for what it changed.
    pub fn apply(&mut self, published: &Published) -> io::Result<()> {
        if published.is_anew {
            return self.restart(Arc::clone(&published.snapshot));
        }
        self.snapshot = Arc::clone(&published.snapshot);
        let touched = Touches::of(published);
        let namespaces: Vec<_> = self.tables.keys().copied().collect();
        for namespace in namespaces {
            self.apply_to(namespace, &touched.for_table(namespace))?;
        }
        Ok(())
    }

    /// Goes on from another state, with steps in between that nobody told.
    pub fn restart(&mut self, snapshot: Arc<Snapshot>) -> io::Result<()> {
        self.snapshot = snapshot;
        let namespaces: Vec<_> = self.tables.keys().copied().collect();
        for namespace in namespaces {
            if self.snapshot.namespace(namespace).is_some() {
                self.replace(namespace)?;
            } else {
                self.drop_table(namespace);
            }
        }
        Ok(())
    }

    /// Everything that was over before this moment (CLOCK_MONOTONIC) is in the tables.
    pub fn fresh(&mut self, at_ns: u64) {
        self.fresh_ns = at_ns;
        for table in self.tables.values() {
            table.fresh(at_ns);
        }
    }

    /// A view of a table that is not the root of its namespace; `None` if there are too many.
    pub fn add_view(&mut self, from: Viewpoint) -> io::Result<Option<u32>> {
        let Some(table) = self.tables.get_mut(&from.namespace) else { return Ok(None) };
        let number = table.add_view();
        if let Some(number) = number {
            table.set_view(number, place(from));
            self.apply_to(from.namespace, &Touched::default())?;
        }
        Ok(number)
    }

    /// From where a view sees now.
    pub fn set_view(&mut self, number: u32, from: Viewpoint) -> io::Result<()> {
        if let Some(table) = self.tables.get_mut(&from.namespace) {
            table.set_view(number, place(from));
            self.apply_to(from.namespace, &Touched::default())?;
        }
        Ok(())
    }

    /// Nobody sees from there any more.
    pub fn drop_view(&mut self, namespace: NamespaceKey, number: u32) {
        if let Some(table) = self.tables.get_mut(&namespace) {
            table.drop_view(number);
        }
    }

    fn apply_to(&mut self, namespace: NamespaceKey, touched: &Touched) -> io::Result<()> {
        let Some(known) = self.snapshot.namespace(namespace) else {
            self.drop_table(namespace);
            return Ok(());
        };
        let Some(table) = self.tables.get_mut(&namespace) else { return Ok(()) };
        let source = OfNamespace { tables: &self.snapshot, namespace };
        let written = table.apply(&source, touched, &footing(&self.snapshot, namespace));
        if written.is_ok() && table.mount_count() == known.mount_count() {
            return Ok(());
        }
        if written.is_ok() {
            log::error!("a mapped table lost track of its namespace; it is made anew");
            self.healed += 1;
        }
        self.replace(namespace)
    }

    /// Another table in the place of one.
    fn replace(&mut self, namespace: NamespaceKey) -> io::Result<()> {
        // Whatever comes of it, nobody may go on reading the old one.
        let before = self.tables.remove(&namespace);
        if let Some(before) = &before {
            before.leave(layout::STATE_MOVED);
        }
        let table = make(&self.snapshot, namespace, before.as_ref())?;
        table.fresh(self.fresh_ns);
        self.tables.insert(namespace, table);
        Ok(())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        for table in self.tables.values() {
            table.leave(layout::STATE_CLOSED);
        }
    }
}

fn make(
    snapshot: &Snapshot,
    namespace: NamespaceKey,
    before: Option<&Writer>,
) -> io::Result<Writer> {
    let known = snapshot.namespace(namespace);
    let known = known.ok_or_else(|| io::Error::other("the mount namespace is gone"))?;
    let mounts: Vec<u64> = known.keys().map(|key| key.0).collect();
    let mut room = Room::for_mounts(mounts.len());
    let touched = Touched { mounts, ..Touched::default() };
    let source = OfNamespace { tables: snapshot, namespace };
    for _ in 0..DOUBLINGS_MAX {
        let identity = Identity {
            inode: known.inode.0,
            id: known.id.map(|id| id.0),
            seed: random()?,
            epoch: random()?,
            fresh_max_ns: FRESH_MAX_NS,
        };
        let mut table = Writer::create(&identity, room)?;
        if let Some(before) = before {
            table.adopt_views(before);
        }
        if table.apply(&source, &touched, &footing(snapshot, namespace)).is_ok() {
            return Ok(table);
        }
        room = room.doubled();
    }
    Err(io::Error::other("the mount namespace is too large for a mapped table"))
}

fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u64::from_ne_bytes(bytes))
}

fn footing(snapshot: &Snapshot, namespace: NamespaceKey) -> Footing<'_> {
    let coverage =
        snapshot.namespace(namespace).map_or(snapshot.coverage(), |known| &known.coverage);
    Footing {
        revision: snapshot.revision().0,
        coverage: code_of(coverage),
        sentences: coverage.blind(),
        view: snapshot.viewpoint_of_namespace(namespace).and_then(place),
    }
}

fn place(from: Viewpoint) -> Option<(u64, u64)> {
    let is_somewhere = from != Viewpoint::nowhere(from.namespace);
    is_somewhere.then_some((from.mount.0, from.dentry.0))
}

/// What a transaction touched, by namespace.
#[derive(Debug, Default)]
struct Touches {
    mounts: HashMap<NamespaceKey, Vec<u64>>,
    shown: Vec<(NamespaceKey, DentryKey)>,
    dentries: Vec<u64>,
    supers: Vec<u64>,
}

impl Touches {
    fn of(published: &Published) -> Self {
        let supers = published.supers.iter().map(|key| key.0).collect();
        let mut touches = Self { supers, ..Self::default() };
        for change in &published.transaction.changes {
            match &change.kind {
                ChangeKind::Attach { mount } | ChangeKind::Detach { mount } => touches.mount(mount),
                ChangeKind::Move { before, mount } | ChangeKind::Attributes { before, mount } => {
                    touches.mount(before);
                    touches.mount(mount);
                }
                ChangeKind::Rename { dentry, .. } => touches.dentries.push(dentry.0),
                ChangeKind::SuperBlock { .. }
                | ChangeKind::Glimpsed { .. }
                | ChangeKind::NamespaceBorn { .. }
                | ChangeKind::NamespaceGone { .. } => {}
            }
        }
        touches
    }

    fn mount(&mut self, mount: &Mount) {
        self.mounts.entry(mount.namespace).or_default().push(mount.key.0);
        self.shown.push((mount.namespace, mount.root));
    }

    fn for_table(&self, namespace: NamespaceKey) -> Touched {
        let elsewhere = self.shown.iter().filter(|(other, _)| *other != namespace);
        Touched {
            mounts: self.mounts.get(&namespace).cloned().unwrap_or_default(),
            dentries: self.dentries.clone(),
            supers: self.supers.clone(),
            shown_elsewhere: elsewhere.map(|(_, root)| root.0).collect(),
        }
    }
}
