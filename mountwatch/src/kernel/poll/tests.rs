//! Readings, one after the other, against the index that their events make.

use super::book::{Book, Tell};
use super::origin;
use super::reading::{self, Reading};
use crate::model::{Event, MountKey, NamespaceId, NamespaceInode};
use crate::render;
use crate::state::State;
use crate::verify;
use hashbrown::HashMap;
use proptest::prelude::*;
use std::fmt::Write;

const INODE: NamespaceInode = NamespaceInode(100);

/// An index that is told what is read.
struct World {
    book: Book,
    state: State,
}

impl World {
    fn new() -> Self {
        let mut state = State::new(Vec::new());
        state.set_polling();
        let mark = state.begin_scan_of_all();
        state.end_scan_of_all(mark, &[]);
        Self { book: Book::default(), state }
    }

    /// Reads namespaces; gives the events.
    fn read(&mut self, readings: &[Reading], tell: Tell) -> Vec<Event> {
        let mark = self.state.begin_scan();
        let mut events = Vec::new();
        let found = readings.iter().map(|reading| (reading.inode, reading.id)).collect();
        self.book.keep(&found, origin(), &mut events);
        if tell == Tell::Everything {
            self.book.tell_names(origin(), &mut events);
        }
        let whole = self.book.tell(readings, tell, origin(), &mut events);
        for event in &events {
            self.state.apply(event.clone());
        }
        for inode in whole {
            self.state.end_scan(mark, inode);
        }
        let _ = self.state.publish();
        events
    }

    fn text(&self, inode: NamespaceInode) -> String {
        let tables = self.state.tables();
        let namespace = tables.namespace_by_inode(inode).unwrap();
        let view = tables.viewpoint_of_namespace(namespace.key);
        let text = view.map_or_else(Vec::new, |view| render::mountinfo(tables, view));
        String::from_utf8(text).unwrap()
    }

    fn key(&self, id: u32) -> MountKey {
        self.state.tables().mount_by_id(crate::model::MountId(id)).unwrap().key
    }
}

fn reading(inode: NamespaceInode, text: &str) -> Reading {
    let (mounts, torn) = reading::place(text.as_bytes());
    assert_eq!(torn, 0, "{text}");
    Reading { inode, mounts, ..Reading::default() }
}

fn kinds(events: &[Event]) -> Vec<&'static str> {
    let word = |event: &Event| match event {
        Event::Mount(..) => "mount",
        Event::MountGone(..) => "gone",
        Event::Dentry(..) => "dentry",
        Event::Super(..) => "super",
        Event::NamespaceBorn(..) => "born",
        Event::NamespaceGone(..) => "dead",
        Event::GroupDead(..) | Event::Glimpsed(..) | Event::Commit(..) | Event::Call(..) => "other",
    };
    events.iter().map(word).collect()
}

const ROOT: &str = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=continue\n";

#[test]
fn the_first_reading_tells_everything_and_the_same_again_nothing() {
    let mut world = World::new();
    let text = format!("{ROOT}30 22 0:40 / /a\\040b ro,nosuid - tmpfs so\\043urce rw,size=4k\n");
    world.read(&[reading(INODE, &text)], Tell::Changes);
    assert_eq!(world.text(INODE), text);
    assert_eq!(world.state.coverage().word(), "polling");
    assert!(world.read(&[reading(INODE, &text)], Tell::Changes).is_empty());
    let again = kinds(&world.read(&[reading(INODE, &text)], Tell::Everything));
    assert_eq!(again.iter().filter(|kind| **kind == "mount").count(), 2);
    assert_eq!(again.iter().filter(|kind| **kind == "super").count(), 2);
}

#[test]
fn a_reading_tells_what_it_changes_and_no_more() {
    const CASES: &[(&str, &str, &str, &[&str])] = &[
        (
            "a mount",
            "",
            "30 22 0:40 / /a rw - tmpfs t rw\n",
            &["super", "dentry", "dentry", "mount"],
        ),
        ("its end", "30 22 0:40 / /a rw - tmpfs t rw\n", "", &["gone"]),
        (
            "an attribute",
            "30 22 0:40 / /a rw - tmpfs t rw\n",
            "30 22 0:40 / /a ro - tmpfs t rw\n",
            &["mount"],
        ),
        (
            "a propagation type",
            "30 22 0:40 / /a rw - tmpfs t rw\n",
            "30 22 0:40 / /a rw master:1 - tmpfs t rw\n",
            &["mount"],
        ),
        (
            "an option",
            "30 22 0:40 / /a rw - tmpfs t rw\n",
            "30 22 0:40 / /a rw - tmpfs t rw,size=4k\n",
            &["super"],
        ),
        (
            "a flag of the super block",
            "30 22 0:40 / /a rw - tmpfs t rw\n",
            "30 22 0:40 / /a rw - tmpfs t ro\n",
            &["super", "mount"],
        ),
        (
            "another super block with its ID and device",
            "30 22 0:40 / /a rw - tmpfs t rw\n",
            "30 22 0:40 / /a rw - ramfs t rw\n",
            &["gone", "super", "mount"],
        ),
        (
            "a renamed directory",
            "30 22 0:40 / /a rw - tmpfs t rw\n",
            "30 22 0:40 / /b rw - tmpfs t rw\n",
            &["dentry", "mount"],
        ),
        (
            "a deleted root",
            "30 22 8:1 /x /a rw - ext4 /dev/vda1 rw,errors=continue\n",
            "30 22 8:1 /x//deleted /a rw - ext4 /dev/vda1 rw,errors=continue\n",
            &["dentry", "mount"],
        ),
        (
            "other options of one super block that were always there",
            "30 22 0:40 / /a rw - btrfs t rw,subvol=/a\n31 22 0:40 / /b rw - btrfs t rw,subvol=/b\n",
            "30 22 0:40 / /a rw - btrfs t rw,subvol=/a\n31 22 0:40 / /b ro - btrfs t rw,subvol=/b\n",
            &["mount"],
        ),
    ];
    for (what, before, after, expected) in CASES {
        let mut world = World::new();
        world.read(&[reading(INODE, &format!("{ROOT}{before}"))], Tell::Changes);
        let events = world.read(&[reading(INODE, &format!("{ROOT}{after}"))], Tell::Changes);
        assert_eq!(kinds(&events), *expected, "{what}");
        if !before.contains("btrfs") {
            assert_eq!(world.text(INODE), format!("{ROOT}{after}"), "{what}");
        }
    }
}

#[test]
fn a_device_that_went_and_came_back_is_another_super_block() {
    let (a, b) = (INODE, NamespaceInode(101));
    let mut world = World::new();
    let old = format!("{ROOT}30 22 0:40 / /a rw - tmpfs t rw,size=4k\n");
    let other = ROOT.replace("22 ", "42 ");
    world.read(&[reading(a, &old), reading(b, &other)], Tell::Changes);
    // It left the second namespace's view before it came into the first one's.
    let new = format!("{other}50 42 0:40 / /b rw - ramfs r rw,mode=700\n");
    world.read(&[reading(b, &new), reading(a, ROOT)], Tell::Changes);
    assert_eq!((world.text(a), world.text(b)), (ROOT.to_owned(), new));
}

#[test]
fn options_are_told_even_if_the_line_that_counted_left_before_it_showed_them() {
    let b = NamespaceInode(101);
    let mut world = World::new();
    let shown = |size: &str| format!("{ROOT}30 22 0:40 / /a rw - tmpfs t rw,size={size}\n");
    let other = ROOT.replace("22 ", "42 ");
    let bound = format!("{other}50 42 0:40 / /b rw - tmpfs t rw,size=8k\n");
    world.read(&[reading(INODE, &shown("4k")), reading(b, &other)], Tell::Changes);
    // The first namespace was read before the change, the second one after it.
    world.read(&[reading(INODE, &shown("4k")), reading(b, &bound)], Tell::Changes);
    world.read(&[reading(INODE, ROOT), reading(b, &bound)], Tell::Changes);
    assert_eq!(world.text(b), bound);
}

#[test]
fn a_namespace_that_is_not_found_is_gone_and_its_key_is_not_used_again() {
    let mut world = World::new();
    world.read(&[reading(INODE, ROOT)], Tell::Changes);
    let first = world.key(22);
    assert_eq!(kinds(&world.read(&[], Tell::Changes)), ["gone", "dead"]);
    assert!(world.state.tables().namespace_by_inode(INODE).is_none());
    world.read(&[reading(INODE, ROOT)], Tell::Changes);
    assert_ne!(world.key(22), first);
    // The same inode with another ID is another namespace.
    let with_id = |id| Reading { id: Some(NamespaceId(id)), ..reading(INODE, ROOT) };
    world.read(&[with_id(7)], Tell::Changes);
    let events = kinds(&world.read(&[with_id(8)], Tell::Changes));
    assert_eq!(events, ["gone", "dead", "born", "super", "mount"]);
}

#[test]
fn an_inode_that_is_used_again_within_a_round_is_the_later_namespace() {
    let mut world = World::new();
    let with_id = |id, text: &str| Reading { id: Some(NamespaceId(id)), ..reading(INODE, text) };
    let more = format!("{ROOT}30 22 0:40 / /a rw - tmpfs t rw\n");
    world.read(&[with_id(7, &more), with_id(8, ROOT)], Tell::Changes);
    assert_eq!(world.text(INODE), ROOT);
    world.read(&[with_id(8, &more), with_id(9, ROOT)], Tell::Changes);
    assert_eq!(world.text(INODE), ROOT);
    assert_eq!(world.state.tables().namespace_by_inode(INODE).unwrap().id, Some(NamespaceId(9)));
    assert_eq!(world.state.counters().anomalies, 0);
}

#[test]
fn unique_ids_tell_mounts_apart_that_look_alike() {
    let mut world = World::new();
    let with_ids = |root: u64, below: u64| Reading {
        unique: HashMap::from([(22, root)]),
        below_root: Some(below),
        ..reading(INODE, ROOT)
    };
    world.read(&[with_ids(1 << 32, 1 << 31)], Tell::Changes);
    assert_eq!(world.key(22), MountKey(1 << 32));
    let events = world.read(&[with_ids((1 << 32) + 1, 1 << 31)], Tell::Changes);
    assert_eq!(kinds(&events), ["gone", "super", "mount"]);
    assert_eq!(world.key(22), MountKey((1 << 32) + 1));
}

/// A mount of a random table: where it sits, what it shows, how.
type Spec = (u8, u8, u8, u8, u8);

/// A text that a kernel could give: a tree below one root. `salt`: another moment, in which super
/// blocks may have other options.
fn table(specs: &[(u32, Spec)], salt: u8) -> String {
    const NAMES: [&str; 5] = ["a", "b", "a/b", "with\\040blank", ""];
    const ROOTS: [&str; 4] = ["/", "/sub", "/sub/deep", "/sub//deleted"];
    const WAYS: [&str; 4] =
        ["rw", "ro,nosuid", "rw,nodev,noexec,relatime", "rw,noatime,nodiratime"];
    const TAGS: [&str; 4] = ["", " shared:2", " master:1", " unbindable"];
    let mut text = ROOT.to_owned();
    let mut paths = vec![(22, String::new())];
    for (id, (parent, name, device, root, how)) in specs {
        let (parent, above) = paths[usize::from(*parent) % paths.len()].clone();
        let name = NAMES[usize::from(*name) % NAMES.len()];
        // What covers the root hides it, and all but what sits on the cover.
        let name = if name.is_empty() && above.is_empty() { "r" } else { name };
        let path = if name.is_empty() { above } else { format!("{above}/{name}") };
        let device = device % 3;
        let pick = |from: [&'static str; 4], shift: u8| from[usize::from(how >> shift) % 4];
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            text,
            "{id} {parent} 0:{device} {} {path} {}{} - t{} s {},o={}",
            ROOTS[usize::from(*root) % ROOTS.len()],
            pick(WAYS, 0),
            pick(TAGS, 2),
            device % 2,
            if salt & 1 == 0 { "rw" } else { "ro,sync" },
            salt / 2,
        );
        paths.push((*id, path));
    }
    text
}

fn specs() -> impl Strategy<Value = Vec<(u32, Spec)>> {
    let one = (30u32..40, any::<Spec>());
    proptest::collection::vec(one, 0..8).prop_map(|mut specs| {
        let mut seen = std::collections::HashSet::new();
        specs.retain(|(id, _)| seen.insert(*id));
        specs
    })
}

proptest! {
    #[test]
    fn any_readings_in_a_row_leave_what_the_last_one_said(
        tables in proptest::collection::vec((specs(), 0u8..6, any::<bool>()), 1..6),
    ) {
        let mut world = World::new();
        for (specs, salt, everything) in tables {
            let text = table(&specs, salt);
            let tell = if everything { Tell::Everything } else { Tell::Changes };
            world.read(&[reading(INODE, &text)], tell);
            let index = world.text(INODE);
            let differences = verify::differences(index.as_bytes(), text.as_bytes(), false);
            prop_assert!(differences.is_empty(), "{differences:?}\n{index}\n{text}");
            prop_assert_eq!(world.state.violations(), Vec::<String>::new());
            prop_assert_eq!(world.state.counters().anomalies, 0);
        }
        world.read(&[], Tell::Changes);
        prop_assert_eq!(world.state.tables().attached_mounts(), 0);
    }
}
