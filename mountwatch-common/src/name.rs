//! Names of dentries by a hash, for the back end `notify`: the kernel side compares the last component
//! of a path that is renamed or deleted with the names on the way to mountpoints and roots.
//!
//! FNV-1a of 64 bits over the name in lower case (of ASCII), because in a case-insensitive directory
//! a path may name a dentry in another case. Equal hashes of different names cost a look too many.

/// The hash of no bytes.
pub const START: u64 = 0xcbf2_9ce4_8422_2325;

/// The hash of a name and one more byte.
#[inline]
pub const fn step(hash: u64, byte: u8) -> u64 {
    let lower = if byte >= b'A' && byte <= b'Z' { byte | 0x20 } else { byte };
    (hash ^ lower as u64).wrapping_mul(0x0000_0100_0000_01b3)
}

/// The hash of a name, never 0.
pub const fn hash(name: &[u8]) -> u64 {
    let mut hash = START;
    let mut rest = name;
    while let [byte, tail @ ..] = rest {
        hash = step(hash, *byte);
        rest = tail;
    }
    finish(hash)
}

/// 0 stands for a name that is not known.
#[inline]
pub const fn finish(hash: u64) -> u64 {
    if hash == 0 { 1 } else { hash }
}

/// The index of a hash among [`crate::limits::STAMPS`] cells.
#[inline]
pub const fn cell(hash: u64) -> u32 {
    fold(hash) & (crate::limits::STAMPS - 1)
}

/// The index of a hash among [`crate::limits::NAME_BITS`] bits.
#[inline]
pub const fn bit(hash: u64) -> u32 {
    fold(hash) & (crate::limits::NAME_BITS - 1)
}

/// Both halves in one.
#[inline]
const fn fold(hash: u64) -> u32 {
    (hash >> 32) as u32 ^ (hash & 0xffff_ffff) as u32
}
