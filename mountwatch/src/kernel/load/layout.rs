//! What the programs have to know of the running kernel before they are loaded.

use mountwatch_common::offset;

use super::LoadError;

/// Room that the kernel side has for one `struct mount` and one `struct dentry`, in bytes
/// (`MOUNT_BYTES` and `DENTRY_BYTES` there).
const ROOM: [u32; 2] = [512, 192];

/// Byte offsets within `struct pt_regs` of three arguments and the result, as `REGISTERS` takes
/// them; `None` on an architecture whose probes nobody has tried.
pub(super) const REGISTERS: Option<[u32; 4]> = if cfg!(target_arch = "x86_64") {
    // rdi, rsi, rdx; rax
    Some([112, 104, 96, 80])
} else if cfg!(target_arch = "aarch64") {
    // x0, x1, x2; x0
    Some([0, 8, 16, 0])
} else {
    None
};

/// Byte offsets within `struct pt_regs` of the six arguments of a system call, of the same of a caller
/// with 32 bits, and of the call's number, as `CALL_REGISTERS` takes them.
pub(super) const CALL_REGISTERS: [u32; 13] = if cfg!(target_arch = "x86_64") {
    // rdi, rsi, rdx, r10, r8, r9; ebx, ecx, edx, esi, edi, ebp; orig_rax
    [112, 104, 96, 56, 72, 64, 40, 88, 96, 104, 112, 32, 120]
} else if cfg!(target_arch = "aarch64") {
    // x0 to x5; syscallno
    [0, 8, 16, 24, 32, 40, 0, 8, 16, 24, 32, 40, 280]
} else {
    [0; 13]
};

/// Bytes of `struct mount` and `struct dentry` up to the end of the last member we read.
pub(super) fn spans(offsets: &[u32; offset::COUNT]) -> Result<[u32; 2], LoadError> {
    let present = |member: &usize| offsets.get(*member).copied().filter(|at| *at != offset::ABSENT);
    let last = |members: &[usize]| members.iter().filter_map(present).max().unwrap_or(0);
    let vfsmount = last(&[
        offset::VFSMOUNT_ROOT,
        offset::VFSMOUNT_SB,
        offset::VFSMOUNT_FLAGS,
        offset::VFSMOUNT_IDMAP,
        offset::VFSMOUNT_USERNS,
    ]);
    let mount = last(&[
        offset::MOUNT_PARENT,
        offset::MOUNT_MOUNTPOINT,
        offset::MOUNT_NS,
        offset::MOUNT_ID,
        offset::MOUNT_ID_UNIQUE,
        offset::MOUNT_GROUP_ID,
        offset::MOUNT_MASTER,
        offset::MOUNT_DEVNAME,
        offset::MOUNT_MOUNTS,
        offset::MOUNT_CHILD,
        offset::MOUNT_T_FLAGS,
    ])
    .max(last(&[offset::MOUNT_MNT]) + vfsmount);
    let dentry = last(&[offset::DENTRY_PARENT, offset::DENTRY_INODE])
        .max(last(&[offset::DENTRY_NAME]) + last(&[offset::QSTR_NAME, offset::QSTR_HASH_LEN]))
        .max(last(&[offset::DENTRY_HASH]) + last(&[offset::HLIST_BL_NODE_PPREV]));
    let spans = [mount + 8, dentry + 8];
    for ((structure, bytes), room) in ["mount", "dentry"].into_iter().zip(spans).zip(ROOM) {
        if bytes > room {
            return Err(LoadError::Layout { structure, bytes, room });
        }
    }
    Ok(spans)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_reach_to_the_end_of_the_last_member() {
        let mut offsets = [offset::ABSENT; offset::COUNT];
        offsets[offset::MOUNT_MNT] = 32;
        offsets[offset::VFSMOUNT_IDMAP] = 24;
        offsets[offset::MOUNT_GROUP_ID] = 312;
        offsets[offset::DENTRY_NAME] = 32;
        offsets[offset::QSTR_NAME] = 8;
        assert_eq!(spans(&offsets).ok(), Some([320, 48]));
        offsets[offset::MOUNT_GROUP_ID] = 505;
        let error = spans(&offsets).unwrap_err().to_string();
        assert!(error.contains("struct mount") && error.contains("513"), "{error}");
    }
}
