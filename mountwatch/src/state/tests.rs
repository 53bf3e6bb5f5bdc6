//! The core by tables and properties: events in, snapshots out.

use super::{Need, Published, Retired, State};
use crate::model::{
    Bytes, ChangeKind, CommitEvent, Coverage, DentryEvent, DentryKey, Device, Event,
    GroupDeadEvent, MountEvent, MountId, MountKey, NamespaceEvent, NamespaceInode, NamespaceKey,
    Origin, PeerGroupId, SuperEvent, SuperFlags, SuperKey,
};
use mountwatch_common::hook;

const NS: NamespaceKey = NamespaceKey(0x1000);
const INODE: NamespaceInode = NamespaceInode(4_026_531_841);

pub(super) fn locked(hook: hook::Hook) -> Origin {
    Origin { hook, in_transaction: true, ktime_ns: 1, pid: 10, tid: 11, ..Origin::NOBODY }
}

pub(super) fn unlocked(hook: hook::Hook, tid: u32) -> Origin {
    Origin { hook, ktime_ns: 1, pid: 10, tid, ..Origin::NOBODY }
}

pub(super) fn scan() -> Origin {
    Origin { hook: hook::SCAN, scan: true, ..Origin::default() }
}

pub(super) fn mount(key: u64, parent: u64, root: u64, mountpoint: u64) -> MountEvent {
    MountEvent {
        key: MountKey(key),
        parent: MountKey(parent),
        namespace: Some(NS),
        super_block: SuperKey(900),
        root: DentryKey(root),
        mountpoint: DentryKey(mountpoint),
        id: MountId(u32::try_from(key).unwrap()),
        parent_id: MountId(u32::try_from(parent).unwrap()),
        namespace_inode: INODE,
        source: Bytes::from(&b"none"[..]),
        ..MountEvent::default()
    }
}

pub(super) fn root_mount() -> MountEvent {
    MountEvent { is_namespace_root: true, ..mount(1, 1, 100, 100) }
}

pub(super) fn dentry(key: u64, parent: u64, name: &str) -> DentryEvent {
    DentryEvent {
        key: DentryKey(key),
        parent: DentryKey(parent),
        name: name.as_bytes().into(),
        is_deleted: false,
        is_literal: false,
    }
}

pub(super) fn super_block(options_stale: bool) -> SuperEvent {
    SuperEvent {
        key: SuperKey(900),
        device: Device::new(0, 20),
        magic: 0,
        flags: SuperFlags::empty(),
        fs_type: Bytes::from(&b"tmpfs"[..]),
        options_stale,
        options: None,
    }
}

pub(super) fn commit(origin: Origin) -> Event {
    let event = CommitEvent { comm: Bytes::from(&b"mount"[..]), cgroup_id: 0, uid: 0 };
    Event::Commit(origin, event)
}

pub(super) fn in_transaction(event: MountEvent) -> Event {
    Event::Mount(locked(hook::COMMIT), Box::new(event))
}

/// One namespace with a root, the directories /a and /a/b, and nothing mounted on them.
pub(super) fn seeded() -> State {
    let mut state = State::new(Vec::new());
    let mark = state.begin_scan();
    state.apply(Event::Super(scan(), super_block(false)));
    state.apply(Event::Dentry(scan(), dentry(100, 100, "")));
    state.apply(Event::Dentry(scan(), dentry(101, 100, "a")));
    state.apply(Event::Dentry(scan(), dentry(102, 101, "b")));
    state.apply(Event::Mount(scan(), Box::new(root_mount())));
    state.end_scan(mark, INODE);
    state.end_scan_of_all(mark, &[INODE]);
    let first = state.publish().expect("the first snapshot");
    assert_eq!(first.snapshot.coverage(), &Coverage::Complete);
    assert!(first.transaction.changes.is_empty(), "the seed is no change");
    state
}

pub(super) fn attach(state: &mut State, key: u64, mountpoint: u64) -> Published {
    state.apply(in_transaction(mount(key, 1, 100, mountpoint)));
    state.apply(commit(locked(hook::COMMIT)));
    state.publish().expect("a change")
}

pub(super) fn words(published: &Published) -> Vec<&'static str> {
    published.transaction.changes.iter().map(|change| change.kind.word()).collect()
}

#[test]
fn a_transaction_is_seen_whole_or_not_at_all() {
    let mut state = seeded();
    state.apply(in_transaction(mount(2, 1, 100, 101)));
    assert!(state.publish().is_none(), "it is open");
    state.apply(in_transaction(mount(3, 2, 100, 102)));
    assert!(state.publish().is_none(), "it is open");
    state.apply(commit(locked(hook::COMMIT)));
    let published = state.publish().expect("it ended");
    assert_eq!(words(&published), ["attach", "attach"]);
    let task = published.transaction.changes.first().unwrap().task.as_ref().expect("who");
    assert_eq!((task.pid, &task.comm[..]), (10, &b"mount"[..]));
    assert_eq!(state.violations(), Vec::<String>::new());
}

#[test]
fn what_comes_and_goes_between_two_publications_is_two_steps() {
    let mut state = seeded();
    state.apply(in_transaction(mount(2, 1, 100, 101)));
    assert!(state.step().is_none(), "it is open");
    state.apply(commit(locked(hook::COMMIT)));
    let came = state.step().expect("the first change ended");
    assert_eq!(words(&came), ["attach"]);
    assert!(state.step().is_none(), "once");
    state.apply(Event::MountGone(locked(hook::COMMIT), Box::new(mount(2, 1, 100, 101))));
    state.apply(commit(locked(hook::COMMIT)));
    let went = state.publish().expect("the second");
    assert_eq!(words(&went), ["detach"]);
    assert_eq!(went.snapshot.revision().0, came.snapshot.revision().0 + 1);
    let lossy = came.was_lossy().snapshot;
    assert_eq!(lossy.coverage(), &Coverage::Stale);
    assert!(lossy.namespaces().all(|known| known.coverage == Coverage::Stale));
}

#[test]
fn an_unlocked_change_waits_for_its_own_commit_alone() {
    let mut state = seeded();
    attach(&mut state, 2, 101);
    let mut changed = mount(2, 1, 100, 101);
    changed.unbindable = true;
    state.apply(Event::Mount(unlocked(hook::REMOUNT, 20), Box::new(changed)));
    state.apply(in_transaction(mount(3, 1, 100, 102)));
    state.apply(commit(locked(hook::COMMIT)));
    assert!(state.publish().is_none(), "thread 20 has not ended");
    state.apply(commit(unlocked(hook::REMOUNT, 20)));
    let published = state.publish().expect("both ended");
    assert_eq!(words(&published), ["attributes", "attach"]);
}

#[test]
fn a_mount_that_came_and_went_in_one_transaction_is_no_change() {
    let mut state = seeded();
    state.apply(in_transaction(mount(2, 1, 100, 101)));
    state.apply(Event::MountGone(locked(hook::PROPAGATION), Box::new(mount(2, 1, 100, 101))));
    state.apply(commit(locked(hook::COMMIT)));
    let published = state.publish();
    assert!(published.is_none_or(|published| published.transaction.changes.is_empty()));
}

#[test]
fn paths_follow_renames_and_moves() {
    let mut state = seeded();
    attach(&mut state, 2, 102);
    let view = |state: &State| state.tables().viewpoint_of_namespace(NS).unwrap();
    let path = |state: &State| state.tables().path_of(MountKey(2), view(state)).unwrap();
    assert_eq!(path(&state), b"/a/b");
    state.apply(Event::Dentry(unlocked(hook::RENAME, 5), dentry(101, 100, "x")));
    state.apply(commit(unlocked(hook::RENAME, 5)));
    let published = state.publish().expect("a rename");
    assert_eq!(words(&published), ["rename"]);
    assert_eq!(path(&state), b"/x/b");
    assert!(state.tables().covering(b"/x/b", view(&state)).unwrap().is_mountpoint);
    assert!(!state.tables().covering(b"/a/b", view(&state)).unwrap().is_mountpoint);
    state.apply(in_transaction(mount(2, 1, 100, 101)));
    state.apply(commit(locked(hook::COMMIT)));
    assert_eq!(words(&state.publish().unwrap()), ["move"]);
    assert_eq!(path(&state), b"/x");
}

#[test]
fn slaves_of_a_dead_group_get_its_master_through_a_chain() {
    let mut state = seeded();
    let in_group = |key, group, master: Option<u32>| MountEvent {
        peer_group: Some(PeerGroupId(group)),
        master: master.map(PeerGroupId),
        ..mount(key, 1, 100, 101)
    };
    state.apply(in_transaction(in_group(2, 1, None)));
    state.apply(in_transaction(in_group(3, 2, Some(1))));
    state.apply(in_transaction(in_group(4, 3, Some(2))));
    state.apply(in_transaction(MountEvent {
        master: Some(PeerGroupId(3)),
        ..mount(5, 1, 100, 102)
    }));
    state.apply(commit(locked(hook::COMMIT)));
    state.publish().unwrap();
    // 3 and 4 leave together: groups 2 and 3 die, and their slave becomes one of group 1.
    for (key, group) in [(4, 3), (3, 2)] {
        let dead = GroupDeadEvent { mount: MountKey(key), group: PeerGroupId(group), master: None };
        state
            .apply(Event::MountGone(locked(hook::BULK_PRIVATE), Box::new(mount(key, 1, 100, 101))));
        state.apply(Event::GroupDead(locked(hook::GROUP_DEAD), dead));
    }
    state.apply(commit(locked(hook::COMMIT)));
    let published = state.publish().unwrap();
    assert_eq!(published.snapshot.mount(MountKey(5)).unwrap().master, Some(PeerGroupId(1)));
    assert_eq!(state.violations(), Vec::<String>::new());
}

#[test]
fn propagate_from_names_the_nearest_group_in_view() {
    let mut state = seeded();
    let top = MountEvent { peer_group: Some(PeerGroupId(1)), ..mount(2, 1, 100, 101) };
    let hidden = MountEvent {
        peer_group: Some(PeerGroupId(2)),
        master: Some(PeerGroupId(1)),
        namespace: Some(NamespaceKey(0x2000)),
        namespace_inode: NamespaceInode(7),
        is_anonymous: true,
        ..mount(3, 3, 100, 100)
    };
    let slave = MountEvent { master: Some(PeerGroupId(2)), ..mount(4, 1, 100, 102) };
    for event in [top, hidden, slave] {
        state.apply(in_transaction(event));
    }
    state.apply(commit(locked(hook::COMMIT)));
    let snapshot = state.publish().unwrap().snapshot;
    let view = snapshot.viewpoint_of_namespace(NS).unwrap();
    let slave = snapshot.mount(MountKey(4)).unwrap();
    assert_eq!(snapshot.propagate_from(slave, view), Some(PeerGroupId(1)));
    assert_eq!(snapshot.list(view).len(), 3, "a detached tree is in nobody's list");
}

#[test]
fn a_loss_makes_everything_stale_until_it_was_scanned() {
    let mut state = seeded();
    attach(&mut state, 2, 101);
    state.lost();
    assert_eq!(state.take_needs(), [Need::ScanAll]);
    assert_eq!(state.publish().unwrap().snapshot.coverage(), &Coverage::Stale);
    // Meanwhile mount 2 left and mount 3 came, which nobody told.
    let mark = state.begin_scan_of_all();
    state.apply(Event::Mount(scan(), Box::new(root_mount())));
    state.apply(Event::Mount(scan(), Box::new(mount(3, 1, 100, 102))));
    state.end_scan(mark, INODE);
    state.end_scan_of_all(mark, &[INODE]);
    let published = state.publish().unwrap();
    assert_eq!(published.snapshot.coverage(), &Coverage::Complete);
    let mut changes = words(&published);
    changes.sort_unstable();
    assert_eq!(changes, ["attach", "detach"]);
    assert!(published.transaction.changes.iter().all(|change| change.task.is_none()));
}

#[test]
fn a_loss_in_the_middle_of_a_change_still_waits_for_its_end() {
    let mut state = seeded();
    // Without the lock a mount is told before its names.
    state.apply(Event::Mount(unlocked(hook::SETATTR, 20), Box::new(mount(2, 1, 100, 777))));
    state.lost();
    assert!(state.publish().is_none(), "its names are on their way");
    state.apply(Event::Dentry(unlocked(hook::SETATTR, 20), dentry(777, 100, "late")));
    state.apply(commit(unlocked(hook::SETATTR, 20)));
    assert_eq!(state.publish().unwrap().snapshot.coverage(), &Coverage::Stale);
    assert_eq!(state.counters().anomalies, 0);
    // An end that never comes is not waited for for ever.
    state.apply(Event::Mount(unlocked(hook::SETATTR, 20), Box::new(mount(3, 1, 100, 778))));
    state.abandon_open();
    assert_eq!(state.publish().unwrap().snapshot.coverage(), &Coverage::Stale);
}

#[test]
fn what_a_scan_did_not_tell_but_an_event_did_stays() {
    let mut state = seeded();
    let mark = state.begin_scan();
    state.apply(Event::Mount(scan(), Box::new(root_mount())));
    state.apply(in_transaction(mount(2, 1, 100, 101)));
    state.apply(commit(locked(hook::COMMIT)));
    state.end_scan(mark, INODE);
    assert!(state.tables().mount(MountKey(2)).is_some());
}

#[test]
fn a_namespace_told_from_its_root_is_complete_and_another_is_scanned() {
    let mut state = seeded();
    let of = |key: u64, ns: u64, inode: u32| MountEvent {
        namespace: Some(NamespaceKey(ns)),
        namespace_inode: NamespaceInode(inode),
        ..mount(key, key, 100, 100)
    };
    let born = MountEvent { is_namespace_root: true, starts_subtree: true, ..of(7, 0x3000, 7) };
    state.apply(in_transaction(born));
    state.apply(commit(locked(hook::COMMIT)));
    assert_eq!(state.publish().unwrap().snapshot.coverage(), &Coverage::Complete);
    state.apply(in_transaction(of(8, 0x4000, 8)));
    state.apply(commit(locked(hook::COMMIT)));
    assert_eq!(state.publish().unwrap().snapshot.coverage(), &Coverage::Stale);
    assert_eq!(state.take_needs(), [Need::Scan(NamespaceInode(8))]);
    let gone = NamespaceEvent {
        key: NamespaceKey(0x4000),
        id: None,
        inode: NamespaceInode(8),
        is_anonymous: false,
        task: None,
    };
    state.apply(Event::NamespaceGone(unlocked(hook::NAMESPACE_GONE, 1), gone));
    let published = state.publish().unwrap();
    assert_eq!(published.snapshot.coverage(), &Coverage::Complete);
    let kinds = words(&published);
    assert!(kinds.contains(&"detach") && kinds.contains(&"namespace_gone"), "{kinds:?}");
}

#[test]
fn a_ghost_is_dropped_when_it_is_not_found_and_a_known_namespace_is_not() {
    let mut state = seeded();
    let late = MountEvent {
        namespace: Some(NamespaceKey(0x5000)),
        namespace_inode: NamespaceInode(5),
        ..mount(9, 9, 100, 100)
    };
    state.apply(Event::Mount(unlocked(hook::SETATTR, 4), Box::new(late)));
    state.apply(commit(unlocked(hook::SETATTR, 4)));
    assert_eq!(state.coverage(), Coverage::Stale);
    state.namespace_not_found(NamespaceInode(5));
    state.namespace_not_found(INODE);
    assert_eq!(state.coverage(), Coverage::Complete);
    assert!(state.tables().namespace(NS).is_some());
}

#[test]
fn an_untold_dentry_is_an_anomaly_and_never_a_wrong_path() {
    let mut state = seeded();
    state.apply(in_transaction(mount(2, 1, 100, 777)));
    state.apply(commit(locked(hook::COMMIT)));
    let published = state.publish().unwrap();
    assert_eq!(published.snapshot.coverage(), &Coverage::Stale);
    assert_eq!(state.take_needs(), [Need::ScanAll]);
    let view = state.tables().viewpoint_of_namespace(NS).unwrap();
    assert_eq!(state.tables().path_of(MountKey(2), view), None);
}

#[test]
fn a_detached_tree_needs_no_names() {
    let mut state = seeded();
    state.apply(in_transaction(MountEvent { is_anonymous: true, ..mount(2, 2, 777, 777) }));
    state.apply(commit(locked(hook::COMMIT)));
    let snapshot = state.publish().map_or_else(|| state.snapshot().into(), |step| step.snapshot);
    assert_eq!(snapshot.coverage(), &Coverage::Complete);
    assert_eq!(state.take_needs(), []);
    assert_eq!(attach(&mut state, 2, 101).snapshot.coverage(), &Coverage::Complete);
}

#[test]
fn what_nothing_uses_is_dropped_all_at_once() {
    let mut state = seeded();
    attach(&mut state, 2, 102);
    assert_eq!(state.trim(), [], "everything is used");
    state.apply(Event::MountGone(locked(hook::PROPAGATION), Box::new(mount(2, 1, 100, 102))));
    state.apply(commit(locked(hook::COMMIT)));
    state.publish();
    assert!(state.tables().dentry(DentryKey(102)).is_some(), "a record may rely on it");
    let dropped = state.trim();
    for key in [101, 102] {
        assert!(dropped.contains(&Retired::Dentry(DentryKey(key))));
        assert!(state.tables().dentry(DentryKey(key)).is_none());
    }
    assert!(state.tables().dentry(DentryKey(100)).is_some(), "a mount's root");
    assert_eq!(state.violations(), Vec::<String>::new());
}

#[test]
fn too_many_unused_names_make_the_index_stale_until_they_are_trimmed() {
    let mut state = seeded();
    for key in 0..70_000 {
        let name = key.to_string();
        state.apply(Event::Dentry(locked(hook::COMMIT), dentry(1_000 + key, 100, &name)));
    }
    state.apply(commit(locked(hook::COMMIT)));
    state.publish();
    assert_eq!(state.take_needs(), [Need::Trim]);
    assert_eq!(state.coverage(), Coverage::Stale);
    assert_eq!(state.trim().len(), 70_002);
    assert_eq!(state.tables().dentry_count(), 1);
}

#[test]
fn a_panic_is_healed_by_a_scan_and_told_as_changes() {
    let mut state = seeded();
    attach(&mut state, 2, 101);
    state.reset();
    // No namespace is left that could say that it is stale.
    assert_eq!(state.coverage(), Coverage::Stale);
    assert_eq!(state.take_needs(), [Need::ScanAll]);
    let mark = state.begin_scan_of_all();
    state.apply(Event::Dentry(scan(), dentry(100, 100, "")));
    state.apply(Event::Super(scan(), super_block(false)));
    state.apply(Event::Mount(scan(), Box::new(root_mount())));
    state.end_scan(mark, INODE);
    state.end_scan_of_all(mark, &[INODE]);
    let published = state.publish().unwrap();
    assert_eq!(*published.snapshot.coverage(), Coverage::Complete);
    assert_eq!(words(&published), ["detach"]);
    let ChangeKind::Detach { mount } = &published.transaction.changes.first().unwrap().kind else {
        panic!("no detach")
    };
    assert_eq!(mount.key, MountKey(2));
}

#[test]
fn a_lost_end_of_a_change_is_no_loss_of_anything_else() {
    let mut state = seeded();
    state.apply(in_transaction(mount(2, 1, 101, 101)));
    assert!(state.is_open() && state.publish().is_none());
    state.end_open();
    let published = state.publish().unwrap();
    assert_eq!(words(&published), ["attach"]);
    assert_eq!(published.snapshot.coverage(), &Coverage::Complete);
    assert!(state.take_needs().is_empty());
}
