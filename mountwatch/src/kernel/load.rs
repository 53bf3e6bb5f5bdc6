//! Loads and attaches the programs.

mod calls;
mod error;

use std::{fs, io, os::fd::AsFd};

use aya::{
    Ebpf, EbpfError, EbpfLoader, VerifierLogLevel,
    maps::{Array, HashMap, MapData, MapError, RingBuf},
    programs::{FEntry, FExit, Program, ProgramError},
};
use aya_log::EbpfLogger;
use mountwatch_common::{counter, hook::Hook, limits, offset};

use super::{
    hooks::{self, Candidate, Features, Kind, Missing, Plan},
    ring::Ring,
    sys_bpf,
};
use crate::wire::btf::Btf;

pub use calls::Calls;
pub use error::LoadError;

/// The compiled kernel side.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../ebpf/mountwatch.bpf.o");

/// Where the running kernel describes its types.
const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";
/// Where it names its symbols.
const SYMBOLS_PATH: &str = "/proc/kallsyms";
/// Where it says what it is locked down for.
const LOCKDOWN_PATH: &str = "/sys/kernel/security/lockdown";

/// Room that the kernel side has for one `struct mount` and one `struct dentry`, in bytes
/// (`MOUNT_BYTES` and `DENTRY_BYTES` there).
const ROOM: [u32; 2] = [512, 192];

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
    /// Names of hooks to leave out, for tests.
    pub without: Vec<String>,
    /// Whether the programs write diagnostics.
    pub kernel_log: bool,
}

impl Default for LoadConfig {
    fn default() -> Self {
        Self { ring_bytes: limits::RING_BYTES, without: Vec::new(), kernel_log: false }
    }
}

/// One attached program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attached {
    /// Which hook it is part of.
    pub hook: Hook,
    /// The program.
    pub program: &'static str,
    /// The kernel function.
    pub function: &'static str,
    /// How.
    pub kind: Kind,
}

/// What the kernel side could not do so far. Each number only grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    /// By [`counter`] index.
    pub counters: [u64; counter::COUNT as usize],
    /// Programs that the kernel skipped (`recursion_misses`, since 5.12), summed over all.
    pub recursion_misses: u64,
}

/// The attached hooks. Dropping it detaches them.
pub struct Hooks {
    ebpf: Ebpf,
    control: Array<MapData, u64>,
    counters: Array<MapData, u64>,
    told: HashMap<MapData, u64, [u64; 4]>,
    ring: Option<Ring>,
    log: Option<EbpfLogger<&'static dyn log::Log>>,
    attached: Vec<Attached>,
    blind: Vec<String>,
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
        let bytes = fs::read(BTF_PATH).map_err(LoadError::NoBtf)?;
        let btf = Btf::parse(&bytes)?;
        let features = Features::resolve(&btf);
        if let Some((structure, member)) = features.missing_members().next() {
            return Err(LoadError::MissingMember { structure, member });
        }
        let plan = hooks::plan(&features, &config.without);
        if let Some(hook) = plan.refused.first() {
            return Err(LoadError::MissingFunction(*hook));
        }
        let mut ebpf = open(&features.offsets, config, &[])?;
        // Without its map there are no diagnostics, which are no reason not to run.
        let log = if config.kernel_log { EbpfLogger::init(&mut ebpf).ok() } else { None };
        let mut hooks = Self {
            log,
            control: map(&mut ebpf, "CONTROL", Array::try_from)?,
            counters: map(&mut ebpf, "COUNTERS", Array::try_from)?,
            told: map(&mut ebpf, "TOLD", HashMap::try_from)?,
            ring: Some(
                Ring::new(map(&mut ebpf, "RECORDS", RingBuf::try_from)?)
                    .map_err(LoadError::Ring)?,
            ),
            ebpf,
            attached: Vec::new(),
            blind: plan.blind.clone(),
        };
        hooks.attach(&plan)?;
        Ok(hooks)
    }

    fn attach(&mut self, plan: &Plan) -> Result<(), LoadError> {
        let btf = aya::Btf::from_sys_fs()
            .map_err(|error| LoadError::NoBtf(io::Error::other(error.to_string())))?;
        for step in &plan.steps {
            let mut refusal = None;
            for candidate in &step.candidates {
                match attach(&mut self.ebpf, &btf, candidate) {
                    Ok(()) => {
                        refusal = None;
                        self.attached.push(Attached {
                            hook: step.hook,
                            program: candidate.program,
                            function: candidate.function,
                            kind: candidate.kind,
                        });
                        break;
                    }
                    Err(error) => refusal = Some((candidate, error)),
                }
            }
            let Some((candidate, error)) = refusal else { continue };
            match step.missing {
                Missing::Refuse => {
                    return Err(refused(candidate.program, candidate.function, &error));
                }
                Missing::Blind(sentence) => self.blind.push(format!(
                    "{sentence} ({} refused: {})",
                    candidate.function,
                    hint(&error)
                )),
                // The kernel has the operation, so this is a hole all the same.
                Missing::Nothing => self.blind.push(format!(
                    "{} is not watched ({})",
                    candidate.function,
                    hint(&error)
                )),
            }
        }
        Ok(())
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

    /// What was lost so far.
    pub fn losses(&self) -> Losses {
        let programs = self.attached.iter().map(|attached| attached.program);
        losses(&self.ebpf, &self.counters, programs)
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

    /// Instructions that the verifier went through for each attached program (since 5.16).
    pub fn verified(&self) -> impl Iterator<Item = (&'static str, u32)> + '_ {
        self.attached.iter().filter_map(|attached| {
            let info = self.ebpf.program(attached.program)?.info().ok()?;
            Some((attached.program, info.verified_instruction_count()?))
        })
    }
}

fn losses<'a>(
    ebpf: &Ebpf,
    counters: &Array<MapData, u64>,
    programs: impl Iterator<Item = &'a str>,
) -> Losses {
    let mut losses = Losses::default();
    for (index, cell) in (0u32..).zip(&mut losses.counters) {
        *cell = counters.get(&index, 0).unwrap_or(0);
    }
    losses.recursion_misses = programs
        .filter_map(|name| ebpf.program(name)?.fd().ok())
        .filter_map(|program| sys_bpf::recursion_misses(program.as_fd()).ok())
        .sum();
    losses
}

/// Parses the object and makes its maps.
///
/// `unused`: maps that the programs to be loaded do not use; they get one element.
fn open(
    offsets: &[u32; offset::COUNT],
    config: &LoadConfig,
    unused: &[&'static str],
) -> Result<Ebpf, LoadError> {
    let spans = spans(offsets)?;
    let nop_idmap = fs::read_to_string(SYMBOLS_PATH).map_or(0, |symbols| nop_idmap(&symbols));
    let kernel_log = u32::from(config.kernel_log);
    let ring_bytes = config.ring_bytes.clamp(limits::RING_BYTES_MIN, 1 << 30).next_power_of_two();
    let mut loader = EbpfLoader::new();
    for map in unused {
        loader.map_max_entries(map, 1);
    }
    loader
        .override_global("OFFSETS", &offsets[..], true)
        .override_global("SPANS", &spans[..], true)
        .override_global("NOP_IDMAP", &nop_idmap, true)
        .override_global("KERNEL_LOG", &kernel_log, true)
        .map_max_entries("RECORDS", ring_bytes)
        .verifier_log_level(VerifierLogLevel::STATS)
        .load(OBJECT)
        .map_err(|error| if is_denied(&error) { denied() } else { error.into() })
}

/// Bytes of `struct mount` and `struct dentry` up to the end of the last member we read.
fn spans(offsets: &[u32; offset::COUNT]) -> Result<[u32; 2], LoadError> {
    let present = |member: &usize| offsets.get(*member).copied().filter(|at| *at != offset::ABSENT);
    let last = |members: &[usize]| members.iter().filter_map(present).max().unwrap_or(0);
    let vfsmount = last(&[
        offset::VFSMOUNT_ROOT,
        offset::VFSMOUNT_SB,
        offset::VFSMOUNT_FLAGS,
        offset::VFSMOUNT_IDMAP,
        offset::VFSMOUNT_USERNS,
    ]);
    let mount = last(&[
        offset::MOUNT_PARENT,
        offset::MOUNT_MOUNTPOINT,
        offset::MOUNT_NS,
        offset::MOUNT_ID,
        offset::MOUNT_ID_UNIQUE,
        offset::MOUNT_GROUP_ID,
        offset::MOUNT_MASTER,
        offset::MOUNT_DEVNAME,
        offset::MOUNT_MOUNTS,
        offset::MOUNT_CHILD,
        offset::MOUNT_T_FLAGS,
    ])
    .max(last(&[offset::MOUNT_MNT]) + vfsmount);
    let dentry = last(&[offset::DENTRY_PARENT, offset::DENTRY_INODE])
        .max(last(&[offset::DENTRY_NAME]) + last(&[offset::QSTR_NAME, offset::QSTR_HASH_LEN]))
        .max(last(&[offset::DENTRY_HASH]) + last(&[offset::HLIST_BL_NODE_PPREV]));
    let spans = [mount + 8, dentry + 8];
    for ((structure, bytes), room) in ["mount", "dentry"].into_iter().zip(spans).zip(ROOM) {
        if bytes > room {
            return Err(LoadError::Layout { structure, bytes, room });
        }
    }
    Ok(spans)
}

/// Address of the ID mapping that changes nothing, of the text of `/proc/kallsyms`; 0 if it hides
/// addresses.
fn nop_idmap(symbols: &str) -> u64 {
    let find = |name: &str| {
        symbols.lines().find_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let address = fields.next()?;
            let symbol = fields.nth(1)?;
            (symbol == name && fields.next().is_none())
                .then(|| u64::from_str_radix(address, 16).ok())
                .flatten()
        })
    };
    find("nop_mnt_idmap").or_else(|| find("init_user_ns")).unwrap_or(0)
}

fn map<T>(
    ebpf: &mut Ebpf,
    name: &'static str,
    convert: impl FnOnce(aya::maps::Map) -> Result<T, MapError>,
) -> Result<T, LoadError> {
    let map = ebpf.take_map(name).ok_or(LoadError::Incomplete(name))?;
    convert(map).map_err(|source| LoadError::Map { name, source })
}

/// Loads one program for one function, and attaches it.
fn attach(ebpf: &mut Ebpf, btf: &aya::Btf, candidate: &Candidate) -> Result<(), ProgramError> {
    let program = ebpf.program_mut(candidate.program).ok_or(ProgramError::NotLoaded)?;
    let result = match candidate.kind {
        Kind::Fentry => {
            let program: &mut FEntry = program.try_into()?;
            program.load(candidate.function, btf).and_then(|()| program.attach().map(drop))
        }
        Kind::Fexit => {
            let program: &mut FExit = program.try_into()?;
            program.load(candidate.function, btf).and_then(|()| program.attach().map(drop))
        }
    };
    if result.is_err() {
        // So that the next candidate can load the same program for another function.
        let _ = program_unload(program);
    }
    result
}

fn program_unload(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::FEntry(program) => program.unload(),
        Program::FExit(program) => program.unload(),
        _ => Ok(()),
    }
}

fn refused(program: &'static str, function: &'static str, error: &ProgramError) -> LoadError {
    if errno(error) == Some(libc::EPERM) {
        return denied();
    }
    let hint = hint(error);
    let is_about = |words: &str| hint.contains(&format!("{words} bpf_probe_read"));
    if is_about("unknown func") || is_about("cannot use helper") {
        return LoadError::Confidentiality;
    }
    LoadError::Refused { program, function, hint }
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
        return error.to_string();
    };
    let log = verifier_log.to_string();
    let lines: Vec<_> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines.get(lines.len().saturating_sub(4)..).unwrap_or_default().join(" | ");
    if last.is_empty() { io_error.to_string() } else { format!("{io_error}; verifier: {last}") }
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
fn denied() -> LoadError {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if is_privileged(&status) { LoadError::LockedDown } else { LoadError::NotPermitted }
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
    fn the_identity_mapping_is_found_by_its_whole_name() {
        let symbols = "0000000000000010 T nop_mnt_idmap_not\n\
                       ffffffff82a00000 D init_user_ns\n\
                       ffffffff82b00000 D nop_mnt_idmap\n\
                       ffffffffc0000000 d nop_mnt_idmap\t[module]\n";
        assert_eq!(nop_idmap(symbols), 0xffff_ffff_82b0_0000);
        assert_eq!(nop_idmap("ffffffff82a00000 D init_user_ns\n"), 0xffff_ffff_82a0_0000);
        assert_eq!(nop_idmap("0000000000000000 D nop_mnt_idmap\n"), 0);
        assert_eq!(nop_idmap("zz D nop_mnt_idmap\n\n x"), 0);
    }

    #[test]
    fn privileges_are_cap_sys_admin_or_both_of_the_newer_ones() {
        assert!(is_privileged("Name:\tx\nCapEff:\t000001ffffffffff\n"));
        assert!(is_privileged("CapEff:\t000000c000000000\n"));
        assert!(!is_privileged("CapEff:\t0000008000000000\n"));
        assert!(!is_privileged("CapEff:\t0000000000000000\n"));
        assert!(!is_privileged(""));
    }

    #[test]
    fn spans_reach_to_the_end_of_the_last_member() {
        let mut offsets = [offset::ABSENT; offset::COUNT];
        offsets[offset::MOUNT_MNT] = 32;
        offsets[offset::VFSMOUNT_IDMAP] = 24;
        offsets[offset::MOUNT_GROUP_ID] = 312;
        offsets[offset::DENTRY_NAME] = 32;
        offsets[offset::QSTR_NAME] = 8;
        assert_eq!(spans(&offsets).ok(), Some([320, 48]));
        offsets[offset::MOUNT_GROUP_ID] = 505;
        let error = spans(&offsets).unwrap_err().to_string();
        assert!(error.contains("struct mount") && error.contains("513"), "{error}");
    }
}
