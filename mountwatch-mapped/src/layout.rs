//! The bytes of a table, version 1. `docs/MAPPED.md` has the same in words, and
//! `include/mountwatch_mapped.h` in C.
//!
//! A table is an array of 64-bit words in the byte order of the host: shared memory never leaves it.
//! A word of two halves has the first one in its lower 32 bits. Names are bytes in the order of
//! memory, padded with zeros to whole words. There are no pointers: records are known by their number
//! in their region, from 1; 0 is none. Texts are known by the word at which they begin.
//!
//! What is here is that of one mount namespace: no address of the kernel, nothing of others.

/// The first word.
pub const MAGIC: u64 = u64::from_ne_bytes(*b"mntwatch");
/// The version of everything here.
pub const VERSION: u32 = 1;

/// Words of the header.
pub const HEADER_WORDS: u32 = 64;
/// [`MAGIC`].
pub const H_MAGIC: usize = 0;
/// [`VERSION`], and [`HEADER_WORDS`].
pub const H_VERSION: usize = 1;
/// How many words the whole table has.
pub const H_WORDS: usize = 2;
/// What hashes begin with, random.
pub const H_SEED: usize = 3;
/// Inode of the mount namespace.
pub const H_NAMESPACE: usize = 4;
/// ID of the mount namespace that is never reused; 0 if the kernel has none.
pub const H_NAMESPACE_ID: usize = 5;
/// Random, another one for each table: who opens again sees by it that it is another.
pub const H_EPOCH: usize = 6;
/// How old [`H_FRESH_NS`] may become before the table counts as not kept any more, nanoseconds.
pub const H_FRESH_MAX_NS: usize = 7;
/// The regions: first word, and how many records (of hash tables: buckets, a power of two).
pub const H_NAMES: usize = 8;
/// Hash table: mount and dentry, to the mount on top there.
pub const H_PLACES: usize = 9;
/// Hash table: mount IDs and unique mount IDs, to the mount.
pub const H_IDS: usize = 10;
/// Records of [`DENTRY_WORDS`] words.
pub const H_DENTRIES: usize = 11;
/// Records of [`MOUNT_WORDS`] words.
pub const H_MOUNTS: usize = 12;
/// Records of [`SUPER_WORDS`] words.
pub const H_SUPERS: usize = 13;
/// Words of texts.
pub const H_STRINGS: usize = 14;
/// Words: from where is seen, a mount and a dentry. The first is the root of the namespace.
pub const H_VIEWS: usize = 15;

/// Odd while the writer is at work. Everything from here on but [`H_FRESH_NS`] and [`H_STATE`], and
/// every record, belongs together as long as it does not change.
pub const H_SEQUENCE: usize = 16;
/// Revision of the index.
pub const H_REVISION: usize = 17;
/// Coverage (`COVERAGE_*`), and how many sentences about it.
pub const H_COVERAGE: usize = 18;
/// The sentences, each ended by a zero byte: a text.
pub const H_SENTENCES: usize = 19;
/// How many mounts there are, and the highest number of one that ever was.
pub const H_COUNTS: usize = 20;
/// CLOCK_MONOTONIC: what was over before that moment is in the table.
pub const H_FRESH_NS: usize = 21;
/// `STATE_*`.
pub const H_STATE: usize = 22;

/// The table is kept.
pub const STATE_LIVE: u64 = 1;
/// There is another table of the same namespace: ask for it.
pub const STATE_MOVED: u64 = 2;
/// The namespace is gone, or the writer ended.
pub const STATE_CLOSED: u64 = 3;

/// Everything is known.
pub const COVERAGE_COMPLETE: u32 = 1;
/// Something was lost, and is looked for.
pub const COVERAGE_STALE: u32 = 2;
/// Known as far as the back end sees.
pub const COVERAGE_BLIND: u32 = 3;
/// Read again from time to time.
pub const COVERAGE_POLLING: u32 = 4;

/// Words of a dentry.
pub const DENTRY_WORDS: u32 = 10;
/// Parent (0: a root of a file system), and first child.
pub const D_PARENT: u32 = 0;
/// Next and previous child of the same parent.
pub const D_SIBLINGS: u32 = 1;
/// Bytes of the name and flags (`DENTRY_*`, the upper 16 bits), and at how many mounts something is
/// mounted on it.
pub const D_NAME: u32 = 2;
/// The writer's own: references, and first mount that shows it.
pub const D_OWN: u32 = 3;
/// The name, or the word at which it stands if it is longer than [`NAME_INLINE_BYTES`].
pub const D_TEXT: u32 = 4;
/// The longest name that has room in a dentry, bytes.
pub const NAME_INLINE_BYTES: usize = 48;
/// It is deleted: nothing is found by its name.
pub const DENTRY_DELETED: u32 = 1 << 16;
/// Its name is the whole root field of mountinfo(5).
pub const DENTRY_LITERAL: u32 = 1 << 17;
/// Its name is known.
pub const DENTRY_KNOWN: u32 = 1 << 18;
/// It is found by its name.
pub const DENTRY_LINKED: u32 = 1 << 19;

/// Words of a mount.
pub const MOUNT_WORDS: u32 = 12;
/// Mount ID, and that of the parent.
pub const M_ID: u32 = 0;
/// Unique mount ID, or 0.
pub const M_UNIQUE_ID: u32 = 1;
/// The mount on which it sits (0: none in this table), and the first that sits on it.
pub const M_PARENT: u32 = 2;
/// Next and previous mount on the same parent.
pub const M_SIBLINGS: u32 = 3;
/// Dentries: what it shows, and where it sits.
pub const M_ROOT: u32 = 4;
/// Attributes as the kernel numbers them, and flags (`MOUNT_*`).
pub const M_ATTRIBUTES: u32 = 5;
/// Peer group and master, 0 for none.
pub const M_GROUPS: u32 = 6;
/// Super block, and why it is a bind mount (`BIND_*`).
pub const M_SUPER: u32 = 7;
/// The source: a text.
pub const M_SOURCE: u32 = 8;
/// The mount below at the same mountpoint of the same parent; and device.
pub const M_COVERS: u32 = 9;
/// The writer's own: next and previous mount that shows the same dentry.
pub const M_SHOWN: u32 = 10;
/// A mount, not a record that nothing uses.
pub const MOUNT_LIVE: u32 = 1;
/// It is unbindable.
pub const MOUNT_UNBINDABLE: u32 = 2;
/// A real mount.
pub const BIND_NOT: u32 = 0;
/// A bind mount: a kernel object.
pub const BIND_OBJECT: u32 = 1;
/// A bind mount: a part of its file system.
pub const BIND_PART: u32 = 2;
/// A bind mount: shows what an older mount shows.
pub const BIND_AGAIN: u32 = 3;

/// Words of a super block.
pub const SUPER_WORDS: u32 = 4;
/// Type of the file system: a text.
pub const S_TYPE: u32 = 0;
/// Options as the file system prints them: a text.
pub const S_OPTIONS: u32 = 1;
/// Flags as the kernel numbers them; and `SUPER_*`.
pub const S_FLAGS: u32 = 2;
/// The writer's own: references.
pub const S_OWN: u32 = 3;
/// The options are known.
pub const SUPER_OPTIONS_KNOWN: u32 = 1;

/// The lower half of a word.
#[expect(clippy::cast_possible_truncation, reason = "a half")]
pub const fn low(word: u64) -> u32 {
    word as u32
}

/// The upper half of a word.
pub const fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

/// A word of two halves.
pub const fn pair(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Both halves of a product, folded.
#[expect(clippy::cast_possible_truncation, reason = "a half")]
const fn fold(a: u64, b: u64) -> u64 {
    let product = (a as u128) * (b as u128);
    product as u64 ^ (product >> 64) as u64
}

#[expect(clippy::cast_possible_truncation, reason = "a half")]
const fn finish(hash: u64) -> u32 {
    // 0 is a bucket that nothing is in, so no hash is 0.
    let hash = (hash ^ hash >> 32) as u32;
    if hash == 0 { 1 } else { hash }
}

/// The hash of two numbers: a mount and a dentry; an ID and its kind.
pub const fn hash_pair(seed: u64, first: u64, second: u64) -> u32 {
    finish(fold(fold(seed ^ first, MULTIPLIER) ^ second, MULTIPLIER))
}

/// The hash of a name below a parent dentry. The parent comes last: a walk can hash the next name
/// before it knows below what.
pub fn hash_name(seed: u64, parent: u32, name: &[u8]) -> u32 {
    let mut hash = fold(seed, MULTIPLIER ^ name.len() as u64);
    let (whole, rest) = name.as_chunks::<8>();
    for word in whole {
        hash = fold(hash ^ u64::from_ne_bytes(*word), MULTIPLIER);
    }
    if !rest.is_empty() {
        hash = fold(hash ^ last_word(rest), MULTIPLIER);
    }
    finish(fold(hash ^ pair(parent, 0), MULTIPLIER))
}

/// The words of a text, the last one padded with zeros.
pub fn words_of(text: &[u8]) -> impl Iterator<Item = u64> + '_ {
    let (whole, rest) = text.as_chunks::<8>();
    let last = (!rest.is_empty()).then(|| last_word(rest));
    whole.iter().map(|word| u64::from_ne_bytes(*word)).chain(last)
}

/// Up to seven bytes and zeros.
pub(crate) fn last_word(rest: &[u8]) -> u64 {
    let mut word = 0;
    for (at, byte) in rest.iter().enumerate() {
        word |= u64::from(*byte) << (8 * at);
    }
    u64::from_ne_bytes(word.to_le_bytes())
}

const ONES: u64 = 0x0101_0101_0101_0101;

/// How many bytes of a path come before the next `/`, or before its end.
pub(crate) fn name_bytes(path: &[u8]) -> usize {
    let (whole, rest) = path.as_chunks::<8>();
    for (at, word) in whole.iter().enumerate() {
        // A byte that is 0 borrows from its own highest bit: the first one found is right.
        let word = u64::from_le_bytes(*word) ^ (ONES * u64::from(b'/'));
        let zeros = word.wrapping_sub(ONES) & !word & (ONES << 7);
        if zeros != 0 {
            return at * 8 + zeros.trailing_zeros() as usize / 8;
        }
    }
    let at = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
    whole.len() * 8 + at
}

/// Kinds of IDs in the hash table of IDs.
pub const ID_REUSED: u64 = 1;
/// The unique ID.
pub const ID_UNIQUE: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn names_end_where_the_next_slash_is(path in "[a./\u{2e}\u{30}0é]{0,40}") {
            let path = path.as_bytes();
            let expected = path.iter().position(|byte| *byte == b'/').unwrap_or(path.len());
            prop_assert_eq!(name_bytes(path), expected);
        }

        #[test]
        fn words_are_the_bytes_of_a_text(text: Vec<u8>) {
            let mut bytes: Vec<u8> = words_of(&text).flat_map(u64::to_ne_bytes).collect();
            prop_assert!(bytes.iter().skip(text.len()).all(|byte| *byte == 0));
            bytes.truncate(text.len());
            prop_assert_eq!(bytes, text);
        }
    }
}
