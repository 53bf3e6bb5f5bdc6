//! Operations: which changes belong to which, what they did, and which mounts remember them.
//!
//! An operation gets its number with the first change that it makes, or when it is over. Its changes
//! are counted as they are published, and it is given out with or after the last of them.

use super::State;
use super::apply::task_of;
use crate::maps::Room as _;
use crate::model::{
    Call, CallEvent, Change, ChangeKind, EFFECTS_MAX, Effects, MountEvent, Operation, OperationId,
    Origin, Provenance, Revision, Surroundings, Task, UniqueMountId,
};
use hashbrown::HashMap;
use std::sync::Arc;

/// Threads whose calls have begun and not ended. More than there can be at one time: those whose end
/// was missed.
const OPEN_MAX: usize = 16_384;
/// The word that `comm` of the kernel's workers begins with.
const WORKER: &[u8] = b"kworker/";

/// What is known of operations between two publications, and for how many mounts each is of use.
#[derive(Debug, Default)]
pub(super) struct Operations {
    last: u64,
    /// By thread: it is in one call at a time.
    open: HashMap<u32, Open>,
    /// What operations did so far that are not over, or that nobody was told of.
    effects: HashMap<OperationId, Effects>,
    ended: Vec<Operation>,
    references: HashMap<OperationId, u32>,
    /// Nobody tells of calls: what no call is known for may be anything.
    is_blind: bool,
}

#[derive(Debug)]
struct Open {
    id: OperationId,
    begin_ktime_ns: u64,
    origin: Origin,
    /// Mount namespaces whose mounts were told as gone, and which themselves were not.
    dying: u32,
    /// Who did it, of what is not over with its first changes.
    task: Option<Arc<Task>>,
}

impl Open {
    /// What it was if nothing more is told of it.
    fn end(&self) -> Operation {
        let call = if self.dying > 0 { Call::NamespaceDeath } else { Call::Unseen };
        without_call(self, call, self.task.clone())
    }
}

impl Operations {
    /// Numbers go on after everything was forgotten.
    pub(super) fn renewed(&self) -> Self {
        Self { last: self.last, is_blind: self.is_blind, ..Self::default() }
    }

    /// How many mounts remember each operation.
    pub(super) fn references(&self) -> &HashMap<OperationId, u32> {
        &self.references
    }

    fn next(&mut self) -> Option<OperationId> {
        self.last += 1;
        OperationId::new(self.last)
    }

    /// The operation that a change is part of: of its system call or, if there is none, of the
    /// kernel.
    pub(super) fn of_change(&mut self, origin: Origin) -> Option<OperationId> {
        let is_nobody = origin.tid == 0 && origin.begin_ktime_ns == 0;
        if origin.scan || is_nobody {
            return None;
        }
        if let Some(open) = self.open.get(&origin.tid)
            && open.begin_ktime_ns == origin.begin_ktime_ns
        {
            return Some(open.id);
        }
        if self.open.len() >= OPEN_MAX {
            self.open.clear();
            self.effects.clear();
        }
        let id = self.next()?;
        let begin_ktime_ns = origin.begin_ktime_ns;
        let open = Open { id, begin_ktime_ns, origin, dying: 0, task: None };
        if let Some(missed) = self.open.insert(origin.tid, open) {
            self.ended.push(missed.end());
        }
        Some(id)
    }

    /// The same for what the kernel never does by itself.
    pub(super) fn of_call(&mut self, origin: Origin) -> Option<OperationId> {
        if origin.begin_ktime_ns == 0 { None } else { self.of_change(origin) }
    }

    /// A system call returned.
    pub(super) fn returned(&mut self, origin: Origin, event: CallEvent) {
        let open = self.open.remove(&origin.tid);
        let id = match open {
            Some(open) if open.begin_ktime_ns == origin.begin_ktime_ns => Some(open.id),
            Some(missed) => {
                self.ended.push(missed.end());
                self.next()
            }
            None => self.next(),
        };
        let Some(id) = id else { return };
        let begin_ktime_ns = origin.begin_ktime_ns;
        let duration_ns = origin.ktime_ns.checked_sub(begin_ktime_ns);
        self.ended.push(Operation {
            id,
            call: event.call,
            arguments: event.arguments,
            texts: event.texts,
            result: Some(event.result),
            begin_ktime_ns: if begin_ktime_ns == 0 { origin.ktime_ns } else { begin_ktime_ns },
            duration_ns: duration_ns.filter(|_| begin_ktime_ns != 0),
            task: Arc::new(task_of(origin, event.caller)),
            surroundings: Arc::new(event.surroundings),
            effects: Effects::default(),
        });
    }

    /// Room for operations that are over.
    pub(super) fn give_back(&mut self) {
        self.open.give_back();
        self.effects.give_back();
        self.references.give_back();
    }

    /// Something is over and nobody was told.
    pub(super) fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }
}

impl Effects {
    fn add(&mut self, kind: &ChangeKind, revision: Revision) {
        let first = self.revisions.map_or(revision, |(first, _)| first);
        self.revisions = Some((first, revision));
        let (count, ids, id) = match kind {
            ChangeKind::Attach { mount } => {
                (&mut self.created, &mut self.created_ids, mount.unique_id)
            }
            ChangeKind::Detach { mount } => {
                (&mut self.removed, &mut self.removed_ids, mount.unique_id)
            }
            ChangeKind::Glimpsed { glimpsed, is_attached: true } => {
                (&mut self.created, &mut self.created_ids, glimpsed.unique_id)
            }
            ChangeKind::Glimpsed { glimpsed, is_attached: false } => {
                (&mut self.removed, &mut self.removed_ids, glimpsed.unique_id)
            }
            ChangeKind::Move { mount, .. } | ChangeKind::Attributes { mount, .. } => {
                (&mut self.changed, &mut self.changed_ids, mount.unique_id)
            }
            ChangeKind::SuperBlock { .. }
            | ChangeKind::Rename { .. }
            | ChangeKind::NamespaceBorn { .. }
            | ChangeKind::NamespaceGone { .. } => {
                self.others += 1;
                return;
            }
        };
        *count += 1;
        name(ids, id);
    }
}

/// Names a mount once.
fn name(ids: &mut Vec<UniqueMountId>, id: Option<UniqueMountId>) {
    if let Some(id) = id
        && ids.len() < EFFECTS_MAX
        && !ids.contains(&id)
    {
        ids.push(id);
    }
}

impl State {
    /// Says that nobody tells of system calls: then what no call is known for is not the kernel's
    /// own doing.
    pub fn set_blind_to_calls(&mut self, is_blind: bool) {
        self.operations.is_blind = is_blind;
    }

    /// What is remembered of a mount that an event tells.
    pub(super) fn provenance(&mut self, origin: Origin, event: &MountEvent) -> Provenance {
        let before = self.tables.mount(event.key);
        // Another mount at the same address: the end of the first was lost.
        let before = before.filter(|before| before.unique_id == event.unique_id);
        if let Some(before) = before.map(|before| before.provenance) {
            return before.with_changed_by(self.operations.of_change(origin));
        }
        let created = Provenance::created_by(self.operations.of_change(origin));
        match event.copied_from.and_then(|key| self.tables.mount(key)) {
            Some(original) => created.with_copied_from(original),
            None => created,
        }
    }

    pub(super) fn refer_operations(&mut self, provenance: Provenance) {
        for id in [provenance.created_by, provenance.changed_by].into_iter().flatten() {
            *self.operations.references.entry(id).or_insert(0) += 1;
        }
    }

    /// An operation that no mount remembers is forgotten.
    pub(super) fn release_operations(&mut self, provenance: Provenance) {
        for id in [provenance.created_by, provenance.changed_by].into_iter().flatten() {
            let Some(count) = self.operations.references.get_mut(&id) else { continue };
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.operations.references.remove(&id);
                self.tables.operations.remove(id);
            }
        }
    }

    /// What is over with these changes, and what was over before. Keeps what a mount refers to.
    pub(super) fn end_operations(
        &mut self,
        changes: &[Change],
        tasks: &HashMap<u32, Arc<Task>>,
    ) -> Vec<Arc<Operation>> {
        let revision = self.revision;
        for change in changes {
            if let Some(id) = change.operation {
                self.operations.effects.entry(id).or_default().add(&change.kind, revision);
            }
        }
        self.end_kernel_made(changes, tasks);
        let mut ended = std::mem::take(&mut self.operations.ended);
        for operation in &mut ended {
            operation.effects = self.operations.effects.remove(&operation.id).unwrap_or_default();
        }
        // Of no interest by itself.
        let is_told =
            |operation: &Operation| operation.call != Call::Setns || !operation.effects.is_empty();
        let ended: Vec<_> = ended.into_iter().filter(is_told).map(Arc::new).collect();
        for operation in &ended {
            if self.operations.references.contains_key(&operation.id) {
                self.tables.operations.insert(operation.id, Arc::clone(operation));
            }
        }
        ended
    }

    /// What has no system call is over when no change is open. The death of a namespace is told twice:
    /// its mounts leave, and milliseconds later it is freed.
    fn end_kernel_made(&mut self, changes: &[Change], tasks: &HashMap<u32, Arc<Task>>) {
        let is_one = |_: &u32, open: &mut Open| open.begin_ktime_ns == 0;
        let mut opened: Vec<_> = self.operations.open.extract_if(is_one).collect();
        if opened.is_empty() {
            return;
        }
        opened.sort_by_key(|(_, open)| open.id);
        let mut of_each: HashMap<OperationId, Vec<&Change>> = HashMap::new();
        for change in changes {
            if let Some(id) = change.operation {
                of_each.entry(id).or_default().push(change);
            }
        }
        for (tid, mut open) in opened {
            let of_it = of_each.remove(&open.id).unwrap_or_default();
            if of_it.is_empty() && open.dying == 0 {
                continue;
            }
            open.task = open.task.or_else(|| tasks.get(&tid).cloned());
            for change in &of_it {
                match &change.kind {
                    ChangeKind::Detach { mount } => {
                        open.dying += u32::from(mount.is_namespace_root);
                    }
                    ChangeKind::NamespaceGone { .. } => open.dying = open.dying.saturating_sub(1),
                    _ => {}
                }
            }
            if open.dying > 0 {
                self.operations.open.insert(tid, open);
                continue;
            }
            let task = open.task.clone();
            let is_blind = self.operations.is_blind;
            let call = without_caller(&of_it, task.as_deref(), is_blind);
            self.operations.ended.push(without_call(&open, call, task));
        }
    }
}

/// An operation without a system call that is known.
fn without_call(open: &Open, call: Call, task: Option<Arc<Task>>) -> Operation {
    let Origin { pid, tid, ktime_ns: begin_ktime_ns, .. } = open.origin;
    Operation {
        id: open.id,
        call,
        arguments: [0; 6],
        texts: Vec::new(),
        result: None,
        begin_ktime_ns,
        duration_ns: None,
        task: task.unwrap_or_else(|| Arc::new(Task { pid, tid, ..Task::default() })),
        surroundings: Arc::new(Surroundings::default()),
        effects: Effects::default(),
    }
}

/// What happened while no call of the thread was known, by its changes. `is_blind`: it may have been in
/// one all the same.
fn without_caller(changes: &[&Change], task: Option<&Task>, is_blind: bool) -> Call {
    let any = |is_it: fn(&ChangeKind) -> bool| changes.iter().any(|change| is_it(&change.kind));
    if any(|kind| matches!(kind, ChangeKind::NamespaceBorn { .. })) {
        return Call::Clone;
    }
    let ends_namespace = |kind: &ChangeKind| match kind {
        ChangeKind::NamespaceGone { .. } => true,
        ChangeKind::Detach { mount } => mount.is_namespace_root,
        _ => false,
    };
    if any(ends_namespace) {
        return Call::NamespaceDeath;
    }
    let is_detached = any(|kind| matches!(kind, ChangeKind::Detach { .. }));
    // A worker makes no calls.
    let is_worker = task.is_some_and(|task| task.comm.starts_with(WORKER));
    match (any(|kind| matches!(kind, ChangeKind::Attach { .. })), is_detached) {
        (false, true) if is_worker => Call::Expiry,
        _ if is_blind => Call::Unseen,
        (true, _) => Call::Automount,
        (false, true) => Call::MountpointGone,
        (false, false) => Call::Unseen,
    }
}
