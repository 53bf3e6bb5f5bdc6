//! What the kernel side could not do, and where.

use std::{os::fd::AsFd, sync::Arc};

use aya::{
    Ebpf,
    maps::{HashMap, Map, MapData},
};
use mountwatch_common::counter;

use super::{Attached, LoadError};
use crate::kernel::{gauge, hooks::Skipped, sys_bpf, sys_map::Mapped};

/// What the kernel side could not do so far. Each number only grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    /// By [`counter`] index.
    pub counters: [u64; counter::COUNT as usize],
    /// Programs that the kernel skipped (`recursion_misses`, since 5.12), summed over all.
    pub recursion_misses: u64,
    /// Skipped programs without a spare, and skipped spares that do not count.
    pub skips_lost: u64,
    /// Skipped programs of those that run under a lock, if they were looked at.
    pub skips_locked: u64,
    /// Skipped programs whose spare counts what it does.
    pub skips_with_spare: u64,
    /// Skipped programs of calls that are not told for that.
    pub skips_of_operations: u64,
    /// Skipped spares of what only a scan needs.
    pub skips_in_scans: u64,
}

impl Losses {
    /// Losses about namespaces that the kernel side has noted (the map `LOST`).
    pub fn placed(&self) -> u64 {
        self.counters.iter().zip(counter::IS_LOSS).filter(|(_, is_loss)| *is_loss).map(at).sum()
    }

    /// Losses of which nobody knows what they are about, apart from [`Losses::skips_left`].
    pub fn unplaced(&self) -> u64 {
        self.skips_lost + self.counter(counter::LOSSES_UNPLACED)
    }

    /// Skipped programs whose spare has not run: not yet, or it was skipped too.
    pub fn skips_left(&self) -> u64 {
        let spared = self.counter(counter::SKIPS_SPARED);
        let repeated = self.counter(counter::SPARES_UNMARKED);
        let done = spared.saturating_sub(repeated);
        // More than there were: this kernel runs the spares first, and they prove nothing.
        self.skips_with_spare.checked_sub(done).unwrap_or(self.skips_with_spare)
    }

    /// One of the kernel side's counters.
    pub fn counter(&self, index: u32) -> u64 {
        usize::try_from(index).ok().and_then(|at| self.counters.get(at).copied()).unwrap_or(0)
    }
}

fn at((count, _): (&u64, bool)) -> u64 {
    *count
}

/// The kernel side's counters, mapped: to look at them costs no system call.
#[derive(Debug)]
pub(super) struct Counters {
    mapped: Arc<Mapped>,
    /// Programs that are loaded later refer to it by its descriptor.
    _map: MapData,
}

impl Counters {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        let Some(Map::Array(map)) = ebpf.take_map("COUNTERS") else {
            return Err(LoadError::Incomplete("map COUNTERS"));
        };
        let bytes = counter::COUNT as usize * size_of::<u64>();
        let mapped = Arc::new(Mapped::new(map.fd().as_fd(), bytes).map_err(LoadError::Ring)?);
        Ok(Self { mapped, _map: map })
    }

    pub(super) fn read(&self) -> [u64; counter::COUNT as usize] {
        gauge::words(&self.mapped)
    }

    pub(super) fn mapped(&self) -> Arc<Mapped> {
        Arc::clone(&self.mapped)
    }
}

/// The namespaces that something was lost of.
#[derive(Debug)]
pub(super) struct Places(HashMap<MapData, u64, u8>);

impl Places {
    pub(super) fn new(map: HashMap<MapData, u64, u8>) -> Self {
        Self(map)
    }

    /// Takes out the addresses of namespaces; `None` if one of the losses is about any.
    pub(super) fn take(&mut self) -> Option<Vec<u64>> {
        let mut is_known = true;
        let mut places = Vec::new();
        // A key that comes or goes meanwhile may cut the iteration short: then the next look finds
        // the rest, and until then everything is in doubt.
        let keys: Vec<_> = self.0.keys().collect();
        for key in keys {
            match key {
                Ok(0) => {
                    is_known = false;
                    let _ = self.0.remove(&0);
                }
                Ok(ns) => {
                    let _ = self.0.remove(&ns);
                    places.push(ns);
                }
                Err(_) => is_known = false,
            }
        }
        is_known.then_some(places)
    }
}

/// How often the kernel skipped programs. What runs under a lock is never skipped; that is checked
/// only when `thorough`.
pub(super) fn add_skips(losses: &mut Losses, ebpf: &Ebpf, attached: &[Attached], thorough: bool) {
    for at in attached {
        if matches!(at.skipped, Skipped::Locked | Skipped::Operation) && !thorough {
            continue;
        }
        let skips = skips_of(ebpf, at.program);
        losses.recursion_misses += skips;
        match (at.skipped, at.spare) {
            (Skipped::Harmless, _) => {}
            (Skipped::Operation, _) => losses.skips_of_operations += skips,
            (Skipped::Spared, Some(_)) => losses.skips_with_spare += skips,
            (Skipped::Watched, Some(spare)) => losses.skips_lost += skips_of(ebpf, spare),
            (Skipped::Scan, Some(spare)) => losses.skips_in_scans += skips_of(ebpf, spare),
            (Skipped::Scan, None) => losses.skips_in_scans += skips,
            (Skipped::Spared | Skipped::Watched, None) | (Skipped::Unspared, _) => {
                losses.skips_lost += skips;
            }
            (Skipped::Locked, _) => losses.skips_locked += skips,
        }
    }
}

/// How often the kernel skipped one program.
pub(super) fn skips_of(ebpf: &Ebpf, program: &str) -> u64 {
    ebpf.program(program)
        .and_then(|program| program.fd().ok())
        .and_then(|program| sys_bpf::recursion_misses(program.as_fd()).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn losses(with_spare: u64, spared: u64, unmarked: u64) -> Losses {
        let mut losses = Losses { skips_with_spare: with_spare, ..Losses::default() };
        let mut set = |index: u32, count| {
            if let Some(cell) = losses.counters.get_mut(index as usize) {
                *cell = count;
            }
        };
        set(counter::SKIPS_SPARED, spared);
        set(counter::SPARES_UNMARKED, unmarked);
        losses
    }

    #[test]
    fn a_skip_is_left_until_its_spare_has_run() {
        assert_eq!(losses(0, 0, 0).skips_left(), 0);
        assert_eq!(losses(3, 3, 0).skips_left(), 0);
        assert_eq!(losses(3, 2, 0).skips_left(), 1);
        // A spare that repeated what was done is no proof that another one ran.
        assert_eq!(losses(3, 3, 1).skips_left(), 1);
        assert_eq!(losses(3, 90, 0).skips_left(), 3);
    }

    #[test]
    fn what_is_no_loss_is_not_counted_as_one() {
        let mut losses = losses(5, 5, 0);
        for (count, is_loss) in losses.counters.iter_mut().zip(counter::IS_LOSS) {
            *count = if is_loss { 1 } else { 100 };
        }
        let lossy = counter::IS_LOSS.into_iter().filter(|is_loss| *is_loss).count();
        assert_eq!(losses.placed(), u64::try_from(lossy).unwrap());
        assert_eq!(losses.unplaced(), 1);
    }
}
