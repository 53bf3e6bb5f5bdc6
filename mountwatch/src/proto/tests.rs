//! What goes through messages comes out as it was.

use super::copy::{Copied, chunks, head};
use super::event::{said_of, to_what};
use super::mount::{answer_of, as_of, mount_of_info, to_info};
use super::v1;
use crate::fake::Index;
use crate::model::{
    Coverage, Device, Holder, Holders, NamespaceInode, OperationId, Revision, Task,
};
use crate::query::MountQueries;
use crate::render::{
    Facts, Said, SaidChange, SaidKind, SaidNamespace, SaidRename, Saying, Secrets, mountinfo,
};
use crate::state::Snapshot;
use mountwatch_common::hook;
use prost::Message;
use std::sync::Arc;

const HOST: &str = "\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/vda rw,errors=remount-ro
22 21 0:20 / /proc rw,nosuid shared:2 - proc proc rw
23 21 0:30 / /a\\040b rw - tmpfs x\\011y rw,size=64k,password=hunter2
24 23 0:31 / /a\\040b/on ro,noatime unbindable - tmpfs x ro,sync
25 24 0:32 / /a\\040b/on rw - tmpfs top rw
26 21 8:1 /etc/hosts /etc/hosts rw - ext4 /dev/vda rw,errors=remount-ro
27 21 0:4 mnt:[200] /run/ns rw - nsfs nsfs rw
";
const OTHER: &str = "\
41 1 8:1 / / rw,relatime master:1 - ext4 /dev/vda rw,errors=remount-ro
42 41 0:20 / /proc rw,nosuid shared:3 master:2 - proc proc rw
";

fn snapshot() -> Arc<Snapshot> {
    let index = Index::new().namespace(100, HOST).unwrap().namespace(200, OTHER).unwrap();
    index.snapshot()
}

fn copied(snapshot: &Snapshot, only: Option<u32>, secrets: Secrets) -> (Snapshot, Holders) {
    let only = only.map(|inode| snapshot.namespace_by_inode(NamespaceInode(inode)).unwrap().key);
    let holder =
        Holder { processes: 3, pid: Some(1), comm: b"in\xffit"[..].into(), ..Holder::default() };
    let holders = Holders::from([(NamespaceInode(100), holder)]);
    let head = head(snapshot, only, 7, "hooks", &holders);
    let mut copy = Copied::default();
    for message in chunks(snapshot, only, &head, secrets) {
        let bytes = message.encode_to_vec();
        copy.take(v1::CopyResponse::decode(&bytes[..]).unwrap()).unwrap();
    }
    assert_eq!((copy.backend.as_str(), copy.is_whole), ("hooks", only.is_none()));
    let taken = std::mem::take(&mut copy.holders);
    assert_eq!(taken, holders);
    (copy.finish().unwrap(), taken)
}

/// What a process sees that enters a namespace.
fn text(snapshot: &Snapshot, inode: u32) -> String {
    let key = snapshot.namespace_by_inode(NamespaceInode(inode)).unwrap().key;
    let from = snapshot.viewpoint_of_namespace(key).unwrap();
    String::from_utf8(mountinfo(snapshot, from)).unwrap()
}

#[test]
fn a_copy_says_what_the_index_says() {
    let snapshot = snapshot();
    let (copy, _) = copied(&snapshot, None, Secrets::Shown);
    assert_eq!(copy.revision(), snapshot.revision());
    assert_eq!(copy.coverage(), snapshot.coverage());
    for inode in [100, 200] {
        assert_eq!(text(&copy, inode), text(&snapshot, inode));
        let view = |snapshot: &Snapshot| {
            let key = snapshot.namespace_by_inode(NamespaceInode(inode)).unwrap().key;
            let from = snapshot.viewpoint_of_namespace(key).unwrap();
            crate::query::SnapshotView::new(Arc::new(snapshot.clone()), from).list().unwrap()
        };
        assert_eq!(view(&copy), view(&snapshot));
    }
    let supers = |snapshot: &Snapshot| {
        let mut known: Vec<_> =
            snapshot.super_blocks().map(|known| (known.device, known.mounts)).collect();
        known.sort_unstable();
        known
    };
    assert_eq!(supers(&copy), supers(&snapshot));
    // No key of the index leaves it.
    let keys = |snapshot: &Snapshot| {
        let mut keys: Vec<_> = snapshot.namespaces().map(|known| known.key.0).collect();
        keys.sort_unstable();
        keys
    };
    assert_eq!(keys(&copy), [1, 2]);
}

#[test]
fn a_copy_of_one_namespace_tells_of_no_other() {
    let snapshot = snapshot();
    let (copy, _) = copied(&snapshot, Some(200), Secrets::Hidden);
    assert_eq!(text(&copy, 200), text(&snapshot, 200));
    assert_eq!(copy.namespaces().count(), 1);
    assert!(copy.namespace_by_inode(NamespaceInode(100)).is_none());
    // Peer groups above are there, and nothing of their mounts.
    let others: Vec<_> = copy.mounts().filter(|mount| !copy.is_attached(mount)).collect();
    assert_eq!(others.len(), 2);
    assert!(others.iter().all(|mount| mount.source.is_empty() && mount.id.0 == 0));
    let mut groups: Vec<_> = others.iter().filter_map(|mount| mount.peer_group).collect();
    groups.sort_unstable();
    assert_eq!(groups.iter().map(|group| group.0).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_copy_tells_operations_to_those_who_may_see_where_they_came_from() {
    let snapshot = snapshot();
    let head = head(&snapshot, None, 7, "hooks", &Holders::new());
    let mut copy = Copied::default();
    for mut message in chunks(&snapshot, None, &head, Secrets::Hidden) {
        message.mounts.iter_mut().for_each(|mount| mount.created_by = 5);
        copy.take(message).unwrap();
    }
    let operation = v1::Operation {
        id: 5,
        call: "mount".into(),
        task: Some(v1::Task::default()),
        namespace: Some(100),
        ..v1::Operation::default()
    };
    copy.take(v1::CopyResponse { operations: vec![operation], ..v1::CopyResponse::default() })
        .unwrap();
    let snapshot = copy.finish().unwrap();
    for (only, is_told) in [(None, true), (Some(100), true), (Some(200), false)] {
        let (copy, _) = copied(&snapshot, only, Secrets::Hidden);
        let id = OperationId::new(5).unwrap();
        assert!(copy.mounts().any(|mount| mount.provenance.created_by == Some(id)));
        assert_eq!(copy.operation(id).is_some(), is_told, "{only:?}");
    }
}

#[test]
fn a_copy_hides_secrets() {
    let (copy, _) = copied(&snapshot(), None, Secrets::Hidden);
    let text = text(&copy, 100);
    assert!(text.contains("size=64k,password=<hidden>") && !text.contains("hunter2"), "{text}");
}

#[test]
fn mounts_of_answers_stay_as_they_are() {
    let view = Index::new().namespace(100, HOST).unwrap().view(100).unwrap();
    for info in view.list().unwrap().value {
        let message = mount_of_info(&info, Some(b"/x".to_vec()), Secrets::Shown);
        let bytes = message.encode_to_vec();
        assert_eq!(to_info(v1::Mount::decode(&bytes[..]).unwrap()).unwrap(), info);
        let hidden = to_info(mount_of_info(&info, None, Secrets::Hidden)).unwrap();
        assert!(!format!("{:?}", hidden.fs_options).contains("hunter2"));
    }
    for coverage in [
        Coverage::Complete,
        Coverage::Stale,
        Coverage::Blind([String::from("x")].into()),
        Coverage::Polling([String::from("y")].into()),
    ] {
        let answer = answer_of(Some(as_of(7, Revision(3), &coverage)), 5).unwrap();
        assert_eq!((answer.value, answer.revision, answer.coverage), (5, Revision(3), coverage));
    }
    assert!(answer_of(None, 5).is_err());
    assert!(answer_of(Some(v1::AsOf::default()), 5).is_err());
}

fn facts(number: u32) -> Facts {
    Facts {
        ns: Some(NamespaceInode(100)),
        ns_id: Some(5),
        id: number,
        unique_id: Some(1 << 33),
        parent: 21,
        mountpoint: Some(b"/a\xff".to_vec()),
        mountpoint_in_parent: Some(b"/a\xff".to_vec()),
        root: Some(b"/".to_vec()),
        fs_type: Some(b"tmpfs".to_vec()),
        source: b"so\xffurce".to_vec(),
        options: String::from("rw"),
        fs_options: Some(b"rw,size=4k".to_vec()),
        device: Device::new(8, 1),
        propagation: "shared,slave",
        shared: Some(3),
        master: Some(4),
        ..Facts::default()
    }
}

#[test]
fn lines_stay_as_they_are() {
    let bare = Facts { options: String::from("ro"), propagation: "private", ..Facts::default() };
    let namespace = SaidNamespace { ns: Some(NamespaceInode(9)), ns_id: None };
    let kinds = [
        SaidKind::Attach(facts(1)),
        SaidKind::Detach(bare.clone()),
        SaidKind::Move { before: facts(1), mount: facts(2) },
        SaidKind::Attributes { before: bare.clone(), mount: facts(2) },
        SaidKind::SuperBlock { before: facts(1), mount: bare.clone() },
        SaidKind::Rename(SaidRename {
            before: b"a"[..].into(),
            name: b"\xff"[..].into(),
            path_before: None,
            path: Some(b"/\xff".to_vec()),
            is_deleted: true,
        }),
        SaidKind::NamespaceBorn(namespace),
        SaidKind::NamespaceGone(namespace),
    ];
    let glimpsed = [true, false].map(|is_attached| SaidKind::Glimpsed {
        glimpsed: Arc::new(crate::model::Glimpsed {
            target: Some(b"x"[..].into()),
            ..crate::model::Glimpsed::default()
        }),
        namespace,
        is_attached,
    });
    let task =
        Task { pid: 7, tid: 8, uid: 9, comm: b"m\xff"[..].into(), cgroup_id: 3, ..Task::default() };
    let changes = kinds.into_iter().chain(glimpsed).map(|kind| {
        let task = Some(Arc::new(task.clone()));
        let (hook, operation) = (hook::ATTACH, OperationId::new(4));
        Saying::Change(Box::new(SaidChange { kind, hook, ktime_ns: 77, task, operation }))
    });
    let by_scan = Saying::Change(Box::new(SaidChange {
        kind: SaidKind::Attach(facts(3)),
        hook: hook::SCAN,
        ktime_ns: 0,
        task: None,
        operation: None,
    }));
    let others = [Saying::Present(Box::new(facts(4))), Saying::Synced, Saying::Coverage, by_scan];
    for what in changes.chain(others) {
        let said = Said { revision: Revision(3), coverage: Coverage::Complete, what };
        let message =
            v1::WatchResponse { what: Some(to_what(&said, 5)), ..v1::WatchResponse::default() };
        let bytes = message.encode_to_vec();
        let what = v1::WatchResponse::decode(&bytes[..]).unwrap().what.unwrap();
        assert_eq!(said_of(Revision(3), Coverage::Complete, what).unwrap(), Some(said));
    }
}
