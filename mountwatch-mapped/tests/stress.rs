//! A writer at full speed and readers in processes of their own: each answer must be that of exactly
//! the state whose revision it carries, and of none that is older than what was over when it was asked.
//!
//! `MOUNTWATCH_MAPPED_READS` is how many reads each of the four readers makes.

use mountwatch_mapped::layout::{COVERAGE_COMPLETE, STATE_CLOSED};
use mountwatch_mapped::toy::{ROOT, Toy};
use mountwatch_mapped::writer::{Footing, Identity, Room, Source as _, Touched, Writer};
use mountwatch_mapped::{Binds, Reader, monotonic_ns};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// Mounts of the tree that is moved, its root included.
const TREE: usize = 200;
const READERS: usize = 4;
const READS: u64 = 100_000;

/// What is where at a revision.
struct State {
    /// The directory in which the tree sits.
    tree: &'static str,
    /// Something is mounted at `/come`.
    has_come: bool,
    /// The name of the directory above `/…/deep/mount`.
    above: &'static str,
}

fn state(revision: u64) -> State {
    State {
        tree: if (revision / 2).is_multiple_of(2) { "/a" } else { "/b" },
        has_come: revision % 4 >= 2,
        above: if (revision / 4).is_multiple_of(2) { "/here" } else { "/there" },
    }
}

/// The mounts, and what step changes them.
struct World {
    toy: Toy,
    tree: u64,
    above: u64,
    come: Option<u64>,
}

impl World {
    fn new() -> Self {
        let mut toy = Toy::new(b"size=4k");
        let place = toy.path(ROOT, "/a/tree");
        let tree = toy.mount_on(ROOT, place);
        for number in 1..TREE {
            let place = toy.path(tree, &format!("/m{number}"));
            toy.mount_on(tree, place);
        }
        toy.path(ROOT, "/b/tree");
        let above = toy.path(ROOT, "/here");
        let place = toy.path(ROOT, "/here/deep/mount");
        toy.mount_on(ROOT, place);
        Self { toy, tree, above, come: None }
    }

    /// Brings everything to a revision; gives what that touched.
    fn go(&mut self, revision: u64) -> Touched {
        let (before, now) = (state(revision - 1), state(revision));
        let mut touched = Touched::default();
        if before.tree != now.tree {
            let place = self.toy.path(ROOT, &format!("{}/tree", now.tree));
            self.toy.move_to(self.tree, ROOT, place);
            touched.mounts.push(self.tree);
        }
        if before.above != now.above {
            self.toy.rename(self.above, now.above.trim_start_matches('/').as_bytes());
            touched.dentries.push(self.above);
        }
        if now.has_come != self.come.is_some() {
            if let Some(come) = self.come.take() {
                self.toy.unmount(come);
                touched.mounts.push(come);
            } else {
                let place = self.toy.path(ROOT, "/come");
                let come = self.toy.mount_on(ROOT, place);
                touched.mounts.push(come);
                self.come = Some(come);
            }
        }
        touched
    }
}

fn footing(toy: &Toy, revision: u64) -> Footing<'_> {
    let view = Some((ROOT, toy.root(ROOT)));
    Footing { revision, coverage: COVERAGE_COMPLETE, sentences: &[], view }
}

fn table(room: usize) -> Writer {
    let identity = Identity { inode: 1, id: None, seed: 7, epoch: 7, fresh_max_ns: 60_000_000_000 };
    Writer::create(&identity, Room::for_mounts(room)).unwrap()
}

fn reads() -> u64 {
    let reads = std::env::var("MOUNTWATCH_MAPPED_READS").ok();
    reads.map_or(READS, |reads| reads.parse().expect("a number"))
}

fn start_reader(table: BorrowedFd<'_>, done: BorrowedFd<'_>, seed: usize) -> Child {
    // Another descriptor than the one that is closed on exec.
    let inherit = |file: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(file, 10).unwrap();
    let (table, done) = (inherit(table), inherit(done));
    for file in [&table, &done] {
        rustix::io::fcntl_setfd(file, rustix::io::FdFlags::empty()).unwrap();
    }
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_reader", "--ignored", "--nocapture"])
        .env("MOUNTWATCH_MAPPED_FILES", format!("{} {}", table.as_raw_fd(), done.as_raw_fd()))
        .env("MOUNTWATCH_MAPPED_SEED", seed.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn answers_are_those_of_their_revision_and_none_is_old() {
    let mut world = World::new();
    let (mut table, mut done) = (table(TREE + 8), table(1));
    let nothing = Toy::new(b"");
    let all = Touched { mounts: world.toy.mounts(), ..Touched::default() };
    table.apply(&world.toy, &all, &footing(&world.toy, 4)).unwrap();
    done.apply(&nothing, &Touched::default(), &footing(&nothing, 4)).unwrap();
    let fresh = |table: &Writer, done: &Writer| {
        table.fresh(monotonic_ns());
        done.fresh(monotonic_ns());
    };
    fresh(&table, &done);
    // State 4 is the first: bring the world there from 0.
    for revision in 1..=4 {
        let touched = world.go(revision);
        table.apply(&world.toy, &touched, &footing(&world.toy, 4)).unwrap();
    }
    let mut readers: Vec<_> =
        (0..READERS).map(|seed| start_reader(table.file(), done.file(), seed)).collect();
    let (begin, mut revision) = (Instant::now(), 4);
    while readers.iter_mut().any(|reader| reader.try_wait().unwrap().is_none()) {
        for _ in 0..1_000 {
            revision += 1;
            let touched = world.go(revision);
            table.apply(&world.toy, &touched, &footing(&world.toy, revision)).unwrap();
            done.apply(&nothing, &Touched::default(), &footing(&nothing, revision)).unwrap();
        }
        fresh(&table, &done);
    }
    let each_ns = begin.elapsed().as_nanos() / u128::from(revision - 4);
    println!("{} changes, {each_ns} ns each with all readers at work", revision - 4);
    table.leave(STATE_CLOSED);
    for reader in readers {
        let output = reader.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        print!("{}", text.lines().filter(|line| line.contains("reads")).collect::<String>() + "\n");
        assert!(output.status.success(), "{text}");
    }
    assert!(revision > 1_000, "the writer did nothing");
}

/// What the test above starts, in a process of its own.
#[test]
#[ignore = "a process that the stress test starts"]
fn a_reader() {
    let files = std::env::var("MOUNTWATCH_MAPPED_FILES").expect("the stress test starts this");
    let mut files = files.split(' ').map(|file| {
        // SAFETY: the stress test gives these descriptors to this process alone.
        unsafe { OwnedFd::from_raw_fd(file.parse().unwrap()) }
    });
    let mut open = || Reader::open(files.next().unwrap().as_fd()).unwrap();
    let (table, done) = (open(), open());
    let mut random: u64 = std::env::var("MOUNTWATCH_MAPPED_SEED").unwrap().parse().unwrap();
    let (mut latest, mut seen) = (0, 0);
    let (reads, begin) = (reads(), Instant::now());
    for read in 0..reads {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Every 64th looks at all that was over before: the others are as fast as can be.
        if read % 64 == 0 {
            latest = done.sentences().unwrap().revision.max(latest);
        }
        let revision =
            if read % 1_024 == 0 { check_tree(&table) } else { check_point(&table, random >> 33) };
        assert!(revision >= latest, "an answer of {revision} after {latest} was over");
        seen += u64::from(revision != latest);
        latest = revision;
    }
    let each_ns = begin.elapsed().as_nanos() / u128::from(reads);
    println!(
        "{reads} reads, {each_ns} ns each, {} retries, {seen} times another revision",
        table.retries()
    );
}

fn check_point(table: &Reader, random: u64) -> u64 {
    let number = random / 8 % (TREE as u64 - 1) + 1;
    let (path, is_there): (String, fn(&State) -> bool) = match random % 8 {
        0 => ("/come".to_owned(), |state| state.has_come),
        1 => ("/here/deep/mount".to_owned(), |state| state.above == "/here"),
        2 => ("/there/deep/mount".to_owned(), |state| state.above == "/there"),
        3 => ("/a/tree".to_owned(), |state| state.tree == "/a"),
        4 => (format!("/a/tree/m{number}"), |state| state.tree == "/a"),
        5 => (format!("/b/tree/m{number}"), |state| state.tree == "/b"),
        6 => (format!("/b/tree/m{number}/x"), |_| false),
        _ => ("/here".to_owned(), |_| false),
    };
    let answer = table.is_mount_point(path.as_bytes(), Binds::Count).unwrap();
    let expected = is_there(&state(answer.revision));
    assert_eq!(answer.value, expected, "{path} at revision {}", answer.revision);
    answer.revision
}

/// The whole tree, at one place.
fn check_tree(table: &Reader) -> u64 {
    let answer = table.below(b"/").unwrap();
    let state = state(answer.revision);
    let expected = [state.tree.as_bytes(), b"/tree"].concat();
    let in_tree = answer.value.iter().filter(|mount| mount.mountpoint.starts_with(&expected));
    assert_eq!(in_tree.count(), TREE, "at revision {}", answer.revision);
    let come = usize::from(state.has_come);
    assert_eq!(answer.value.len(), TREE + 2 + come, "at revision {}", answer.revision);
    answer.revision
}

#[test]
fn the_world_is_what_the_states_say() {
    let mut world = World::new();
    for revision in 1..=16 {
        world.go(revision);
        assert_eq!(world.come.is_some(), state(revision).has_come);
        let dentry = world.toy.dentry(world.above).unwrap();
        assert_eq!(&state(revision).above.as_bytes()[1..], dentry.name);
    }
}
