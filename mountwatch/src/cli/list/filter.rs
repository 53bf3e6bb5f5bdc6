//! Which mounts are listed.

use super::ListArgs;
use crate::query::Listed;
use crate::render::{Cell, Column, View};

/// Types that keep no files anywhere: the kernel or a program makes up what is in them. The list is
/// that of libmount, so that --real and --pseudo mean what findmnt(8) means by them.
const PSEUDO: &[&str] = &[
    "anon_inodefs",
    "apparmorfs",
    "autofs",
    "bdev",
    "binder",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "cpuset",
    "debugfs",
    "devfs",
    "devpts",
    "devtmpfs",
    "dlmfs",
    "dmabuf",
    "drm",
    "efivarfs",
    "fuse",
    "fuse.archivemount",
    "fuse.avfsd",
    "fuse.dumpfs",
    "fuse.encfs",
    "fuse.gvfs-fuse-daemon",
    "fuse.gvfsd-fuse",
    "fuse.kio-fuse",
    "fuse.lxcfs",
    "fuse.portal",
    "fuse.rofiles-fuse",
    "fuse.vmware-vmblock",
    "fuse.xwmfs",
    "fusectl",
    "hugetlbfs",
    "ipathfs",
    "mqueue",
    "nfsd",
    "none",
    "nsfs",
    "overlay",
    "pidfs",
    "pipefs",
    "proc",
    "pstore",
    "ramfs",
    "resctrl",
    "rootfs",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "smackfs",
    "sockfs",
    "spufs",
    "sysfs",
    "tmpfs",
    "tracefs",
    "vboxsf",
    "virtiofs",
];

/// Whether anything is left out.
pub(super) fn is_any(args: &ListArgs) -> bool {
    args.types.is_some()
        || args.options.is_some()
        || args.source.is_some()
        || args.id.is_some()
        || args.uniq_id.is_some()
        || args.real
        || args.pseudo
        || args.shadowed
        || args.no_bind
}

/// Whether a mount is one of those that are asked for.
pub(super) fn keeps(args: &ListArgs, view: View<'_>, listed: &Listed) -> bool {
    let mount = &listed.mount;
    let fs_type = view.tables.super_block(mount.super_block).map(|known| &known.fs_type[..]);
    let fs_type = fs_type.unwrap_or_default();
    args.types.as_deref().is_none_or(|types| is_of_types(fs_type, types))
        && args.id.is_none_or(|id| mount.id.0 == id)
        && args.uniq_id.is_none_or(|id| mount.unique_id.is_some_and(|known| known.0 == id))
        && !(args.real && is_pseudo(fs_type))
        && (!args.pseudo || is_pseudo(fs_type))
        && !(args.no_bind && view.tables.bind(mount).is_some())
        && args.source.as_deref().is_none_or(|source| {
            mount.source[..] == *source.as_bytes() || mount.device.to_string() == source
        })
        && !(args.shadowed && view.tables.mounted_at(mount.key, mount.root).is_none())
        && args.options.as_deref().is_none_or(|wanted| {
            let column = Column::find("OPTIONS");
            match column.map_or(Cell::None, |column| column.cell(view, listed)) {
                Cell::Text(options) => has_options(&options, wanted),
                _ => false,
            }
        })
}

fn is_pseudo(fs_type: &[u8]) -> bool {
    PSEUDO.iter().any(|name| name.as_bytes() == fs_type)
}

/// As mount(8): a list of types, any of them; with `no` in front none of them.
fn is_of_types(fs_type: &[u8], types: &str) -> bool {
    let (is_any, types) = match types.strip_prefix("no") {
        Some(types) => (false, types),
        None => (true, types),
    };
    let mut types = types
        .split(',')
        .map(|name| if is_any { name } else { name.strip_prefix("no").unwrap_or(name) });
    types.any(|name| name.as_bytes() == fs_type) == is_any
}

/// As mount(8) with -O: all of these options, where `no` in front of one means without it.
fn has_options(options: &[u8], wanted: &str) -> bool {
    let has = |name: &str| {
        options.split(|byte| *byte == b',').any(|option| {
            let end = option.iter().position(|byte| *byte == b'=').unwrap_or(option.len());
            // With a value it is that value, without one any.
            option == name.as_bytes()
                || (!name.contains('=') && option.get(..end) == Some(name.as_bytes()))
        })
    };
    wanted.split(',').filter(|name| !name.is_empty()).all(|name| {
        match (name.strip_prefix('+'), name.strip_prefix("no")) {
            (Some(name), _) => has(name),
            (None, Some(name)) => !has(name),
            (None, None) => has(name),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_mounts() {
        let check = |types: &str, expected: bool| {
            assert_eq!(is_of_types(b"tmpfs", types), expected, "{types}");
        };
        check("tmpfs", true);
        check("ext4,tmpfs", true);
        check("ext4", false);
        check("notmpfs", false);
        check("noext4,nfs", true);
        check("noext4,notmpfs", false);
        check("", false);
    }

    #[test]
    fn options_are_mounts() {
        let check = |wanted: &str, expected: bool| {
            assert_eq!(has_options(b"ro,nosuid,size=4k,data=a=b", wanted), expected, "{wanted}");
        };
        check("ro", true);
        check("rw", false);
        check("ro,size", true);
        check("size=4k", true);
        check("size=4", false);
        check("data=a=b", true);
        check("norw", true);
        check("noro", false);
        check("nosuid", true); // without `suid`
        check("+nosuid", true);
        check("+nodev", false);
        check("", true);
    }

    #[test]
    fn the_list_has_no_type_twice() {
        assert!(PSEUDO.windows(2).all(|two| two.first() < two.last()));
    }
}
