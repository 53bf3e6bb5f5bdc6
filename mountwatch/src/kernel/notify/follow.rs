//! From what was told to the looks that it asks for.

use super::asked::{Attributes, Names};
use super::callers::Made;
use super::effect::{self, Class};
use super::queue::Notification;
use super::tell::Tell;
use super::{Notify, NotifyError, origin_of_none};
use crate::kernel::host;
use crate::model::{
    CommitEvent, Event, GlimpsedEvent, MountKey, NamespaceKey, Origin, UniqueMountId,
};
use hashbrown::{HashMap, HashSet};
use mountwatch_common::{hook, name};
use std::collections::VecDeque;
use std::sync::Arc;

/// Mounts that came unseen and whose end was not notified yet.
const GLIMPSES_MAX: usize = 65_536;
/// Rounds in which new names are looked after. Each rests on a name that the one before met first.
const ROUNDS_MAX: u32 = 64;

/// A mount that was gone when it was looked at.
#[derive(Clone, Debug)]
pub(super) struct Glimpse {
    origin: Origin,
    commit: CommitEvent,
    /// The call that made it, by its begin; 0 if none is known.
    begin_ktime_ns: u64,
}

/// Where in the list the end of each mount is told that left its namespace: none ever comes back.
fn ends(notifications: &[Notification]) -> HashMap<MountKey, usize> {
    let left = notifications.iter().enumerate().filter_map(|(at, told)| match told {
        Notification::Mount { id, is_attached: false, is_detached: true, .. } => {
            Some((MountKey(id.0), at))
        }
        _ => None,
    });
    left.collect()
}

/// For each thread, in the order of its notifications: the call that each belongs to, as when it
/// began, and its time.
type Causes = HashMap<u32, VecDeque<Option<(u64, u64)>>>;

impl Notify {
    fn causes(&mut self, notifications: &[Notification]) -> Causes {
        let mut classes: HashMap<u32, Vec<Class>> = HashMap::new();
        for notification in notifications {
            if let Notification::Mount { is_attached, is_detached, tid, .. } = notification {
                classes.entry(*tid).or_default().push(match (is_attached, is_detached) {
                    (true, true) => Class::Move,
                    (true, false) => Class::Attach,
                    (false, _) => Class::Detach,
                });
            }
        }
        let mut causes = Causes::default();
        for (tid, classes) in classes {
            let candidates = self.callers.candidates(tid);
            let calls: Vec<_> = candidates.iter().map(|candidate| candidate.class).collect();
            let pairs = effect::pair(&calls, &classes);
            let found = pairs.into_iter().map(|at| {
                let candidate = candidates.get(at?)?;
                Some((candidate.begin_ktime_ns, candidate.ktime_ns))
            });
            let found: VecDeque<_> = found.collect();
            for (begin_ktime_ns, _) in found.iter().flatten() {
                self.callers.set_notified(tid, *begin_ktime_ns);
            }
            causes.insert(tid, found);
        }
        causes
    }

    /// Tells what the notifications name; `true` if some were lost.
    pub(super) fn notified(
        &mut self,
        notifications: &[Notification],
        now_ns: u64,
        out: &mut Vec<Event>,
    ) -> Result<bool, NotifyError> {
        let mut lost = false;
        let mut causes = self.causes(notifications);
        let ends = ends(notifications);
        let mut change: Option<(Origin, usize)> = None;
        let mut moved = HashMap::new();
        for (at, notification) in notifications.iter().enumerate() {
            log::trace!("{notification:?}");
            let Notification::Mount { id, is_attached, is_detached, tid } = *notification else {
                self.overflows += 1;
                lost = true;
                continue;
            };
            self.notifications += 1;
            let cause = causes.get_mut(&tid).and_then(VecDeque::pop_front).flatten();
            // A notification has no time; the call that it belongs to has one.
            let (begin_ktime_ns, ktime_ns) = cause.unwrap_or((0, now_ns));
            let origin = match change {
                Some((same, _))
                    if (same.tid, same.ktime_ns, same.begin_ktime_ns)
                        == (tid, ktime_ns, begin_ktime_ns) =>
                {
                    same
                }
                other => {
                    if let Some((origin, begin)) = other {
                        self.commit(origin, begin, out)?;
                    }
                    let made = Made { tid, ktime_ns, begin_ktime_ns, descent: None };
                    change.insert((self.callers.origin(made), out.len())).0
                }
            };
            let key = MountKey(id.0);
            if is_attached && ends.get(&key).is_some_and(|end| *end > at) {
                // It is gone: to look for it in every namespace would take longer than to mount it.
                if self.teller.table.mount(key).is_none() {
                    self.glimpse(key, origin, begin_ktime_ns);
                }
            } else if is_attached {
                let hint = self.callers.latest(tid).map(|call| NamespaceKey(call.ns_id));
                if !self.teller.notified(key, hint, origin, out)? {
                    self.glimpse(key, origin, begin_ktime_ns);
                } else if is_detached {
                    moved.insert(key, origin);
                }
            } else if !self.teller.gone(key, origin, out) {
                // It left with its namespace, or was never seen.
                self.tell_glimpse(key, origin, out);
            }
        }
        if let Some((origin, begin)) = change {
            self.commit(origin, begin, out)?;
        }
        // Only the top of a tree that moves is notified, but moved into a shared mount its mounts get
        // peer groups. Once for each tree: the kernel's own list of what is below is too slow.
        for (key, origin) in moved {
            let begin = out.len();
            let below = self.teller.table.below(key);
            self.teller.look_again(&below, origin, out)?;
            self.commit(origin, begin, out)?;
        }
        self.own_roots();
        Ok(lost)
    }

    /// A mount came and is gone: it is told when its end is notified.
    fn glimpse(&mut self, key: MountKey, origin: Origin, begin_ktime_ns: u64) {
        self.teller.counters.short_lived += 1;
        if self.glimpses.len() < GLIMPSES_MAX {
            let commit = self.callers.commit(origin.tid);
            self.glimpses.insert(key, Glimpse { origin, commit, begin_ktime_ns });
        }
    }

    /// The calls that made mounts which came and are gone, and which were not told yet.
    pub(super) fn untold_calls(&self) -> HashSet<(u32, u64)> {
        self.glimpses.values().map(|glimpse| (glimpse.origin.tid, glimpse.begin_ktime_ns)).collect()
    }

    /// Tells a mount that came and went unseen, by what the call that made it says.
    fn tell_glimpse(&mut self, key: MountKey, origin: Origin, out: &mut Vec<Event>) {
        let Some(glimpse) = self.glimpses.remove(&key) else { return };
        let (tid, begin_ktime_ns) = (glimpse.origin.tid, glimpse.begin_ktime_ns);
        let id = UniqueMountId(key.0);
        let glimpsed = Arc::new(self.callers.glimpsed(id, tid, begin_ktime_ns));
        let event = |is_attached| GlimpsedEvent { glimpsed: Arc::clone(&glimpsed), is_attached };
        out.push(Event::Glimpsed(glimpse.origin, event(true)));
        out.push(Event::Commit(glimpse.origin, glimpse.commit));
        out.push(Event::Glimpsed(origin, event(false)));
    }

    /// A process that unmounts its own root directory makes its super block read-only, and nothing
    /// leaves (`do_umount`).
    fn own_roots(&mut self) {
        for (tid, begin_ktime_ns, ktime_ns) in std::mem::take(&mut self.umounts) {
            if !self.callers.is_notified(tid, begin_ktime_ns) {
                self.own_root = Some(Made { tid, ktime_ns, begin_ktime_ns, descent: None });
            }
        }
    }

    /// What calls changed without a notification: the mounts that the kernel side met as they were
    /// not told, and those that rest on names that changed. A mount that several calls changed is
    /// looked at once, for the last of them: as many looks as there are mounts, however many calls.
    pub(super) fn silently_changed(
        &mut self,
        attributes: &[Attributes],
        names: &[Names],
        out: &mut Vec<Event>,
    ) -> Result<(), NotifyError> {
        let of_attributes = attributes.iter().map(|call| {
            let keys = if call.is_astray {
                self.teller.table.members(call.namespace)
            } else {
                call.mounts.clone()
            };
            (call.made, keys)
        });
        let of_names = names.iter().map(|call| {
            let mut keys = self.resting_on(&call.hashes);
            keys.extend(&self.teller.escaped);
            (Made::outside(call.tid, call.ktime_ns), keys)
        });
        let mut calls: Vec<_> = of_attributes.chain(of_names).collect();
        calls.sort_by_key(|(made, _)| made.ktime_ns);
        let mut later = HashSet::new();
        for (_, keys) in calls.iter_mut().rev() {
            keys.retain(|key| later.insert(*key));
        }
        for (made, keys) in &calls {
            let origin = self.callers.origin(*made);
            let begin = out.len();
            let changed = self.teller.look_again(keys, origin, out)?;
            log::trace!("{changed} of {} mounts changed by {origin:?}", keys.len());
            self.commit(origin, begin, out)?;
        }
        self.changed_elsewhere(attributes, out)
    }

    /// A call that changed nothing in its own namespace may have changed another one.
    fn changed_elsewhere(
        &mut self,
        calls: &[Attributes],
        out: &mut Vec<Event>,
    ) -> Result<(), NotifyError> {
        let altered: HashSet<_> = self.teller.altered.iter().copied().collect();
        let table = &self.teller.table;
        let is_own = |key: &MountKey, call: &Attributes| {
            table.mount(*key).is_some_and(|mount| mount.namespace == Some(call.namespace))
        };
        let is_elsewhere = |call: &&Attributes| {
            let is_explained = if call.is_astray {
                altered.iter().any(|key| is_own(key, call))
            } else {
                call.mounts.iter().any(|key| altered.contains(key))
            };
            call.is_elsewhere && !is_explained
        };
        let Some(call) = calls.iter().rev().find(is_elsewhere) else { return Ok(()) };
        let origin = self.callers.origin(call.made);
        let begin = out.len();
        for namespace in self.teller.table.namespaces().to_vec() {
            let keys = self.teller.table.members(namespace);
            self.teller.tell(&keys, namespace, Tell::Changes, origin, out)?;
        }
        self.commit(origin, begin, out)
    }

    /// One mount of each super block.
    pub(super) fn super_blocks_changed(
        &mut self,
        made: Made,
        out: &mut Vec<Event>,
    ) -> Result<(), NotifyError> {
        let origin = self.callers.origin(made);
        let keys = self.teller.table.one_of_each_super();
        let begin = out.len();
        self.teller.look_again(&keys, origin, out)?;
        self.commit(origin, begin, out)
    }

    /// The mounts that rest on names with these hashes.
    fn resting_on(&self, hashes: &[u64]) -> Vec<MountKey> {
        let dentries = self.teller.dentries.at_and_below(hashes);
        self.teller.table.resting_on(&dentries)
    }

    /// Looks once more at what may have changed between a look and the moment from which the kernel
    /// side looks out for that change. `since_ns`: when the first look began.
    pub(super) fn settle(
        &mut self,
        since_ns: u64,
        out: &mut Vec<Event>,
    ) -> Result<(), NotifyError> {
        let mut since_ns = since_ns;
        for _ in 0..ROUNDS_MAX {
            let mut altered = std::mem::take(&mut self.teller.altered);
            let mut hashes = self.teller.dentries.take_fresh();
            for key in &altered {
                self.calls.forget_glance(key.0);
            }
            for hash in &hashes {
                self.calls.watch_names(name::bit(*hash), true);
            }
            hashes.retain(|hash| self.calls.name_changed_ns(*hash) >= since_ns);
            if self.calls.watch_every_name(!self.teller.escaped.is_empty()) {
                altered.extend(&self.teller.escaped);
            }
            if altered.is_empty() && hashes.is_empty() {
                return Ok(());
            }
            since_ns = host::monotonic_ns();
            // Nobody knows whose change it is; a scan is nobody's.
            let origin = Origin { scan: true, ..origin_of_none(hook::NOTIFY) };
            let mut keys = altered;
            if !hashes.is_empty() {
                keys.extend(self.resting_on(&hashes));
            }
            self.teller.look_again(&keys, origin, out)?;
            self.teller.follow_up(origin, out)?;
        }
        self.unsettled += 1;
        Ok(())
    }

    /// The end of one thread's change, if it changed anything.
    pub(super) fn commit(
        &mut self,
        origin: Origin,
        begin: usize,
        out: &mut Vec<Event>,
    ) -> Result<(), NotifyError> {
        self.teller.follow_up(origin, out)?;
        if out.len() > begin {
            out.push(Event::Commit(origin, self.callers.commit(origin.tid)));
        }
        Ok(())
    }
}
