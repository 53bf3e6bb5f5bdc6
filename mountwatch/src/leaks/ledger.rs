//! What came since the start and is still there, step by step.

use super::order;
use super::unmount::Around;
use super::{Left, LeftMount, LeftNamespace, Maker, Owner};
use crate::model::{
    Change, ChangeKind, Descent, Holders, Mount, MountId, MountKey, Namespace, NamespaceInode,
    NamespaceKey, Operation, OperationId, Revision, Task, UniqueMountId,
};
use crate::query::Viewpoint;
use crate::state::{Published, Snapshot, Tables};
use hashbrown::{HashMap, HashSet};
use std::sync::Arc;

/// Notes what came since a snapshot.
#[derive(Debug)]
pub struct Ledger {
    mounts: HashMap<MountKey, Noted>,
    /// Born since the start; `None`: by somebody else.
    namespaces: HashMap<NamespaceKey, Option<Born>>,
    /// Those that attached or made what is noted here, once they are over.
    operations: HashMap<OperationId, Option<Arc<Operation>>>,
    revision: Revision,
    gaps: u64,
}

/// Operations of what is gone again that are kept before they are dropped all at once.
const OPERATIONS_SPARE: usize = 1_024;

/// A mount that came since the start.
#[derive(Clone, Debug)]
struct Noted {
    id: MountId,
    unique_id: Option<UniqueMountId>,
    /// Copied with its namespace, of which it is a part.
    is_part: bool,
    by: By,
}

impl Noted {
    fn is(&self, mount: &Mount) -> bool {
        (self.id, self.unique_id) == (mount.id, mount.unique_id)
    }
}

#[derive(Clone, Debug)]
struct Born {
    inode: NamespaceInode,
    by: By,
}

#[derive(Clone, Debug)]
struct By {
    owner: Owner,
    task: Option<Arc<Task>>,
    ktime_ns: u64,
    operation: Option<OperationId>,
}

impl By {
    const NOBODY: Self = Self { owner: Owner::Unknown, task: None, ktime_ns: 0, operation: None };

    /// `None`: somebody else did it.
    fn of(change: &Change) -> Option<Self> {
        let descent = change.task.as_ref().map_or(Descent::Unknown, |task| task.descent);
        let owner = Owner::of(descent)?;
        let (task, ktime_ns) = (change.task.clone(), change.ktime_ns);
        Some(Self { owner, task, ktime_ns, operation: change.operation })
    }

    /// The same by the operation that made a mount, if that is known.
    fn of_operation(tables: &Tables, mount: &Mount) -> Option<Self> {
        let operation = mount.provenance.created_by.and_then(|id| tables.operation(id));
        let Some(operation) = operation else { return Some(Self::NOBODY) };
        let owner = Owner::of(operation.task.descent)?;
        let task = Some(Arc::clone(&operation.task));
        let (ktime_ns, operation) = (operation.begin_ktime_ns, Some(operation.id));
        Some(Self { owner, task, ktime_ns, operation })
    }
}

impl Owner {
    fn of(descent: Descent) -> Option<Self> {
        match descent {
            Descent::No => None,
            Descent::Yes => Some(Self::Descendant),
            Descent::Unknown => Some(Self::Unknown),
        }
    }
}

impl Ledger {
    /// Begins with nothing, after a snapshot.
    pub fn new(start: &Snapshot) -> Self {
        Self {
            mounts: HashMap::new(),
            namespaces: HashMap::new(),
            operations: HashMap::new(),
            revision: start.revision(),
            gaps: 0,
        }
    }

    /// The last step that was taken.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// How often steps were missed ([`Self::skip_to`]).
    pub fn gaps(&self) -> u64 {
        self.gaps
    }

    /// Takes the next step.
    pub fn take(&mut self, step: &Published) {
        self.revision = step.transaction.revision;
        // A namespace and its mounts come in one step, in any order.
        let mut births = HashSet::new();
        for change in &step.transaction.changes {
            if let ChangeKind::NamespaceBorn { namespace, inode } = &change.kind {
                births.insert(*namespace);
                let born = By::of(change).map(|by| Born { inode: *inode, by });
                self.expect(born.as_ref().and_then(|born| born.by.operation));
                self.namespaces.insert(*namespace, born);
            }
        }
        for change in &step.transaction.changes {
            match &change.kind {
                ChangeKind::Attach { mount } => {
                    self.attached(mount, change, births.contains(&mount.namespace));
                }
                ChangeKind::Detach { mount } => {
                    self.mounts.remove(&mount.key);
                }
                ChangeKind::NamespaceGone { namespace, .. } => {
                    self.namespaces.remove(namespace);
                }
                _ => {}
            }
        }
        // It is told with its changes or after them.
        for operation in &step.transaction.operations {
            if let Some(place) = self.operations.get_mut(&operation.id) {
                *place = Some(Arc::clone(operation));
            }
        }
    }

    fn expect(&mut self, operation: Option<OperationId>) {
        let Some(id) = operation else { return };
        self.operations.entry(id).or_default();
        let noted = self.mounts.len() + self.namespaces.len();
        if self.operations.len() > 2 * noted + OPERATIONS_SPARE {
            let of_mounts = self.mounts.values().filter_map(|noted| noted.by.operation);
            let born = self.namespaces.values().flatten();
            let of_namespaces = born.filter_map(|born| born.by.operation);
            let used: HashSet<_> = of_mounts.chain(of_namespaces).chain([id]).collect();
            self.operations.retain(|id, _| used.contains(id));
        }
    }

    fn attached(&mut self, mount: &Mount, change: &Change, is_birth: bool) {
        match self.namespaces.get(&mount.namespace) {
            // What a scan finds in a new namespace was copied with it, as far as anybody knows.
            Some(born) if is_birth || change.task.is_none() => {
                let by = born.as_ref().map(|born| born.by.clone());
                self.note(mount, true, by);
            }
            _ => self.note(mount, false, By::of(change)),
        }
    }

    /// `by`: `None` for somebody else.
    fn note(&mut self, mount: &Mount, is_part: bool, by: Option<By>) {
        // Another mount may have had its key.
        self.mounts.remove(&mount.key);
        if let Some(by) = by {
            self.expect(by.operation);
            let (id, unique_id) = (mount.id, mount.unique_id);
            self.mounts.insert(mount.key, Noted { id, unique_id, is_part, by });
        }
    }

    /// Steps were missed: goes on after the snapshot `now`. `start` is the one with which this began.
    /// What is new since then and was not noted is of nobody who is known, unless the operation that
    /// made it says who it was. Takes time for every mount.
    pub fn skip_to(&mut self, start: &Snapshot, now: &Snapshot) {
        self.gaps += 1;
        self.revision = now.revision();
        for namespace in now.namespaces() {
            let is_same =
                |known: &Namespace| (known.inode, known.id) == (namespace.inode, namespace.id);
            let was_there = start.namespace(namespace.key).is_some_and(|known| is_same(known));
            if !was_there && !self.namespaces.contains_key(&namespace.key) {
                let root = namespace.root.and_then(|key| now.mount(key));
                let by = root.map_or(Some(By::NOBODY), |root| By::of_operation(now, root));
                let born = by.map(|by| Born { inode: namespace.inode, by });
                self.namespaces.insert(namespace.key, born);
            }
        }
        for mount in now.mounts().filter(|mount| now.is_attached(mount)) {
            let was_there = start.mount(mount.key).is_some_and(|known| {
                (known.id, known.unique_id) == (mount.id, mount.unique_id)
                    && start.is_attached(known)
            });
            let is_noted = self.mounts.get(&mount.key).is_some_and(|noted| noted.is(mount));
            if !was_there && !is_noted {
                let is_part = self.namespaces.contains_key(&mount.namespace);
                self.note(mount, is_part, By::of_operation(now, mount));
            }
        }
    }

    /// The namespaces that were made and not ended: who holds them has to be known for
    /// [`Self::left`].
    pub fn namespaces(&self) -> impl Iterator<Item = NamespaceInode> + '_ {
        self.namespaces.values().flatten().map(|born| born.inode)
    }

    /// The namespaces in which something was left: the same.
    pub fn namespaces_of_mounts(&self, now: &Tables) -> HashSet<NamespaceInode> {
        let mounts = self.mounts(now);
        let namespaces = mounts.iter().filter_map(|mount| now.namespace(mount.namespace));
        namespaces.map(|known| known.inode).collect()
    }

    /// What is left of it all. `from`: the root directory of whoever asks. `holders`: of the
    /// namespaces in question.
    pub fn left(&self, now: &Snapshot, from: Viewpoint, holders: &Holders) -> Left {
        let mounts = self.mounts(now);
        let around = Around::new(now, from, holders, &mounts);
        let mut left = Left::default();
        for turn in order::turns(now, &mounts, from) {
            let Some(noted) = self.mounts.get(&turn.mount.key) else { continue };
            let path = around.path(&turn.mount);
            left.mounts.push(LeftMount {
                maker: self.maker(&noted.by, now),
                unmount: around.unmount(&turn, path.as_deref()),
                foreign_children: around.foreign_children(turn.mount.key),
                path,
                mount: turn.mount,
            });
        }
        for (key, born) in &self.namespaces {
            let (Some(born), Some(namespace)) = (born, now.namespace(*key)) else { continue };
            if namespace.inode != born.inode {
                continue;
            }
            left.namespaces.push(LeftNamespace {
                maker: self.maker(&born.by, now),
                namespace: Arc::clone(namespace),
                release: around.release(namespace.inode),
            });
        }
        left.namespaces.sort_by_key(|left| (left.maker.ktime_ns, left.namespace.inode));
        left
    }

    fn maker(&self, by: &By, tables: &Tables) -> Maker {
        let known = by.operation.and_then(|id| {
            self.operations.get(&id).cloned().flatten().or_else(|| tables.operation(id).cloned())
        });
        Maker { owner: by.owner, task: by.task.clone(), ktime_ns: by.ktime_ns, operation: known }
    }

    /// The mounts that are still there, but those that are parts of their namespaces.
    fn mounts(&self, now: &Tables) -> Vec<Arc<Mount>> {
        let noted = self.mounts.iter().filter(|(_, noted)| !noted.is_part);
        noted
            .filter_map(|(key, noted)| now.mount(*key).filter(|mount| noted.is(mount)))
            .filter(|mount| now.is_attached(mount))
            .cloned()
            .collect()
    }
}
