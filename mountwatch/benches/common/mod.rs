//! An index of container-like mounts, made of events as a back end tells them.
//!
//! Of each ten mounts three are overlays at paths of containerd, three are projected volumes, three are
//! bind mounts of volumes and one is a sandbox's shm: some 122 bytes of path each, and for each
//! overlay 900 bytes of options.
#![expect(dead_code, reason = "each bench takes what it needs")]

use mountwatch::model::{
    CommitEvent, DentryEvent, DentryKey, Device, Event, MountAttributes, MountEvent, MountId,
    MountKey, NamespaceId, NamespaceInode, NamespaceKey, Origin, SuperEvent, SuperFlags, SuperKey,
    UniqueMountId,
};
use mountwatch::query::Viewpoint;
use mountwatch::state::State;
use mountwatch_common::hook;
use std::collections::HashMap;
use std::sync::Arc;

/// The sizes for which each cost is measured.
pub(crate) const SIZES: [u64; 3] = [1_000, 10_000, 100_000];

/// Its namespace.
pub(crate) const NAMESPACE: NamespaceKey = NamespaceKey(0xffff_8881_0000_0000);
const INODE: NamespaceInode = NamespaceInode(4_026_531_841);

/// Addresses as the kernel's allocator gives them.
const MOUNTS: u64 = 0xffff_8882_0000_0000;
const DENTRIES: u64 = 0xffff_8884_0000_0000;
const SUPERS: u64 = 0xffff_8886_0000_0000;
const ROOT: MountKey = MountKey(MOUNTS);

/// What was made.
pub(crate) struct Made {
    /// The index.
    pub(crate) state: State,
    /// The paths of all mounts but the root.
    pub(crate) paths: Vec<String>,
    /// The mount with ten others on it.
    pub(crate) parent: String,
    /// A directory with ten mounts below it, and no mount itself.
    pub(crate) directory: String,
    maker: Maker,
}

impl Made {
    /// What somebody at its root sees.
    pub(crate) fn from(&self) -> Viewpoint {
        let tables = self.state.tables();
        tables.viewpoint_of_namespace(NAMESPACE).expect("its namespace")
    }

    /// The events of one mount that comes and goes, as two changes.
    pub(crate) fn cycle(&mut self) -> [Vec<Event>; 2] {
        let event = self.maker.last.clone();
        let key = MountKey(MOUNTS + 320 * 900_000_000);
        let (id, unique_id) = (MountId(900_000_000), Some(UniqueMountId(1 << 40)));
        let event = MountEvent { key, id, unique_id, ..event };
        let origin = change();
        [
            vec![Event::Mount(origin, Box::new(event.clone())), commit(origin)],
            vec![Event::MountGone(origin, Box::new(event)), commit(origin)],
        ]
    }
}

/// Makes an index of `count` mounts.
pub(crate) fn make(count: u64) -> Made {
    let mut maker = Maker::default();
    maker.begin();
    let mut paths = Vec::new();
    for number in 0..count {
        let path = path(number);
        maker.mount(ROOT, &path, number % 10, number);
        paths.push(path);
    }
    let parent = "/srv/parent-of-ten".to_owned();
    let key = maker.mount(ROOT, &parent, 3, count);
    for number in 0..10 {
        maker.mount(key, &format!("/child-{number}"), 3, count + 1 + number);
    }
    let directory = "/srv/directory-of-ten".to_owned();
    for number in 0..10 {
        maker.mount(ROOT, &format!("{directory}/child-{number}"), 3, count + 11 + number);
    }
    let mut state = State::new(Vec::new());
    let mark = state.begin_scan_of_all();
    for event in maker.events.drain(..) {
        state.apply(event);
    }
    state.end_scan(mark, INODE);
    state.end_scan_of_all(mark, &[INODE]);
    assert!(state.take_needs().is_empty(), "an index that is whole");
    state.publish().expect("a first snapshot");
    Made { state, paths, parent, directory, maker }
}

/// The events of a copy of the namespace: each mount again, at the same dentries.
pub(crate) fn copy_of(made: &Made, copy: u64) -> Vec<Event> {
    let namespace = NamespaceKey(NAMESPACE.0 + 0x1000 * copy);
    let inode = NamespaceInode(INODE.0 + u32::try_from(copy).expect("a small number"));
    let moved = |key: MountKey| MountKey(key.0 + (copy << 40));
    let mut events = Vec::new();
    for event in &made.maker.told {
        let event = MountEvent {
            key: moved(event.key),
            parent: moved(event.parent),
            namespace: Some(namespace),
            namespace_inode: inode,
            id: MountId(event.id.0 + u32::try_from(copy * 10_000_000).expect("a small number")),
            unique_id: event.unique_id.map(|id| UniqueMountId(id.0 + copy * 10_000_000)),
            starts_subtree: event.is_namespace_root,
            source: Arc::from(&*event.source),
            ..event.clone()
        };
        events.push(Event::Mount(change(), Box::new(event)));
    }
    events.push(commit(change()));
    events
}

fn path(number: u64) -> String {
    let hex = |seed: u64| format!("{:016x}", (number + 1).wrapping_mul(seed | 1));
    let id =
        [0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f, 0x1656_67b1_9e37_79f9, 7].map(hex).concat();
    let (a, b) = id.split_at(8);
    let uuid = format!("{a}-{}-{}-{}-{}", &b[..4], &b[4..8], &b[8..12], &b[12..24]);
    match number % 10 {
        0..=2 => format!("/run/containerd/io.containerd.runtime.v2.task/k8s.io/{id}/rootfs"),
        3..=5 => format!(
            "/var/lib/kubelet/pods/{uuid}/volumes/kubernetes.io~projected/kube-api-access-{}",
            &id[..5]
        ),
        6..=8 => {
            format!("/var/lib/kubelet/pods/{uuid}/volumes/kubernetes.io~csi/pvc-{uuid}/mount")
        }
        _ => format!("/run/containerd/io.containerd.grpc.v1.cri/sandboxes/{id}/shm"),
    }
}

fn scan() -> Origin {
    Origin { hook: hook::SCAN, scan: true, ..Origin::default() }
}

fn change() -> Origin {
    Origin {
        hook: hook::ATTACH,
        in_transaction: true,
        ktime_ns: 1,
        pid: 7,
        tid: 7,
        ..Origin::NOBODY
    }
}

fn commit(origin: Origin) -> Event {
    let comm = Arc::from(&b"bench"[..]);
    Event::Commit(origin, CommitEvent { comm, cgroup_id: 1, uid: 0 })
}

/// Makes events.
#[derive(Default)]
struct Maker {
    events: Vec<Event>,
    told: Vec<MountEvent>,
    dentries: HashMap<(DentryKey, String), DentryKey>,
    supers: u64,
    last: MountEvent,
    count: u64,
}

impl Maker {
    fn begin(&mut self) {
        let root = self.new_super("ext4", b"");
        self.tell(MountEvent {
            key: ROOT,
            parent: ROOT,
            is_namespace_root: true,
            mountpoint: root.1,
            ..event(root, "/dev/vda1")
        });
    }

    /// A mount of one of ten kinds on another one.
    fn mount(&mut self, parent: MountKey, path: &str, kind: u64, number: u64) -> MountKey {
        let parent_event = self.told.iter().rev().find(|told| told.key == parent);
        let parent_root = parent_event.map_or(DentryKey(DENTRIES), |told| told.root);
        let parent_root = if parent == ROOT { self.told[0].root } else { parent_root };
        let mut mountpoint = parent_root;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            mountpoint = self.dentry(mountpoint, name);
        }
        let shown = match kind {
            // The overlays of one image are clones of one here, to keep the data small.
            0..=2 => {
                let options = format!(",lowerdir={},upperdir=/u{}", "/l".repeat(440), number / 10);
                if kind == 0 { self.new_super("overlay", options.as_bytes()) } else { self.same() }
            }
            6..=8 => (SuperKey(SUPERS), self.told[0].root),
            _ => self.new_super("tmpfs", b",size=65536k,inode64"),
        };
        let source = ["overlay", "tmpfs"][usize::from(kind > 2)];
        let key = MountKey(MOUNTS + 320 * (self.count + 1));
        self.tell(MountEvent { key, parent, mountpoint, ..event(shown, source) });
        key
    }

    fn same(&self) -> (SuperKey, DentryKey) {
        (self.last.super_block, self.last.root)
    }

    fn tell(&mut self, told: MountEvent) {
        self.count += 1;
        let id = u32::try_from(self.count).expect("a small number");
        let unique_id = Some(UniqueMountId((1 << 31) + self.count));
        let told = MountEvent { id: MountId(id), unique_id, ..told };
        self.last = told.clone();
        self.events.push(Event::Mount(scan(), Box::new(told.clone())));
        self.told.push(told);
    }

    fn dentry(&mut self, parent: DentryKey, name: &str) -> DentryKey {
        if let Some(known) = self.dentries.get(&(parent, name.to_owned())) {
            return *known;
        }
        let key = DentryKey(DENTRIES + 192 * self.dentries.len() as u64);
        self.dentries.insert((parent, name.to_owned()), key);
        self.tell_dentry(key, parent, name);
        key
    }

    fn tell_dentry(&mut self, key: DentryKey, parent: DentryKey, name: &str) {
        let name = Arc::from(name.as_bytes());
        let event = DentryEvent { key, parent, name, is_deleted: false, is_literal: false };
        self.events.push(Event::Dentry(scan(), event));
    }

    fn new_super(&mut self, fs_type: &str, options: &[u8]) -> (SuperKey, DentryKey) {
        let key = SuperKey(SUPERS + 2048 * self.supers);
        self.supers += 1;
        let root = DentryKey(DENTRIES + (1 << 32) + 192 * self.supers);
        self.tell_dentry(root, root, "/");
        self.events.push(Event::Super(
            scan(),
            SuperEvent {
                key,
                device: Device::new(0, u32::try_from(self.supers).expect("a small number")),
                magic: 1,
                flags: SuperFlags::empty(),
                fs_type: Arc::from(fs_type.as_bytes()),
                options_stale: false,
                options: Some(Arc::from(options)),
            },
        ));
        (key, root)
    }
}

fn event(shown: (SuperKey, DentryKey), source: &str) -> MountEvent {
    MountEvent {
        namespace: Some(NAMESPACE),
        namespace_id: Some(NamespaceId(9)),
        namespace_inode: INODE,
        super_block: shown.0,
        root: shown.1,
        parent_id: MountId(1),
        attributes: MountAttributes::NOSUID | MountAttributes::RELATIME,
        source: Arc::from(source.as_bytes()),
        ..MountEvent::default()
    }
}
