//! The kernel's own text: `/proc/PID/mountinfo`, byte for byte.

use super::{Secrets, options};
use crate::query::{Listed, Viewpoint};
use crate::state::Tables;
use crate::wire::mountinfo::{escape_path, escape_word};

/// What `/proc/PID/mountinfo` says for a process with this viewpoint: `show_mountinfo` in
/// `fs/proc_namespace.c`.
pub fn mountinfo(tables: &Tables, from: Viewpoint) -> Vec<u8> {
    mountinfo_of(tables, from, &tables.list(from), Secrets::Shown)
}

/// The lines of these mounts.
pub fn mountinfo_of(
    tables: &Tables,
    from: Viewpoint,
    mounts: &[Listed],
    secrets: Secrets,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(mounts.len() * 128);
    for listed in mounts {
        push_line(&mut out, tables, from, listed, secrets);
    }
    out
}

fn push_line(
    out: &mut Vec<u8>,
    tables: &Tables,
    from: Viewpoint,
    listed: &Listed,
    secrets: Secrets,
) {
    let mount = &listed.mount;
    let super_block = tables.super_block(mount.super_block).map(|known| &**known);
    let head = format!("{} {} {} ", mount.id, mount.parent_id, mount.device);
    out.extend_from_slice(head.as_bytes());
    match tables.dentry(mount.root) {
        // The file system's own text, with its own escapes.
        Some(root) if root.is_literal => out.extend_from_slice(&root.name),
        _ => out.extend_from_slice(&escape_path(&tables.root_of(mount).unwrap_or_default())),
    }
    out.push(b' ');
    out.extend_from_slice(&escape_path(&listed.path));
    out.push(b' ');
    out.extend_from_slice(mount.attributes.to_string().as_bytes());
    out.extend_from_slice(options::optional_fields(tables, mount, from).as_bytes());
    out.extend_from_slice(b" - ");
    if let Some(super_block) = super_block {
        out.extend_from_slice(&escape_word(&super_block.fs_type, tables.dialect()));
    }
    out.push(b' ');
    out.extend_from_slice(&escape_word(&secrets.source(&mount.source), tables.dialect()));
    out.push(b' ');
    out.extend_from_slice(&options::of_super(super_block, secrets));
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use crate::model::Dialect;

    #[test]
    fn lines_are_the_kernels() {
        let state = sample::state();
        let tables = state.tables();
        let text = mountinfo(tables, sample::view(tables));
        insta::assert_snapshot!(text.escape_ascii().to_string().replace("\\n", "\n"), @r#"
        21 21 0:1 / / rw,nosuid,relatime - ext4 /dev/vda rw,errors=remount-ro
        22 21 0:2 / /a\\040b\\012\\134 rw,nosuid,relatime shared:1 - tmpfs so\\043ur\\040ce rw,sync,lazytime,size=4k
        23 21 0:2 /sub /c\xff rw,nosuid,relatime master:1 unbindable - tmpfs so\\043ur\\040ce rw,sync,lazytime,size=4k
        24 21 0:1 / /hidden/deep rw,nosuid,relatime - ext4 /dev/vda rw,errors=remount-ro
        25 21 0:3 / /hidden rw,nosuid,relatime - fuse.a\\040b https://me:pw@host/ ro,user_id=0,password=x
        26 21 0:4 mnt:[4026531841] /ns rw,nosuid,relatime - nsfs  rw
        27 26 0:2 / /ns rw,nosuid,relatime - tmpfs top rw,sync,lazytime,size=4k
        "#);
    }

    #[test]
    fn an_older_kernel_writes_a_hash_as_it_is() {
        let mut state = sample::state();
        state.set_dialect(Dialect { escapes_hash: false });
        let text = mountinfo(state.tables(), sample::view(state.tables()));
        let lines = text.split(|byte| *byte == b'\n');
        let sources: Vec<_> =
            lines.filter(|line| line.windows(4).any(|four| four == b"so#u")).collect();
        assert_eq!(sources.len(), 2);
        assert!(sources.iter().all(|line| line.windows(12).any(|word| word == b"so#ur\\040ce ")));
    }
}
