//! The rows of who and whence: the system calls of the mount family, and copies of mounts. The index does
//! not rest on them.
//!
//! They are attached before all others. So the end of a call is told after what other programs do at
//! the same return, and a change finds the call that it is part of.

use mountwatch_common::hook::{self, Hook};

use super::{Candidate, Missing, Row, Skipped};

/// The hooks of these rows: the index does not rest on them.
pub const OF_OPERATIONS: [Hook; 2] = [hook::CALL, hook::CLONE_MNT];

/// No program has a spare: see `Skipped::Operation`.
const fn candidate(probe: &'static str, function: &'static str, at_return: bool) -> Candidate {
    Candidate { program: "", spare: "", probe, called: None, function, at_return, probe_only: true }
}

/// The end of a call must not be missed: what is kept of it would be taken for a part of what its thread
/// does later. A probe misses it where more tasks sleep in the function than it has room for, so it is a
/// trampoline, which needs a program for each function. One probe is enough for all begins, and is
/// verified once at each start.
const fn end(program: &'static str, function: &'static str) -> Candidate {
    Candidate { program, probe_only: false, ..candidate("call_end_probe", function, true) }
}

const fn row(candidates: &'static [Candidate], reason: &'static str) -> Row {
    let (skipped, missing) = (Skipped::Operation, Missing::Nothing);
    Row { hook: hook::CALL, candidates, skipped, missing, reason }
}

const CLONE_MNT: Row = Row {
    hook: hook::CLONE_MNT,
    candidates: &[Candidate {
        program: "clone_mnt",
        called: Some("clone_mnt_called"),
        probe_only: false,
        ..candidate("clone_mnt_probe", "clone_mnt", true)
    }],
    skipped: Skipped::Operation,
    missing: Missing::Nothing,
    reason: "the one function that copies a mount, and knows both",
};

macro_rules! calls {
    ($($name:literal)*) => {
        /// The end of a call before its begin: nothing is kept that is never taken.
        pub const CALLS: &[Row] = &[CLONE_MNT, $(
            row(
                &[
                    end(concat!("call_", $name, "_end"), concat!("__x64_sys_", $name)),
                    end(concat!("call_", $name, "_end"), concat!("__arm64_sys_", $name)),
                ],
                "what it returned",
            ),
            row(
                &[
                    candidate("call_begin_probe", concat!("__x64_sys_", $name), false),
                    candidate("call_begin_probe", concat!("__arm64_sys_", $name), false),
                ],
                "what it was given",
            ),
            row(
                &[candidate("call_end_probe", concat!("__ia32_sys_", $name), true)],
                "of callers with 32 bits, what it returned",
            ),
            row(
                &[candidate("call_begin_compat_probe", concat!("__ia32_sys_", $name), false)],
                "of callers with 32 bits, what it was given",
            ),
        )*];
    };
}

calls! {
    "mount" "umount" "move_mount" "open_tree" "open_tree_attr" "fsopen" "fsconfig" "fsmount"
    "fspick" "mount_setattr" "pivot_root" "unshare" "setns"
}
