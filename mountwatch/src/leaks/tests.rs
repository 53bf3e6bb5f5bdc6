//! Steps and indexes made by hand.

use super::order::turns;
use super::*;
use crate::fake::Index;
use crate::model::{
    Change, ChangeKind, Descent, Holder, Holders, MountId, NamespaceInode, NamespaceKey, Task,
    Transaction,
};
use crate::query::Viewpoint;
use crate::state::{Published, Snapshot};
use mountwatch_common::hook;
use proptest::prelude::*;
use std::fmt::Write;
use std::process::Command;

const OWN: u32 = 100;
const OTHER: u32 = 200;
const ROOT: &str = "1 0 8:1 / / rw - ext4 d rw\n";

fn index(own: &str, other: &str) -> Arc<Snapshot> {
    let index = Index::new().namespace(OWN, format!("{ROOT}{own}")).unwrap();
    let root = ROOT.replace("1 0", "2 0");
    index.namespace(OTHER, format!("{root}{other}")).unwrap().snapshot()
}

fn key_of(snapshot: &Snapshot, inode: u32) -> NamespaceKey {
    snapshot.namespace_by_inode(NamespaceInode(inode)).unwrap().key
}

fn view(snapshot: &Snapshot) -> Viewpoint {
    snapshot.viewpoint_of_namespace(key_of(snapshot, OWN)).unwrap()
}

fn mount(snapshot: &Snapshot, id: u32) -> Arc<Mount> {
    Arc::clone(snapshot.mount_by_id(MountId(id)).unwrap())
}

fn by(kind: ChangeKind, descent: Option<Descent>) -> Change {
    let task = descent.map(|descent| Arc::new(Task { pid: 7, tid: 7, descent, ..Task::default() }));
    Change { kind, hook: hook::COMMIT, ktime_ns: 5, task, operation: None }
}

fn attach(snapshot: &Snapshot, id: u32, descent: Option<Descent>) -> Change {
    by(ChangeKind::Attach { mount: mount(snapshot, id) }, descent)
}

fn born(snapshot: &Snapshot, inode: u32, descent: Option<Descent>) -> Change {
    let namespace = key_of(snapshot, inode);
    by(ChangeKind::NamespaceBorn { namespace, inode: NamespaceInode(inode) }, descent)
}

fn step(snapshot: &Arc<Snapshot>, changes: Vec<Change>) -> Published {
    let revision = snapshot.revision();
    let transaction = Transaction { revision, changes, operations: Vec::new() };
    Published {
        snapshot: Arc::clone(snapshot),
        transaction: Arc::new(transaction),
        supers: Vec::new().into(),
        is_anew: false,
    }
}

fn left_after(snapshot: &Arc<Snapshot>, steps: Vec<Vec<Change>>, holders: &Holders) -> Left {
    let mut ledger = Ledger::new(snapshot);
    for changes in steps {
        ledger.take(&step(snapshot, changes));
    }
    ledger.left(snapshot, view(snapshot), holders)
}

fn ids(left: &Left) -> Vec<u32> {
    left.mounts.iter().map(|left| left.mount.id.0).collect()
}

fn commands(left: &Left) -> Vec<String> {
    left.mounts
        .iter()
        .map(|left| left.unmount.command().unwrap_or_else(|| format!("{:?}", left.unmount)))
        .collect()
}

#[test]
fn what_descendants_made_is_theirs_and_what_others_made_is_not() {
    let snapshot = index(
        "10 1 0:10 / /a rw - tmpfs a rw\n11 1 0:11 / /b rw - tmpfs b rw\n\
         12 1 0:12 / /c rw - tmpfs c rw\n13 1 0:13 / /d rw - tmpfs d rw\n",
        "",
    );
    let steps = vec![
        vec![attach(&snapshot, 10, Some(Descent::Yes)), attach(&snapshot, 11, Some(Descent::No))],
        vec![attach(&snapshot, 12, Some(Descent::Unknown)), attach(&snapshot, 13, None)],
    ];
    let left = left_after(&snapshot, steps, &Holders::new());
    assert_eq!(ids(&left), [13, 12, 10]);
    let owners: Vec<_> = left.mounts.iter().map(|left| left.maker.owner).collect();
    assert_eq!(owners, [Owner::Unknown, Owner::Unknown, Owner::Descendant]);
    assert!(left.has_unknown());
}

#[test]
fn what_is_gone_is_not_left() {
    let snapshot = index("10 1 0:10 / /a rw - tmpfs a rw\n", "");
    let gone = by(ChangeKind::Detach { mount: mount(&snapshot, 10) }, Some(Descent::No));
    let steps = vec![vec![attach(&snapshot, 10, Some(Descent::Yes))], vec![gone]];
    assert!(left_after(&snapshot, steps, &Holders::new()).is_empty());
    // And again by somebody else, with the same key.
    let gone = by(ChangeKind::Detach { mount: mount(&snapshot, 10) }, Some(Descent::No));
    let steps = vec![
        vec![attach(&snapshot, 10, Some(Descent::Yes))],
        vec![gone],
        vec![attach(&snapshot, 10, Some(Descent::No))],
    ];
    assert!(left_after(&snapshot, steps, &Holders::new()).is_empty());
    // Told, and not there: the snapshot is right.
    let other = index("", "");
    let mut ledger = Ledger::new(&other);
    ledger.take(&step(&other, vec![attach(&snapshot, 10, Some(Descent::Yes))]));
    assert!(ledger.left(&other, view(&other), &Holders::new()).is_empty());
}

#[test]
fn a_move_changes_nothing_of_whose_it_is() {
    let snapshot = index("10 1 0:10 / /a rw - tmpfs a rw\n11 1 0:11 / /b rw - tmpfs b rw\n", "");
    let moved = |id, descent| {
        let (before, mount) = (mount(&snapshot, id), mount(&snapshot, id));
        by(ChangeKind::Move { before, mount }, Some(descent))
    };
    let steps = vec![
        vec![attach(&snapshot, 10, Some(Descent::Yes))],
        vec![moved(10, Descent::No), moved(11, Descent::Yes)],
    ];
    assert_eq!(ids(&left_after(&snapshot, steps, &Holders::new())), [10]);
}

#[test]
fn a_namespace_is_one_thing_and_what_came_later_is_another() {
    let snapshot = index("", "20 2 0:20 / /x rw - tmpfs x rw\n21 2 0:21 / /y rw - tmpfs y rw\n");
    let yes = Some(Descent::Yes);
    let birth =
        vec![attach(&snapshot, 2, yes), attach(&snapshot, 20, yes), born(&snapshot, OTHER, yes)];
    let holder = Holder { descriptor_of: Some(70), descriptor: Some(9), ..Holder::default() };
    let holders = Holders::from([(NamespaceInode(OTHER), holder)]);
    let left = left_after(&snapshot, vec![birth, vec![attach(&snapshot, 21, yes)]], &holders);
    assert_eq!(commands(&left), ["nsenter --mount=/proc/70/fd/9 umount /y"]);
    let release = left.namespaces.iter().map(|left| left.release.clone()).collect::<Vec<_>>();
    assert_eq!(release, [Release::Descriptor { pid: 70, fd: Some(9) }]);
    // Somebody else's namespace is nobody's business, but what is mounted in it is.
    let no = Some(Descent::No);
    let birth = vec![born(&snapshot, OTHER, no), attach(&snapshot, 2, no)];
    let left = left_after(&snapshot, vec![birth, vec![attach(&snapshot, 21, yes)]], &holders);
    assert_eq!((ids(&left), left.namespaces.len()), (vec![21], 0));
    // What a scan finds in it came with it.
    let birth = vec![born(&snapshot, OTHER, no)];
    let left = left_after(&snapshot, vec![birth, vec![attach(&snapshot, 21, None)]], &holders);
    assert!(left.is_empty());
}

#[test]
fn the_way_into_a_namespace_is_a_thread_or_a_mount_of_it() {
    let snapshot = index(
        "10 1 0:4 mnt:[200] /run/n\\040s rw - nsfs nsfs rw\n",
        "20 2 0:20 / /it's rw - tmpfs x rw\n",
    );
    let steps = || vec![vec![attach(&snapshot, 20, Some(Descent::Yes))]];
    let left = left_after(&snapshot, steps(), &Holders::new());
    assert_eq!(commands(&left), [r"nsenter --mount='/run/n s' umount '/it'\''s'"]);
    let holder = Holder { pid: Some(70), tid: Some(71), processes: 1, ..Holder::default() };
    let holders = Holders::from([(NamespaceInode(OTHER), holder)]);
    let left = left_after(&snapshot, steps(), &holders);
    assert_eq!(commands(&left), [r"nsenter --mount=/proc/71/ns/mnt umount '/it'\''s'"]);
}

#[test]
fn stacks_go_from_the_top_and_children_before_parents() {
    let snapshot = index(
        "10 1 0:10 / /a rw - tmpfs a rw\n11 10 0:11 / /a rw - tmpfs top rw\n\
         12 11 0:12 / /a/b rw - tmpfs b rw\n13 1 0:13 / /c rw - tmpfs c rw\n",
        "",
    );
    let yes = Some(Descent::Yes);
    let changes = [13, 10, 12, 11].map(|id| attach(&snapshot, id, yes)).to_vec();
    let left = left_after(&snapshot, vec![changes], &Holders::new());
    assert_eq!(commands(&left), ["umount /c", "umount /a/b", "umount /a", "umount /a"]);
}

#[test]
fn what_others_put_on_it_is_said() {
    let snapshot = index(
        "10 1 0:10 / /a rw - tmpfs a rw\n11 10 0:11 / /a/b rw - tmpfs b rw\n\
         12 1 0:12 / /c/d rw - tmpfs d rw\n13 1 0:13 / /c rw - tmpfs c rw\n",
        "",
    );
    let yes = Some(Descent::Yes);
    let changes = vec![attach(&snapshot, 10, yes), attach(&snapshot, 12, yes)];
    let left = left_after(&snapshot, vec![changes], &Holders::new());
    let of = |id| left.mounts.iter().find(|left| left.mount.id.0 == id).unwrap();
    assert_eq!(of(10).foreign_children, 1);
    assert_eq!(of(12).unmount, Unmount::Unreachable);
}

#[test]
fn copies_go_with_the_mount_that_they_were_copied_from() {
    // /m is a peer in both namespaces, and a slave of it is at /s.
    let snapshot = index(
        "10 1 0:10 / /m rw shared:5 - tmpfs m rw\n11 10 0:11 / /m/x rw shared:6 - tmpfs x rw\n\
         12 1 0:10 / /s rw master:5 - tmpfs m rw\n13 12 0:11 / /s/x rw master:6 - tmpfs x rw\n\
         14 13 0:14 / /s/x/on rw - tmpfs on rw\n",
        "20 2 0:10 / /m rw shared:5 - tmpfs m rw\n21 20 0:11 / /m/x rw shared:6 - tmpfs x rw\n",
    );
    let yes = Some(Descent::Yes);
    let changes = [11, 13, 14, 21].map(|id| attach(&snapshot, id, yes)).to_vec();
    let left = left_after(&snapshot, vec![changes], &Holders::new());
    assert_eq!(ids(&left), [14, 11, 21, 13]);
    let with = Unmount::With(mount(&snapshot, 11).key);
    let ways: Vec<_> = left.mounts.iter().map(|left| left.unmount.clone()).collect();
    assert_eq!(ways.get(2..), Some(&[with.clone(), with][..]));
    // A slave takes nobody along.
    let changes = vec![attach(&snapshot, 13, yes), attach(&snapshot, 14, yes)];
    let left = left_after(&snapshot, vec![changes], &Holders::new());
    assert_eq!(commands(&left), ["umount /s/x/on", "umount /s/x"]);
}

#[test]
fn after_a_gap_what_is_new_is_of_nobody_who_is_known() {
    let before = index("", "");
    // The last line, so that the other mounts have the same made-up IDs.
    let after = index("", "20 2 0:20 / /a rw - tmpfs a rw\n");
    let mut ledger = Ledger::new(&before);
    ledger.skip_to(&before, &after);
    let left = ledger.left(&after, view(&after), &Holders::new());
    assert_eq!((ids(&left), ledger.gaps()), (vec![20], 1));
    assert!(left.has_unknown() && left.namespaces.is_empty());
}

/// What a shell makes of a word is what was quoted.
fn assert_quoted(bytes: &[u8]) {
    let word = quoted(bytes);
    assert!(word.chars().all(|char| !char.is_control()), "{word}");
    let output = Command::new("sh").args(["-c", &format!("printf %s. {word}")]).output().unwrap();
    assert_eq!(output.stdout.strip_suffix(b"."), Some(bytes), "{word}");
}

#[test]
fn words_survive_a_shell() {
    for bytes in [
        &b"/plain-1.2_x"[..],
        b"/a b",
        b"/it's",
        b"/$HOME`x`\"",
        b"/\xff\x01",
        b"/a\nb",
        b"-\x7fx",
        b"/100%\n\\n x",
        "/größe".as_bytes(),
        "/\u{202e}x".as_bytes(),
    ] {
        assert_quoted(bytes);
    }
    assert_eq!(quoted(b""), "''");
    let with_end = Unmount::Path { entrance: Entrance::Own, path: b"/a\n".to_vec() };
    assert_eq!(with_end.command().unwrap(), "umount \"$(printf '/a\\012/.')\"");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_word_survives_a_shell(mut bytes in proptest::collection::vec(1u8.., 1..20)) {
        bytes.retain(|byte| *byte != b'\n');
        bytes.push(b'x');
        assert_quoted(&bytes);
    }

    /// Any tree in two namespaces that are peers: each mount has its turn once, after what is on it
    /// and, if it takes others along, after what is on those.
    #[test]
    fn everything_has_its_turn_once_and_in_time(
        parents in proptest::collection::vec((any::<usize>(), any::<bool>(), any::<bool>()), 1..30),
    ) {
        let mut lines = [String::new(), String::new()];
        let mut mounts: Vec<(u32, String)> = Vec::new();
        for (number, (parent, is_shared, is_both)) in parents.iter().enumerate() {
            let number = u32::try_from(number).unwrap();
            let (up, path) = match parent.checked_rem(mounts.len() + 1) {
                Some(at) if at > 0 => mounts.get(at - 1).cloned().unwrap_or_default(),
                _ => (0, String::new()),
            };
            let path = format!("{path}/{number}");
            let group = if *is_shared { format!("shared:{}", number + 1) } else { String::from("- tmpfs") };
            let field = if *is_shared { format!("{group} - tmpfs") } else { group };
            for (line, (base, root)) in lines.iter_mut().zip([(1_000, 1), (2_000, 2)]) {
                if base == 2_000 && !is_both {
                    continue;
                }
                let parent = if up == 0 { root } else { base + up };
                writeln!(
                    line,
                    "{} {parent} 0:{} / {path} rw {field} x rw",
                    base + number + 1,
                    number + 1
                )
                .unwrap();
            }
            if *is_both {
                mounts.push((number + 1, path));
            }
        }
        let [own, other] = &lines;
        let snapshot = index(own, other);
        let made: Vec<_> =
            snapshot.mounts().filter(|mount| mount.id.0 >= 1_000).cloned().collect();
        let turns = turns(&snapshot, &made, view(&snapshot));
        prop_assert_eq!(turns.len(), made.len());
        let at = |key| turns.iter().position(|turn| turn.mount.key == key);
        for (number, turn) in turns.iter().enumerate() {
            // A companion is gone with its leader.
            let leader = turn.goes_with.map(|key| at(key).unwrap());
            prop_assert!(leader.is_none_or(|leader| leader < number));
            prop_assert!(leader.is_none_or(|leader| turns.get(leader).unwrap().goes_with.is_none()));
            let gone_at = leader.unwrap_or(number);
            for child in snapshot.children(turn.mount.key) {
                let child_at = at(child.key).unwrap();
                let with = turns.get(child_at).unwrap().goes_with.map_or(child_at, |key| at(key).unwrap());
                prop_assert!(with < gone_at, "{} on {}", child.id, turn.mount.id);
            }
        }
    }
}
