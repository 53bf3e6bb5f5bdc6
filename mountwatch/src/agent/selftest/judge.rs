//! What an act of the self-test proves. Pure.

use super::table::Row;
use crate::model::{Call, DETACHED, Event, MountId, NamespaceInode};
use crate::render;
use crate::state::{State, Tables};
use crate::verify;
use crate::wire::mountinfo;
use mountwatch_common::hook::{self, Hook};
use std::io;

/// A hook that did not fire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) hook: Hook,
    /// The act that was not seen, and how that was noticed.
    pub(super) seen_at: String,
}

/// What one run found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// The first act that each hook missed.
    pub(super) failed: Vec<Failure>,
    /// What the kernel does not have.
    pub(super) skipped: Vec<String>,
    /// What could not be tried.
    pub(super) untested: Vec<String>,
    /// Acts that were judged.
    pub(super) acts: u64,
    /// Something was lost meanwhile: no failure counts.
    pub(super) lost: bool,
    /// Calls that were made, and whether one of each was told.
    calls: Vec<(Call, bool)>,
    has_committed: bool,
}

impl Findings {
    /// Remembers what fires, from the events of one act.
    pub(super) fn note(&mut self, events: &[Event]) {
        self.has_committed |= events
            .iter()
            .any(|event| matches!(event, Event::Commit(origin, _) if origin.hook == hook::COMMIT));
    }

    /// A call was made, and these are the events of it.
    pub(super) fn called(&mut self, call: Option<Call>, events: &[Event]) {
        let Some(call) = call else { return };
        let is_it = |event: &Event| matches!(event, Event::Call(_, told) if told.call == call);
        let is_told = events.iter().any(is_it);
        match self.calls.iter_mut().find(|(known, _)| *known == call) {
            Some((_, was_told)) => *was_told |= is_told,
            None => self.calls.push((call, is_told)),
        }
    }

    /// Calls of which none was told although programs are attached for that. One that is skipped now
    /// and then is no silence.
    pub(super) fn silent_calls(&self, attached: &[Hook]) -> Vec<String> {
        let silent = self.calls.iter().filter(|(_, is_told)| !is_told);
        let names: Vec<_> = silent.map(|(call, _)| call.name()).collect();
        if names.is_empty() || !attached.contains(&hook::CALL) {
            return Vec::new();
        }
        vec![format!("the self-test noticed that calls are not told: {}", names.join(", "))]
    }

    /// An act that the kernel did not do.
    pub(super) fn refused(&mut self, row: &Row, error: &io::Error, attached: &[Hook]) {
        let Some(witness) = first(row.witness, attached) else {
            self.skipped.push(format!("{}: {error}", row.name));
            return;
        };
        match row.since {
            Some(since) if error.raw_os_error() == Some(libc::EINVAL) => {
                self.skipped.push(format!("{}: since Linux {since}", row.name));
            }
            _ => self.untested.push(format!(
                "the self-test could not do {} ({error}), so nobody knows whether hook {} fires",
                row.name,
                hook::name(witness)
            )),
        }
    }

    /// An act that was not seen as it should have been. Each change of topology needs the hook at
    /// its end: as long as that one never fired, it is the culprit.
    pub(super) fn missed(&mut self, row: &Row, how: &str, attached: &[Hook]) {
        let Some(witness) = first(row.witness, attached) else { return };
        if first(row.needs, attached).is_some_and(|needed| self.has_failed(needed)) {
            return;
        }
        let needs_commit = ![hook::RENAME, hook::DELETE, hook::REMOUNT, hook::RECONFIGURE]
            .contains(&witness)
            && attached.contains(&hook::COMMIT);
        let culprit = if needs_commit && !self.has_committed { hook::COMMIT } else { witness };
        self.fail(culprit, format!("{} was not seen: {how}", row.name));
    }

    /// Remembers the first failure of each hook.
    pub(super) fn fail(&mut self, hook: Hook, seen_at: String) {
        if !self.has_failed(hook) {
            self.failed.push(Failure { hook, seen_at });
        }
    }

    fn has_failed(&self, hook: Hook) -> bool {
        self.failed.iter().any(|known| known.hook == hook)
    }

    /// At the end of all acts: the end of a change was seen, or it was not.
    pub(super) fn finish(&mut self, attached: &[Hook]) {
        if !self.has_committed && attached.contains(&hook::COMMIT) {
            self.fail(hook::COMMIT, "the end of a change was never told".to_owned());
        }
    }
}

/// The first of some hooks that is attached.
fn first(hooks: &[Hook], attached: &[Hook]) -> Option<Hook> {
    hooks.iter().copied().find(|hook| attached.contains(hook))
}

/// Whether the birth, or the death, of a namespace was told.
pub(super) fn is_told(events: &[Event], inode: NamespaceInode, is_birth: bool) -> bool {
    events.iter().any(|event| match event {
        Event::NamespaceBorn(_, namespace) => is_birth && namespace.inode == inode,
        Event::NamespaceGone(_, namespace) => !is_birth && namespace.inode == inode,
        _ => false,
    })
}

/// Whether the index has this mount in a detached tree.
pub(super) fn has_detached(state: &State, mount_id: u32) -> bool {
    state.tables().mount_by_id(MountId(mount_id)).is_some_and(|mount| mount.namespace == DETACHED)
}

/// The first difference between the index and what the kernel shows of a namespace. Options of file
/// systems are no matter of hooks: they are left out.
pub(super) fn difference(tables: &Tables, inode: NamespaceInode, kernel: &[u8]) -> Option<String> {
    let index = tables
        .namespace_by_inode(inode)
        .and_then(|namespace| tables.viewpoint_of_namespace(namespace.key))
        .map_or_else(Vec::new, |view| render::mountinfo(tables, view));
    let found = verify::differences(&without_options(&index), &without_options(kernel), false);
    found.first().map(ToString::to_string)
}

fn without_options(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let options = mountinfo::parse(line)
            .map_or_else(|_| Vec::new(), |parsed| parsed.file_system_options().to_vec());
        let kept = line.strip_suffix(&options[..]).unwrap_or(line);
        out.extend_from_slice(kept.strip_suffix(b",").unwrap_or(kept));
        out.push(b'\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::table::ACTS;
    use super::*;
    use crate::model::{CallEvent, CommitEvent, Origin, Surroundings};
    use std::sync::Arc;

    fn row_of(hook: Hook) -> &'static Row {
        ACTS.iter().find(|row| row.witness.contains(&hook)).unwrap()
    }

    fn commit(hook: Hook) -> Event {
        let commit = CommitEvent { comm: Arc::from(&b"x"[..]), cgroup_id: 0, uid: 0 };
        Event::Commit(Origin { hook, ..Origin::default() }, commit)
    }

    fn failed(findings: &Findings) -> Vec<Hook> {
        findings.failed.iter().map(|failure| failure.hook).collect()
    }

    #[test]
    fn the_end_of_changes_is_the_culprit_until_it_fired() {
        let attached = [hook::COMMIT, hook::ATTACH, hook::REMOUNT];
        let mut findings = Findings::default();
        findings.note(&[commit(hook::REMOUNT)]);
        findings.missed(row_of(hook::ATTACH), "x", &attached);
        findings.missed(row_of(hook::REMOUNT), "x", &attached);
        assert_eq!(failed(&findings), [hook::COMMIT, hook::REMOUNT]);

        let mut findings = Findings::default();
        findings.note(&[commit(hook::COMMIT)]);
        findings.missed(row_of(hook::ATTACH), "x", &attached);
        findings.missed(row_of(hook::ATTACH), "y", &attached);
        findings.finish(&attached);
        assert_eq!(failed(&findings), [hook::ATTACH]);
    }

    #[test]
    fn a_silent_end_is_noticed_even_if_everything_else_is_right() {
        let mut findings = Findings::default();
        findings.finish(&[hook::ATTACH]);
        assert_eq!(failed(&findings), [0; 0]);
        findings.finish(&[hook::COMMIT]);
        assert_eq!(failed(&findings), [hook::COMMIT]);
    }

    #[test]
    fn calls_that_are_never_told_are_named() {
        let mut findings = Findings::default();
        findings.called(None, &[]);
        assert_eq!(findings.silent_calls(&[hook::CALL]), [""; 0]);
        findings.called(Some(Call::Mount), &[]);
        findings.called(Some(Call::Umount2), &[]);
        assert_eq!(findings.silent_calls(&[hook::COMMIT]), [""; 0]);
        let told = CallEvent {
            call: Call::Mount,
            arguments: [0; 6],
            texts: Vec::new(),
            result: 0,
            caller: CommitEvent { comm: Arc::from(&b"x"[..]), cgroup_id: 0, uid: 0 },
            surroundings: Surroundings::default(),
        };
        findings.called(Some(Call::Mount), &[Event::Call(Origin::default(), Box::new(told))]);
        findings.called(Some(Call::Mount), &[]);
        let silent = findings.silent_calls(&[hook::CALL]);
        assert_eq!(silent, ["the self-test noticed that calls are not told: umount2"]);
    }

    #[test]
    fn what_is_not_attached_is_not_blamed() {
        let mut findings = Findings::default();
        findings.note(&[commit(hook::COMMIT)]);
        let leave = row_of(hook::BULK_PRIVATE);
        findings.missed(leave, "x", &[hook::COMMIT]);
        assert_eq!(failed(&findings), [0; 0]);
        findings.missed(leave, "x", &[hook::COMMIT, hook::PROPAGATION]);
        assert_eq!(failed(&findings), [hook::PROPAGATION]);
    }

    #[test]
    fn what_another_silent_hook_hides_is_not_blamed() {
        let attached = [hook::COMMIT, hook::PROPAGATION, hook::GROUP_DEAD];
        let mut findings = Findings::default();
        findings.note(&[commit(hook::COMMIT)]);
        findings.missed(row_of(hook::PROPAGATION), "x", &attached);
        findings.missed(row_of(hook::GROUP_DEAD), "x", &attached);
        assert_eq!(failed(&findings), [hook::PROPAGATION]);
        findings.failed.clear();
        findings.missed(row_of(hook::GROUP_DEAD), "x", &attached);
        assert_eq!(failed(&findings), [hook::GROUP_DEAD]);
    }

    #[test]
    fn an_act_that_is_refused_is_skipped_only_if_the_kernel_is_too_old_for_it() {
        let mut findings = Findings::default();
        let (invalid, denied) =
            (io::Error::from_raw_os_error(libc::EINVAL), io::Error::from_raw_os_error(libc::EPERM));
        findings.refused(row_of(hook::SETATTR), &denied, &[]);
        findings.refused(row_of(hook::SET_GROUP), &invalid, &[hook::SET_GROUP]);
        assert_eq!((findings.skipped.len(), findings.untested.len()), (2, 0));
        findings.refused(row_of(hook::SET_GROUP), &denied, &[hook::SET_GROUP]);
        findings.refused(row_of(hook::ATTACH), &invalid, &[hook::ATTACH]);
        assert_eq!((findings.skipped.len(), findings.untested.len()), (2, 2));
        assert!(findings.untested.iter().any(|said| said.contains("hook set_group")));
    }

    #[test]
    fn options_of_file_systems_are_left_out_and_flags_are_not() {
        let index = b"36 35 0:9 / /a rw shared:7 - tmpfs mountwatch ro\n";
        let kernel = b"36 35 0:9 / /a rw shared:7 - tmpfs mountwatch ro,size=4k,inode64\n";
        assert_eq!(without_options(index), without_options(kernel));
        let other = b"36 35 0:9 / /a rw shared:7 - tmpfs mountwatch rw,size=4k\n";
        assert_ne!(without_options(index), without_options(other));
        let state = State::new(Vec::new());
        let found = difference(state.tables(), NamespaceInode(1), kernel).unwrap();
        assert!(found.starts_with("missing in the index"), "{found}");
    }
}
