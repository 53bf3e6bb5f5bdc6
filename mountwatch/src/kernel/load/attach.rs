//! Puts programs on functions.

use aya::{
    Ebpf,
    programs::{FEntry, FExit, KProbe, Program, ProgramError},
};
use mountwatch_common::hook::Hook;

use super::{LoadError, hint, refused};
use crate::kernel::hooks::{Candidate, Kind, Missing, Plan, Skipped, Step, Way};

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
    /// What a skipped program means.
    pub skipped: Skipped,
    /// The program that does the work of a skipped one.
    pub spare: Option<&'static str>,
}

/// Attaches a plan. What is attached, and in sentences what is not.
pub(super) fn attach_all(
    ebpf: &mut Ebpf,
    btf: &aya::Btf,
    plan: &Plan,
) -> Result<(Vec<Attached>, Vec<String>), LoadError> {
    let (mut attached, mut blind) = (Vec::new(), Vec::new());
    for step in &plan.steps {
        if let (true, Some(way)) = (step.is_mute, step.ways.first()) {
            attached.push(mute(step, *way));
            continue;
        }
        match attach_step(ebpf, btf, step) {
            Ok(done) => attached.push(done),
            Err(refusal) => blind.push(refused_step(step, &refusal)?),
        }
    }
    Ok((attached, blind))
}

/// Attaches the programs on system calls. What is attached, and in sentences what is not told.
pub(super) fn attach_calls(
    ebpf: &mut Ebpf,
    btf: &aya::Btf,
    plan: &Plan,
) -> (Vec<Attached>, Vec<String>) {
    let (mut attached, mut refused) = (Vec::new(), Vec::new());
    for step in &plan.calls {
        if let (true, Some(way)) = (step.is_mute, step.ways.first()) {
            attached.push(mute(step, *way));
            continue;
        }
        match attach_step(ebpf, btf, step) {
            Ok(done) => attached.push(done),
            Err(refusal) => {
                let (way, error) = *refusal;
                let (function, hint) = (way.candidate.function, hint(&error));
                refused.push(format!("{function} is not watched ({hint})"));
            }
        }
    }
    (attached, refused)
}

/// The sentence about a step that cannot be attached, or the error if it has to be.
fn refused_step(step: &Step, refusal: &(Way, ProgramError)) -> Result<String, LoadError> {
    let (way, error) = refusal;
    let function = way.candidate.function;
    match step.missing {
        Missing::Refuse => Err(refused(way.kind.name(), way.program(), function, error)),
        Missing::Blind(sentence) => Ok(format!("{sentence} ({function} refused: {})", hint(error))),
        // The kernel has the operation, so this is a hole all the same.
        Missing::Nothing => Ok(format!("{function} is not watched ({})", hint(error))),
    }
}

/// The first way that works; else the first one and why it does not.
pub(super) fn attach_step(
    ebpf: &mut Ebpf,
    btf: &aya::Btf,
    step: &Step,
) -> Result<Attached, Box<(Way, ProgramError)>> {
    let mut refusal = None;
    for &way in &step.ways {
        match attach(ebpf, btf, way, step) {
            Ok((program, kind, spare)) => {
                return Ok(Attached { program, kind, spare, ..mute(step, way) });
            }
            // The first one is the one to mend.
            Err(error) => refusal = refusal.or(Some((way, error))),
        }
    }
    match refusal {
        Some(refusal) => Err(Box::new(refusal)),
        None => unreachable!("the plan gives each step a way"),
    }
}

fn mute(step: &Step, way: Way) -> Attached {
    Attached {
        hook: step.hook,
        program: way.program(),
        function: way.candidate.function,
        kind: way.kind,
        skipped: step.skipped,
        spare: None,
    }
}

/// Attaches everything that one way needs, in the order in which nothing is missed. The program
/// that does the work, its kind, and its spare.
fn attach(ebpf: &mut Ebpf, btf: &aya::Btf, way: Way, step: &Step) -> Result<Done, ProgramError> {
    let Way { candidate, kind } = way;
    let Candidate { program, spare, probe, called, function, .. } = candidate;
    let alone = (way.program(), kind, None);
    match (kind, step.with_spare, step.skipped) {
        (Kind::Fentry, true, Skipped::Spared) => with_probe_first(ebpf, btf, candidate),
        (Kind::Fexit, true, Skipped::Spared) => {
            let has_spare = put_kretprobe(ebpf, spare, called, function).is_ok();
            put_trampoline(ebpf, btf, program, function)?;
            Ok((program, kind, has_spare.then_some(spare)))
        }
        (Kind::Fentry | Kind::Fexit, true, _) => {
            // The kernel runs the last one attached first, and the spare has to come after it.
            put_trampoline(ebpf, btf, spare, function)?;
            put_trampoline(ebpf, btf, program, function).inspect_err(|_| take_off(ebpf, spare))?;
            Ok((program, kind, Some(spare)))
        }
        (Kind::Fentry | Kind::Fexit, false, _) => {
            put_trampoline(ebpf, btf, program, function).map(|()| alone)
        }
        (Kind::Kprobe, ..) => put_probe(ebpf, probe, function).map(|()| alone),
        (Kind::Kretprobe, ..) => put_kretprobe(ebpf, probe, called, function).map(|()| alone),
    }
}

/// A program, its kind, and its spare.
type Done = (&'static str, Kind, Option<&'static str>);

/// At an entry a probe comes before a trampoline, so the trampoline is the spare. Where there is no
/// probe it does the work.
fn with_probe_first(
    ebpf: &mut Ebpf,
    btf: &aya::Btf,
    candidate: Candidate,
) -> Result<Done, ProgramError> {
    let Candidate { program, spare, probe, function, .. } = candidate;
    put_trampoline(ebpf, btf, spare, function)?;
    if put_probe(ebpf, probe, function).is_ok() {
        return Ok((probe, Kind::Kprobe, Some(spare)));
    }
    take_off(ebpf, spare);
    put_trampoline(ebpf, btf, program, function)?;
    Ok((program, Kind::Fentry, None))
}

fn put_kretprobe(
    ebpf: &mut Ebpf,
    probe: &str,
    called: Option<&str>,
    function: &str,
) -> Result<(), ProgramError> {
    if let Some(called) = called {
        put_probe(ebpf, called, function)?;
    }
    put_probe(ebpf, probe, function)
}

fn put_trampoline(
    ebpf: &mut Ebpf,
    btf: &aya::Btf,
    name: &str,
    function: &str,
) -> Result<(), ProgramError> {
    let program = ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)?;
    let result = match program {
        Program::FEntry(program) => load_fentry(program, function, btf),
        Program::FExit(program) => load_fexit(program, function, btf),
        _ => Err(ProgramError::UnexpectedProgramType),
    };
    if result.is_err() {
        take_off(ebpf, name);
    }
    result
}

/// Unloads a program, so that the next candidate can load it for another function.
pub(super) fn take_off(ebpf: &mut Ebpf, name: &str) {
    // Not loaded: a program for another kind of kernel.
    let _ = match ebpf.program_mut(name) {
        Some(Program::FEntry(program)) => program.unload(),
        Some(Program::FExit(program)) => program.unload(),
        Some(Program::KProbe(program)) => program.unload(),
        _ => Ok(()),
    };
}

fn load_fentry(program: &mut FEntry, function: &str, btf: &aya::Btf) -> Result<(), ProgramError> {
    program.load(function, btf)?;
    program.attach().map(drop)
}

fn load_fexit(program: &mut FExit, function: &str, btf: &aya::Btf) -> Result<(), ProgramError> {
    program.load(function, btf)?;
    program.attach().map(drop)
}

fn put_probe(ebpf: &mut Ebpf, name: &str, function: &str) -> Result<(), ProgramError> {
    let program: &mut KProbe = ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)?.try_into()?;
    // One that is on another function already is put on this one too.
    let is_first = program.fd().is_err();
    if is_first {
        program.load()?;
    }
    let result = program.attach(function, 0).map(drop);
    if result.is_err() && is_first {
        let _ = program.unload();
    }
    result
}
