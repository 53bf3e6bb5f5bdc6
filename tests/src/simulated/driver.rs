//! What `agent/writer.rs` does, on the simulated kernel: drain, apply, look up, publish, serve
//! what the core asks for. The core is the real one: `decode`, `State::apply`, `State::publish`.

use super::audit;
use super::history::History;
use super::kernel::{FileKey, Kernel, Ns};
use super::mapped::Tables;
use mountwatch::model::{NamespaceInode, NamespaceKey};
use mountwatch::state::{Need, Published, Retired, Snapshot, State};
use mountwatch::wire::record::{self, Record};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Rounds of scans in a row that end in another need, before the next step goes on.
const SCANS_IN_A_ROW_MAX: u32 = 8;

/// What happens between two lines of a scan: other tasks at work.
pub(crate) type Meanwhile<'a> = &'a mut dyn FnMut(&mut Kernel);

/// The writer of the simulated world.
pub(crate) struct Driver {
    state: State,
    latest: Option<Arc<Snapshot>>,
    /// What other processes would read.
    mapped: Tables,
    /// Losses seen so far, with a place and without.
    placed: u64,
    unplaced: u64,
    undecoded: u64,
    /// The core panics at this event, counted from now.
    pub(crate) panic_in: Option<u64>,
    /// Scans of one namespace.
    pub(crate) scans: u64,
    /// What the auditor found wrong at publications.
    pub(crate) found: Vec<String>,
    /// Publications that the auditor compared, and namespaces of them that said `complete`.
    pub(crate) audited: (u64, u64),
}

impl Driver {
    /// Attaches the programs and reads everything once.
    pub(crate) fn start(kernel: &mut Kernel) -> Self {
        kernel.hooks.is_attached = true;
        kernel.hooks.epoch = 1;
        let mut driver = Self {
            state: State::new(Vec::new()),
            latest: None,
            mapped: Tables::default(),
            placed: 0,
            unplaced: 0,
            undecoded: 0,
            panic_in: None,
            scans: 0,
            found: Vec::new(),
            audited: (0, 0),
        };
        driver.scan_all(kernel, &mut |_| {});
        driver.step(kernel);
        driver
    }

    /// The snapshot that was published last.
    pub(crate) fn latest(&self) -> &Snapshot {
        self.latest.as_ref().expect("the first step publishes")
    }

    /// The core.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Takes what is there, until nothing is asked for any more.
    pub(crate) fn step(&mut self, kernel: &mut Kernel) {
        self.step_while(kernel, &mut |_| {});
    }

    /// The same while others are at work between the lines of scans.
    pub(crate) fn step_while(&mut self, kernel: &mut Kernel, meanwhile: Meanwhile<'_>) {
        self.drain(kernel);
        let mut is_audited = false;
        for round in 0.. {
            if self.state.is_open() {
                // Every call of the simulated kernel is over: the COMMIT was lost.
                self.state.abandon_open();
            }
            self.look_up(kernel);
            if let Some(published) = self.state.publish() {
                self.found.extend(self.mapped.apply(&published));
                self.latest = Some(published.snapshot);
                self.audit(kernel);
                is_audited = true;
                self.keep_paths();
            }
            let needs = self.state.take_needs();
            if needs.is_empty() {
                if !is_audited {
                    // Nothing new is a claim as well.
                    self.audit(kernel);
                }
                return;
            }
            if round >= SCANS_IN_A_ROW_MAX {
                for need in needs {
                    self.state.ask_again(need);
                }
                return;
            }
            self.serve(kernel, &needs, meanwhile);
        }
    }

    /// Paths are kept of every namespace, wherever they were made void.
    fn keep_paths(&mut self) {
        let known: Vec<_> = self.state.tables().namespaces().map(|known| known.key).collect();
        for key in known {
            self.state.keep_paths(key);
        }
    }

    fn audit(&mut self, kernel: &Kernel) {
        if kernel.hooks.ring.len() > 0 {
            return;
        }
        self.found.extend(self.state.violations());
        let Some(latest) = &self.latest else { return };
        let audited = audit::publication(latest, kernel);
        self.audited.0 += 1;
        self.audited.1 += audited.complete;
        self.found.extend(audited.found);
    }

    fn serve(&mut self, kernel: &mut Kernel, needs: &[Need], meanwhile: Meanwhile<'_>) {
        if needs.contains(&Need::Trim) {
            let dropped = self.state.trim();
            let addresses: Vec<u64> = dropped
                .iter()
                .map(|key| match key {
                    Retired::Dentry(key) => key.0,
                    Retired::Super(key) => key.0,
                })
                .collect();
            kernel.hooks.forget(&addresses);
            return self.rescan(kernel, meanwhile);
        }
        if needs.contains(&Need::ScanAll) {
            return self.rescan(kernel, meanwhile);
        }
        for need in needs {
            let Need::Scan(inode) = need else { continue };
            let found = kernel.namespace_of_inode(inode.0);
            match found {
                Some(ns) => self.scan(kernel, ns, meanwhile),
                None => self.state.namespace_not_found(*inode),
            }
        }
    }

    /// A scan of everything in a new epoch.
    pub(crate) fn rescan(&mut self, kernel: &mut Kernel, meanwhile: Meanwhile<'_>) {
        kernel.hooks.epoch += 1;
        self.scan_all(kernel, meanwhile);
    }

    fn scan_all(&mut self, kernel: &mut Kernel, meanwhile: Meanwhile<'_>) {
        let mark = self.state.begin_scan_of_all();
        // Descriptors of all of them are opened first: none dies before it was scanned.
        let opened: Vec<(FileKey, Ns, u32)> = kernel.open_namespaces();
        let mut found = Vec::new();
        for (file, ns, inode) in opened {
            found.push(NamespaceInode(inode));
            self.scan(kernel, ns, meanwhile);
            kernel.close_namespace(file);
        }
        self.state.end_scan_of_all(mark, &found);
    }

    fn scan(&mut self, kernel: &mut Kernel, ns: Ns, meanwhile: Meanwhile<'_>) {
        self.scans += 1;
        let mark = self.state.begin_scan();
        let (file, inode) = kernel.open_namespace(ns);
        let skips = kernel.hooks.counted.skips_in_scans;
        let mut position = 0;
        while let Some(next) = kernel.show_next(ns, position) {
            position = next + 1;
            self.drain(kernel);
            meanwhile(kernel);
        }
        self.drain(kernel);
        if kernel.hooks.counted.skips_in_scans > skips {
            self.state.lost_of_scan(NamespaceInode(inode));
        }
        self.state.end_scan(mark, NamespaceInode(inode));
        kernel.close_namespace(file);
        self.drain(kernel);
    }

    /// Takes everything from the ring.
    fn drain(&mut self, kernel: &mut Kernel) {
        let waiting = kernel.hooks.ring.len();
        for (_, step) in self.take(kernel, waiting) {
            self.found.extend(self.mapped.apply(&step));
            self.latest = Some(step.snapshot);
        }
    }

    /// Takes some of what waits, and publishes if it can: a reader of a ring that others fill.
    pub(crate) fn step_partly(
        &mut self,
        kernel: &mut Kernel,
        records: usize,
        history: &mut History,
    ) {
        for (popped, step) in self.take(kernel, records) {
            self.audit_then(&step, popped, history);
            self.found.extend(self.mapped.apply(&step));
            self.latest = Some(step.snapshot);
        }
        self.look_up(kernel);
        let Some(published) = self.state.publish() else { return };
        self.audit_then(&published, kernel.hooks.ring.popped(), history);
        self.found.extend(self.mapped.apply(&published));
        self.latest = Some(published.snapshot);
        self.found.extend(self.state.violations());
    }

    fn audit_then(&mut self, published: &Published, popped: u64, history: &mut History) {
        let audited = history.publication(&published.snapshot, popped);
        self.audited.0 += 1;
        self.audited.1 += audited.complete;
        self.found.extend(audited.found);
    }

    /// Takes at most so many records, and notices what was lost until now. Gives the
    /// changes that ended on the way, each with the number of records until its end.
    fn take(&mut self, kernel: &mut Kernel, records: usize) -> Vec<(u64, Published)> {
        let mut events = Vec::new();
        for _ in 0..records {
            let before = kernel.hooks.ring.popped();
            let Some(bytes) = kernel.hooks.ring.pop() else { break };
            match record::decode(&bytes) {
                Ok(Record::Event(event)) => events.push((before, event)),
                Ok(
                    Record::Call(_)
                    | Record::Argument(..)
                    | Record::Component(_)
                    | Record::Glance(_),
                ) => {}
                Err(_) => self.undecoded += 1,
            }
        }
        let mut steps = Vec::new();
        let (state, panic_in) = (&mut self.state, &mut self.panic_in);
        let applied = catch_unwind(AssertUnwindSafe(|| {
            for (before, event) in events {
                steps.extend(state.step().map(|step| (before, step)));
                if let Some(left) = panic_in {
                    *left = left.wrapping_sub(1);
                    if *left == u64::MAX {
                        *panic_in = None;
                        // No message on stderr: this one is wanted.
                        std::panic::resume_unwind(Box::new("a bug of the core"));
                    }
                }
                state.apply(event);
            }
        }));
        if applied.is_err() {
            self.state.reset();
        }
        if self.look_for_losses(kernel) || applied.is_err() {
            let lossy = |(at, step): (u64, Published)| (at, step.was_lossy());
            steps = steps.into_iter().map(lossy).collect();
        }
        steps
    }

    /// Notices what was lost since the last look, and of which namespaces; whether anything was.
    fn look_for_losses(&mut self, kernel: &mut Kernel) -> bool {
        let counted = kernel.hooks.counted;
        let unplaced = counted.recursion_misses + self.undecoded;
        let is_anywhere = unplaced > self.unplaced;
        self.unplaced = unplaced;
        let mut places = Vec::new();
        if counted.placed() > self.placed {
            self.placed = counted.placed();
            places.extend(kernel.hooks.take_places().into_iter().map(NamespaceKey));
        }
        if is_anywhere {
            self.state.lost();
        } else if !places.is_empty() {
            self.state.lost_in(&places);
        }
        is_anywhere || !places.is_empty()
    }

    /// Options as statmount(2) tells them.
    fn look_up(&mut self, kernel: &Kernel) {
        for asked in self.state.take_wanted_options() {
            let unique = asked.mount.unique_id;
            if let Some(options) = unique.and_then(|id| kernel.statmount_options(id.0)) {
                self.state.set_options(asked.key, options.into());
            }
            self.state.options_untold(&asked);
        }
    }
}
