//! The programs on tracepoints of system calls.

use std::os::fd::AsFd;

use aya::{
    Ebpf,
    maps::{Array, HashMap, Map, MapData, RingBuf},
    programs::{ProgramError, RawTracePoint, TracePoint},
};
use mountwatch_common::{control, limits, name};

use super::{
    LoadConfig, LoadError, Losses,
    call_table::{Call, MOUNT_CALLS, NAME_CALLS},
    check_lockdown, features,
    losses::{Counters, skips_of},
    map, open, refused,
};
use crate::kernel::{ring::Ring, sys_map::Mapped, sys_tracefs};

/// Maps of the hooks.
const UNUSED: &[&str] = &["TOLD", "ROOTS", "STASH", "DONE", "CALLED"];

/// The program that must come before the one that tells the call's end.
const GLANCE: &str = "glance_exit";

/// Programs, the half of the calls that they are for, and those calls, in the order in which they
/// are attached and run: begins before ends, so that few ends come without a begin.
const PROGRAMS: &[(&str, &str, &[Call])] = &[
    ("call_enter", "enter", MOUNT_CALLS),
    (GLANCE, "exit", MOUNT_CALLS),
    ("call_exit", "exit", MOUNT_CALLS),
    ("name_enter", "enter", NAME_CALLS),
    ("name_exit", "exit", NAME_CALLS),
];

/// The programs on tracepoints, for hosts that refuse [`Hooks`]. Dropping it detaches them.
pub struct Calls {
    ebpf: Ebpf,
    counters: Counters,
    control: Array<MapData, u64>,
    names: HashMap<MapData, u64, u8>,
    glanced: HashMap<MapData, u64, [u32; 6]>,
    stamps: Mapped,
    /// Programs refer to it by its descriptor.
    _stamps: MapData,
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
        let mut ebpf = open(&features, config, UNUSED)?;
        let Some(Map::Array(stamps)) = ebpf.take_map("STAMPS") else {
            return Err(LoadError::Incomplete("map STAMPS"));
        };
        let stamps_bytes = limits::STAMPS as usize * size_of::<u64>();
        let mut calls = Self {
            counters: Counters::new(&mut ebpf)?,
            control: map(&mut ebpf, "CONTROL", Array::try_from)?,
            names: map(&mut ebpf, "NAMES", HashMap::try_from)?,
            glanced: map(&mut ebpf, "GLANCED", HashMap::try_from)?,
            stamps: Mapped::new(stamps.fd().as_fd(), stamps_bytes).map_err(LoadError::Ring)?,
            _stamps: stamps,
            ring: Some(
                Ring::new(map(&mut ebpf, "RECORDS", RingBuf::try_from)?)
                    .map_err(LoadError::Ring)?,
            ),
            ebpf,
            attached: Vec::new(),
        };
        sys_tracefs::with_tracefs(|| calls.attach()).map_err(|_| LoadError::NoTracepoints)??;
        Ok(calls)
    }

    fn attach(&mut self) -> Result<(), LoadError> {
        for (program, half, calls) in PROGRAMS {
            self.attach_to(program, half, calls)?;
        }
        if self.attached.is_empty() {
            return Err(LoadError::NoTracepoints);
        }
        let name = "fork";
        let refused = |error: &ProgramError| refused(name, "sched_process_fork", error);
        let program = self.ebpf.program_mut(name).ok_or(LoadError::Incomplete(name))?;
        let program: &mut RawTracePoint = program.try_into().map_err(|error| refused(&error))?;
        program
            .load()
            .and_then(|()| program.attach("sched_process_fork").map(drop))
            .map_err(|error| refused(&error))?;
        self.attached.push("sched_process_fork".to_owned());
        Ok(())
    }

    /// Attaches one program to one half of the calls that it is for.
    fn attach_to(
        &mut self,
        name: &'static str,
        half: &str,
        calls: &[Call],
    ) -> Result<(), LoadError> {
        let refused =
            |error: &ProgramError| refused(name, "the tracepoints of system calls", error);
        let program = self.ebpf.program_mut(name).ok_or(LoadError::Incomplete(name))?;
        let program: &mut TracePoint = program.try_into().map_err(|error| refused(&error))?;
        program.load().map_err(|error| refused(&error))?;
        for call in calls.iter().filter(|call| name != GLANCE || call.attributes.is_some()) {
            let tracepoint = format!("sys_{half}_{}", call.name);
            match program.attach("syscalls", &tracepoint) {
                Ok(_) => self.attached.push(tracepoint),
                // An older kernel does not have the call.
                Err(ProgramError::TracePointError(_)) => {}
                Err(error) => return Err(refused(&error)),
            }
        }
        Ok(())
    }

    /// Looks out for a name from now on. `false`: there is no room for it, and every rename and
    /// deletion is told from now on.
    pub fn watch_name(&mut self, hash: u64) -> bool {
        if self.names.insert(hash, 0, 0).is_ok() {
            return true;
        }
        // This cannot fail: the cell is there.
        let _ = self.control.set(control::NAMES_UNTRACKED, 1, 0);
        false
    }

    /// Does not look out for a name any more.
    pub fn unwatch_name(&mut self, hash: u64) {
        let _ = self.names.remove(&hash);
    }

    /// When a name of the same cell was renamed or deleted last, CLOCK_MONOTONIC in nanoseconds.
    pub fn name_changed_ns(&self, hash: u64) -> u64 {
        self.stamps.word(name::cell(hash) as usize * size_of::<u64>())
    }

    /// What was told of a mount's attributes may not be what they are: they are told again.
    pub fn forget_glance(&mut self, unique_id: u64) {
        let _ = self.glanced.remove(&unique_id);
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
        let names = PROGRAMS.iter().map(|(name, ..)| *name).chain(["fork"]);
        let recursion_misses = names.map(|name| skips_of(&self.ebpf, name)).sum();
        Losses { counters: self.counters.read(), recursion_misses, ..Losses::default() }
    }
}
