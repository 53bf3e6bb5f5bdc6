//! What was told, and what a reading changes about it. Pure: readings in, events out.
//!
//! A mount is the same as long as its unique ID is. Where the kernel has none it is the same as
//! long as its mount ID shows the same super block in the same namespace; then it gets another key,
//! which is never used again.

use super::reading::{Placed, Reading};
use crate::kernel::notify::dentries::Dentries;
use crate::model::{
    Bytes, DentryKey, Device, Event, MountEvent, MountId, MountKey, NamespaceEvent, NamespaceId,
    NamespaceInode, NamespaceKey, Origin, PeerGroupId, SuperEvent, SuperKey, UniqueMountId,
};
use hashbrown::{HashMap, HashSet};
use std::collections::BTreeMap;

/// Everything that was told and is still so.
#[derive(Debug, Default)]
pub(super) struct Book {
    last_mount: u64,
    last_namespace: u64,
    dentries: Dentries,
    namespaces: BTreeMap<NamespaceInode, Told>,
    supers: HashMap<Device, ToldSuper>,
}

#[derive(Debug)]
struct Told {
    event: NamespaceEvent,
    mounts: BTreeMap<u32, ToldMount>,
}

#[derive(Debug)]
struct ToldMount {
    event: MountEvent,
    fs_type: Vec<u8>,
    super_options: Vec<u8>,
}

#[derive(Debug)]
struct ToldSuper {
    event: SuperEvent,
    /// Mounts that show it. With the last one it goes: the next super block of its device is
    /// another one.
    mounts: usize,
}

/// Whether what did not change is told too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tell {
    Changes,
    Everything,
}

/// What all events of one round have in common.
struct Teller<'a> {
    tell: Tell,
    origin: Origin,
    out: &'a mut Vec<Event>,
    /// Super blocks that were told in this round.
    supers: HashSet<Device>,
}

impl Book {
    /// Tells what these readings say. Gives the namespaces that were told as a whole.
    pub(super) fn tell(
        &mut self,
        readings: &[Reading],
        tell: Tell,
        origin: Origin,
        out: &mut Vec<Event>,
    ) -> Vec<NamespaceInode> {
        // What left leaves first: the same device may be another super block from here on.
        for reading in readings {
            self.tell_gone(reading, origin, out);
        }
        let mut teller = Teller { tell, origin, out, supers: HashSet::new() };
        let mut whole = Vec::new();
        for reading in readings {
            if self.tell_namespace(reading, &mut teller) {
                whole.push(reading.inode);
            }
            self.tell_mounts(reading, &mut teller);
        }
        // Nobody here looks out for names.
        drop(self.dentries.take_fresh());
        whole
    }

    /// Tells the names again: whoever asks for everything may have lost everything.
    pub(super) fn tell_names(&self, origin: Origin, out: &mut Vec<Event>) {
        self.dentries.tell_all(&mut |event| out.push(Event::Dentry(origin, event)));
    }

    /// Tells the end of each namespace that was not found.
    pub(super) fn keep(
        &mut self,
        found: &[(NamespaceInode, Option<NamespaceId>)],
        origin: Origin,
        out: &mut Vec<Event>,
    ) {
        let is_there = |told: &Told| found.contains(&(told.event.inode, told.event.id));
        let gone = self.namespaces.values().filter(|told| !is_there(told));
        for inode in gone.map(|told| told.event.inode).collect::<Vec<_>>() {
            self.namespace_gone(inode, origin, out);
        }
    }

    /// The end of a namespace.
    pub(super) fn namespace_gone(
        &mut self,
        inode: NamespaceInode,
        origin: Origin,
        out: &mut Vec<Event>,
    ) {
        let Some(told) = self.namespaces.remove(&inode) else { return };
        for (_, mount) in told.mounts {
            self.release(mount.event.device);
            out.push(Event::MountGone(origin, Box::new(mount.event)));
        }
        out.push(Event::NamespaceGone(origin, told.event));
    }

    /// The index does not need a name any more.
    pub(super) fn forget(&mut self, key: DentryKey) {
        self.dentries.forget(key);
    }

    fn tell_gone(&mut self, reading: &Reading, origin: Origin, out: &mut Vec<Event>) {
        let Some(told) = self.namespaces.get_mut(&reading.inode) else { return };
        if told.event.id != reading.id {
            return self.namespace_gone(reading.inode, origin, out);
        }
        let lines: HashMap<u32, &Placed> =
            reading.mounts.iter().map(|placed| (placed.line.id, placed)).collect();
        let is_there = |id: u32, mount: &ToldMount| {
            lines.get(&id).is_some_and(|placed| is_same(mount, placed, &reading.unique))
        };
        let gone: Vec<_> = told
            .mounts
            .iter()
            .filter(|(id, mount)| !is_there(**id, mount))
            .map(|(id, _)| *id)
            .collect();
        let gone: Vec<_> = gone.into_iter().filter_map(|id| told.mounts.remove(&id)).collect();
        for mount in gone {
            self.release(mount.event.device);
            out.push(Event::MountGone(origin, Box::new(mount.event)));
        }
    }

    fn release(&mut self, device: Device) {
        if let Some(told) = self.supers.get_mut(&device) {
            told.mounts = told.mounts.saturating_sub(1);
            if told.mounts == 0 {
                self.supers.remove(&device);
            }
        }
    }

    /// `true`: everything in it is told.
    fn tell_namespace(&mut self, reading: &Reading, teller: &mut Teller<'_>) -> bool {
        let is_new = !self.namespaces.contains_key(&reading.inode);
        if is_new {
            let key = NamespaceKey(reading.id.map_or(self.last_namespace + 1, |id| id.0));
            self.last_namespace += u64::from(reading.id.is_none());
            let event = NamespaceEvent {
                key,
                id: reading.id,
                inode: reading.inode,
                is_anonymous: false,
                task: reading.task,
            };
            self.namespaces.insert(reading.inode, Told { event, mounts: BTreeMap::new() });
        }
        let is_whole = is_new || teller.tell == Tell::Everything;
        if let Some(told) = self.namespaces.get(&reading.inode)
            && is_whole
        {
            teller.out.push(Event::NamespaceBorn(teller.origin, told.event.clone()));
        }
        is_whole
    }

    fn tell_mounts(&mut self, reading: &Reading, teller: &mut Teller<'_>) {
        let keys: Vec<_> =
            reading.mounts.iter().map(|placed| self.key_of(placed, reading)).collect();
        for (placed, key) in reading.mounts.iter().zip(&keys) {
            self.tell_super(placed, reading.inode, teller);
            let parent =
                placed.parent.and_then(|at| Some((keys.get(at)?, reading.mounts.get(at)?)));
            let event = self.event(placed, *key, parent, reading, teller);
            self.put(placed, event, reading.inode, teller);
        }
    }

    fn key_of(&mut self, placed: &Placed, reading: &Reading) -> MountKey {
        let told = self.namespaces.get(&reading.inode);
        let told = told.and_then(|told| told.mounts.get(&placed.line.id));
        let key = told.map(|mount| mount.event.key);
        key.or_else(|| Some(MountKey(*reading.unique.get(&placed.line.id)?))).unwrap_or_else(|| {
            self.last_mount += 1;
            MountKey(self.last_mount)
        })
    }

    fn event(
        &mut self,
        placed: &Placed,
        key: MountKey,
        parent: Option<(&MountKey, &Placed)>,
        reading: &Reading,
        teller: &mut Teller<'_>,
    ) -> MountEvent {
        let line = &placed.line;
        let origin = teller.origin;
        let out = &mut *teller.out;
        let mut told = |event| out.push(Event::Dentry(origin, event));
        let root = self.dentries.root(line.device, &line.root, &mut told);
        let mountpoint = parent.map_or(root, |(_, above)| {
            let start = self.dentries.root(above.line.device, &above.line.root, &mut told);
            self.dentries.below(start, &placed.way, &mut told)
        });
        // Nobody sees what the root sits on; without a unique ID it sits on itself.
        let below_root = reading.below_root.map_or(key, MountKey);
        let namespace = self.namespaces.get(&reading.inode).map(|told| told.event.key);
        MountEvent {
            key,
            parent: parent.map_or(below_root, |(key, _)| *key),
            namespace,
            super_block: SuperKey(u64::from(line.device.0)),
            root,
            mountpoint,
            id: MountId(line.id),
            parent_id: MountId(line.parent_id),
            unique_id: reading.unique.get(&line.id).copied().map(UniqueMountId),
            namespace_id: reading.id,
            namespace_inode: reading.inode,
            is_anonymous: false,
            is_namespace_root: parent.is_none() && line.parent_id == line.id,
            starts_subtree: false,
            device: line.device,
            super_flags: line.super_flags(),
            attributes: line.attributes(),
            peer_group: line.peer_group.map(PeerGroupId),
            master: line.master.map(PeerGroupId),
            unbindable: line.is_unbindable,
            source: Bytes::from(&line.source[..]),
        }
    }

    fn tell_super(&mut self, placed: &Placed, inode: NamespaceInode, teller: &mut Teller<'_>) {
        let line = &placed.line;
        let mut event = SuperEvent {
            key: SuperKey(u64::from(line.device.0)),
            device: line.device,
            magic: 0,
            flags: line.super_flags(),
            fs_type: Bytes::from(&line.fs_type[..]),
            options_stale: false,
            options: Some(Bytes::from(line.file_system_options())),
        };
        let mount = self.namespaces.get(&inode).and_then(|told| told.mounts.get(&line.id));
        // Mounts of one super block may show different options for good (subvolumes of btrfs): only
        // a line that changed says that they changed.
        let has_changed = mount.is_some_and(|mount| mount.super_options != line.super_options);
        let Some(told) = self.supers.get_mut(&line.device) else {
            self.supers.insert(line.device, ToldSuper { event: event.clone(), mounts: 0 });
            teller.super_block(event);
            return;
        };
        if has_changed && told.event != event || told.event.fs_type != event.fs_type {
            let is_stale = told.event.options != event.options;
            told.event = event.clone();
            event.options_stale = is_stale;
            teller.super_block(event);
        } else if teller.tell == Tell::Everything && !teller.supers.contains(&line.device) {
            teller.super_block(told.event.clone());
        }
    }

    /// Takes a mount into the book, and tells it if that says something new.
    fn put(
        &mut self,
        placed: &Placed,
        event: MountEvent,
        inode: NamespaceInode,
        teller: &mut Teller<'_>,
    ) {
        let Some(namespace) = self.namespaces.get_mut(&inode) else { return };
        let told = ToldMount {
            event: event.clone(),
            fs_type: placed.line.fs_type.clone(),
            super_options: placed.line.super_options.clone(),
        };
        let before = namespace.mounts.insert(placed.line.id, told);
        if before.is_none()
            && let Some(told) = self.supers.get_mut(&event.device)
        {
            told.mounts += 1;
        }
        let is_new = before.is_none_or(|before| before.event != event);
        if is_new || teller.tell == Tell::Everything {
            teller.out.push(Event::Mount(teller.origin, Box::new(event)));
        }
    }
}

impl Teller<'_> {
    fn super_block(&mut self, event: SuperEvent) {
        self.supers.insert(event.device);
        self.out.push(Event::Super(self.origin, event));
    }
}

/// Whether a line is about the mount that was told with its ID.
fn is_same(told: &ToldMount, placed: &Placed, unique: &HashMap<u32, u64>) -> bool {
    let line = &placed.line;
    let unique = unique.get(&line.id).copied().map(UniqueMountId);
    told.event.unique_id == unique
        && told.event.device == line.device
        && told.fs_type == line.fs_type
}
