//! The table of hooks, and the plan that a kernel's features make of it. Pure.

mod calls;
pub mod fallback;
mod table;

use hashbrown::HashSet;
use mountwatch_common::{
    hook::{self, Hook},
    offset,
};

use crate::wire::btf::Btf;

pub use calls::{CALLS, OF_OPERATIONS};
pub use table::{FALLBACKS, HOOKS};

/// How a program is attached to a kernel function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Before its first instruction, by a trampoline.
    Fentry,
    /// After its return, with the result, by a trampoline.
    Fexit,
    /// Before its first instruction, by a breakpoint or ftrace.
    Kprobe,
    /// After its return, by replacing the return address; what it was called with is kept by a
    /// kprobe.
    Kretprobe,
}

impl Kind {
    /// The kernel's word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fentry => "fentry",
            Self::Fexit => "fexit",
            Self::Kprobe => "kprobe",
            Self::Kretprobe => "kretprobe",
        }
    }

    /// Whether it is a trampoline.
    pub const fn is_trampoline(self) -> bool {
        matches!(self, Self::Fentry | Self::Fexit)
    }
}

/// One function to watch, and the programs that can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Name of the trampoline's program in the object.
    pub program: &'static str,
    /// Name of the spare, for rows with [`Skipped::Spared`] and the like.
    pub spare: &'static str,
    /// Name of the probe's program.
    pub probe: &'static str,
    /// Name of the program that keeps what the function was called with, for a probe at its return.
    pub called: Option<&'static str>,
    /// The kernel function.
    pub function: &'static str,
    /// Whether the function's return is watched, not its entry.
    pub at_return: bool,
    /// Whether there is no trampoline for it.
    pub probe_only: bool,
}

/// What it means that the kernel skipped a program, and what is done about it. A trampoline is
/// skipped while the same program runs on that CPU, which is so where it was preempted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skipped {
    /// It runs under a lock that lets no other task get there meanwhile.
    Locked,
    /// A spare of the other kind, trampoline or probe, does the work and counts it; what remains is
    /// a loss.
    Spared,
    /// A second trampoline does the work but does not count it, since most runs concern nobody and leave no
    /// mark: a spare that was skipped too is a loss.
    Watched,
    /// As before, while a scan runs.
    Scan,
    /// A loss: it is too rare for a spare.
    Unspared,
    /// Nothing is lost.
    Harmless,
    /// An operation is not told; the index does not rest on it.
    Operation,
}

impl Skipped {
    /// Whether a spare is attached where the kernel can preempt a program.
    pub const fn has_spare(self) -> bool {
        matches!(self, Self::Spared | Self::Watched | Self::Scan)
    }
}

/// What it means when no candidate can be attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// There is no index without it.
    Refuse,
    /// The index is blind to something: the sentence says to what.
    Blind(&'static str),
    /// Nothing: this kernel has no such operation, or another row sees it.
    Nothing,
}

/// One row: one fact to be seen.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Which hook it is part of.
    pub hook: Hook,
    /// In order of preference; the first that attaches is used.
    pub candidates: &'static [Candidate],
    /// What a skipped program means.
    pub skipped: Skipped,
    /// What is lost without it.
    pub missing: Missing,
    /// Why this function.
    pub reason: &'static str,
}

/// What a kernel offers.
#[derive(Debug, Clone)]
pub struct Features {
    /// Byte offset of each of [`offset::MEMBERS`], or [`offset::ABSENT`].
    pub offsets: [u32; offset::COUNT],
    /// Those functions of the tables that its BTF describes: a trampoline can be put on them.
    pub functions: HashSet<&'static str>,
    /// Those that its table of symbols names: a probe can be put on them.
    pub symbols: HashSet<&'static str>,
    /// Its tasks can be preempted in the kernel, and so can the programs.
    pub is_preemptible: bool,
    /// Address of the ID mapping that changes nothing; 0 if it hides addresses.
    pub nop_idmap: u64,
}

impl Features {
    /// Looks everything up in a kernel's BTF, in the text of its `/proc/kallsyms`, and in what
    /// `uname -v` says of it.
    pub fn resolve(btf: &Btf, symbols: &str, version: &str) -> Self {
        let mut offsets = [offset::ABSENT; offset::COUNT];
        for (cell, (structure, member, _)) in offsets.iter_mut().zip(offset::MEMBERS) {
            *cell = btf.member(structure, member).unwrap_or(offset::ABSENT);
        }
        let wanted: HashSet<&'static str> = HOOKS
            .iter()
            .chain(FALLBACKS)
            .chain(CALLS)
            .flat_map(|row| row.candidates)
            .map(|candidate| candidate.function)
            .collect();
        let functions =
            wanted.iter().copied().filter(|function| btf.has_function(function)).collect();
        let nop_idmap = nop_idmap(symbols);
        let symbols = symbols
            .lines()
            .filter_map(|line| wanted.get(line.split_ascii_whitespace().nth(2)?).copied())
            .collect();
        Self { offsets, functions, symbols, is_preemptible: version.contains("PREEMPT"), nop_idmap }
    }

    /// Members that no hook can do without and that this kernel does not have.
    pub fn missing_members(&self) -> impl Iterator<Item = (&'static str, &'static str)> + '_ {
        offset::MEMBERS
            .iter()
            .zip(&self.offsets)
            .filter(|((_, _, required), found)| *required && **found == offset::ABSENT)
            .map(|((structure, member, _), _)| (*structure, *member))
    }
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

/// What is wanted of the plan, for tests of what a kernel may lack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Names of hooks to leave out.
    pub without: Vec<String>,
    /// Names of hooks to replace by their [`FALLBACKS`].
    pub fallback: Vec<String>,
    /// Names of hooks that are said to be attached and are not, for tests of the self-test.
    pub mute: Vec<String>,
    /// Probes instead of trampolines.
    pub no_fentry: bool,
}

/// One way to watch one function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// The function and its programs.
    pub candidate: Candidate,
    /// Which of them.
    pub kind: Kind,
}

impl Way {
    /// The program that does the work.
    pub const fn program(&self) -> &'static str {
        if self.kind.is_trampoline() { self.candidate.program } else { self.candidate.probe }
    }
}

/// One row that is to be attached, with the ways that this kernel has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Which hook.
    pub hook: Hook,
    /// Not empty; in order of preference.
    pub ways: Vec<Way>,
    /// What a skipped program means.
    pub skipped: Skipped,
    /// Whether a trampoline gets a spare.
    pub with_spare: bool,
    /// It is only said to be attached.
    pub is_mute: bool,
    /// What is lost if none attaches.
    pub missing: Missing,
}

/// What to attach on one kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order of attachment.
    pub steps: Vec<Step>,
    /// Programs on system calls, to be attached before those.
    pub calls: Vec<Step>,
    /// What the index cannot see, one sentence each.
    pub blind: Vec<String>,
    /// What is not told of who made a change, one sentence each.
    pub unattributed: Vec<String>,
    /// Hooks without which there is no index and for which this kernel has no function.
    pub refused: Vec<Hook>,
}

/// Makes the plan.
pub fn plan(features: &Features, wishes: &Wishes) -> Plan {
    let mut plan = Plan::default();
    for row in HOOKS {
        let name = hook::name(row.hook);
        if wishes.without.iter().any(|left_out| left_out == name) {
            let sentence = format!("hook {name} was left out by request");
            if !plan.blind.contains(&sentence) {
                plan.blind.push(sentence);
            }
            continue;
        }
        let ways = ways(features, row, wishes.no_fentry);
        let has_fallback = FALLBACKS.iter().any(|fallback| fallback.hook == row.hook);
        let is_replaced = wishes.fallback.iter().any(|replaced| replaced == name);
        if has_fallback && (ways.is_empty() || is_replaced) {
            for fallback in FALLBACKS.iter().filter(|fallback| fallback.hook == row.hook) {
                let ways = self::ways(features, fallback, wishes.no_fentry);
                add(&mut plan, features, fallback, ways, wishes);
            }
        } else {
            add(&mut plan, features, row, ways, wishes);
        }
    }
    add_calls(&mut plan, features, wishes);
    plan
}

fn add_calls(plan: &mut Plan, features: &Features, wishes: &Wishes) {
    for row in CALLS {
        let name = hook::name(row.hook);
        let is_among = |names: &[String]| names.iter().any(|other| other == name);
        if is_among(&wishes.without) {
            let sentence = format!("hook {name} was left out by request");
            if !plan.unattributed.contains(&sentence) {
                plan.unattributed.push(sentence);
            }
            continue;
        }
        let ways = ways(features, row, wishes.no_fentry);
        if !ways.is_empty() {
            let is_mute = is_among(&wishes.mute);
            plan.calls.push(Step { is_mute, ..step(features, row, ways) });
        }
    }
}

fn add(plan: &mut Plan, features: &Features, row: &Row, ways: Vec<Way>, wishes: &Wishes) {
    if ways.is_empty() {
        match row.missing {
            Missing::Refuse => plan.refused.push(row.hook),
            Missing::Blind(sentence) => plan.blind.push(sentence.to_owned()),
            Missing::Nothing => {}
        }
        return;
    }
    let is_mute = wishes.mute.iter().any(|name| name == hook::name(row.hook));
    plan.steps.push(Step { is_mute, ..step(features, row, ways) });
}

fn step(features: &Features, row: &Row, ways: Vec<Way>) -> Step {
    let (hook, skipped, missing) = (row.hook, row.skipped, row.missing);
    let with_spare = features.is_preemptible && skipped.has_spare();
    Step { hook, ways, skipped, with_spare, is_mute: false, missing }
}

/// The ways that a kernel has: for each function the trampoline before the probe.
fn ways(features: &Features, row: &Row, no_fentry: bool) -> Vec<Way> {
    let mut ways = Vec::new();
    for &candidate in row.candidates {
        let (trampoline, probe) = if candidate.at_return {
            (Kind::Fexit, Kind::Kretprobe)
        } else {
            (Kind::Fentry, Kind::Kprobe)
        };
        if !no_fentry && !candidate.probe_only && features.functions.contains(candidate.function) {
            ways.push(Way { candidate, kind: trampoline });
        }
        if features.symbols.contains(candidate.function) {
            ways.push(Way { candidate, kind: probe });
        }
    }
    ways
}

#[cfg(test)]
mod tests;
