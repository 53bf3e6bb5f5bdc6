//! Records of the ring buffer into events.

use crate::model::{
    Bytes, CommitEvent, DentryEvent, DentryKey, Descent, Device, Event, GroupDeadEvent,
    MountAttributes, MountEvent, MountId, MountKey, NamespaceEvent, NamespaceId, NamespaceInode,
    NamespaceKey, Origin, PeerGroupId, SuperEvent, SuperFlags, SuperKey, UniqueMountId,
};
use crate::wire::call::{Component, PathKey};
use mountwatch_common::record::{
    ArgumentRecord, CallRecord, CommitRecord, DentryRecord, GlanceRecord, GroupRecord, Header,
    MountRecord, NameRecord, NamespaceRecord, SuperRecord, flag, kind,
};
use thiserror::Error;
use zerocopy::FromBytes;

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Fewer bytes than the kind of record has.
    #[error("a record of kind {kind} has {bytes} bytes, too few")]
    Short {
        /// Its kind; 0 if not even that was there.
        kind: u16,
        /// Its bytes.
        bytes: usize,
    },
    /// A kind that no table has: the object and this library are of different versions.
    #[error("a record has the unknown kind {0}")]
    Kind(u16),
    /// A text says that it is longer than the record.
    #[error("a record of kind {kind} says that {says} bytes of text follow, but {bytes} do")]
    Text {
        /// Its kind.
        kind: u16,
        /// Bytes that the record says.
        says: u32,
        /// Bytes that are there.
        bytes: usize,
    },
}

/// A decoded record.
#[derive(Clone, Debug)]
pub enum Record {
    /// An event of the index.
    Event(Event),
    /// A system call.
    Call(Box<CallRecord>),
    /// A component of the path of an executable or a cgroup.
    Component(Component),
    /// A text argument of the call that its thread is in; `None`: it could not be read.
    Argument(ArgumentRecord, Option<Bytes>),
    /// A mount that may have changed (back end `notify`).
    Glance(GlanceRecord),
}

/// Decodes one record.
pub fn decode(bytes: &[u8]) -> Result<Record, DecodeError> {
    let (header, _) = Header::read_from_prefix(bytes)
        .map_err(|_| DecodeError::Short { kind: 0, bytes: bytes.len() })?;
    let event = match header.kind {
        kind::MOUNT => {
            let (record, rest) = read::<MountRecord>(bytes, header.kind)?;
            let source = text(rest, record.source_bytes, header.kind)?;
            let event = Box::new(mount(&record, source));
            if header.flags & flag::GONE == 0 {
                Event::Mount(origin(&header), event)
            } else {
                Event::MountGone(origin(&header), event)
            }
        }
        kind::DENTRY => {
            let (record, rest) = read::<DentryRecord>(bytes, header.kind)?;
            let name = text(rest, record.name_bytes, header.kind)?;
            Event::Dentry(origin(&header), dentry(&record, name))
        }
        kind::SUPER => {
            let (record, _) = read::<SuperRecord>(bytes, header.kind)?;
            Event::Super(origin(&header), super_block(&record))
        }
        kind::GROUP_DEAD => {
            let (record, _) = read::<GroupRecord>(bytes, header.kind)?;
            let event = GroupDeadEvent {
                mount: MountKey(record.mnt),
                group: PeerGroupId(record.group),
                master: (record.master != 0).then_some(PeerGroupId(record.master)),
            };
            Event::GroupDead(origin(&header), event)
        }
        kind::NAMESPACE_BORN => {
            let (record, _) = read::<NamespaceRecord>(bytes, header.kind)?;
            Event::NamespaceBorn(origin(&header), namespace(&record))
        }
        kind::NAMESPACE_GONE => {
            let (record, _) = read::<NamespaceRecord>(bytes, header.kind)?;
            Event::NamespaceGone(origin(&header), namespace(&record))
        }
        kind::COMMIT => {
            let (record, _) = read::<CommitRecord>(bytes, header.kind)?;
            let event = CommitEvent {
                comm: until_zero(&record.comm).into(),
                cgroup_id: record.cgroup_id,
                uid: record.uid,
            };
            Event::Commit(origin(&header), event)
        }
        kind::CALL => return Ok(Record::Call(Box::new(read::<CallRecord>(bytes, header.kind)?.0))),
        kind::NAME => {
            let (record, _) = read::<NameRecord>(bytes, header.kind)?;
            return Ok(Record::Component(component(&record)?));
        }
        kind::ARGUMENT => {
            let (record, rest) = read::<ArgumentRecord>(bytes, header.kind)?;
            let text = text(rest, record.text_bytes, header.kind)?;
            let is_readable = header.flags & flag::UNREADABLE == 0;
            return Ok(Record::Argument(record, is_readable.then_some(text)));
        }
        kind::GLANCE => return Ok(Record::Glance(read::<GlanceRecord>(bytes, header.kind)?.0)),
        other => return Err(DecodeError::Kind(other)),
    };
    Ok(Record::Event(event))
}

fn read<T: FromBytes>(bytes: &[u8], kind: u16) -> Result<(T, &[u8]), DecodeError> {
    T::read_from_prefix(bytes).map_err(|_| DecodeError::Short { kind, bytes: bytes.len() })
}

fn text(rest: &[u8], says: u32, kind: u16) -> Result<Bytes, DecodeError> {
    usize::try_from(says)
        .ok()
        .and_then(|bytes| rest.get(..bytes))
        .map(Bytes::from)
        .ok_or(DecodeError::Text { kind, says, bytes: rest.len() })
}

/// The bytes before the first zero, or all of them.
pub fn until_zero(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or(bytes)
}

/// Where a record was made, and by whom.
#[expect(clippy::cast_possible_truncation, reason = "two halves of one number")]
pub fn origin(header: &Header) -> Origin {
    Origin {
        hook: header.hook,
        in_transaction: header.flags & flag::TRANSACTION != 0,
        scan: header.flags & flag::SCAN != 0,
        ktime_ns: header.ktime_ns,
        pid: (header.pid_tgid >> 32) as u32,
        tid: header.pid_tgid as u32,
        begin_ktime_ns: header.begin_ktime_ns,
        descent: descent(header.flags),
    }
}

/// What a record says of its task's descent.
pub fn descent(flags: u32) -> Descent {
    if flags & flag::DESCENDANT != 0 {
        Descent::Yes
    } else if flags & flag::DESCENT_UNKNOWN != 0 {
        Descent::Unknown
    } else {
        Descent::No
    }
}

fn component(record: &NameRecord) -> Result<Component, DecodeError> {
    let has = |bit| record.header.flags & bit != 0;
    let key = record.key;
    Ok(Component {
        tid: origin(&record.header).tid,
        key: if has(flag::CGROUP) { PathKey::Cgroup(key) } else { PathKey::Executable(key) },
        index: record.index,
        name: text(&record.name, record.name_bytes, record.header.kind)?,
        is_end: has(flag::LAST),
    })
}

fn mount(record: &MountRecord, source: Bytes) -> MountEvent {
    let has = |bit| record.header.flags & bit != 0;
    let mut attributes = MountAttributes::from_bits_truncate(record.mnt_flags);
    attributes.set(MountAttributes::IDMAPPED, has(flag::IDMAPPED));
    MountEvent {
        key: MountKey(record.mnt),
        parent: MountKey(record.parent),
        namespace: (record.ns != 0).then_some(NamespaceKey(record.ns)),
        super_block: SuperKey(record.sb),
        root: DentryKey(record.root),
        mountpoint: DentryKey(record.mountpoint),
        id: MountId(record.mnt_id),
        parent_id: MountId(record.parent_id),
        unique_id: (record.unique_id != 0).then_some(UniqueMountId(record.unique_id)),
        namespace_id: (record.ns_id != 0).then_some(NamespaceId(record.ns_id)),
        namespace_inode: NamespaceInode(record.ns_inum),
        is_anonymous: has(flag::ANONYMOUS),
        is_namespace_root: has(flag::NAMESPACE_ROOT),
        starts_subtree: has(flag::SUBTREE),
        device: Device(record.dev),
        super_flags: SuperFlags::from_bits_truncate(record.sb_flags),
        attributes,
        peer_group: has(flag::SHARED).then_some(PeerGroupId(record.group)),
        master: has(flag::SLAVE).then_some(PeerGroupId(record.master)),
        unbindable: has(flag::UNBINDABLE),
        source,
        copied_from: (record.copied_from != 0).then_some(MountKey(record.copied_from)),
    }
}

fn dentry(record: &DentryRecord, name: Bytes) -> DentryEvent {
    let has = |bit| record.header.flags & bit != 0;
    let is_nsfs = has(flag::NSFS);
    let name = if is_nsfs {
        [&name, &b":["[..], record.ino.to_string().as_bytes(), b"]"].concat().into()
    } else if has(flag::ROOT) {
        Bytes::from(&b""[..])
    } else {
        name
    };
    DentryEvent {
        key: DentryKey(record.dentry),
        parent: DentryKey(record.parent),
        name,
        is_deleted: has(flag::DELETED),
        is_literal: is_nsfs,
    }
}

fn super_block(record: &SuperRecord) -> SuperEvent {
    let fs_type = until_zero(&record.fs_type);
    let subtype = until_zero(&record.subtype);
    SuperEvent {
        key: SuperKey(record.sb),
        device: Device(record.dev),
        magic: record.magic,
        flags: SuperFlags::from_bits_truncate(record.sb_flags),
        fs_type: if subtype.is_empty() {
            fs_type.into()
        } else {
            [fs_type, b".", subtype].concat().into()
        },
        options_stale: record.header.flags & flag::OPTIONS_STALE != 0,
        options: None,
    }
}

fn namespace(record: &NamespaceRecord) -> NamespaceEvent {
    NamespaceEvent {
        key: NamespaceKey(record.ns),
        id: (record.ns_id != 0).then_some(NamespaceId(record.ns_id)),
        inode: NamespaceInode(record.inum),
        is_anonymous: record.header.flags & flag::ANONYMOUS != 0,
        task: (record.task != 0).then_some(record.task),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mountwatch_common::record::{MountShort, RECORD_BYTES_MAX};
    use proptest::prelude::*;
    use zerocopy::IntoBytes;

    #[test]
    fn a_mount_survives_the_wire() {
        let mut record = MountShort::read_from_bytes(&[0; size_of::<MountShort>()]).unwrap();
        record.mount.header.kind = kind::MOUNT;
        record.mount.header.flags = flag::SHARED | flag::TRANSACTION;
        record.mount.header.pid_tgid = (7 << 32) | 8;
        record.mount.mnt = 1;
        record.mount.parent = 2;
        record.mount.ns = 3;
        record.mount.group = 4;
        record.mount.mnt_flags = 0x40;
        record.mount.source_bytes = 3;
        record.source[..5].copy_from_slice(b"a b\0x");
        let Record::Event(Event::Mount(origin, mount)) = decode(record.as_bytes()).unwrap() else {
            panic!("not a mount");
        };
        assert_eq!((origin.pid, origin.tid, origin.in_transaction), (7, 8, true));
        assert_eq!((mount.key, mount.parent), (MountKey(1), MountKey(2)));
        assert_eq!(mount.namespace, Some(NamespaceKey(3)));
        assert_eq!(mount.peer_group, Some(PeerGroupId(4)));
        assert_eq!(mount.master, None);
        assert_eq!(mount.attributes, MountAttributes::READONLY);
        assert_eq!(&mount.source[..], b"a b");
    }

    #[test]
    fn a_text_longer_than_its_record_is_refused() {
        let mut record = MountShort::read_from_bytes(&[0; size_of::<MountShort>()]).unwrap();
        record.mount.header.kind = kind::MOUNT;
        record.mount.source_bytes = 49;
        let error = decode(record.as_bytes()).unwrap_err();
        assert_eq!(error, DecodeError::Text { kind: kind::MOUNT, says: 49, bytes: 48 });
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(
            record_kind in 0u16..13,
            mut bytes in proptest::collection::vec(any::<u8>(), 0..RECORD_BYTES_MAX),
        ) {
            if let Some(start) = bytes.get_mut(..2) {
                start.copy_from_slice(&record_kind.to_ne_bytes());
            }
            let _ = decode(&bytes);
        }
    }
}
