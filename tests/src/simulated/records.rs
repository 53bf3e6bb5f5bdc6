//! Records as the programs write them: the real structures, as bytes.

use super::kernel::{Den, Kernel, Mnt, Ns, Sb};
use mountwatch_common::limits::{NAME_BYTES_SHORT, SOURCE_BYTES_SHORT};
use mountwatch_common::record::{
    CommitRecord, DentryLong, DentryRecord, DentryShort, GroupRecord, Header, MountLong,
    MountRecord, MountShort, NamespaceRecord, SuperRecord, flag,
};
use zerocopy::IntoBytes as _;

/// What a header says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    pub(super) kind: u16,
    pub(super) hook: u16,
    pub(super) flags: u32,
    pub(super) ktime_ns: u64,
    pub(super) pid_tgid: u64,
}

impl Stamp {
    fn header(self) -> Header {
        Header {
            kind: self.kind,
            hook: self.hook,
            flags: self.flags,
            ktime_ns: self.ktime_ns,
            pid_tgid: self.pid_tgid,
            begin_ktime_ns: 0,
        }
    }
}

/// A text in a field of fixed size.
fn field<const N: usize>(text: &[u8]) -> [u8; N] {
    let mut field = [0; N];
    for (to, from) in field.iter_mut().zip(text) {
        *to = *from;
    }
    field
}

fn length(text: &[u8]) -> u32 {
    u32::try_from(text.len()).expect("a text of the kernel is short")
}

pub(super) fn mount(stamp: Stamp, kernel: &Kernel, mnt: Mnt) -> Vec<u8> {
    let mount = &kernel[mnt];
    let ns = mount.mnt_ns.map(|ns| &kernel[ns]);
    let sb = &kernel[mount.mnt_sb];
    let source = &mount.mnt_devname;
    let record = MountRecord {
        header: stamp.header(),
        mnt: mount.address,
        parent: kernel[mount.mnt_parent].address,
        ns: ns.map_or(0, |ns| ns.address),
        sb: sb.address,
        root: kernel[mount.mnt_root].address,
        mountpoint: kernel[mount.mnt_mountpoint].address,
        unique_id: mount.mnt_id_unique,
        ns_id: ns.map_or(0, |ns| ns.ns_id),
        mnt_id: mount.mnt_id,
        parent_id: kernel[mount.mnt_parent].mnt_id,
        ns_inum: ns.map_or(0, |ns| ns.inum),
        group: mount.mnt_group_id,
        master: mount.mnt_master.map_or(0, |master| kernel[master].mnt_group_id),
        mnt_flags: mount.mnt_flags,
        dev: sb.s_dev,
        sb_flags: sb.s_flags,
        source_bytes: length(source),
        reserved: 0,
        copied_from: 0,
    };
    if source.len() <= SOURCE_BYTES_SHORT {
        MountShort { mount: record, source: field(source) }.as_bytes().to_vec()
    } else {
        MountLong { mount: record, source: field(source) }.as_bytes().to_vec()
    }
}

pub(super) fn dentry(mut stamp: Stamp, kernel: &Kernel, dentry: Den) -> Vec<u8> {
    let known = &kernel[dentry];
    let mut name = &known.d_name[..];
    if known.is_deleted {
        stamp.flags |= flag::DELETED;
    }
    if known.d_parent == dentry {
        stamp.flags |= flag::ROOT;
    }
    if let Some(kind) = &known.nsfs {
        stamp.flags |= flag::NSFS;
        name = kind.as_bytes();
    }
    let record = DentryRecord {
        header: stamp.header(),
        dentry: known.address,
        parent: kernel[known.d_parent].address,
        ino: known.ino,
        name_bytes: length(name),
        reserved: 0,
    };
    if name.len() <= NAME_BYTES_SHORT {
        DentryShort { dentry: record, name: field(name) }.as_bytes().to_vec()
    } else {
        DentryLong { dentry: record, name: field(name) }.as_bytes().to_vec()
    }
}

pub(super) fn super_block(stamp: Stamp, kernel: &Kernel, sb: Sb) -> Vec<u8> {
    let sb = &kernel[sb];
    let record = SuperRecord {
        header: stamp.header(),
        sb: sb.address,
        magic: 0,
        dev: sb.s_dev,
        sb_flags: sb.s_flags,
        fs_type: field(sb.fs_type.as_bytes()),
        subtype: [0; 64],
    };
    record.as_bytes().to_vec()
}

pub(super) fn group(stamp: Stamp, kernel: &Kernel, mnt: Mnt) -> Vec<u8> {
    let mount = &kernel[mnt];
    let record = GroupRecord {
        header: stamp.header(),
        mnt: mount.address,
        group: mount.mnt_group_id,
        master: mount.mnt_master.map_or(0, |master| kernel[master].mnt_group_id),
    };
    record.as_bytes().to_vec()
}

pub(super) fn namespace(mut stamp: Stamp, kernel: &Kernel, ns: Ns) -> Vec<u8> {
    let ns = &kernel[ns];
    if ns.is_anon {
        stamp.flags |= flag::ANONYMOUS;
    }
    let record = NamespaceRecord {
        header: stamp.header(),
        ns: ns.address,
        ns_id: ns.ns_id,
        root: ns.root.filter(|root| kernel.is_mount(*root)).map_or(0, |root| kernel[root].address),
        inum: ns.inum,
        task: 0,
    };
    record.as_bytes().to_vec()
}

pub(super) fn commit(stamp: Stamp, records_lost: u64) -> Vec<u8> {
    let record = CommitRecord {
        header: stamp.header(),
        comm: field(b"simulated"),
        cgroup_id: 1,
        uid: 0,
        reserved: 0,
        records_lost,
    };
    record.as_bytes().to_vec()
}
