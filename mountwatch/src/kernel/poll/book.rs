//! What was told, and what a reading changes about it. Pure: readings in, events out.
//!
//! A mount is the same as long as its unique ID is. Where the kernel has none it is the same as
//! long as its mount ID shows the same super block in the same namespace; then it gets another key,
//! which is never used again.

use super::Found;
use super::reading::{Placed, Reading};
use crate::kernel::notify::dentries::Dentries;
use crate::model::{
    Bytes, DentryKey, Device, Event, MountEvent, MountId, MountKey, NamespaceEvent, NamespaceInode,
    NamespaceKey, Origin, PeerGroupId, SuperEvent, SuperFlags, SuperKey, UniqueMountId,
};
use crate::wire::mountinfo::Line;
use hashbrown::{HashMap, HashSet};
use std::collections::{BTreeMap, BTreeSet};

/// Everything that was told and is still so.
#[derive(Debug, Default)]
pub(super) struct Book {
    last_mount: u64,
    last_namespace: u64,
    dentries: Dentries,
    namespaces: BTreeMap<NamespaceInode, Told>,
    supers: HashMap<Device, ToldSuper>,
    /// Super blocks that another line counts for since the last round.
    reelected: BTreeSet<Device>,
}

#[derive(Debug)]
struct Told {
    event: NamespaceEvent,
    mounts: BTreeMap<u32, ToldMount>,
}

#[derive(Debug)]
struct ToldMount {
    event: MountEvent,
    shown: Shown,
}

/// What a line says of its super block.
#[derive(Debug)]
struct Shown {
    fs_type: Bytes,
    flags: SuperFlags,
    options: Bytes,
}

/// A mount by its namespace and its ID.
type Place = (NamespaceInode, u32);

#[derive(Debug)]
struct ToldSuper {
    event: SuperEvent,
    /// Mounts that show it. With the last one it goes: the next super block of its device is
    /// another one.
    mounts: BTreeSet<Place>,
    /// The one of them whose line counts: mounts of one super block may show different options for
    /// good (subvolumes of btrfs), and the lines of one reading may be of different moments.
    shown_by: Place,
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
        // An inode that is there twice was used again within the round: the later one lives.
        let last: HashMap<_, _> =
            readings.iter().enumerate().map(|(at, reading)| (reading.inode, at)).collect();
        let is_last = |at: usize, reading: &Reading| last.get(&reading.inode) == Some(&at);
        let readings: Vec<_> = readings
            .iter()
            .enumerate()
            .filter(|(at, reading)| is_last(*at, reading))
            .map(|(_, reading)| reading)
            .collect();
        // What left leaves first: the same device may be another super block from here on.
        for reading in &readings {
            self.tell_gone(reading, origin, out);
        }
        let mut teller = Teller { tell, origin, out, supers: HashSet::new() };
        let mut whole = Vec::new();
        for reading in &readings {
            if self.tell_namespace(reading, &mut teller) {
                whole.push(reading.inode);
            }
        }
        // Super blocks before mounts: the first mount would bring the flags along without a word.
        for reading in &readings {
            for placed in &reading.mounts {
                self.tell_super(placed, reading.inode, &mut teller);
            }
        }
        self.tell_reelected(&mut teller);
        for reading in &readings {
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
    pub(super) fn keep(&mut self, found: &Found, origin: Origin, out: &mut Vec<Event>) {
        let is_there = |told: &Told| found.get(&told.event.inode) == Some(&told.event.id);
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
        for (id, mount) in told.mounts {
            self.release(mount.event.device, (inode, id));
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
        let take = |id| Some((id, told.mounts.remove(&id)?));
        let gone: Vec<_> = gone.into_iter().filter_map(take).collect();
        for (id, mount) in gone {
            self.release(mount.event.device, (reading.inode, id));
            out.push(Event::MountGone(origin, Box::new(mount.event)));
        }
    }

    fn release(&mut self, device: Device, place: Place) {
        let Some(told) = self.supers.get_mut(&device) else { return };
        told.mounts.remove(&place);
        match told.mounts.first() {
            None => {
                self.supers.remove(&device);
            }
            Some(first) if told.shown_by == place => {
                told.shown_by = *first;
                self.reelected.insert(device);
            }
            Some(_) => {}
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
        let super_flags = self.supers.get(&line.device).map(|told| told.event.flags);
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
            super_flags: super_flags.unwrap_or_else(|| line.super_flags()),
            attributes: line.attributes(),
            peer_group: line.peer_group.map(PeerGroupId),
            master: line.master.map(PeerGroupId),
            unbindable: line.is_unbindable,
            source: Bytes::from(&line.source[..]),
            copied_from: None,
        }
    }

    /// Tells the super block of a line if the line counts.
    fn tell_super(&mut self, placed: &Placed, inode: NamespaceInode, teller: &mut Teller<'_>) {
        let line = &placed.line;
        let shown_by = (inode, line.id);
        let event = Shown::of(line).event(line.device);
        let Some(told) = self.supers.get_mut(&line.device) else {
            let mounts = BTreeSet::from([shown_by]);
            self.supers.insert(line.device, ToldSuper { event: event.clone(), mounts, shown_by });
            teller.super_block(event);
            return;
        };
        told.mounts.insert(shown_by);
        if told.shown_by == shown_by {
            self.reelected.remove(&line.device);
            teller.changed_super(told, event);
        }
    }

    /// Tells the super blocks whose line left, by one that was not read anew.
    fn tell_reelected(&mut self, teller: &mut Teller<'_>) {
        for device in std::mem::take(&mut self.reelected) {
            let Some(told) = self.supers.get_mut(&device) else { continue };
            let (inode, id) = told.shown_by;
            let known = self.namespaces.get(&inode).and_then(|told| told.mounts.get(&id));
            if let Some(known) = known {
                let event = known.shown.event(device);
                teller.changed_super(told, event);
            }
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
        let told = ToldMount { event: event.clone(), shown: Shown::of(&placed.line) };
        let before = namespace.mounts.insert(placed.line.id, told);
        let is_new = before.is_none_or(|before| before.event != event);
        if is_new || teller.tell == Tell::Everything {
            teller.out.push(Event::Mount(teller.origin, Box::new(event)));
        }
    }
}

impl Teller<'_> {
    /// What a line says of its super block that was told before.
    fn changed_super(&mut self, told: &mut ToldSuper, mut event: SuperEvent) {
        if told.event != event {
            let is_stale = told.event.options != event.options;
            told.event = event.clone();
            event.options_stale = is_stale;
            self.super_block(event);
        } else if self.tell == Tell::Everything && !self.supers.contains(&event.device) {
            self.super_block(event);
        }
    }

    fn super_block(&mut self, event: SuperEvent) {
        self.supers.insert(event.device);
        self.out.push(Event::Super(self.origin, event));
    }
}

impl Shown {
    fn of(line: &Line) -> Self {
        Self {
            fs_type: Bytes::from(&line.fs_type[..]),
            flags: line.super_flags(),
            options: Bytes::from(line.file_system_options()),
        }
    }

    fn event(&self, device: Device) -> SuperEvent {
        SuperEvent {
            key: SuperKey(u64::from(device.0)),
            device,
            magic: 0,
            flags: self.flags,
            fs_type: Bytes::clone(&self.fs_type),
            options_stale: false,
            options: Some(Bytes::clone(&self.options)),
        }
    }
}

/// Whether a line is about the mount that was told with its ID.
fn is_same(told: &ToldMount, placed: &Placed, unique: &HashMap<u32, u64>) -> bool {
    let line = &placed.line;
    let unique = unique.get(&line.id).copied().map(UniqueMountId);
    told.event.unique_id == unique
        && told.event.device == line.device
        && *told.shown.fs_type == *line.fs_type
}
