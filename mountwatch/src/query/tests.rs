//! Questions by tables: mountinfo in, answers out.

use super::{
    Bind, Binds, HostWay, MountQueries, PathError, SnapshotView, WhichMount, is_at_or_below,
};
use crate::fake::Index;
use crate::model::{MountId, UniqueMountId};
use proptest::prelude::*;
use std::path::Path;

const HOST: u32 = 100;
const OTHER: u32 = 200;

fn host(text: &str) -> SnapshotView {
    Index::new().namespace(HOST, text).unwrap().view(HOST).unwrap()
}

/// The host and one more namespace, which is seen.
fn other(host: &str, text: &str) -> SnapshotView {
    let index = Index::new().namespace(HOST, host).unwrap().namespace(OTHER, text).unwrap();
    let (from, host) = (index.viewpoint(OTHER).unwrap(), index.viewpoint(HOST).unwrap());
    SnapshotView::new(index.snapshot(), from).with_host(host).with_task(77)
}

/// The rule by which each mount counts as a bind mount, in the order of the lines.
fn binds(view: &SnapshotView) -> Vec<(String, Option<Bind>)> {
    let list = view.list().unwrap().value;
    list.iter().map(|info| (info.mountpoint.display().to_string(), info.bind)).collect()
}

fn check_binds(view: &SnapshotView, expected: &[(&str, Option<Bind>)]) {
    let expected: Vec<_> =
        expected.iter().map(|(path, bind)| ((*path).to_owned(), *bind)).collect();
    assert_eq!(binds(view), expected);
}

/// A host with a file system on a disk, a tmpfs, and bind mounts of all kinds.
const BINDS: &str = "\
1 0 8:1 / / rw - ext4 /dev/sda1 rw
2 1 0:20 / /proc rw - proc proc rw
3 1 0:30 / /vol rw - tmpfs vol rw
4 1 0:30 / /again rw - tmpfs vol rw
5 1 0:30 /sub /part rw - tmpfs vol rw
6 1 8:1 /etc/hosts /file rw - ext4 /dev/sda1 rw
7 1 8:1 /data /data rw - ext4 /dev/sda1 rw
8 1 0:4 net:[4026531840] /netns rw - nsfs nsfs rw
9 1 8:1 /gone//deleted /gone rw - ext4 /dev/sda1 rw
10 3 0:31 / /vol rw - tmpfs over rw
";

#[test]
fn what_a_bind_mount_is_where_it_was_made() {
    use Bind::{Again, Object, Part};
    check_binds(
        &host(BINDS),
        &[
            ("/", None),
            ("/proc", None),
            ("/vol", None),
            ("/again", Some(Again)),
            ("/part", Some(Part)),
            ("/file", Some(Part)),
            ("/data", Some(Part)),
            ("/netns", Some(Object)),
            ("/gone", Some(Part)),
            ("/vol", None),
        ],
    );
}

#[test]
fn a_copy_of_a_namespace_has_the_binds_of_the_original() {
    // The copy's order is that of the tree: what was bound at /a comes before its original now.
    let original = "\
1 0 8:1 / / rw - ext4 /dev/sda1 rw
2 1 0:30 / /a rw - tmpfs a rw
3 1 0:31 / /real rw - tmpfs real rw
4 2 0:31 / /a/bound rw - tmpfs real rw
";
    let copy = "\
11 0 8:1 / / rw - ext4 /dev/sda1 rw
12 11 0:30 / /a rw - tmpfs a rw
14 12 0:31 / /a/bound rw - tmpfs real rw
13 11 0:31 / /real rw - tmpfs real rw
";
    let expected = [("/", None), ("/a", None), ("/a/bound", Some(Bind::Again)), ("/real", None)];
    check_binds(&other(original, copy), &expected);
}

#[test]
fn what_a_recursive_bind_copied_is_bound_and_what_was_propagated_to_it_later_is_not() {
    // mount --rbind / /new; then, as both are shared, mount a tmpfs on /late and another one, with a
    // mount on it, moved to /moved.
    let tree = "\
1 0 8:1 / / rw shared:1 - ext4 /dev/sda1 rw
2 1 0:20 / /proc rw shared:2 - proc proc rw
3 2 0:21 / /proc/sys rw shared:3 - binfmt_misc misc rw
11 1 8:1 / /new rw shared:1 - ext4 /dev/sda1 rw
12 11 0:20 / /new/proc rw shared:2 - proc proc rw
13 12 0:21 / /new/proc/sys rw shared:3 - binfmt_misc misc rw
21 1 0:30 / /late rw shared:4 - tmpfs late rw
22 11 0:30 / /new/late rw shared:4 - tmpfs late rw
31 1 0:31 / /moved rw shared:5 - tmpfs moved rw
32 31 0:32 / /moved/on rw shared:6 - tmpfs on rw
33 11 0:31 / /new/moved rw shared:5 - tmpfs moved rw
34 33 0:32 / /new/moved/on rw shared:6 - tmpfs on rw
41 1 8:1 /part /part rw - ext4 /dev/sda1 rw
42 41 0:30 / /part/late rw - tmpfs late rw
";
    let again = Some(Bind::Again);
    let expected = [
        ("/", None),
        ("/proc", None),
        ("/proc/sys", None),
        ("/new", again),
        ("/new/proc", again),
        ("/new/proc/sys", again),
        ("/late", None),
        ("/new/late", None),
        ("/moved", None),
        ("/moved/on", None),
        ("/new/moved", None),
        ("/new/moved/on", None),
        ("/part", Some(Bind::Part)),
        ("/part/late", again),
    ];
    check_binds(&host(tree), &expected);
}

#[test]
fn propagated_copies_are_real_and_so_is_what_a_container_mounts_itself() {
    // /shared is bound to /peer; what is mounted on one appears on the other.
    let propagated = "\
1 0 8:1 / / rw - ext4 /dev/sda1 rw
2 1 0:30 / /shared rw shared:1 - tmpfs s rw
3 1 0:30 / /peer rw shared:1 - tmpfs s rw
4 3 0:31 / /peer/m rw shared:2 - tmpfs m rw
5 2 0:31 / /shared/m rw shared:2 - tmpfs m rw
";
    let expected = [
        ("/", None),
        ("/shared", None),
        ("/peer", Some(Bind::Again)),
        ("/peer/m", None),
        ("/shared/m", None),
    ];
    check_binds(&host(propagated), &expected);
    // The same sysfs as the host's, mounted at a place of its own.
    let container = "\
20 0 0:50 / / rw - overlay overlay rw
21 20 0:21 / /sys ro - sysfs sysfs rw
22 21 0:21 /firmware /sys/firmware ro - sysfs sysfs rw
";
    let host = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:21 / /sys rw - sysfs sysfs rw\n";
    let expected = [("/", None), ("/sys", None), ("/sys/firmware", Some(Bind::Part))];
    check_binds(&other(host, container), &expected);
}

#[test]
fn parts_that_can_be_mounted_are_real() {
    let subvolumes = "\
1 0 0:40 /@ / rw - btrfs /dev/sda2 rw
2 1 0:40 /@home /home rw - btrfs /dev/sda2 rw
3 1 0:40 /@/var/x /bound rw - btrfs /dev/sda2 rw
4 1 0:40 /@home /again rw - btrfs /dev/sda2 rw
5 1 0:50 /export /nfs rw - nfs4 server:/export rw
6 1 0:50 /export/home /nfshome rw - nfs4 server:/export/home rw
7 1 0:60 / /p1 rw - proc proc rw
8 1 0:60 / /p2 rw - proc other rw
";
    let expected = [
        ("/", None),
        ("/home", None),
        ("/bound", Some(Bind::Again)),
        ("/again", Some(Bind::Again)),
        ("/nfs", None),
        ("/nfshome", None),
        ("/p1", None),
        ("/p2", None),
    ];
    check_binds(&host(subvolumes), &expected);
}

#[test]
fn mount_points_are_those_of_others_and_real_ones_on_demand() {
    let view = host(BINDS);
    // path, mountpoint(1) and moby/sys `Mounted`, the same without bind mounts
    let table = [
        ("/", true, true),
        ("/proc", true, true),
        ("/proc/", true, true),
        ("/./proc", true, true),
        ("/proc/self", false, false),
        ("/vol", true, true),
        ("/again", true, false),
        ("/part", true, false),
        ("/file", true, false),
        ("/data", true, false),
        ("/netns", true, false),
        ("/no", false, false),
    ];
    for (path, is_one, is_real) in table {
        let is_mount_point = |binds| view.is_mount_point(Path::new(path), binds).unwrap().value;
        assert_eq!(is_mount_point(Binds::Count), is_one, "{path}");
        assert_eq!(is_mount_point(Binds::Exclude), is_real, "{path} without bind mounts");
    }
}

#[test]
fn each_question_has_its_answer() {
    let view = host(BINDS);
    let path = Path::new;
    let at = view.mount_at(path("/vol")).unwrap();
    assert_eq!((at.revision.0, at.coverage.word()), (1, "complete"));
    let at = at.value.unwrap();
    assert_eq!((at.id, &at.source[..], at.is_covered), (MountId(10), &b"over"[..], false));
    assert_eq!(view.mount_at(path("/vol/x")).unwrap().value, None);
    let ids = |infos: Vec<super::MountInfo>| infos.iter().map(|info| info.id.0).collect::<Vec<_>>();
    assert_eq!(view.covering(path("/vol/x/y")).unwrap().value.unwrap().id, MountId(10));
    assert_eq!(view.covering(path("/etc/hosts")).unwrap().value.unwrap().id, MountId(1));
    assert_eq!(ids(view.below(path("/vol")).unwrap().value), [3, 10]);
    assert_eq!(ids(view.below(path("/vol/x")).unwrap().value), [0_u32; 0]);
    assert_eq!(view.below(path("/")).unwrap().value.len(), 10);
    let lower = view.mount(WhichMount::Id(MountId(3))).unwrap().value.unwrap();
    assert!(lower.is_covered);
    assert_eq!(
        Some(&lower),
        view.mount(WhichMount::UniqueId(UniqueMountId((1 << 31) + 3))).unwrap().value.as_ref()
    );
    assert_eq!(view.mount(WhichMount::Id(MountId(99))).unwrap().value, None);
    assert_eq!(ids(view.children(WhichMount::Id(MountId(3))).unwrap().value), [10]);
    assert_eq!(
        ids(view.children(WhichMount::Id(MountId(1))).unwrap().value),
        [2, 3, 4, 5, 6, 7, 8, 9]
    );
}

#[test]
fn paths_that_are_none_are_refused() {
    let view = host(BINDS);
    for (path, error) in [
        ("vol", PathError::NotAbsolute),
        ("", PathError::NotAbsolute),
        ("/a\0b", PathError::ZeroByte),
        ("/vol/../proc", PathError::ParentDirectory),
    ] {
        assert_eq!(view.mount_at(Path::new(path)).unwrap_err(), error, "{path:?}");
    }
}

#[test]
fn a_root_directory_inside_a_mount_sees_what_lies_below() {
    let view = host("30 5 0:30 / /proc rw - proc proc rw\n31 30 0:31 / /proc/x rw - tmpfs x rw\n");
    assert!(view.is_mount_point(Path::new("/proc"), Binds::Count).unwrap().value);
    assert!(!view.is_mount_point(Path::new("/"), Binds::Count).unwrap().value);
    assert_eq!(view.covering(Path::new("/etc")).unwrap().value, None);
    assert_eq!(view.list().unwrap().value.len(), 2);
}

#[test]
fn the_host_reaches_a_path_by_its_own_mount_or_the_same_directory_or_a_process() {
    let on_host = "\
1 0 8:1 / / rw - ext4 /dev/sda1 rw
2 1 0:30 / /run rw - tmpfs run rw
3 2 0:50 / /run/c/rootfs rw - overlay overlay rw
4 1 0:60 / /covered rw - tmpfs secret rw
5 4 0:61 / /covered rw - tmpfs lid rw
";
    let container = "\
20 0 0:50 / / rw - overlay overlay rw
21 20 0:70 / /proc rw - proc proc rw
22 20 8:1 /var/lib/pods/7/vol /data rw - ext4 /dev/sda1 rw
23 20 0:60 / /secret rw - tmpfs secret rw
24 22 0:71 / /data/in rw - tmpfs in rw
";
    let view = other(on_host, container);
    let check = |path: &str, expected: &str, way| {
        let found = view.host_path(Path::new(path)).unwrap().value.unwrap();
        assert_eq!((found.path.to_str().unwrap(), found.way), (expected, way), "{path}");
    };
    check("/", "/run/c/rootfs", HostWay::SameDirectory);
    check("/etc/passwd", "/run/c/rootfs/etc/passwd", HostWay::SameDirectory);
    check("/data", "/var/lib/pods/7/vol", HostWay::SameDirectory);
    check("/data/a/b", "/var/lib/pods/7/vol/a/b", HostWay::SameDirectory);
    check("/proc/1", "/proc/77/root/proc/1", HostWay::Process(77));
    check("/secret", "/proc/77/root/secret", HostWay::Process(77));
    check("/data/in/x", "/proc/77/root/data/in/x", HostWay::Process(77));
    let own = host(on_host);
    let from = own.viewpoint();
    let own = own.with_host(from);
    let found = own.host_path(Path::new("/run/x")).unwrap().value.unwrap();
    assert_eq!((found.path.to_str().unwrap(), found.way), ("/run/x", HostWay::SameMount));
    assert!(other(on_host, container).with_host(from).list().is_ok());
}

/// A tree of mounts on directories of a file system, some of which have none.
fn any_tree() -> impl Strategy<Value = Vec<(usize, String)>> {
    let place = "(/[ab]){0,3}";
    prop::collection::vec((any::<prop::sample::Index>(), place), 0..12).prop_map(|mounts| {
        let count = mounts.len();
        mounts
            .into_iter()
            .enumerate()
            .map(|(number, (parent, place))| (parent.index(number.min(count) + 1), place))
            .collect()
    })
}

proptest! {
    /// What is found below a path by names is what the paths of all mounts say.
    #[test]
    fn below_is_by_path(tree in any_tree(), path in "(/[abc]){1,4}") {
        let mut paths = vec![String::new()];
        let mut lines = vec![String::from("1 0 8:1 / / rw - ext4 disk rw\n")];
        for (number, (parent, place)) in tree.iter().enumerate() {
            let path = format!("{}{place}", paths.get(*parent).unwrap());
            let shown = if path.is_empty() { "/" } else { &path };
            let id = number + 2;
            lines.push(format!("{id} {} 0:{id} / {shown} rw - tmpfs t rw\n", parent + 1));
            paths.push(path);
        }
        let view = host(&lines.concat());
        let below = |path: &str, above: &str| path == above || path.starts_with(&format!("{above}/"));
        // Whatever is covered is reached by no path: what a walk finds is what is asked.
        let reached = |info: &super::MountInfo| !info.is_covered;
        let found = view.below(Path::new(&path)).unwrap().value;
        prop_assert!(found.iter().all(|info| below(info.mountpoint.to_str().unwrap(), &path)));
        let mut found: Vec<_> = found.into_iter().filter(reached).collect();
        let mut expected = view.list().unwrap().value;
        expected.retain(|info| reached(info) && below(info.mountpoint.to_str().unwrap(), &path));
        found.sort_by_key(|info| info.id);
        expected.sort_by_key(|info| info.id);
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn below_is_by_component() {
    assert!(is_at_or_below(b"/a", b"/a"));
    assert!(is_at_or_below(b"/a/b", b"/a"));
    assert!(!is_at_or_below(b"/ab", b"/a"));
    assert!(!is_at_or_below(b"/", b"/a"));
    assert!(is_at_or_below(b"/a", b"/"));
    assert!(is_at_or_below(b"/", b"/"));
}
