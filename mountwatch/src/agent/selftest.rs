//! The proof at start that every hook fires: a symbol that can be hooked is not always the code
//! that runs, because the compiler may have inlined it where it is called.
//!
//! A canary ([`kernel::canary`](crate::kernel::canary)) does everything that some hook is there to
//! see. After each act the index, made by the hooks alone, is compared with what the kernel shows of
//! the canary's namespaces. All of it is over, and forgotten, before the first seed.

mod judge;
mod table;

use super::losses::Lost;
use super::source::HookSource;
use crate::kernel::canary::{Canary, CanaryError, Outcome, Seen};
use crate::kernel::hooks;
use crate::kernel::scan::Whose;
use crate::model::{Event, NamespaceInode};
use crate::state::State;
use judge::{Failure, Findings};
use mountwatch_common::hook::{self, Hook};
use std::time::{Duration, Instant};
use table::{ACTS, Row, Told};

/// Runs in which something is lost, before the self-test gives up.
const RUNS_MAX: u32 = 3;
/// How long the death of a namespace may take: its last reference can be dropped a little later.
const DEATH_MAX: Duration = Duration::from_millis(200);

/// What the self-test found. As plain values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SelfTest {
    /// How long it took, in microseconds.
    pub us: u64,
    /// Acts whose effect was compared with the kernel.
    pub acts: u64,
    /// Hooks that did not fire: name, and how that was noticed.
    pub failed: Vec<(String, String)>,
    /// Those of them whose work another function does now: name, and the function.
    pub replaced: Vec<(String, String)>,
    /// Acts that this kernel does not have.
    pub skipped: Vec<String>,
    /// What the index is blind to, one sentence each.
    pub blind: Vec<String>,
    /// System calls that are not told, one sentence each. The index does not rest on them.
    pub unattributed: Vec<String>,
}

impl SelfTest {
    /// Everything is seen, if by a replacement.
    pub fn is_ok(&self) -> bool {
        self.blind.is_empty()
    }
}

/// Runs the self-test; switches replacements on for hooks that do not fire.
pub(super) fn run(source: &mut HookSource) -> SelfTest {
    let start = Instant::now();
    let mut result = SelfTest::default();
    let mut findings = run_until_nothing_is_lost(source);
    if let Ok(first) = &findings {
        result.failed = first.failed.iter().map(named).collect();
        let switched: Vec<_> = first
            .failed
            .iter()
            .flat_map(|failure| {
                let functions = source.switch_on(failure.hook);
                functions.into_iter().map(|function| (failure.hook, function))
            })
            .collect();
        if !switched.is_empty() {
            findings = run_until_nothing_is_lost(source);
            result.replaced = working(&switched, findings.as_ref().ok());
        }
    }
    match findings {
        Ok(findings) => {
            result.acts = findings.acts;
            result.unattributed = findings.silent_calls(&source.attached_hooks());
            result.skipped = findings.skipped;
            result.blind = findings.failed.iter().map(sentence).chain(findings.untested).collect();
        }
        Err(why) => result.blind = vec![format!("the self-test could not run: {why}")],
    }
    if let Err(error) = source.forget_everything() {
        result.blind.push(format!("the self-test could not be forgotten: {error}"));
    }
    result.us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
    result
}

fn named(failure: &Failure) -> (String, String) {
    (hook::name(failure.hook).to_owned(), failure.seen_at.clone())
}

/// What a hook that does not fire costs.
fn sentence(failure: &Failure) -> String {
    let name = hook::name(failure.hook);
    let costs =
        hooks::fallback::blind_without(failure.hook).unwrap_or("the index is not right without it");
    format!("the self-test noticed that hook {name} does not fire: {costs} ({})", failure.seen_at)
}

/// Those replacements whose hooks did not fail again.
fn working(switched: &[(Hook, String)], again: Option<&Findings>) -> Vec<(String, String)> {
    let Some(again) = again else { return Vec::new() };
    let has_failed = |hook| again.failed.iter().any(|failure| failure.hook == hook);
    switched
        .iter()
        .filter(|(hook, _)| !has_failed(*hook))
        .map(|(hook, function)| (hook::name(*hook).to_owned(), function.clone()))
        .collect()
}

fn run_until_nothing_is_lost(source: &mut HookSource) -> Result<Findings, String> {
    for _ in 0..RUNS_MAX {
        let findings = Trial::start(source).and_then(Trial::run);
        let findings = findings.map_err(|why: CanaryError| why.to_string())?;
        if !findings.lost {
            return Ok(findings);
        }
    }
    Err(String::from("records were lost meanwhile, more than once"))
}

/// One run.
struct Trial<'a> {
    source: &'a mut HookSource,
    canary: Canary,
    /// What is attached.
    attached: Vec<Hook>,
    /// An index of nothing but the canary's namespaces.
    state: State,
    events: Vec<Event>,
    findings: Findings,
}

impl<'a> Trial<'a> {
    /// The index of the canary's namespace, by a scan.
    fn start(source: &'a mut HookSource) -> Result<Self, CanaryError> {
        let (canary, first) = Canary::start()?;
        let attached = source.attached_hooks();
        let mut trial = Self {
            source,
            canary,
            attached,
            state: State::new(Vec::new()),
            events: Vec::new(),
            findings: Findings::default(),
        };
        trial.drain();
        // The copy of a large namespace may have been too much for the ring: no matter, because
        // the index starts with what is told from here on.
        trial.findings.lost = false;
        trial.scan(first.seen.iter());
        if let Some(how) = trial.difference(&first) {
            trial.findings.fail(hook::SCAN, format!("a scan told something else: {how}"));
        }
        Ok(trial)
    }

    /// Does everything in the table.
    fn run(mut self) -> Result<Findings, CanaryError> {
        if !self.findings.failed.is_empty() {
            // Without a right beginning nothing else can be judged.
            return Ok(self.findings);
        }
        for row in ACTS {
            let outcome = self.canary.act(row.act)?;
            self.drain();
            if let Err(error) = &outcome.result {
                self.findings.refused(row, error, &self.attached);
                continue;
            }
            self.findings.acts += 1;
            self.findings.called(row.act.call(), &self.events);
            self.judge(row, &outcome);
        }
        self.findings.finish(&self.attached);
        Ok(self.findings)
    }

    fn judge(&mut self, row: &Row, outcome: &Outcome) {
        if row.told == Told::Death {
            self.wait_for_death(outcome);
        }
        if !self.is_told(row, outcome) {
            self.findings.missed(row, "it was not told", &self.attached);
        }
        if let Some(how) = self.difference(outcome) {
            // What is told besides is the business of another hook than what mountinfo shows.
            if row.told == Told::Nothing {
                self.findings.missed(row, &how, &self.attached);
            }
            self.scan(outcome.seen.iter());
        }
    }

    fn is_told(&self, row: &Row, outcome: &Outcome) -> bool {
        match row.told {
            Told::Nothing => true,
            Told::Birth => outcome
                .seen
                .first()
                .is_some_and(|copy| judge::is_told(&self.events, copy.inode, true)),
            Told::Death => self.is_death_told(outcome.gone),
            Told::Detached => {
                outcome.detached.is_some_and(|mount| judge::has_detached(&self.state, mount))
            }
        }
    }

    fn is_death_told(&self, gone: Option<NamespaceInode>) -> bool {
        gone.is_some_and(|inode| judge::is_told(&self.events, inode, false))
    }

    fn wait_for_death(&mut self, outcome: &Outcome) {
        let start = Instant::now();
        while !self.is_death_told(outcome.gone) && start.elapsed() < DEATH_MAX {
            std::thread::sleep(Duration::from_micros(200));
            let before = std::mem::take(&mut self.events);
            self.drain();
            self.events.extend(before);
        }
    }

    /// Takes what the hooks told since the last time.
    fn drain(&mut self) {
        self.events.clear();
        let drained = self.source.drain(&mut self.events);
        self.findings.lost |= drained.lost != Lost::Nothing;
        self.findings.note(&self.events);
        for event in &self.events {
            self.state.apply(event.clone());
        }
    }

    fn difference(&self, outcome: &Outcome) -> Option<String> {
        outcome
            .seen
            .iter()
            .find_map(|seen| judge::difference(self.state.tables(), seen.inode, &seen.mountinfo))
    }

    /// Makes the index anew, from what the kernel has.
    fn scan<'b>(&mut self, seen: impl Iterator<Item = &'b Seen>) {
        let mut fresh = State::new(Vec::new());
        let mut lost = self.source.raise_epoch().is_err();
        for seen in seen {
            let Ok(namespace) = seen.namespace.try_clone() else { continue };
            let whose = Whose::Namespace(namespace);
            let scanned = self.source.scan(whose, |_, events, what| {
                lost |= what != Lost::Nothing;
                for event in events {
                    fresh.apply(event);
                }
            });
            match scanned {
                Ok(is_whole) => lost |= !is_whole,
                Err(error) => {
                    log::warn!("the self-test could not scan a namespace of its own: {error}");
                }
            }
        }
        self.findings.lost |= lost;
        self.state = fresh;
    }
}
