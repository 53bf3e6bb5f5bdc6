//! Operations: their changes, their end, and who remembers them.

use super::tests::{commit, locked, mount, seeded, unlocked, words};
use super::{Published, State};
use crate::model::{
    Bytes, Call, CallEvent, CommitEvent, Event, MountEvent, MountId, MountKey, NamespaceEvent,
    Operation, Origin, Surroundings, UniqueMountId,
};
use mountwatch_common::hook;
use std::sync::Arc;

fn within(begin_ktime_ns: u64) -> Origin {
    Origin { begin_ktime_ns, ..locked(hook::COMMIT) }
}

fn call(call: Call, begin_ktime_ns: u64, result: i64) -> Event {
    let caller = CommitEvent { comm: Bytes::from(&b"mount"[..]), cgroup_id: 0, uid: 0 };
    let event = CallEvent {
        call,
        arguments: [0; 6],
        texts: Vec::new(),
        result,
        caller,
        surroundings: Surroundings::default(),
    };
    let origin = Origin { ktime_ns: begin_ktime_ns + 50, ..within(begin_ktime_ns) };
    Event::Call(origin, Box::new(event))
}

fn unique(key: u64) -> MountEvent {
    let mountpoint = if key == 2 { 101 } else { 102 };
    MountEvent { unique_id: Some(UniqueMountId((1 << 31) + key)), ..mount(key, 1, 100, mountpoint) }
}

fn change(state: &mut State, origin: Origin, event: MountEvent) {
    state.apply(Event::Mount(origin, Box::new(event)));
    state.apply(commit(origin));
}

fn operations(published: &Published) -> &[Arc<Operation>] {
    &published.transaction.operations
}

fn only(published: &Published) -> &Operation {
    match operations(published) {
        [operation] => operation,
        other => panic!("not one operation: {other:?}"),
    }
}

#[test]
fn an_operation_is_told_after_its_changes() {
    let mut state = seeded();
    change(&mut state, within(100), unique(2));
    let changed = state.step().expect("the change ended");
    assert_eq!((words(&changed), operations(&changed).len()), (vec!["attach"], 0));
    let id = changed.transaction.changes.first().unwrap().operation.expect("its number");
    assert!(state.step().is_none(), "it is not over");
    state.apply(call(Call::Mount, 100, 0));
    let over = state.publish().expect("it is over");
    let operation = only(&over);
    assert_eq!((operation.id, operation.call, operation.result), (id, Call::Mount, Some(0)));
    assert_eq!((operation.begin_ktime_ns, operation.duration_ns), (100, Some(50)));
    assert_eq!(operation.effects.created_ids, [UniqueMountId((1 << 31) + 2)]);
    let revision = changed.transaction.revision;
    assert_eq!(operation.effects.revisions, Some((revision, revision)));
    assert_eq!(over.transaction.revision.0, revision.0 + 1);
    assert!(state.publish().is_none(), "once");
}

#[test]
fn calls_of_one_thread_that_are_published_together_stay_apart() {
    let mut state = seeded();
    change(&mut state, within(100), unique(2));
    state.apply(call(Call::Mount, 100, 0));
    change(&mut state, within(200), unique(3));
    state.apply(call(Call::Fsmount, 200, 0));
    state.apply(call(Call::Umount2, 300, -16));
    let published = state.publish().expect("all of it");
    let calls: Vec<_> = operations(&published).iter().map(|one| one.call).collect();
    assert_eq!(calls, [Call::Mount, Call::Fsmount, Call::Umount2]);
    let created: Vec<_> = operations(&published).iter().map(|one| one.effects.created).collect();
    assert_eq!(created, [1, 1, 0]);
    let snapshot = &published.snapshot;
    for (key, operation) in [2, 3].into_iter().zip(operations(&published)) {
        let mount = snapshot.mount(MountKey(key)).unwrap();
        assert_eq!(mount.provenance.created_by, Some(operation.id));
        assert_eq!(snapshot.operation(operation.id), Some(operation));
    }
    assert_eq!(state.violations(), Vec::<String>::new());
}

#[test]
fn a_failure_is_told_and_remembered_by_nobody() {
    let mut state = seeded();
    state.apply(call(Call::Umount2, 100, -16));
    let published = state.publish().expect("it is over");
    let operation = only(&published);
    assert_eq!((operation.errno_name(), operation.effects.is_empty()), (Some("EBUSY"), true));
    assert!(published.snapshot.operation(operation.id).is_none());
    state.apply(call(Call::Setns, 200, 0));
    assert!(state.publish().is_none_or(|published| operations(&published).is_empty()));
}

#[test]
fn an_operation_is_forgotten_with_the_last_mount_that_remembers_it() {
    let mut state = seeded();
    change(&mut state, within(100), unique(2));
    state.apply(call(Call::Mount, 100, 0));
    let made = only(&state.publish().expect("made")).id;
    change(&mut state, within(200), MountEvent { unbindable: true, ..unique(2) });
    state.apply(call(Call::MountSetattr, 200, 0));
    let first = only(&state.publish().expect("changed")).id;
    change(&mut state, within(300), MountEvent { unbindable: false, ..unique(2) });
    state.apply(call(Call::MountSetattr, 300, 0));
    let published = state.publish().expect("changed again");
    let last = only(&published).id;
    let known = |id| published.snapshot.operation(id).is_some();
    assert_eq!([made, first, last].map(known), [true, false, true]);
    let provenance = published.snapshot.mount(MountKey(2)).unwrap().provenance;
    assert_eq!((provenance.created_by, provenance.changed_by), (Some(made), Some(last)));
    assert_eq!(state.violations(), Vec::<String>::new());
    state.apply(Event::MountGone(within(400), Box::new(unique(2))));
    state.apply(commit(within(400)));
    state.apply(call(Call::Umount2, 400, 0));
    let published = state.publish().expect("gone");
    assert_eq!(only(&published).effects.removed, 1);
    assert_eq!(published.snapshot.operations().count(), 0);
}

#[test]
fn a_copy_knows_its_original() {
    let mut state = seeded();
    change(&mut state, within(100), unique(2));
    let copy = MountEvent { copied_from: Some(MountKey(2)), ..unique(3) };
    change(&mut state, within(200), copy);
    let published = state.publish().expect("both");
    let provenance = |key| published.snapshot.mount(MountKey(key)).unwrap().provenance;
    assert_eq!(provenance(3).copied_from(), Some(UniqueMountId((1 << 31) + 2)));
    assert_eq!((provenance(2).copied_from(), provenance(2).copied_from_id()), (None, None));
    let old = MountEvent { copied_from: Some(MountKey(1)), ..mount(4, 1, 100, 102) };
    change(&mut state, within(300), old);
    let published = state.publish().expect("of one without a unique ID");
    let provenance = published.snapshot.mount(MountKey(4)).unwrap().provenance;
    assert_eq!(provenance.copied_from_id(), Some(MountId(1)));
}

#[test]
fn what_the_kernel_does_by_itself_is_told_with_its_changes() {
    let gone = |event: MountEvent| Event::MountGone(within(0), Box::new(event));
    let mut state = seeded();
    change(&mut state, within(0), unique(2));
    let published = state.publish().expect("an automount");
    let operation = only(&published);
    assert_eq!((operation.call, operation.result), (Call::Automount, None));
    assert_eq!(published.transaction.changes.first().unwrap().operation, Some(operation.id));
    state.apply(gone(unique(2)));
    state.apply(commit(within(0)));
    assert_eq!(only(&state.publish().expect("a detach")).call, Call::MountpointGone);
    change(&mut state, within(0), unique(2));
    state.publish();
    state.apply(gone(unique(2)));
    let worker = CommitEvent { comm: Bytes::from(&b"kworker/0:1"[..]), cgroup_id: 0, uid: 0 };
    state.apply(Event::Commit(within(0), worker));
    assert_eq!(only(&state.publish().expect("a detach")).call, Call::Expiry);
    state.set_blind_to_calls(true);
    change(&mut state, within(0), unique(2));
    assert_eq!(only(&state.publish().expect("a mount")).call, Call::Unseen);
}

#[test]
fn the_death_of_a_namespace_is_one_operation() {
    let mut state = seeded();
    let root = super::tests::root_mount();
    let gone = NamespaceEvent {
        key: root.namespace.expect("it is in one"),
        id: None,
        inode: root.namespace_inode,
        is_anonymous: false,
        task: None,
    };
    state.apply(Event::MountGone(within(0), Box::new(root)));
    state.apply(commit(within(0)));
    let mounts = state.publish().expect("its mounts are gone");
    assert!(operations(&mounts).is_empty(), "it is not over");
    state.apply(Event::NamespaceGone(within(0), gone));
    let published = state.publish().expect("it is gone");
    let operation = only(&published);
    assert_eq!((operation.call, operation.effects.removed), (Call::NamespaceDeath, 1));
    assert!(!operation.task.comm.is_empty(), "whoever it was");
    let id = Some(operation.id);
    for told in [&mounts, &published] {
        assert!(told.transaction.changes.iter().all(|change| change.operation == id));
    }
}

#[test]
fn a_call_whose_end_is_missed_is_told_when_the_next_one_begins() {
    let mut state = seeded();
    change(&mut state, within(100), unique(2));
    let missed = state.publish().expect("a change");
    change(&mut state, within(200), unique(3));
    let published = state.publish().expect("another");
    let operation = only(&published);
    assert_eq!(operation.call, Call::Unseen);
    assert_eq!(Some(operation.id), missed.transaction.changes.first().unwrap().operation);
    assert_eq!(operation.effects.created, 1);
}

#[test]
fn a_scan_is_no_operation_and_renames_are_none() {
    let mut state = seeded();
    let rename = super::tests::dentry(101, 100, "c");
    state.apply(Event::Dentry(unlocked(hook::RENAME, 7), rename));
    state.apply(commit(unlocked(hook::RENAME, 7)));
    let published = state.publish();
    assert!(published.is_none_or(|published| operations(&published).is_empty()));
    let mark = state.begin_scan();
    let scan = super::tests::scan();
    state.apply(Event::Mount(scan, Box::new(super::tests::root_mount())));
    state.apply(Event::Mount(scan, Box::new(unique(2))));
    state.end_scan(mark, super::tests::root_mount().namespace_inode);
    let published = state.publish().expect("found by a scan");
    assert!(operations(&published).is_empty());
    assert!(published.transaction.changes.iter().all(|change| change.operation.is_none()));
    assert!(published.snapshot.mount(MountKey(2)).unwrap().provenance.created_by.is_none());
}
