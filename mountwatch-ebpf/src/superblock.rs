//! SUPER: told once, and again when its numbers changed.

use mountwatch_common::{
    control, offset,
    record::{SuperRecord, flag, kind},
};

use crate::{
    emit::{Wake, reserve},
    maps::{TOLD, control},
    read,
    walk::Walk,
};

/// Tells the super block of the mount that `walk` holds, unless it was told as it is now.
#[inline(always)]
pub fn tell(walk: &mut Walk, sb: u64) {
    if sb == 0 || walk.seen(sb) {
        return;
    }
    let now = fingerprint(sb);
    // SAFETY: a preallocated element may be reused while it is read; then the comparison fails and
    // the super block is told once too often.
    if let Some(told) = unsafe { TOLD.get(sb) }
        && *told == now
    {
        return;
    }
    tell_now(walk, sb, 0);
}

/// Tells a super block, whatever was told before.
#[inline(always)]
pub fn tell_now(walk: &mut Walk, sb: u64, flags: u32) {
    let Some(mut entry) = reserve::<SuperRecord>(walk.lost_ns) else { return };
    let record = entry.as_mut_ptr();
    let fingerprint = fingerprint(sb);
    // SAFETY: the slot is ours until submitted; every field is written (the strings up to their
    // final zero).
    unsafe {
        walk.header(
            &raw mut (*record).header,
            kind::SUPER,
            (walk.flags & (flag::TRANSACTION | flag::SCAN)) | flags,
        );
        (*record).sb = sb;
        (*record).magic = read::member(sb, offset::SUPER_MAGIC);
        (*record).dev = fingerprint[0] as u32;
        (*record).sb_flags = (fingerprint[0] >> 32) as u32;
        (*record).fs_type[0] = 0;
        (*record).subtype[0] = 0;
        let name: u64 = read::member(fingerprint[1], offset::FILE_SYSTEM_TYPE_NAME);
        read::string((&raw mut (*record).fs_type).cast(), 40, name);
        read::string((&raw mut (*record).subtype).cast(), 64, fingerprint[2]);
    }
    entry.submit(Wake::Silent.flags());
    // A full table costs a repetition, no more; dentries alone are counted.
    let _ = TOLD.insert(sb, fingerprint, 0);
}

#[inline(always)]
fn fingerprint(sb: u64) -> [u64; 4] {
    let dev: u32 = read::member(sb, offset::SUPER_DEV);
    let flags: u64 = read::member(sb, offset::SUPER_FLAGS);
    [
        u64::from(dev) | flags << 32,
        read::member(sb, offset::SUPER_TYPE),
        read::member(sb, offset::SUPER_SUBTYPE),
        control(control::EPOCH),
    ]
}
