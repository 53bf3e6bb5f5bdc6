//! Any bytes: a reader neither crashes nor loops, and says what is wrong.

use super::*;
use crate::layout::{COVERAGE_COMPLETE, STATE_CLOSED, STATE_MOVED};
use crate::sys::monotonic_ns;
use crate::toy::{ROOT, Toy};
use crate::writer::{Footing, Identity, Room, Touched, Writer};
use proptest::prelude::*;

fn footing(toy: &Toy) -> Footing<'_> {
    let view = Some((ROOT, toy.root(ROOT)));
    Footing { revision: 1, coverage: COVERAGE_COMPLETE, sentences: &[], view }
}

/// `/a` with `/a/b/c` on it, a stack of two at `/s`, and a name that has no room in its record.
fn table() -> (Toy, Writer) {
    let mut toy = Toy::new(b"size=1k");
    let place = toy.path(ROOT, "/a");
    let first = toy.mount_on(ROOT, place);
    let place = toy.path(first, "/b/c");
    toy.mount_on(first, place);
    let place = toy.path(ROOT, "/s");
    let lower = toy.mount_on(ROOT, place);
    let root = toy.root(lower);
    toy.mount_on(lower, root);
    let place = toy.path(ROOT, &format!("/{}/x", "long".repeat(40)));
    toy.mount_on(ROOT, place);
    let identity =
        Identity { inode: 5, id: Some(6), seed: 1, epoch: 2, fresh_max_ns: 60_000_000_000 };
    let room = Room { mounts: 16, dentries: 32, supers: 16, strings: 256 };
    let mut writer = Writer::create(&identity, room).unwrap();
    let touched = Touched { mounts: toy.mounts(), ..Touched::default() };
    writer.apply(&toy, &touched, &footing(&toy)).unwrap();
    writer.fresh(monotonic_ns());
    (toy, writer)
}

fn ask_everything(reader: &Reader) {
    let long = format!("/{}/x", "long".repeat(40));
    for path in ["/", "/a", "/a/b/c", "/s", "/a/x/y", &long] {
        let path = path.as_bytes();
        let _ = reader.is_mount_point(path, Binds::Exclude);
        let _ = reader.covering(path);
        let _ = reader.mount_at(path);
        let _ = reader.below(path);
        let _ = reader.ids_below(path);
    }
    let _ = (reader.list(), reader.sentences(), reader.mount(WhichMount::Id(1)));
    let _ = reader.mount(WhichMount::UniqueId((1 << 31) + 1));
}

#[test]
fn what_is_mounted_is_found() {
    let (_, writer) = table();
    let reader = Reader::open(writer.file()).unwrap();
    let long = format!("/{}/x", "long".repeat(40));
    let points = [("/", true), ("/a", true), ("/a/", true), ("//a/./b", false), ("/a/b/c", true)];
    for (path, expected) in points.into_iter().chain([("/s", true), ("/ab", false), (&long, true)])
    {
        let answer = reader.is_mount_point(path.as_bytes(), Binds::Count).unwrap();
        assert_eq!((answer.value, answer.revision), (expected, 1), "{path}");
    }
    let below = |path: &[u8]| -> Vec<String> {
        let found = reader.below(path).unwrap().value;
        found.iter().map(|info| String::from_utf8(info.mountpoint.clone()).unwrap()).collect()
    };
    assert_eq!(below(b"/a"), ["/a", "/a/b/c"]);
    assert_eq!(below(b"/a/b"), ["/a/b/c"]);
    assert_eq!(below(b"/s"), ["/s", "/s"]);
    assert_eq!(below(b"/no"), Vec::<String>::new());
    assert_eq!(below(b"/").len(), 6);
    let covering = reader.covering(b"/a/b/x/y").unwrap().value.unwrap();
    assert_eq!((&covering.mountpoint[..], &covering.fs_type[..]), (&b"/a"[..], &b"tmpfs"[..]));
    assert_eq!(covering.fs_options.as_deref(), Some(&b"size=1k"[..]));
    assert_eq!((reader.namespace(), reader.namespace_id(), reader.epoch()), (5, Some(6), 2));
}

#[test]
fn paths_that_are_none_are_refused() {
    let (_, writer) = table();
    let reader = Reader::open(writer.file()).unwrap();
    let ask = |path: &[u8]| reader.is_mount_point(path, Binds::Count).map(|answer| answer.value);
    assert!(matches!(ask(b"a"), Err(MappedError::NotAbsolute)));
    assert!(matches!(ask(b"/a\0"), Err(MappedError::ZeroByte)));
    assert!(matches!(ask(b"/a/.."), Err(MappedError::ParentDirectory)));
    assert!(matches!(ask(b"/a/..b"), Ok(false)));
}

#[test]
fn a_table_that_is_left_or_not_kept_gives_no_answer() {
    let (_, writer) = table();
    let reader = Reader::open(writer.file()).unwrap();
    let ask = || reader.is_mount_point(b"/a", Binds::Count).map(|answer| answer.value);
    assert!(matches!(ask(), Ok(true)));
    writer.fresh(monotonic_ns() - 59_000_000_000);
    assert!(matches!(ask(), Ok(true)));
    writer.fresh(monotonic_ns() - 61_000_000_000);
    assert!(matches!(ask(), Err(MappedError::NotKept(61_000..))));
    writer.leave(STATE_MOVED);
    assert!(matches!(ask(), Err(MappedError::Moved)));
    writer.leave(STATE_CLOSED);
    assert!(matches!(ask(), Err(MappedError::Closed)));
}

#[test]
fn a_writer_that_died_in_a_change_is_not_waited_for_for_ever() {
    let (_, writer) = table();
    let reader = Reader::open(writer.file()).unwrap();
    writer.words()[H_SEQUENCE].fetch_add(1, Ordering::Relaxed);
    // It has half a second to come back.
    writer.fresh(monotonic_ns() - 59_500_000_000);
    assert!(matches!(reader.list(), Err(MappedError::NotKept(_))));
}

#[test]
fn a_full_table_says_so() {
    let (mut toy, mut writer) = table();
    let mut full = None;
    for number in 0..64 {
        let place = toy.path(ROOT, &format!("/more{number}"));
        let mounts = vec![toy.mount_on(ROOT, place)];
        let touched = Touched { mounts, ..Touched::default() };
        if writer.apply(&toy, &touched, &footing(&toy)).is_err() {
            full = Some(number);
            break;
        }
    }
    assert_eq!(full, Some(10), "6 of 16 are used");
}

/// What came and went leaves room for as much again.
#[test]
fn room_is_used_again() {
    let (mut toy, mut writer) = table();
    for number in 0..1_000 {
        let place = toy.path(ROOT, &format!("/{}/{number}", "directory".repeat(number % 9)));
        let mount = toy.mount_on(ROOT, place);
        let touched = Touched { mounts: vec![mount], ..Touched::default() };
        writer.apply(&toy, &touched, &footing(&toy)).unwrap();
        toy.unmount(mount);
        writer.apply(&toy, &touched, &footing(&toy)).unwrap();
    }
    let reader = Reader::open(writer.file()).unwrap();
    assert_eq!(reader.list().unwrap().value.len(), 6);
}

proptest! {
    #[test]
    fn any_words_are_read_or_refused(
        words in prop::collection::vec((0usize..2048, any::<u64>()), 0..40),
        small in prop::collection::vec((0usize..2048, 0u64..64, 0u64..64), 0..80),
    ) {
        let (_, writer) = table();
        let reader = Reader::open(writer.file()).unwrap();
        let all = writer.words();
        let small = small.into_iter().map(|(at, low, high)| (at, low | high << 32));
        for (at, word) in words.into_iter().chain(small) {
            let at = at % all.len();
            // These two are what a reader waits by; others have tests of their own.
            if at != H_SEQUENCE && at != H_FRESH_MAX_NS {
                all[at].store(word, Ordering::Relaxed);
            }
        }
        all[H_SEQUENCE].store(2, Ordering::Relaxed);
        ask_everything(&reader);
        if let Ok(reader) = Reader::open(writer.file()) {
            ask_everything(&reader);
        }
    }
}
