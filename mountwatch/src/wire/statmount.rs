//! The answer of statmount(2): `struct statmount` of include/uapi/linux/mount.h, a fixed part of
//! 512 bytes and then the texts, each ended by a zero.

use crate::model::{Device, MountAttributes, SuperFlags};
use thiserror::Error;

/// Bits of the mask: what is asked for, and what was given.
pub mod mask {
    /// Device, magic and flags of the super block.
    pub const SB_BASIC: u64 = 0x1;
    /// IDs, attributes, propagation.
    pub const MNT_BASIC: u64 = 0x2;
    /// The group from which propagation comes as seen from our root: expensive, never asked for.
    pub const PROPAGATE_FROM: u64 = 0x4;
    /// The root in the file system.
    pub const MNT_ROOT: u64 = 0x8;
    /// The mountpoint.
    pub const MNT_POINT: u64 = 0x10;
    /// Type of the file system.
    pub const FS_TYPE: u64 = 0x20;
    /// ID of the mount namespace (6.11).
    pub const MNT_NS_ID: u64 = 0x40;
    /// Options of the super block (6.11).
    pub const MNT_OPTS: u64 = 0x80;
    /// Subtype of the file system (6.13).
    pub const FS_SUBTYPE: u64 = 0x100;
    /// The source (6.13).
    pub const SB_SOURCE: u64 = 0x200;
    /// What the kernel can give at all (6.15).
    pub const SUPPORTED_MASK: u64 = 0x1000;
}

/// Bytes of the fixed part.
pub const FIXED_BYTES: usize = 512;

// Bits of `mnt_attr`: MOUNT_ATTR_* of include/uapi/linux/mount.h.
const ATTR_RDONLY: u64 = 0x1;
const ATTR_NOSUID: u64 = 0x2;
const ATTR_NODEV: u64 = 0x4;
const ATTR_NOEXEC: u64 = 0x8;
const ATTR_ATIME: u64 = 0x70;
const ATTR_RELATIME: u64 = 0x00;
const ATTR_NOATIME: u64 = 0x10;
const ATTR_NODIRATIME: u64 = 0x80;
const ATTR_IDMAP: u64 = 0x10_0000;
const ATTR_NOSYMFOLLOW: u64 = 0x20_0000;

// Bits of `mnt_propagation`: MS_* of include/uapi/linux/mount.h.
const UNBINDABLE: u64 = 1 << 17;
const SLAVE: u64 = 1 << 19;
const SHARED: u64 = 1 << 20;

/// Why bytes are not an answer of statmount(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StatmountError {
    /// Fewer bytes than the fixed part has.
    #[error("statmount(2) answered with {0} bytes, fewer than the {FIXED_BYTES} of its fixed part")]
    Short(usize),
    /// A text that lies outside of the answer.
    #[error("statmount(2) answered with a text at offset {0}, outside of the answer")]
    Text(u32),
}

/// What statmount(2) says of one mount. What was not given is zero or `None`; see [`Self::given`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statmount {
    /// Bits of [`mask`] that were given.
    pub given: u64,
    /// Bits of [`mask`] that the kernel knows, if it was asked and says so.
    pub supported: Option<u64>,
    /// Device of the super block.
    pub device: Device,
    /// `s_magic`.
    pub magic: u64,
    /// Flags of the super block; the kernel gives only those that mountinfo(5) shows.
    pub super_flags: SuperFlags,
    /// Unique mount ID.
    pub unique_id: u64,
    /// The parent's; the same for a root.
    pub parent_unique_id: u64,
    /// The reused mount ID.
    pub id: u32,
    /// The parent's.
    pub parent_id: u32,
    /// Attributes.
    pub attributes: MountAttributes,
    /// It is shared.
    pub is_shared: bool,
    /// It is a slave.
    pub is_slave: bool,
    /// It is unbindable.
    pub is_unbindable: bool,
    /// Its peer group.
    pub peer_group: u64,
    /// Its master's peer group.
    pub master: u64,
    /// ID of its mount namespace.
    pub namespace_id: u64,
    /// Its root in the file system, without escapes.
    pub root: Option<Vec<u8>>,
    /// Its mountpoint as seen from the namespace's root, without escapes; `None` if it cannot be
    /// reached from there.
    pub mountpoint: Option<Vec<u8>>,
    /// Type of the file system.
    pub fs_type: Option<Vec<u8>>,
    /// Subtype; `None` if there is none.
    pub fs_subtype: Option<Vec<u8>>,
    /// Options of the super block, escaped as in mountinfo(5); `None` if there are none.
    pub options: Option<Vec<u8>>,
    /// The source, without escapes; `None` if it is empty.
    pub source: Option<Vec<u8>>,
}

/// Understands an answer.
pub fn parse(bytes: &[u8]) -> Result<Statmount, StatmountError> {
    let fixed: &[u8; FIXED_BYTES] =
        bytes.first_chunk().ok_or(StatmountError::Short(bytes.len()))?;
    let given = number(fixed, 8);
    let text = |bit, at| {
        if given & bit == 0 {
            return Ok(None);
        }
        let offset = half(fixed, at);
        text_at(bytes, offset).map(Some).ok_or(StatmountError::Text(offset))
    };
    let propagation = number(fixed, 72);
    Ok(Statmount {
        given,
        supported: (given & mask::SUPPORTED_MASK != 0).then(|| number(fixed, 144)),
        device: Device::new(half(fixed, 16), half(fixed, 20)),
        magic: number(fixed, 24),
        super_flags: SuperFlags::from_bits_truncate(half(fixed, 32)),
        unique_id: number(fixed, 40),
        parent_unique_id: number(fixed, 48),
        id: half(fixed, 56),
        parent_id: half(fixed, 60),
        attributes: attributes(number(fixed, 64)),
        is_shared: propagation & SHARED != 0,
        is_slave: propagation & SLAVE != 0,
        is_unbindable: propagation & UNBINDABLE != 0,
        peer_group: number(fixed, 80),
        master: number(fixed, 88),
        namespace_id: number(fixed, 112),
        root: text(mask::MNT_ROOT, 104)?,
        mountpoint: text(mask::MNT_POINT, 108)?.filter(|text| !text.is_empty()),
        fs_type: text(mask::FS_TYPE, 36)?,
        fs_subtype: text(mask::FS_SUBTYPE, 120)?,
        options: text(mask::MNT_OPTS, 4)?,
        source: text(mask::SB_SOURCE, 124)?,
    })
}

/// A number of 64 bits; all offsets are constants inside the fixed part.
fn number(fixed: &[u8; FIXED_BYTES], at: usize) -> u64 {
    fixed.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_ne_bytes)
}

/// A number of 32 bits.
fn half(fixed: &[u8; FIXED_BYTES], at: usize) -> u32 {
    fixed.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

fn text_at(bytes: &[u8], offset: u32) -> Option<Vec<u8>> {
    let start = FIXED_BYTES.checked_add(usize::try_from(offset).ok()?)?;
    let rest = bytes.get(start..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    rest.get(..end).map(<[u8]>::to_vec)
}

fn attributes(bits: u64) -> MountAttributes {
    let mut attributes = MountAttributes::empty();
    for (bit, attribute) in [
        (ATTR_RDONLY, MountAttributes::READONLY),
        (ATTR_NOSUID, MountAttributes::NOSUID),
        (ATTR_NODEV, MountAttributes::NODEV),
        (ATTR_NOEXEC, MountAttributes::NOEXEC),
        (ATTR_NODIRATIME, MountAttributes::NODIRATIME),
        (ATTR_IDMAP, MountAttributes::IDMAPPED),
        (ATTR_NOSYMFOLLOW, MountAttributes::NOSYMFOLLOW),
    ] {
        attributes.set(attribute, bits & bit != 0);
    }
    // Three values in one field; the third, strictatime, is shown by the absence of both.
    attributes.set(MountAttributes::NOATIME, bits & ATTR_ATIME == ATTR_NOATIME);
    attributes.set(MountAttributes::RELATIME, bits & ATTR_ATIME == ATTR_RELATIME);
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer() -> Vec<u8> {
        let mut bytes = vec![0; FIXED_BYTES];
        let mut put = |at: usize, value: &[u8]| {
            bytes.splice(at..at + value.len(), value.iter().copied());
        };
        put(8, &(mask::MNT_BASIC | mask::MNT_POINT | mask::MNT_ROOT).to_ne_bytes());
        put(16, &8u32.to_ne_bytes());
        put(20, &1u32.to_ne_bytes());
        put(40, &0x8000_0017u64.to_ne_bytes());
        put(64, &(ATTR_RDONLY | ATTR_NOATIME).to_ne_bytes());
        put(72, &(SHARED | SLAVE).to_ne_bytes());
        put(80, &3u64.to_ne_bytes());
        put(108, &2u32.to_ne_bytes());
        bytes.extend_from_slice(b"/\0/a b\0");
        bytes
    }

    #[test]
    fn an_answer_is_understood() {
        let mount = parse(&answer()).unwrap();
        assert_eq!(mount.device, Device::new(8, 1));
        assert_eq!(mount.unique_id, 0x8000_0017);
        assert_eq!(mount.attributes, MountAttributes::READONLY | MountAttributes::NOATIME);
        assert_eq!((mount.is_shared, mount.is_slave, mount.is_unbindable), (true, true, false));
        assert_eq!(mount.peer_group, 3);
        assert_eq!(mount.root.as_deref(), Some(&b"/"[..]));
        assert_eq!(mount.mountpoint.as_deref(), Some(&b"/a b"[..]));
        assert_eq!((mount.source, mount.options), (None, None));
    }

    #[test]
    fn a_text_without_its_zero_is_refused() {
        let mut bytes = answer();
        bytes.pop();
        assert_eq!(parse(&bytes), Err(StatmountError::Text(2)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_understood_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..1200),
        ) {
            let _ = parse(&bytes);
        }

        #[test]
        fn any_offsets_are_understood_or_refused(
            given in any::<u64>(),
            offsets in proptest::collection::vec(0u32..64, 8),
        ) {
            let mut bytes = answer();
            bytes.splice(8..16, given.to_ne_bytes());
            for (at, offset) in [4, 36, 104, 108, 120, 124].into_iter().zip(offsets) {
                bytes.splice(at..at + 4, offset.to_ne_bytes());
            }
            let _ = parse(&bytes);
        }
    }
}
