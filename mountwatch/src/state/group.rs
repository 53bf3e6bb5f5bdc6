//! Peer groups that die: their slaves get another master, and no record tells of the slaves.

use super::State;
use crate::model::{GroupDeadEvent, Mount, MountKey, Origin, PeerGroupId};
use hashbrown::HashMap;

/// The groups that died in the open transaction.
#[derive(Debug, Default)]
pub(super) struct Dying {
    /// Each dead group with the master that its last member had before the transaction.
    dead: Vec<(PeerGroupId, Option<PeerGroupId>)>,
    /// Masters of mounts that left in the open transaction, of detached trees too.
    leaving: HashMap<MountKey, Option<PeerGroupId>>,
}

impl Dying {
    pub(super) fn leaving(&mut self, mount: MountKey, master: Option<PeerGroupId>) {
        self.leaving.entry(mount).or_insert(master);
    }

    /// The first master up the chain that is still alive. A chain is at most as long as the list.
    fn heir(&self, group: PeerGroupId) -> Option<PeerGroupId> {
        let mut heir = Some(group);
        for _ in 0..=self.dead.len() {
            let group = heir?;
            match self.dead.iter().find(|(dead, _)| *dead == group) {
                Some((_, master)) => heir = *master,
                None => return heir,
            }
        }
        None
    }
}

impl State {
    pub(super) fn group_dead(&mut self, origin: Origin, event: &GroupDeadEvent) {
        self.open(origin);
        let master = self
            .touched
            .before(event.mount)
            .or_else(|| self.tables.mount(event.mount).cloned())
            .map(|mount| mount.master)
            .or_else(|| self.groups.leaving.get(&event.mount).copied())
            .unwrap_or(event.master);
        self.groups.dead.push((event.group, master));
    }

    /// At the end of a transaction the slaves of each dead group get the heir.
    pub(super) fn settle_groups(&mut self, origin: Origin) {
        for (group, _) in self.groups.dead.clone() {
            let heir = self.groups.heir(group);
            let slaves: Vec<_> = self.tables.group_slaves(group).cloned().collect();
            for before in slaves {
                let mount = Mount { master: heir, ..Mount::clone(&before) };
                self.tables.put_mount(mount);
                self.touch(origin, before.key, Some(before));
            }
        }
        self.groups = Dying::default();
    }
}
