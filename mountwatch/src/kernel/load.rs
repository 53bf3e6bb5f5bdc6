//! Loads and attaches the programs.

mod attach;
pub(super) mod call_table;
mod calls;
mod error;
mod layout;
mod losses;
mod switch;
mod trial;

use std::{fs, io};

use aya::{
    Ebpf, EbpfError, EbpfLoader, VerifierLogLevel,
    maps::{Array, HashMap, MapData, MapError, RingBuf},
    programs::ProgramError,
};
use aya_log::EbpfLogger;
use mountwatch_common::{control, counter, limits};

use super::{
    gauge::Gauge,
    hooks::{self, Features, Wishes},
    host,
    ring::Ring,
};
use crate::wire::btf::Btf;
use losses::{Counters, Places};

pub use attach::Attached;
pub(crate) use call_table::operation_of;
pub use calls::Calls;
pub use error::LoadError;
pub use losses::Losses;
pub use trial::{Trial, trials};

/// The compiled kernel side.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../ebpf/mountwatch.bpf.o");

/// Where the running kernel describes its types.
const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";
/// Where it names its symbols.
const SYMBOLS_PATH: &str = "/proc/kallsyms";
/// Where it says what it is locked down for.
const LOCKDOWN_PATH: &str = "/sys/kernel/security/lockdown";

/// Maps of the programs on system calls.
const UNUSED: &[&str] = &["NAMES", "STAMPS", "AGES", "GLANCES"];

/// Bits of a capability set, of linux/capability.h.
const CAP_SYS_ADMIN: u64 = 1 << 21;
const CAP_PERFMON: u64 = 1 << 38;
const CAP_BPF: u64 = 1 << 39;

/// What to load.
#[derive(Debug, Clone)]
pub struct LoadConfig {
    /// Size of the ring buffer in bytes; rounded up to a power of two and to
    /// [`limits::RING_BYTES_MIN`].
    pub ring_bytes: u32,
    /// What is wanted of the plan, for tests.
    pub wishes: Wishes,
    /// Whether the programs write diagnostics.
    pub kernel_log: bool,
    /// The process whose descendants are told apart.
    pub descendants_of: Option<u32>,
    /// Roots of changed subtrees that one transaction has room for.
    pub roots_max: u32,
}

impl Default for LoadConfig {
    fn default() -> Self {
        Self {
            ring_bytes: limits::RING_BYTES,
            wishes: Wishes::default(),
            kernel_log: false,
            descendants_of: None,
            roots_max: limits::ROOTS_MAX,
        }
    }
}

/// The attached hooks. Dropping it detaches them.
pub struct Hooks {
    ebpf: Ebpf,
    control: Array<MapData, u64>,
    counters: Counters,
    places: Places,
    told: HashMap<MapData, u64, [u64; 4]>,
    ring: Option<Ring>,
    log: Option<EbpfLogger<&'static dyn log::Log>>,
    attached: Vec<Attached>,
    blind: Vec<String>,
    unattributed: Vec<String>,
    features: Features,
    no_fentry: bool,
}

impl std::fmt::Debug for Hooks {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Hooks")
            .field("attached", &self.attached)
            .field("blind", &self.blind)
            .finish_non_exhaustive()
    }
}

impl Hooks {
    /// Loads and attaches everything that this kernel can take. A program for another kernel is
    /// not loaded.
    pub fn load(config: &LoadConfig) -> Result<Self, LoadError> {
        check_lockdown()?;
        let mut features = features()?;
        if layout::REGISTERS.is_none() {
            features.symbols.clear();
        }
        if let Some((structure, member)) = features.missing_members().next() {
            return Err(LoadError::MissingMember { structure, member });
        }
        let plan = hooks::plan(&features, &config.wishes);
        if let Some(hook) = plan.refused.first() {
            return Err(LoadError::MissingFunction(*hook));
        }
        let mut ebpf = open(&features, config, UNUSED, false)?;
        // Without its map there are no diagnostics, which are no reason not to run.
        let log = if config.kernel_log { EbpfLogger::init(&mut ebpf).ok() } else { None };
        let mut hooks = Self {
            log,
            control: map(&mut ebpf, "CONTROL", Array::try_from)?,
            counters: Counters::new(&mut ebpf)?,
            places: Places::new(map(&mut ebpf, "LOST", HashMap::try_from)?),
            told: map(&mut ebpf, "TOLD", HashMap::try_from)?,
            ring: Some(
                Ring::new(map(&mut ebpf, "RECORDS", RingBuf::try_from)?)
                    .map_err(LoadError::Ring)?,
            ),
            ebpf,
            attached: Vec::new(),
            blind: plan.blind.clone(),
            unattributed: plan.unattributed.clone(),
            features,
            no_fentry: config.wishes.no_fentry,
        };
        let ancestor = config.descendants_of.unwrap_or(0);
        hooks.control(control::DESCENDANTS_OF, u64::from(ancestor))?;
        let types = aya::Btf::from_sys_fs()
            .map_err(|error| LoadError::NoBtf(io::Error::other(error.to_string())))?;
        let (calls, refused) = attach::attach_calls(&mut hooks.ebpf, &types, &plan);
        hooks.unattributed.extend(refused);
        let (attached, blind) = attach::attach_all(&mut hooks.ebpf, &types, &plan)?;
        hooks.attached = attached;
        hooks.attached.extend(calls);
        hooks.blind.extend(blind);
        Ok(hooks)
    }

    /// The consumer's end of the ring; `None` if it was taken before.
    pub fn take_ring(&mut self) -> Option<Ring> {
        self.ring.take()
    }

    /// Sets one of [`mountwatch_common::control`].
    pub fn control(&mut self, index: u32, value: u64) -> Result<(), LoadError> {
        self.control
            .set(index, value, 0)
            .map_err(|source| LoadError::Map { name: "CONTROL", source })
    }

    /// What was lost so far. `thorough`: also what cannot be lost, as far as we know the kernel.
    pub fn losses(&self, thorough: bool) -> Losses {
        // A spare counts after it was needed: read in this order, a difference may be too large for
        // a moment, and never too small.
        let mut losses = Losses { counters: self.counters.read(), ..Losses::default() };
        losses::add_skips(&mut losses, &self.ebpf, &self.attached, thorough);
        losses
    }

    /// What says whether anything was told or lost since, where that is all that there is to know:
    /// not where the kernel can skip a program.
    pub(crate) fn gauge(&self, ring: &Ring) -> Option<Gauge> {
        let (positions, page_bytes) = ring.positions();
        let counters = self.counters.mapped();
        (!self.features.is_preemptible).then_some(Gauge { positions, page_bytes, counters })
    }

    /// Ends of changes that found no room in the ring so far.
    pub fn commits_lost(&self) -> u64 {
        let index = counter::COMMITS_LOST as usize;
        self.counters.read().get(index).copied().unwrap_or(0)
    }

    /// Programs that the kernel skipped, and how often.
    pub fn skipped(&self) -> Vec<(&'static str, u64)> {
        let programs = self.attached.iter().flat_map(|at| [Some(at.program), at.spare]);
        let skips = |program| (program, losses::skips_of(&self.ebpf, program));
        programs.flatten().map(skips).filter(|(_, skips)| *skips > 0).collect()
    }

    /// Takes out the addresses of namespaces that something was lost of; `None`: of any.
    pub fn take_places(&mut self) -> Option<Vec<u64>> {
        self.places.take()
    }

    /// Hands the programs' diagnostics to the `log` crate, if [`LoadConfig::kernel_log`] asked for
    /// them. To be called from time to time.
    pub fn flush_log(&mut self) {
        if let Some(log) = &mut self.log {
            log.flush();
        }
    }

    /// Lets the kernel side forget that it told these dentries and super blocks.
    pub fn forget(&mut self, addresses: &[u64]) {
        for address in addresses {
            // Not there: it was never told, or the table was full.
            let _ = self.told.remove(address);
        }
    }

    /// What is attached, in the order of attachment.
    pub fn attached(&self) -> &[Attached] {
        &self.attached
    }

    /// What the index cannot see on this kernel, one sentence each.
    pub fn blind(&self) -> &[String] {
        &self.blind
    }

    /// What is not told of who made a change, one sentence each.
    pub fn unattributed(&self) -> &[String] {
        &self.unattributed
    }

    /// Instructions that the verifier went through for each attached program (since 5.16).
    pub fn verified(&self) -> impl Iterator<Item = (&'static str, u32)> + '_ {
        self.attached.iter().filter_map(|attached| {
            let info = self.ebpf.program(attached.program)?.info().ok()?;
            Some((attached.program, info.verified_instruction_count()?))
        })
    }
}

/// Parses the object and makes its maps.
///
/// `unused`: maps that the programs to be loaded do not use; they get one element. `calls_matter`: the
/// index rests on the records of calls.
fn open(
    features: &Features,
    config: &LoadConfig,
    unused: &[&'static str],
    calls_matter: bool,
) -> Result<Ebpf, LoadError> {
    let spans = layout::spans(&features.offsets)?;
    let spares = u32::from(features.is_preemptible && !config.wishes.no_fentry);
    let kernel_log = u32::from(config.kernel_log);
    let ring_bytes = config.ring_bytes.clamp(limits::RING_BYTES_MIN, 1 << 30).next_power_of_two();
    let (rules, rules_compat) = (call_table::rules(), call_table::rules_compat());
    let calls_matter = u32::from(calls_matter);
    let mut loader = EbpfLoader::new();
    loader.map_max_entries("ROOTS", config.roots_max);
    for map in unused {
        loader.map_max_entries(map, 1);
    }
    loader
        .override_global("OFFSETS", &features.offsets[..], true)
        .override_global("REGISTERS", &layout::REGISTERS.unwrap_or_default()[..], true)
        .override_global("RULES", &rules[..], true)
        .override_global("RULES_COMPAT", &rules_compat[..], true)
        .override_global("CALL_REGISTERS", &layout::CALL_REGISTERS[..], true)
        .override_global("CALLS_MATTER", &calls_matter, true)
        .override_global("SPARES", &spares, true)
        .override_global("SPANS", &spans[..], true)
        .override_global("NOP_IDMAP", &features.nop_idmap, true)
        .override_global("KERNEL_LOG", &kernel_log, true)
        .map_max_entries("RECORDS", ring_bytes)
        .verifier_log_level(VerifierLogLevel::STATS)
        .load(OBJECT)
        .map_err(|error| {
            if is_denied(&error) {
                denied("maps of eBPF programs".to_owned())
            } else {
                error.into()
            }
        })
}

/// What the running kernel offers.
pub fn features() -> Result<Features, LoadError> {
    let bytes = fs::read(BTF_PATH).map_err(LoadError::NoBtf)?;
    Ok(features_of(&Btf::parse(&bytes)?))
}

fn features_of(btf: &Btf) -> Features {
    // Nothing where they are hidden.
    let symbols = fs::read_to_string(SYMBOLS_PATH).unwrap_or_default();
    Features::resolve(btf, &symbols, &host::kernel_version())
}

fn map<T>(
    ebpf: &mut Ebpf,
    name: &'static str,
    convert: impl FnOnce(aya::maps::Map) -> Result<T, MapError>,
) -> Result<T, LoadError> {
    let map = ebpf.take_map(name).ok_or(LoadError::Incomplete(name))?;
    convert(map).map_err(|source| LoadError::Map { name, source })
}

fn refused(
    kind: &'static str,
    program: &'static str,
    function: &'static str,
    error: &ProgramError,
) -> LoadError {
    let hint = hint(error);
    if errno(error) == Some(libc::EPERM) {
        return denied(format!("the {kind} program {program} on {function} ({hint})"));
    }
    let is_about = |words: &str| hint.contains(&format!("{words} bpf_probe_read"));
    if is_about("unknown func") || is_about("cannot use helper") {
        return LoadError::Confidentiality;
    }
    LoadError::Refused { kind, program, function, hint }
}

/// The errno of a failed load or attachment.
fn errno(error: &ProgramError) -> Option<i32> {
    match error {
        ProgramError::LoadError { io_error, .. } => io_error.raw_os_error(),
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    }
}

/// Under lockdown=confidentiality no program may read the kernel's memory, and tracefs is closed:
/// better said before anything is tried. Where securityfs is not mounted the verifier says it.
fn check_lockdown() -> Result<(), LoadError> {
    match fs::read_to_string(LOCKDOWN_PATH) {
        Ok(modes) if modes.contains("[confidentiality]") => Err(LoadError::Confidentiality),
        _ => Ok(()),
    }
}

/// An error in one line, with the verifier's last words.
fn hint(error: &ProgramError) -> String {
    let ProgramError::LoadError { io_error, verifier_log } = error else {
        return with_causes(error);
    };
    let log = verifier_log.to_string();
    let lines: Vec<_> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines.get(lines.len().saturating_sub(4)..).unwrap_or_default().join(" | ");
    if last.is_empty() { io_error.to_string() } else { format!("{io_error}; verifier: {last}") }
}

/// An error with what caused it: not each one tells that itself.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let why = error.to_string();
        if !text.contains(&why) {
            text = format!("{text}: {why}");
        }
        cause = error.source();
    }
    text
}

fn is_denied(error: &EbpfError) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.raw_os_error() == Some(libc::EPERM);
        }
        source = error.source();
    }
    false
}

/// Which of the two reasons for EPERM it is.
fn denied(what: String) -> LoadError {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if is_privileged(&status) { LoadError::LockedDown { what } } else { LoadError::NotPermitted }
}

/// Whether the effective capabilities in `/proc/self/status` allow to load tracing programs.
fn is_privileged(status: &str) -> bool {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    effective & CAP_SYS_ADMIN != 0 || effective & (CAP_BPF | CAP_PERFMON) == CAP_BPF | CAP_PERFMON
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn privileges_are_cap_sys_admin_or_both_of_the_newer_ones() {
        assert!(is_privileged("Name:\tx\nCapEff:\t000001ffffffffff\n"));
        assert!(is_privileged("CapEff:\t000000c000000000\n"));
        assert!(!is_privileged("CapEff:\t0000008000000000\n"));
        assert!(!is_privileged("CapEff:\t0000000000000000\n"));
        assert!(!is_privileged(""));
    }
}
