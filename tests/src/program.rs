//! What a random program does: lines of a scenario, drawn from a table of operations.

use crate::kernel::Kernel;

/// The two trees: below the first one mounts are shared, below the second one private.
const ROOTS: [&str; 2] = ["/s", "/p"];
/// Directories on each level.
const NAMES: u64 = 5;

/// What is there before the first operation.
pub(crate) const PREPARATION: &[&str] = &[
    "mkdir /s",
    "mkdir /p",
    "mount tmpfs /s",
    "mount tmpfs /p",
    "make shared /s",
    "mkdir -p /s/d0/d0",
    "mkdir -p /s/d1/d0",
    "mkdir -p /s/d2/d1",
    "mkdir -p /s/d3/d2",
    "mkdir -p /s/d4/d3",
    "mkdir -p /p/d0/d0",
    "mkdir -p /p/d1/d0",
    "mkdir -p /p/d2/d1",
    "mkdir -p /p/d3/d2",
    "mkdir -p /p/d4/d3",
];

/// Numbers that depend on the seed alone (`SplitMix64`).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The numbers of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below the bound.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// One of these.
    pub(crate) fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        let index = usize::try_from(self.below(of.len() as u64)).unwrap_or(0);
        of.get(index).copied().unwrap_or_default()
    }
}

/// One kind of operation.
struct Operation {
    name: &'static str,
    /// How often it is drawn, of the sum of all.
    weight: u64,
    /// The oldest kernel that can do it, and why.
    since: Option<((u32, u32), &'static str)>,
    /// It copies whole trees.
    is_for_trees: bool,
    lines: fn(&mut Random) -> Vec<String>,
}

impl Operation {
    const fn new(name: &'static str, weight: u64, lines: fn(&mut Random) -> Vec<String>) -> Self {
        Self { name, weight, since: None, is_for_trees: false, lines }
    }

    const fn since(mut self, kernel: (u32, u32), why: &'static str) -> Self {
        self.since = Some((kernel, why));
        self
    }

    const fn for_trees(mut self) -> Self {
        self.is_for_trees = true;
        self
    }
}

const OPERATIONS: &[Operation] = &[
    Operation::new("mkdir", 12, |r| vec![format!("mkdir {}", place(r))]),
    Operation::new("touch", 2, |r| vec![format!("touch {}", file(r))]),
    Operation::new("mount", 14, |r| {
        let at = place(r);
        let name = r.below(NAMES);
        vec![format!("mount tmpfs {at}"), format!("mkdir {at}/d{name}")]
    }),
    Operation::new("bind", 10, |r| vec![format!("bind {} {}", place(r), place(r))]),
    Operation::new("bind_file", 3, |r| vec![format!("bind {} {}", file(r), file(r))]),
    Operation::new("rbind", 4, |r| vec![format!("rbind {} {}", place(r), place(r))]).for_trees(),
    Operation::new("move", 8, |r| vec![format!("move {} {}", place(r), place(r))]),
    Operation::new("umount", 14, |r| vec![format!("umount {}", place(r))]),
    Operation::new("umount_lazy", 8, |r| vec![format!("umount -l {}", place(r))]),
    Operation::new("make", 8, |r| {
        let recursive = r.pick(&["", "-r "]);
        let word = r.pick(&["shared", "shared", "slave", "private", "unbindable"]);
        vec![format!("make {recursive}{word} {}", place(r))]
    }),
    Operation::new("remount", 5, |r| vec![format!("remount -o {} {}", attributes(r), place(r))]),
    Operation::new("remount_super", 3, |r| {
        let options = r.pick(&["rw", "rw,size=1m", "rw,size=2m", "ro", "rw,lazytime"]);
        vec![format!("remount_super -o {options} {}", place(r))]
    }),
    Operation::new("fspick", 2, |r| {
        let parameter = r.pick(&["size=1m", "size=3m", "nr_inodes=500"]);
        vec![format!("fspick {} {parameter}", place(r))]
    }),
    Operation::new("setattr", 5, |r| {
        let recursive = r.pick(&["", "-r "]);
        let change = r.pick(&["+ro", "-ro", "+nodev -nosuid", "+noexec", "-noexec", "+noatime"]);
        let propagation = r.pick(&["", "", "-p private ", "-p shared ", "-p slave "]);
        vec![format!("setattr {recursive}{propagation}{change} {}", place(r))]
    })
    .since((5, 12), "mount_setattr"),
    Operation::new("open_tree_move", 5, |r| {
        vec![
            format!("open_tree -c {} as t", place(r)),
            format!("move_mount @t {}", place(r)),
            "close @t".to_owned(),
        ]
    }),
    Operation::new("open_tree_tree", 2, |r| {
        vec![
            format!("open_tree -c -r {} as t", place(r)),
            format!("move_mount @t {}", place(r)),
            "close @t".to_owned(),
        ]
    })
    .for_trees(),
    Operation::new("open_tree_drop", 2, |r| {
        vec![format!("open_tree -c -r {} as t", place(r)), "close @t".to_owned()]
    })
    .for_trees(),
    Operation::new("move_beneath", 3, |r| {
        vec![
            format!("open_tree -c {} as t", place(r)),
            format!("move_mount -b @t {}", place(r)),
            "close @t".to_owned(),
        ]
    })
    .since((6, 5), "MOVE_MOUNT_BENEATH"),
    Operation::new("set_group", 2, |r| vec![format!("move_mount -g {} {}", place(r), place(r))])
        .since((5, 15), "MOVE_MOUNT_SET_GROUP"),
    Operation::new("fsmount", 4, |r| {
        vec![
            "fsmount tmpfs as t source=made size=1m".to_owned(),
            format!("move_mount @t {}", place(r)),
            "close @t".to_owned(),
        ]
    }),
    Operation::new("rename", 5, |r| vec![format!("rename {} {}", place(r), place(r))]),
    Operation::new("exchange", 3, |r| vec![format!("exchange {} {}", place(r), place(r))]),
    Operation::new("rename_file", 2, |r| vec![format!("rename {} {}", file(r), file(r))]),
    Operation::new("unlink", 2, |r| vec![format!("unlink {}", file(r))]),
    Operation::new("rmdir", 4, |r| vec![format!("rmdir {}", place(r))]),
    Operation::new("unshare", 1, |r| {
        vec![format!("unshare {}", r.pick(&["peer", "slave", "private"]))]
    }),
    // No lines: the worker starts a process that does it.
    Operation::new("short_lived_namespace", 1, |_| Vec::new()),
];

/// The names of the operations that are left out here, each with the reason.
pub(crate) fn left_out(kernel: Kernel) -> Vec<(&'static str, String)> {
    OPERATIONS
        .iter()
        .filter_map(|operation| Some((operation.name, why_left_out(operation, kernel)?)))
        .collect()
}

fn why_left_out(operation: &Operation, kernel: Kernel) -> Option<String> {
    if let Some((since, why)) = operation.since
        && !kernel.is_at_least(since)
    {
        return Some(format!("needs kernel {}.{}, {why}", since.0, since.1));
    }
    None
}

/// The lines of one operation.
pub(crate) fn operation(random: &mut Random, kernel: Kernel, with_trees: bool) -> Vec<String> {
    let possible = || {
        OPERATIONS.iter().filter(|operation| {
            why_left_out(operation, kernel).is_none() && (with_trees || !operation.is_for_trees)
        })
    };
    let sum: u64 = possible().map(|operation| operation.weight).sum();
    let mut drawn = random.below(sum);
    for operation in possible() {
        match drawn.checked_sub(operation.weight) {
            Some(rest) => drawn = rest,
            None => return (operation.lines)(random),
        }
    }
    Vec::new()
}

/// A line that leaves fewer mounts.
pub(crate) fn shrink(random: &mut Random) -> Vec<String> {
    let root = random.pick(&ROOTS);
    vec![format!("umount -l {root}/d{}", random.below(NAMES))]
}

/// Lines that leave nothing but the two roots, if each is repeated until it is refused.
pub(crate) fn everything() -> Vec<String> {
    ROOTS
        .iter()
        .flat_map(|root| (0..NAMES).map(move |name| format!("umount -l {root}/d{name}")))
        .collect()
}

/// A directory that may be there: on one of two levels below one of the roots.
pub(crate) fn place(random: &mut Random) -> String {
    let root = random.pick(&ROOTS);
    let first = random.below(NAMES);
    match random.below(3) {
        0 => format!("{root}/d{first}"),
        _ => format!("{root}/d{first}/d{}", random.below(NAMES)),
    }
}

fn file(random: &mut Random) -> String {
    let root = random.pick(&ROOTS);
    format!("{root}/d{}/f{}", random.below(NAMES), random.below(2))
}

fn attributes(random: &mut Random) -> &'static str {
    random.pick(&["ro", "rw", "nosuid", "nodev,noexec", "ro,nosuid,nodev,noexec", "noatime"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{command, words};

    #[test]
    fn every_operation_makes_lines_that_are_read() {
        let mut random = Random::new(1);
        let kernel = Kernel { major: 7, minor: 3 };
        for _ in 0..10_000 {
            for line in operation(&mut random, kernel, true) {
                command::parse(&words::split(line.as_bytes()).unwrap())
                    .unwrap_or_else(|error| panic!("{line}: {error:#}"));
            }
        }
        for line in everything().into_iter().chain(PREPARATION.iter().map(|line| (*line).into())) {
            command::parse(&words::split(line.as_bytes()).unwrap()).unwrap();
        }
    }

    #[test]
    fn a_seed_gives_the_same_program_again() {
        let kernel = Kernel { major: 5, minor: 10 };
        let program = |seed| {
            let mut random = Random::new(seed);
            (0..100).map(|_| operation(&mut random, kernel, true)).collect::<Vec<_>>()
        };
        assert_eq!(program(7), program(7));
        assert_ne!(program(7), program(8));
    }

    #[test]
    fn what_is_left_out_has_a_reason() {
        let old = left_out(Kernel { major: 5, minor: 10 });
        assert!(old.iter().any(|(name, why)| *name == "setattr" && why.contains("5.12")));
        assert!(left_out(Kernel { major: 7, minor: 3 }).is_empty());
    }
}
