//! Whether the kernel takes each kind of program, tried with one of each.

use aya::Ebpf;
use aya::programs::{ProgramError, RawTracePoint, TracePoint};
use mountwatch_common::limits;

use super::attach::{attach_step, take_off};
use super::calls::UNUSED;
use super::{LoadConfig, LoadError, check_lockdown, features, hint, open};
use crate::kernel::hooks::{self, Kind, Step};
use crate::kernel::sys_tracefs;

/// One kind of program, and what the kernel said to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// `fentry`, `fexit`, `kprobe`, `kretprobe`, `tracepoint` or `raw tracepoint`.
    pub kind: &'static str,
    /// Where it was put; empty if there is nowhere to put it.
    pub place: &'static str,
    /// Why it was refused.
    pub refusal: Option<String>,
}

/// Loads and attaches one program of each kind, for a moment.
pub fn trials() -> Result<Vec<Trial>, LoadError> {
    check_lockdown()?;
    let features = features()?;
    let config = LoadConfig { ring_bytes: limits::RING_BYTES_MIN, ..LoadConfig::default() };
    let mut ebpf = open(&features, &config, UNUSED, false)?;
    let types = aya::Btf::from_sys_fs()
        .map_err(|error| LoadError::NoBtf(std::io::Error::other(error.to_string())))?;
    let plan = hooks::plan(&features, &config.wishes);
    let kinds = [Kind::Fentry, Kind::Fexit, Kind::Kprobe, Kind::Kretprobe];
    let mut trials: Vec<_> =
        kinds.into_iter().map(|kind| on_function(&mut ebpf, &types, &plan.steps, kind)).collect();
    trials.push(on_tracepoint(&mut ebpf));
    trials.push(on_raw_tracepoint(&mut ebpf));
    Ok(trials)
}

fn on_function(ebpf: &mut Ebpf, types: &aya::Btf, steps: &[Step], kind: Kind) -> Trial {
    let ways = steps.iter().flat_map(|step| step.ways.iter().map(move |way| (step, *way)));
    let Some((step, way)) = ways.into_iter().find(|(_, way)| way.kind == kind) else {
        let refusal = Some("this kernel names no function that it could be put on".to_owned());
        return Trial { kind: kind.name(), place: "", refusal };
    };
    let alone = Step { ways: vec![way], with_spare: false, is_mute: false, ..step.clone() };
    let result = attach_step(ebpf, types, &alone);
    take_off(ebpf, way.program());
    let refusal = result.err().map(|refusal| hint(&refusal.1));
    Trial { kind: kind.name(), place: way.candidate.function, refusal }
}

fn on_tracepoint(ebpf: &mut Ebpf) -> Trial {
    let place = "sys_enter_mount";
    let result = sys_tracefs::with_tracefs(|| {
        let program: &mut TracePoint =
            ebpf.program_mut("call_enter").ok_or(ProgramError::NotLoaded)?.try_into()?;
        program.load()?;
        program.attach("syscalls", place)?;
        program.unload()
    });
    let refusal = match result {
        Ok(result) => result.err().map(|error| hint(&error)),
        Err(error) => Some(format!("no tracefs can be mounted: {error}")),
    };
    Trial { kind: "tracepoint", place, refusal }
}

fn on_raw_tracepoint(ebpf: &mut Ebpf) -> Trial {
    let place = "sched_process_fork";
    let mut attach = || {
        let program: &mut RawTracePoint =
            ebpf.program_mut("fork").ok_or(ProgramError::NotLoaded)?.try_into()?;
        program.load()?;
        program.attach(place)?;
        program.unload()
    };
    let refusal = attach().err().map(|error| hint(&error));
    Trial { kind: "raw tracepoint", place, refusal }
}
