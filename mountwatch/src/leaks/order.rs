//! In which order mounts can be unmounted, and which go with others.
//!
//! A mount on which another one sits is busy, so children come before their parents; a mount that is
//! stacked on another one is its child. An unmount propagates (mount_namespaces(7)): the copies at the
//! same place on the peers and slaves of the parent go too, if nothing sits on them. So what sits on
//! such a copy comes before the mount with which the copy goes.

use crate::model::{Mount, MountKey};
use crate::query::Viewpoint;
use crate::state::Tables;
use hashbrown::{HashMap, HashSet};
use std::sync::Arc;

/// A mount whose turn it is.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    pub(super) mount: Arc<Mount>,
    /// It is gone by now: it went with this one, which comes before it.
    pub(super) goes_with: Option<MountKey>,
}

/// All these mounts, each once, in an order in which they can be unmounted.
pub(super) fn turns(tables: &Tables, mounts: &[Arc<Mount>], from: Viewpoint) -> Vec<Turn> {
    let mut sorted = mounts.to_vec();
    // Other namespaces first: what keeps one of them alive may be a mount of the own one. Of each
    // the youngest first.
    sorted.sort_by_key(|mount| {
        let is_own = mount.namespace == from.namespace;
        (is_own, std::cmp::Reverse(Tables::order(mount)))
    });
    let companions = companions(tables, &sorted, from);
    let mut of_each: HashMap<MountKey, Vec<MountKey>> = HashMap::new();
    for mount in &sorted {
        if let Some(with) = companions.get(&mount.key) {
            of_each.entry(*with).or_default().push(mount.key);
        }
    }
    let keys = sorted.iter().map(|mount| mount.key).collect();
    let mut walk =
        Walk { tables, keys, companions, of_each, met: HashSet::new(), turns: Vec::new() };
    for mount in &sorted {
        walk.visit(mount.key);
    }
    walk.turns
}

struct Walk<'a> {
    tables: &'a Tables,
    keys: HashSet<MountKey>,
    /// With which mount each goes that goes with one.
    companions: HashMap<MountKey, MountKey>,
    of_each: HashMap<MountKey, Vec<MountKey>>,
    met: HashSet<MountKey>,
    turns: Vec<Turn>,
}

/// One step of the walk: what is to come first is put on top of what waits.
enum Step {
    Enter(MountKey),
    Leave(MountKey),
}

impl Walk<'_> {
    /// A mount after everything that has to go first. With a stack of its own: trees are as deep as
    /// somebody made them.
    fn visit(&mut self, key: MountKey) {
        let mut steps = vec![Step::Enter(key)];
        while let Some(step) = steps.pop() {
            match step {
                Step::Enter(key) => self.enter(key, &mut steps),
                Step::Leave(key) => self.leave(key),
            }
        }
    }

    fn enter(&mut self, key: MountKey, steps: &mut Vec<Step>) {
        // What goes with another one has the turn of that one.
        let key = self.companions.get(&key).copied().unwrap_or(key);
        if !self.keys.contains(&key) || !self.met.insert(key) {
            return;
        }
        steps.push(Step::Leave(key));
        let group =
            std::iter::once(key).chain(self.of_each.get(&key).into_iter().flatten().copied());
        let mut first: Vec<_> = group.flat_map(|key| self.tables.children(key)).collect();
        // The last one that is pushed is the first to go: the youngest.
        first.sort_by_key(|mount| Tables::order(mount));
        steps.extend(first.into_iter().map(|mount| Step::Enter(mount.key)));
    }

    fn leave(&mut self, key: MountKey) {
        self.push(key, None);
        for companion in self.of_each.remove(&key).unwrap_or_default() {
            self.push(companion, Some(key));
        }
    }

    fn push(&mut self, key: MountKey, goes_with: Option<MountKey>) {
        if let Some(mount) = self.tables.mount(key) {
            self.turns.push(Turn { mount: Arc::clone(mount), goes_with });
        }
    }
}

/// Which of these mounts certainly go as another one of them is unmounted, and with which.
fn companions(
    tables: &Tables,
    mounts: &[Arc<Mount>],
    from: Viewpoint,
) -> HashMap<MountKey, MountKey> {
    let keys: HashSet<_> = mounts.iter().map(|mount| mount.key).collect();
    // By the place: the same directory of the same file system.
    let mut places: HashMap<_, Vec<&Arc<Mount>>> = HashMap::new();
    for mount in mounts {
        let is_free = tables.children(mount.key).all(|child| keys.contains(&child.key));
        let is_alone = tables.all_mounted_at(mount.parent, mount.mountpoint).len() == 1;
        if is_free && is_alone {
            places.entry(mount.mountpoint).or_default().push(mount);
        }
    }
    let mut found = HashMap::new();
    for group in places.values().filter(|group| group.len() > 1) {
        let mut leaders: Vec<&Arc<Mount>> = Vec::new();
        let mut sorted = group.clone();
        // One of the own namespace has a path that is easy to give.
        sorted.sort_by_key(|mount| (mount.namespace != from.namespace, Tables::order(mount)));
        // Whoever nobody of the others takes along leads.
        let takes = |leader: &Mount, mount: &Mount| reaches(tables, leader, mount);
        for mount in &sorted {
            let is_led = sorted
                .iter()
                .any(|other| other.key != mount.key && takes(other, mount) && !takes(mount, other));
            if !is_led && !leaders.iter().any(|leader| takes(leader, mount)) {
                leaders.push(mount);
            }
        }
        for mount in &sorted {
            let leader = leaders.iter().find(|leader| takes(leader, mount));
            if let Some(leader) = leader.filter(|leader| leader.key != mount.key) {
                found.insert(mount.key, leader.key);
            }
        }
    }
    found
}

/// Whether an unmount of one mount propagates to the parent of another one at the same place: that
/// parent is a peer of its own parent, or a slave of that, or a slave of a slave.
fn reaches(tables: &Tables, mount: &Mount, other: &Mount) -> bool {
    let (Some(parent), Some(to)) = (tables.mount(mount.parent), tables.mount(other.parent)) else {
        return false;
    };
    let Some(group) = parent.peer_group else { return false };
    if to.key == parent.key {
        return false;
    }
    let mut at = to.peer_group.or(to.master);
    let mut is_first = to.peer_group.is_some();
    // Groups have no loops; the count guards a broken index.
    for _ in 0..=tables.mount_count() {
        match at {
            Some(found) if found == group => return true,
            Some(found) if is_first => {
                is_first = false;
                at = to.master.filter(|master| *master != found);
            }
            Some(found) => at = tables.group_master(found),
            None => return false,
        }
    }
    false
}
