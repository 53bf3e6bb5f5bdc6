//! The programs on tracepoints of system calls.

use aya::{
    Ebpf,
    maps::RingBuf,
    programs::{ProgramError, RawTracePoint, TracePoint},
};

use super::{
    LoadConfig, LoadError, Losses, check_lockdown, features,
    losses::{Counters, skips_of},
    map, open, refused,
};
use crate::kernel::{ring::Ring, sys_tracefs};

/// System calls of the mount family that the back end `notify` follows, by the names of their
/// tracepoints. Clone is not among them: births by clone come from `sched_process_fork`.
const CALLS: &[&str] = &[
    "mount",
    "umount",
    "move_mount",
    "open_tree",
    "open_tree_attr",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "pivot_root",
    "unshare",
    "setns",
];

/// The programs on tracepoints, for hosts that refuse [`Hooks`]. Dropping it detaches them.
pub struct Calls {
    ebpf: Ebpf,
    counters: Counters,
    ring: Option<Ring>,
    attached: Vec<String>,
}

impl std::fmt::Debug for Calls {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Calls").field("attached", &self.attached).finish_non_exhaustive()
    }
}

impl Calls {
    /// Loads the programs and attaches them to those tracepoints that this kernel has.
    pub fn load(config: &LoadConfig) -> Result<Self, LoadError> {
        check_lockdown()?;
        let features = features()?;
        let mut ebpf = open(&features, config, &["TOLD", "ROOTS", "STASH", "DONE", "CALLED"])?;
        let mut attached = sys_tracefs::with_tracefs(|| attach_calls(&mut ebpf))
            .map_err(|_| LoadError::NoTracepoints)??;
        if attached.is_empty() {
            return Err(LoadError::NoTracepoints);
        }
        let name = "fork";
        let refused = |error: &ProgramError| refused(name, "sched_process_fork", error);
        let program = ebpf.program_mut(name).ok_or(LoadError::Incomplete(name))?;
        let program: &mut RawTracePoint = program.try_into().map_err(|error| refused(&error))?;
        program
            .load()
            .and_then(|()| program.attach("sched_process_fork").map(drop))
            .map_err(|error| refused(&error))?;
        attached.push("sched_process_fork".to_owned());
        Ok(Self {
            counters: Counters::new(&mut ebpf)?,
            ring: Some(
                Ring::new(map(&mut ebpf, "RECORDS", RingBuf::try_from)?)
                    .map_err(LoadError::Ring)?,
            ),
            ebpf,
            attached,
        })
    }

    /// The consumer's end of the ring; `None` if it was taken before.
    pub fn take_ring(&mut self) -> Option<Ring> {
        self.ring.take()
    }

    /// The tracepoints that are attached.
    pub fn attached(&self) -> &[String] {
        &self.attached
    }

    /// What was lost so far.
    pub fn losses(&self) -> Losses {
        let skips = ["call_enter", "call_exit", "fork"].map(|name| skips_of(&self.ebpf, name));
        let recursion_misses = skips.into_iter().sum();
        Losses { counters: self.counters.read(), recursion_misses, ..Losses::default() }
    }
}

/// Attaches the two programs for system calls; the tracepoints' names.
fn attach_calls(ebpf: &mut Ebpf) -> Result<Vec<String>, LoadError> {
    let mut attached = Vec::new();
    for (name, half) in [("call_enter", "enter"), ("call_exit", "exit")] {
        let refused =
            |error: &ProgramError| refused(name, "the tracepoints of system calls", error);
        let program = ebpf.program_mut(name).ok_or(LoadError::Incomplete(name))?;
        let program: &mut TracePoint = program.try_into().map_err(|error| refused(&error))?;
        program.load().map_err(|error| refused(&error))?;
        for call in CALLS {
            let tracepoint = format!("sys_{half}_{call}");
            match program.attach("syscalls", &tracepoint) {
                Ok(_) => attached.push(tracepoint),
                // An older kernel does not have the call.
                Err(ProgramError::TracePointError(_)) => {}
                Err(error) => return Err(refused(&error)),
            }
        }
    }
    Ok(attached)
}
