//! Option texts: flags of mounts and super blocks as words, in the kernel's order.

use crate::model::{Mount, SuperBlock, SuperFlags};
use crate::query::Viewpoint;
use crate::render::Secrets;
use crate::state::Tables;
use std::fmt::Write;

/// Field 11 of mountinfo(5): `rw` or `ro`, flags and options of the super block, with the escapes
/// of the kernel. Options that are not known are left out.
pub(super) fn of_super(super_block: Option<&SuperBlock>, secrets: Secrets) -> Vec<u8> {
    let Some(super_block) = super_block else { return b"rw".to_vec() };
    of_super_fields(super_block.flags, super_block.options.as_deref(), secrets)
}

/// The same from its two parts.
pub(super) fn of_super_fields(
    flags: SuperFlags,
    options: Option<&[u8]>,
    secrets: Secrets,
) -> Vec<u8> {
    let mut text = flags.to_string().into_bytes();
    if let Some(options) = options.filter(|options| !options.is_empty()) {
        text.push(b',');
        text.extend_from_slice(&secrets.options(options));
    }
    text
}

/// Both as one list, as findmnt(8) merges them: read-only if either is, then the words of the
/// mount, then those of the super block.
pub(super) fn merged(of_mount: &[u8], of_super: &[u8]) -> Vec<u8> {
    let (mount_mode, mount_words) = split_mode(of_mount);
    let (super_mode, super_words) = split_mode(of_super);
    let is_readonly = mount_mode == b"ro" || super_mode == b"ro";
    let mut text = Vec::from(if is_readonly { &b"ro"[..] } else { b"rw" });
    for words in [mount_words, super_words] {
        if !words.is_empty() {
            text.push(b',');
            text.extend_from_slice(words);
        }
    }
    text
}

/// `rw` or `ro`, and what follows after the comma.
fn split_mode(options: &[u8]) -> (&[u8], &[u8]) {
    match options.iter().position(|byte| *byte == b',') {
        Some(at) => {
            let (mode, words) = options.split_at(at);
            (mode, words.get(1..).unwrap_or_default())
        }
        None => (options, b""),
    }
}

/// The optional fields of mountinfo(5), each with a blank before it.
pub(super) fn optional_fields(tables: &Tables, mount: &Mount, from: Viewpoint) -> String {
    let mut text = String::new();
    // Writing to a `String` cannot fail.
    if let Some(group) = mount.peer_group {
        let _ = write!(text, " shared:{group}");
    }
    if let Some(master) = mount.master {
        let _ = write!(text, " master:{master}");
        if let Some(group) = tables.propagate_from(mount, from) {
            let _ = write!(text, " propagate_from:{group}");
        }
    }
    if mount.unbindable {
        text.push_str(" unbindable");
    }
    text
}

/// The propagation type in findmnt's words, where everything that is not shared is private.
pub(super) fn propagation(mount: &Mount) -> String {
    let mut text = String::from(if mount.peer_group.is_some() { "shared" } else { "private" });
    if mount.master.is_some() {
        text.push_str(",slave");
    }
    if mount.unbindable {
        text.push_str(",unbindable");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_is_findmnts() {
        let check = |of_mount: &str, of_super: &str, expected: &str| {
            let text = merged(of_mount.as_bytes(), of_super.as_bytes());
            assert_eq!(String::from_utf8(text).unwrap(), expected);
        };
        check("rw", "rw", "rw");
        check("rw,relatime", "rw", "rw,relatime");
        check("rw,relatime", "ro,size=4k", "ro,relatime,size=4k");
        check("ro,nosuid", "rw", "ro,nosuid");
        check("ro", "rw,sync,a=b", "ro,sync,a=b");
    }
}
