//! The programs on tracepoints of system calls.

use std::os::fd::AsFd;

use aya::{
    Ebpf,
    maps::{Array, Map, MapData, RingBuf},
    programs::{ProgramError, RawTracePoint, TracePoint},
};
use mountwatch_common::{control, limits, name};

use super::{
    LoadConfig, LoadError, Losses, SYMBOLS_PATH,
    call_table::{Call, MOUNT_CALLS, NAME_CALLS},
    check_lockdown, features,
    losses::{Counters, skips_of},
    map, open, refused,
};
use crate::kernel::{
    ring::Ring,
    sys_map::{Mapped, MappedWritable},
    sys_tracefs,
};

/// Maps of the hooks.
pub(super) const UNUSED: &[&str] = &["TOLD", "ROOTS", "STASH", "DONE", "CALLED", "COPIES"];

/// The program that is for those calls alone that change attributes.
const GLANCE: &str = "glance_exit";
/// The program that sees births of processes.
const FORK: &str = "fork";
/// The function by which the kernel runs programs on system calls where they can be preempted
/// (since 7.2): a program needs a spare there.
const PREEMPTIBLE: &str = " trace_call_bpf_faultable\n";

/// Programs with their spares, the half of the calls that they are for, and those calls, in the order
/// in which they are attached and run: begins before ends, so that few ends come without a begin.
const PROGRAMS: &[(&str, &str, &str, &[Call])] = &[
    ("call_enter", "call_enter_spare", "enter", MOUNT_CALLS),
    (GLANCE, "glance_exit_spare", "exit", MOUNT_CALLS),
    ("call_exit", "call_exit_spare", "exit", MOUNT_CALLS),
    ("name_enter", "name_enter_spare", "enter", NAME_CALLS),
    ("name_exit", "name_exit_spare", "exit", NAME_CALLS),
];

/// The programs on tracepoints, for hosts that refuse [`Hooks`](super::Hooks). Dropping it detaches them.
pub struct Calls {
    ebpf: Ebpf,
    counters: Counters,
    names: MappedWritable,
    ages: MappedWritable,
    stamps: Mapped,
    /// Programs refer to them by their descriptors.
    _maps: [MapData; 3],
    ring: Option<Ring>,
    control: Array<MapData, u64>,
    attached: Vec<String>,
    has_spares: bool,
    watches_every_name: bool,
    skips: Losses,
    births_skipped: u64,
}

impl std::fmt::Debug for Calls {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Calls").field("attached", &self.attached).finish_non_exhaustive()
    }
}

/// The map of what the programs are told.
const CONTROL: &str = "CONTROL";

impl Calls {
    /// Says whether somebody follows operations: then those that fail are told with all that they were
    /// given.
    pub fn set_followed(&mut self, is_followed: bool) -> Result<(), LoadError> {
        self.control
            .set(control::FOLLOWED, u64::from(is_followed), 0)
            .map_err(|source| LoadError::Map { name: CONTROL, source })
    }

    /// Loads the programs and attaches them to those tracepoints that this kernel has.
    pub fn load(config: &LoadConfig) -> Result<Self, LoadError> {
        check_lockdown()?;
        let features = features()?;
        let mut ebpf = open(&features, config, UNUSED, true)?;
        set_control(&mut ebpf, control::DESCENDANTS_OF, config.descendants_of.unwrap_or(0))?;
        let words = |count: u32| count as usize * size_of::<u64>();
        let maps =
            [array(&mut ebpf, "NAMES")?, array(&mut ebpf, "AGES")?, array(&mut ebpf, "STAMPS")?];
        let [names, ages, stamps] = maps.each_ref().map(|map| map.fd().as_fd());
        let mut calls = Self {
            counters: Counters::new(&mut ebpf)?,
            names: MappedWritable::new(names, words(limits::NAME_BITS / u64::BITS + 1))
                .map_err(LoadError::Ring)?,
            ages: MappedWritable::new(ages, words(limits::GLANCE_AGES)).map_err(LoadError::Ring)?,
            stamps: Mapped::new(stamps, words(limits::STAMPS)).map_err(LoadError::Ring)?,
            _maps: maps,
            ring: Some(
                Ring::new(map(&mut ebpf, "RECORDS", RingBuf::try_from)?)
                    .map_err(LoadError::Ring)?,
            ),
            control: map(&mut ebpf, CONTROL, Array::try_from)?,
            ebpf,
            attached: Vec::new(),
            has_spares: false,
            watches_every_name: false,
            skips: Losses::default(),
            births_skipped: 0,
        };
        sys_tracefs::with_tracefs(|| calls.attach()).map_err(|_| LoadError::NoTracepoints)??;
        Ok(calls)
    }

    fn attach(&mut self) -> Result<(), LoadError> {
        // Nothing where symbols are hidden: then each skip makes `notify` look at everything.
        let symbols = std::fs::read_to_string(SYMBOLS_PATH).unwrap_or_default();
        self.has_spares = symbols.contains(PREEMPTIBLE);
        for (program, spare, half, calls) in PROGRAMS {
            let is_about = |call: &&Call| *program != GLANCE || call.attributes.is_some();
            let calls: Vec<_> = calls.iter().filter(is_about).collect();
            let tracepoints = self.attach_to(program, half, &calls)?;
            self.attached.extend(tracepoints);
            if self.has_spares {
                self.attach_to(spare, half, &calls)?;
            }
        }
        if self.attached.is_empty() {
            return Err(LoadError::NoTracepoints);
        }
        let name = FORK;
        let refused =
            |error: &ProgramError| refused("raw tracepoint", name, "sched_process_fork", error);
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
        calls: &[&Call],
    ) -> Result<Vec<String>, LoadError> {
        let refused = |error: &ProgramError| refused("tracepoint", name, "system calls", error);
        let program = self.ebpf.program_mut(name).ok_or(LoadError::Incomplete(name))?;
        let program: &mut TracePoint = program.try_into().map_err(|error| refused(&error))?;
        program.load().map_err(|error| refused(&error))?;
        let mut attached = Vec::new();
        for call in calls {
            let tracepoint = format!("sys_{half}_{}", call.name);
            match program.attach("syscalls", &tracepoint) {
                Ok(_) => attached.push(tracepoint),
                // An older kernel does not have the call.
                Err(ProgramError::TracePointError(_)) => {}
                Err(error) => return Err(refused(&error)),
            }
        }
        Ok(attached)
    }

    /// Looks out for the names of one of [`name::bit`]'s bits from now on, or no more.
    pub fn watch_names(&self, bit: u32, is_watched: bool) {
        let offset = (bit / u64::BITS) as usize * size_of::<u64>();
        let mask = 1 << (bit % u64::BITS);
        let (set, clear) = if is_watched { (mask, 0) } else { (0, mask) };
        self.names.change(offset, set, clear, 0);
    }

    /// Whether every rename and deletion is to be told, not those of the names alone that are looked
    /// out for. `true`: from now on, and not before.
    pub fn watch_every_name(&mut self, is_wanted: bool) -> bool {
        let was_wanted = std::mem::replace(&mut self.watches_every_name, is_wanted);
        if was_wanted != is_wanted {
            let offset = (limits::NAME_BITS / u64::BITS) as usize * size_of::<u64>();
            let (set, clear) = if is_wanted { (1, 0) } else { (0, 1) };
            self.names.change(offset, set, clear, 0);
        }
        is_wanted && !was_wanted
    }

    /// When a name of the same cell was renamed or deleted last, CLOCK_MONOTONIC in nanoseconds.
    pub fn name_changed_ns(&self, hash: u64) -> u64 {
        self.stamps.word(name::cell(hash) as usize * size_of::<u64>())
    }

    /// What was told of a mount's attributes may not be what they are: they are told again.
    pub fn forget_glance(&self, unique_id: u64) {
        let cell = unique_id % u64::from(limits::GLANCE_AGES);
        let offset = usize::try_from(cell).unwrap_or(0) * size_of::<u64>();
        self.ages.change(offset, 0, 0, 1);
    }

    /// The consumer's end of the ring; `None` if it was taken before.
    pub fn take_ring(&mut self) -> Option<Ring> {
        self.ring.take()
    }

    /// The tracepoints that are attached.
    pub fn attached(&self) -> &[String] {
        &self.attached
    }

    /// Programs that the kernel skipped, and how often.
    pub fn skipped(&self) -> Vec<(&'static str, u64)> {
        let names = PROGRAMS.iter().map(|(name, ..)| *name);
        names
            .map(|name| (name, skips_of(&self.ebpf, name)))
            .filter(|(_, skips)| *skips > 0)
            .collect()
    }

    /// Asks how often the kernel skipped programs, which takes a system call for each of them.
    pub fn read_skips(&mut self) {
        // In this order: a spare counts after it was needed.
        let counters = self.counters.read();
        let recursion_misses = self.skipped().into_iter().map(|(_, skips)| skips).sum();
        self.skips = Losses { counters, recursion_misses, ..Losses::default() };
        if self.has_spares {
            self.skips.skips_with_spare = recursion_misses;
        } else {
            self.skips.skips_lost = recursion_misses;
        }
        self.births_skipped = skips_of(&self.ebpf, FORK);
    }

    /// What was lost up to the last [`Self::read_skips`].
    pub fn skips(&self) -> Losses {
        self.skips
    }

    /// Births of processes that were not seen, up to the last [`Self::read_skips`].
    pub fn births_skipped(&self) -> u64 {
        self.births_skipped
    }

    /// The kernel side's counters as they are now, in what has no skips.
    pub fn losses(&self) -> Losses {
        Losses { counters: self.counters.read(), ..Losses::default() }
    }
}

/// Before anything is attached: nothing works on a map by bpf(2) later on.
fn set_control(ebpf: &mut Ebpf, index: u32, value: u32) -> Result<(), LoadError> {
    let map = ebpf.map_mut(CONTROL).ok_or(LoadError::Incomplete(CONTROL))?;
    Array::<_, u64>::try_from(map)
        .and_then(|mut control| control.set(index, u64::from(value), 0))
        .map_err(|source| LoadError::Map { name: CONTROL, source })
}

fn array(ebpf: &mut Ebpf, name: &'static str) -> Result<MapData, LoadError> {
    match ebpf.take_map(name) {
        Some(Map::Array(map)) => Ok(map),
        _ => Err(LoadError::Incomplete(name)),
    }
}
