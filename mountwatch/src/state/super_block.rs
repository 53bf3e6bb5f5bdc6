//! The rules about super blocks.

use super::{Need, Retired, State};
use crate::model::{
    Bytes, Coverage, Mount, MountEvent, MountKey, Origin, SuperBlock, SuperEvent, SuperFlags,
    SuperKey,
};
use crate::query::Viewpoint;
use mountwatch_common::hook;
use std::sync::Arc;

/// A file system that changed by itself: nobody's call did it.
const BY_ITSELF: Origin = Origin { hook: hook::RECONFIGURE, scan: true, ..Origin::NOBODY };

/// How often options are asked for that should have been told, while nothing changes.
const TRIES_MAX: u32 = 3;

/// A super block whose options nobody told.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// It.
    pub key: SuperKey,
    /// A mount of it.
    pub mount: Arc<Mount>,
    /// Who enters the mount's namespace sees the mount. Else it lies below the root directory that
    /// one has there, and only a task with another root directory may see it.
    pub is_seen: bool,
}

/// What was there when options were asked for in vain.
#[derive(Debug)]
pub(super) struct Untold {
    mount: Arc<Mount>,
    top: Option<Viewpoint>,
    shown_by: Option<MountKey>,
    tries: u32,
}

impl State {
    pub(super) fn super_block(&mut self, origin: Origin, event: SuperEvent) {
        if origin.in_transaction || origin.hook == hook::RECONFIGURE {
            self.open(origin);
        }
        if event.options_stale {
            self.options_stale += 1;
        }
        let key = Retired::Super(event.key);
        self.retire.told(key);
        let before = self.tables.super_block(event.key).map(Arc::clone);
        let same_instance = before
            .as_ref()
            .is_some_and(|known| known.device == event.device && known.fs_type == event.fs_type);
        // Other options by another name of the same instance are the same options; those of an
        // instance that went away are not, even at the same address with the same device.
        let keeps = same_instance && !event.options_stale;
        let options = event.options.or_else(|| before.as_ref().filter(|_| keeps)?.options.clone());
        let super_block = SuperBlock {
            key: event.key,
            device: event.device,
            magic: event.magic,
            flags: event.flags,
            fs_type: event.fs_type,
            options,
            mounts: self.retire.references(key),
            shown_by: before
                .as_ref()
                .and_then(|known| known.shown_by)
                .or_else(|| self.first_shown.get(&event.key).copied()),
        };
        // Even if nothing else is new: options that were being looked up may be those of before.
        self.want_options(&super_block);
        if before.as_deref() == Some(&super_block) {
            return;
        }
        if before.is_some_and(|known| {
            known.mounts > 0 && (known.flags != super_block.flags || event.options_stale)
        }) {
            self.touch_super(origin, event.key);
        }
        self.first_shown.remove(&event.key);
        if super_block.changes_by_itself() {
            self.self_changing.insert(event.key);
        } else {
            self.self_changing.remove(&event.key);
        }
        self.note_partly_seen(&super_block);
        self.put_super(super_block);
    }

    /// From the first mount of such a file system on no namespace is complete that may show it.
    fn note_partly_seen(&mut self, super_block: &SuperBlock) {
        let Some(sentence) = super_block.partly_seen().filter(|_| super_block.mounts > 0) else {
            return;
        };
        if self.partly_seen.contains(&sentence) {
            return;
        }
        self.partly_seen.push(sentence);
        self.settle_whole();
        let known: Vec<_> = self
            .tables
            .namespaces()
            .filter(|known| known.coverage != Coverage::Stale)
            .map(|known| known.key)
            .collect();
        for key in known {
            self.set_coverage(key, self.coverage_of_new(true));
        }
    }

    /// The options that were looked up for a super block. `false` if it is gone, or another one.
    pub fn set_options(&mut self, key: SuperKey, options: Bytes) -> bool {
        let Some(known) = self.tables.super_block(key) else { return false };
        if known.mounts == 0 {
            return false;
        }
        let before = known.options.clone();
        let is_new = before.as_ref() != Some(&options);
        let super_block = SuperBlock { options: Some(options), ..SuperBlock::clone(known) };
        self.wanted_options.remove(&key);
        self.untold_options.remove(&key);
        self.rereading.remove(&key);
        if is_new {
            self.put_super(super_block);
            self.touched.dirty = true;
        }
        if is_new && before.is_some() {
            self.touch_super(BY_ITSELF, key);
        }
        true
    }

    /// The super blocks in use that change by themselves, each with a mount of it to ask about.
    pub fn self_changing(&self) -> Vec<(SuperKey, Arc<Mount>)> {
        let known = self.self_changing.iter().filter_map(|key| self.tables.super_block(*key));
        known
            .filter(|known| known.mounts > 0 && known.options.is_some())
            .filter_map(|known| Some((known.key, Arc::clone(self.attached_mount_of(known)?))))
            .collect()
    }

    /// What was seen of a super block that changes by itself. That is no change that anybody made,
    /// but one that readers are told of.
    pub fn set_looked_at(&mut self, key: SuperKey, flags: SuperFlags, options: Bytes) {
        let Some(known) = self.tables.super_block(key) else { return };
        if known.mounts == 0 || known.flags == flags && known.options.as_ref() == Some(&options) {
            return;
        }
        let super_block = SuperBlock { flags, options: Some(options), ..SuperBlock::clone(known) };
        self.put_super(super_block);
        self.touch_super(BY_ITSELF, key);
    }

    /// The options of a super block are to be looked up again. Those that are known stay until then.
    pub fn reread_options(&mut self, key: SuperKey) {
        self.rereading.insert(key);
        self.wanted_options.insert(key);
    }

    /// A scan of everything follows: all options that it reads are taken.
    pub fn reread_all_options(&mut self) {
        self.rereading = self.tables.super_blocks().map(|known| known.key).collect();
    }

    /// Whether the options of a super block are to be taken out of a text that shows them.
    pub fn is_wanted(&self, known: &SuperBlock) -> bool {
        known.options.is_none() || self.rereading.contains(&known.key)
    }

    /// How often options became stale so far. A text of options that was read when this number was
    /// another one may be from before.
    pub fn options_stale_count(&self) -> u64 {
        self.options_stale
    }

    /// The super blocks in use whose options nobody told, each with a mount of it to ask about;
    /// once, and again when asking may help. Those of detached trees stay: nobody's mountinfo shows
    /// them.
    pub fn take_wanted_options(&mut self) -> Vec<Wanted> {
        let mut wanted = std::mem::take(&mut self.wanted_options);
        wanted.extend(self.untold_options.keys().filter(|key| self.is_worth_asking(**key)));
        let mut found = Vec::with_capacity(wanted.len());
        for key in wanted {
            let known = self.tables.super_block(key);
            let Some(known) = known.filter(|known| known.mounts > 0 && self.is_wanted(known))
            else {
                self.untold_options.remove(&key);
                continue;
            };
            match self.mount_to_ask(known) {
                Some(wanted) => found.push(wanted),
                None => {
                    self.wanted_options.insert(key);
                }
            }
        }
        found
    }

    /// Nobody could tell the options of this super block, if they are not known now: it is asked
    /// for again when something changed.
    pub fn options_untold(&mut self, asked: &Wanted) {
        self.rereading.remove(&asked.key);
        let Some(known) = self.tables.super_block(asked.key) else { return };
        if known.options.is_some() {
            return;
        }
        let shown_by = known.shown_by;
        let top = self.tables.viewpoint_of_namespace(asked.mount.namespace);
        let mount = Arc::clone(&asked.mount);
        let mut untold = Untold { mount, top, shown_by, tries: 1 };
        if let Some(before) = self.untold_options.get(&asked.key)
            && before.mount == untold.mount
            && before.top == untold.top
            && before.shown_by == untold.shown_by
        {
            untold.tries += before.tries;
        }
        self.untold_options.insert(asked.key, untold);
    }

    fn is_worth_asking(&self, key: SuperKey) -> bool {
        let (Some(untold), Some(known)) =
            (self.untold_options.get(&key), self.tables.super_block(key))
        else {
            return true;
        };
        known.shown_by != untold.shown_by
            || self.tables.mount(untold.mount.key) != Some(&untold.mount)
            || self.tables.viewpoint_of_namespace(untold.mount.namespace) != untold.top
            || untold.tries < TRIES_MAX && self.tables.is_seen(&untold.mount)
    }

    /// The mount of a super block to ask about: one that is seen by who enters its namespace, else
    /// any that is in a namespace.
    fn mount_to_ask(&self, known: &SuperBlock) -> Option<Wanted> {
        let first = self.attached_mount_of(known)?;
        let seen = if self.tables.is_seen(first) {
            Some(first)
        } else if known.mounts > 1 {
            let others = self.tables.showing_super(known.key);
            others
                .filter(|mount| self.tables.is_attached(mount))
                .find(|mount| self.tables.is_seen(mount))
        } else {
            None
        };
        let mount = Arc::clone(seen.unwrap_or(first));
        Some(Wanted { key: known.key, mount, is_seen: seen.is_some() })
    }

    /// A mount of a super block that is in a namespace: the one told last, else any.
    pub(super) fn attached_mount_of(&self, super_block: &SuperBlock) -> Option<&Arc<Mount>> {
        let shows = |mount: &&Arc<Mount>| {
            mount.super_block == super_block.key && self.tables.is_attached(mount)
        };
        super_block
            .shown_by
            .and_then(|key| self.tables.mount(key))
            .filter(shows)
            .or_else(|| self.tables.showing_super(super_block.key).find(shows))
    }

    fn want_options(&mut self, super_block: &SuperBlock) {
        if super_block.options.is_none() && super_block.mounts > 0 {
            self.wanted_options.insert(super_block.key);
        }
    }

    /// A change of options may be among what was lost, and no scan tells of it.
    pub(super) fn forget_options(&mut self) {
        self.options_stale += 1;
        let shown: Vec<_> =
            self.tables.super_blocks().filter(|known| known.mounts > 0).map(Arc::clone).collect();
        for known in shown {
            let super_block = SuperBlock { options: None, ..SuperBlock::clone(&known) };
            self.want_options(&super_block);
            self.put_super(super_block);
        }
    }

    /// At a publication every super block that a mount shows must have been told.
    pub(super) fn check_supers(&mut self) {
        let retire = &self.retire;
        self.first_shown.retain(|key, _| retire.references(Retired::Super(*key)) > 0);
        if !self.first_shown.is_empty() && self.seeded {
            self.first_shown.clear();
            self.anomaly(Need::ScanAll);
        }
    }

    /// A file system may turn its super block read-only on an error, which no hook tells; but each
    /// mount that is told carries the flags as they are.
    pub(super) fn refresh_super_flags(&mut self, event: &MountEvent) {
        let Some(known) = self.tables.super_block(event.super_block) else { return };
        if known.flags != event.super_flags && known.device == event.device {
            let mut super_block = SuperBlock::clone(known);
            super_block.flags = event.super_flags;
            self.put_super(super_block);
            self.touched.dirty = true;
        }
    }

    /// Puts a super block in, and notes it if it is shown differently from before. Not every such
    /// difference is a change that somebody made, but whoever keeps a copy has to know.
    fn put_super(&mut self, super_block: SuperBlock) {
        let shown =
            |known: &SuperBlock| (known.flags, known.fs_type.clone(), known.options.clone());
        let before = self.tables.super_block(super_block.key);
        if before.is_none_or(|before| shown(before) != shown(&super_block)) {
            self.touched.supers.push(super_block.key);
        }
        self.tables.put_super(super_block);
    }

    pub(super) fn refer_super(&mut self, key: SuperKey, mount: MountKey) {
        self.retire.refer(Retired::Super(key));
        if self.tables.super_block(key).is_none() {
            self.first_shown.insert(key, mount);
        }
        self.count_super(key, Some(mount));
    }

    pub(super) fn release_super(&mut self, key: SuperKey) {
        self.retire.release(Retired::Super(key));
        self.count_super(key, None);
    }

    fn count_super(&mut self, key: SuperKey, shown_by: Option<MountKey>) {
        let Some(known) = self.tables.super_block(key) else { return };
        let mut super_block = SuperBlock::clone(known);
        super_block.mounts = self.retire.references(Retired::Super(key));
        if super_block.mounts == 0 {
            // The next instance may have the same address, device and type, with other options.
            super_block.options = None;
            super_block.shown_by = None;
        }
        super_block.shown_by = shown_by.or(super_block.shown_by);
        self.want_options(&super_block);
        self.note_partly_seen(&super_block);
        self.put_super(super_block);
    }
}
