//! What the table costs: `cargo run --release -p mountwatch-mapped --example measure`.
//!
//! Mounts as of containers: paths of 122 bytes. Next to each point query statx(2) is asked for a path
//! of the same depth, which is how the kernel answers whether something is a mount point.

use mountwatch_mapped::layout::COVERAGE_COMPLETE;
use mountwatch_mapped::toy::{ROOT, Toy};
use mountwatch_mapped::writer::{Footing, Identity, Room, Touched, Writer};
use mountwatch_mapped::{Binds, Reader, WhichMount, monotonic_ns};
use rustix::fs::{AtFlags, CWD, StatxFlags};
use std::hint::black_box;
use std::path::PathBuf;

const ROUNDS: usize = 41;
const PER_ROUND: usize = 2_000;
/// Paths that are asked about in turn.
const SAMPLE: usize = 64;
/// Mounts of a pod: those of a prefix query.
const POD: usize = 10;

fn path(number: usize) -> String {
    let (pod, volume) = (number / POD, number % POD);
    let pod = format!("{pod:08x}-7c1d-4e2f-9b53-5f0c6a1b2c3d");
    let name = format!("token-{volume:02}-{number:030x}");
    format!("/var/lib/kubelet/pods/{pod}/volumes/kubernetes.io~secret/{name}")
}

fn footing(toy: &Toy, revision: u64) -> Footing<'_> {
    let view = Some((ROOT, toy.root(ROOT)));
    Footing { revision, coverage: COVERAGE_COMPLETE, sentences: &[], view }
}

/// CPU time of this thread: others may have the processor meanwhile.
fn cpu_ns() -> u128 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    u128::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
        + u128::try_from(time.tv_nsec).unwrap_or(0)
}

/// The median of the rounds, nanoseconds of CPU for one.
fn median(mut round: impl FnMut(usize)) -> u128 {
    let mut times: Vec<u128> = (0..ROUNDS)
        .map(|number| {
            let begin = cpu_ns();
            for at in 0..PER_ROUND {
                round(number * PER_ROUND + at);
            }
            (cpu_ns() - begin) / PER_ROUND as u128
        })
        .collect();
    times.sort_unstable();
    times[ROUNDS / 2]
}

fn main() {
    let base = std::env::temp_dir().join(format!("mountwatch-measure-{}", std::process::id()));
    // As many components as in the table: those of the base are in the place of the first ones.
    let real: Vec<PathBuf> = (0..SAMPLE)
        .map(|number| base.join(path(number * 7_919 % 1_000).trim_start_matches("/var/lib/")))
        .collect();
    for directory in &real {
        std::fs::create_dir_all(directory).expect("a directory");
    }
    println!("{:>8} {}", "mounts", NAMES.join(" "));
    for count in [1_000, 10_000, 100_000] {
        let row = measure(count, &real);
        let cells = row.iter().zip(NAMES).map(|(value, name)| format!("{value:>0$}", name.len()));
        println!("{count:>8} {}", cells.collect::<Vec<_>>().join(" "));
    }
    std::fs::remove_dir_all(&base).expect("it was made here");
}

const NAMES: [&str; 12] = [
    "point",
    "absent",
    "covering",
    "info",
    "ids_below",
    "below",
    "statx_64",
    "point_64",
    "attach+detach",
    "move",
    "rename",
    "bytes/mount",
];

fn measure(count: usize, real: &[PathBuf]) -> [u128; 12] {
    let mut toy = Toy::new(b"size=65536k,mode=755,inode64");
    let paths: Vec<String> = (0..count).map(path).collect();
    for path in &paths {
        let place = toy.path(ROOT, path);
        toy.mount_on(ROOT, place);
    }
    let identity =
        Identity { inode: 1, id: None, seed: 0x5eed, epoch: 1, fresh_max_ns: 600_000_000_000 };
    let mut writer = Writer::create(&identity, Room::for_mounts(count)).expect("memory");
    let touched = Touched { mounts: toy.mounts(), ..Touched::default() };
    writer.apply(&toy, &touched, &footing(&toy, 1)).expect("room");
    writer.fresh(monotonic_ns());
    let bytes = u128::from(writer.memory_bytes().expect("its size")) / count as u128;
    let reader = Reader::open(writer.file()).expect("a table");
    // Another path each time, in no order.
    let at = |turn: usize| paths[turn.wrapping_mul(7_919) % count].as_bytes();
    let is_point =
        |path: &[u8]| reader.is_mount_point(path, Binds::Count).expect("an answer").value;
    assert!(is_point(at(1)) && !is_point(b"/var/lib/kubelet/none"));
    let point = median(|turn| assert!(black_box(is_point(at(turn)))));
    let sampled = median(|turn| assert!(black_box(is_point(at(turn % SAMPLE)))));
    let absent = median(|_| assert!(!black_box(is_point(b"/var/lib/kubelet/none/there"))));
    let covering = median(|turn| {
        black_box(reader.covering_id(at(turn)).expect("an answer"));
    });
    let info = median(|turn| {
        let which = WhichMount::Id(u32::try_from(turn % count).unwrap_or(0) + 1);
        black_box(reader.mount(which).expect("an answer"));
    });
    let pods: Vec<&[u8]> =
        paths.iter().map(|path| path.as_bytes().get(..58).expect("up to the pod")).collect();
    let pod = |turn: usize| pods[turn.wrapping_mul(7_919) % count];
    assert_eq!(reader.ids_below(pod(3)).expect("an answer").value.len(), POD);
    let ids_below = median(|turn| {
        black_box(reader.ids_below(pod(turn)).expect("an answer"));
    });
    let below = median(|turn| {
        black_box(reader.below(pod(turn)).expect("an answer"));
    });
    let statx = median(|turn| {
        let path = &real[turn % SAMPLE];
        black_box(
            rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::TYPE).expect("it is there"),
        );
    });
    let [cycle, moved, renamed] = writes(&mut toy, &mut writer);
    [point, absent, covering, info, ids_below, below, statx, sampled, cycle, moved, renamed, bytes]
}

/// Nanoseconds of the writer for one change; what the index itself takes is not in it.
fn writes(toy: &mut Toy, writer: &mut Writer) -> [u128; 3] {
    let mut apply = |toy: &Toy, touched: &Touched| {
        let begin = cpu_ns();
        writer.apply(toy, touched, &footing(toy, 1)).expect("room");
        cpu_ns() - begin
    };
    let mut cycles = Vec::new();
    let (here, there) = (toy.path(ROOT, "/moved/here"), toy.path(ROOT, "/moved/there"));
    let tree = toy.mount_on(ROOT, here);
    for number in 0..200 {
        let place = toy.path(tree, &format!("/{number}"));
        let mounts = vec![toy.mount_on(tree, place), tree];
        apply(toy, &Touched { mounts, ..Touched::default() });
    }
    let (mut moves, mut renames) = (Vec::new(), Vec::new());
    let above = toy.path(ROOT, "/moved");
    for number in 0..4_001 {
        let place = toy.path(ROOT, "/run/short");
        let mount = toy.mount_on(ROOT, place);
        let touched = Touched { mounts: vec![mount], ..Touched::default() };
        let attach = apply(toy, &touched);
        toy.unmount(mount);
        cycles.push(attach + apply(toy, &touched));
        toy.move_to(tree, ROOT, if number % 2 == 0 { there } else { here });
        moves.push(apply(toy, &Touched { mounts: vec![tree], ..Touched::default() }));
        toy.rename(above, if number % 2 == 0 { b"renamed" } else { b"moved" });
        renames.push(apply(toy, &Touched { dentries: vec![above], ..Touched::default() }));
    }
    [cycles, moves, renames].map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2]
    })
}
