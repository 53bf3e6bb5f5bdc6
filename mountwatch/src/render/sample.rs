//! A small index for the tests of this room.

use crate::model::{
    Bytes, DentryEvent, DentryKey, Device, Event, Holder, Holders, MountAttributes, MountEvent,
    MountId, MountKey, NamespaceEvent, NamespaceId, NamespaceInode, NamespaceKey, Origin,
    PeerGroupId, SuperEvent, SuperFlags, SuperKey, UniqueMountId,
};
use crate::query::Viewpoint;
use crate::state::{State, Tables};
use mountwatch_common::hook;

pub(super) const NAMESPACE: NamespaceKey = NamespaceKey(1);

const SCAN: Origin =
    Origin { hook: hook::SCAN, in_transaction: false, scan: true, ..Origin::NOBODY };

/// A root, what is mounted on it under strange names, stacked, bound and hidden mounts.
pub(super) fn state() -> State {
    let mut state = State::new(Vec::new());
    let mark = state.begin_scan();
    state.apply(Event::NamespaceBorn(
        SCAN,
        NamespaceEvent {
            key: NAMESPACE,
            id: Some(NamespaceId(11)),
            inode: NamespaceInode(4_026_531_841),
            is_anonymous: false,
            task: Some(1),
        },
    ));
    for (key, minor, fs_type, flags, options) in [
        (1, 1, &b"ext4"[..], SuperFlags::empty(), Some(&b"errors=remount-ro"[..])),
        (2, 2, b"tmpfs", SuperFlags::LAZYTIME | SuperFlags::SYNCHRONOUS, Some(b"size=4k")),
        (3, 3, b"fuse.a b", SuperFlags::RDONLY, Some(b"user_id=0,password=x")),
        (4, 4, b"nsfs", SuperFlags::empty(), None),
    ] {
        state.apply(Event::Super(SCAN, super_event(key, minor, fs_type, flags, options)));
    }
    for (key, parent, name) in [
        (10, 10, &b""[..]),
        (11, 10, b"a b\n\\"),
        (12, 10, b"c\xff"),
        (13, 10, b"hidden"),
        (14, 13, b"deep"),
        (15, 10, b"ns"),
        (20, 20, b""),
        (21, 20, b"sub"),
        (30, 30, b""),
    ] {
        state.apply(Event::Dentry(SCAN, dentry(key, parent, name, false)));
    }
    state.apply(Event::Dentry(SCAN, dentry(40, 40, b"mnt:[4026531841]", true)));
    let shared = |mut event: MountEvent| {
        event.peer_group = Some(PeerGroupId(1));
        event
    };
    let slave = |mut event: MountEvent| {
        (event.master, event.unbindable) = (Some(PeerGroupId(1)), true);
        event
    };
    let root = MountEvent { is_namespace_root: true, ..mount(1, 1, 1, 10, 10, b"/dev/vda") };
    let mounts = [
        root,
        shared(mount(2, 1, 2, 20, 11, b"so#ur ce")),
        slave(mount(3, 1, 2, 21, 12, b"so#ur ce")),
        mount(4, 1, 1, 10, 14, b"/dev/vda"),
        mount(5, 1, 3, 30, 13, b"https://me:pw@host/"),
        mount(6, 1, 4, 40, 15, b""),
        mount(7, 6, 2, 20, 40, b"top"),
    ];
    for event in mounts {
        state.apply(Event::Mount(SCAN, Box::new(event)));
    }
    state.end_scan(mark, NamespaceInode(4_026_531_841));
    state.end_scan_of_all(mark, &[NamespaceInode(4_026_531_841)]);
    state.publish();
    state
}

/// Who is in it.
pub(super) fn holders() -> Holders {
    let holder = Holder {
        tid: Some(70),
        descriptor: None,
        processes: 3,
        pid: Some(42),
        comm: Bytes::from(&b"ini t"[..]),
        container: Some("c0ffee".repeat(10) + "c0ff"),
        descriptor_of: None,
    };
    Holders::from([(NamespaceInode(4_026_531_841), holder)])
}

/// What a process at the root of the namespace sees.
pub(super) fn view(tables: &Tables) -> Viewpoint {
    tables.viewpoint_of_namespace(NAMESPACE).unwrap()
}

pub(super) fn mount(
    key: u32,
    parent: u32,
    super_block: u64,
    root: u64,
    mountpoint: u64,
    source: &[u8],
) -> MountEvent {
    MountEvent {
        key: MountKey(key.into()),
        parent: MountKey(parent.into()),
        namespace: Some(NAMESPACE),
        super_block: SuperKey(super_block),
        root: DentryKey(root),
        mountpoint: DentryKey(mountpoint),
        id: MountId(key + 20),
        parent_id: MountId(parent + 20),
        unique_id: Some(UniqueMountId(u64::from(key) + (1 << 31))),
        namespace_id: Some(NamespaceId(11)),
        namespace_inode: NamespaceInode(4_026_531_841),
        device: Device::new(0, u32::try_from(super_block).unwrap()),
        super_flags: match super_block {
            2 => SuperFlags::LAZYTIME | SuperFlags::SYNCHRONOUS,
            3 => SuperFlags::RDONLY,
            _ => SuperFlags::empty(),
        },
        attributes: MountAttributes::RELATIME | MountAttributes::NOSUID,
        source: Bytes::from(source),
        ..MountEvent::default()
    }
}

fn super_event(
    key: u64,
    minor: u32,
    fs_type: &[u8],
    flags: SuperFlags,
    options: Option<&[u8]>,
) -> SuperEvent {
    SuperEvent {
        key: SuperKey(key),
        device: Device::new(0, minor),
        magic: 0,
        flags,
        fs_type: Bytes::from(fs_type),
        options_stale: false,
        options: options.map(Bytes::from),
    }
}

fn dentry(key: u64, parent: u64, name: &[u8], is_literal: bool) -> DentryEvent {
    DentryEvent {
        key: DentryKey(key),
        parent: DentryKey(parent),
        name: Bytes::from(name),
        is_deleted: false,
        is_literal,
    }
}
