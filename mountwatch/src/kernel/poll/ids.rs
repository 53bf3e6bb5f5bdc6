//! Unique mount IDs for the lines of mountinfo, which has none: statmount(2) of each mount that is
//! met for the first time (namespaces with IDs, 6.11).

use crate::kernel::sys;
use crate::model::NamespaceId;
use crate::wire::statmount::{self, Statmount, mask};
use hashbrown::HashMap;

/// What is known of the IDs of one namespace's mounts.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// As the kernel listed them last.
    list: Vec<u64>,
    /// Mount IDs by unique IDs: they belong together as long as the mount lives.
    ids: HashMap<u64, u32>,
}

impl Known {
    /// Whether the kernel lists the same mounts as the last time.
    pub(super) fn is(&self, list: &[u64]) -> bool {
        self.list == list
    }

    /// Looks at the mounts that are new. Gives unique IDs by mount IDs, and counts the looks.
    pub(super) fn learn(
        &mut self,
        namespace: NamespaceId,
        list: Vec<u64>,
        looks: &mut u64,
    ) -> HashMap<u32, u64> {
        let mut ids = HashMap::with_capacity(list.len());
        for unique in &list {
            let known = self.ids.get(unique).copied();
            let id = known.or_else(|| Some(look(*unique, namespace, looks)?.id));
            ids.extend(id.map(|id| (*unique, id)));
        }
        self.list = list;
        self.ids = ids;
        self.ids.iter().map(|(unique, id)| (*id, *unique)).collect()
    }
}

/// The mounts of a namespace that can be reached from its root: those that whoever enters it sees.
/// Empty where the kernel does not list them.
pub(super) fn list(namespace: Option<NamespaceId>) -> Vec<u64> {
    let listed = namespace.map(|id| sys::listmount(sys::LISTMOUNT_ROOT, id.0));
    match listed {
        Some(Ok(ids)) => ids.unwrap_or_default(),
        Some(Err(error)) => {
            log::debug!("no unique IDs: {error}");
            Vec::new()
        }
        None => Vec::new(),
    }
}

/// What a mount sits on, unless it sits on itself.
pub(super) fn parent_of(unique: u64, namespace: NamespaceId, looks: &mut u64) -> Option<u64> {
    let parent = look(unique, namespace, looks)?.parent_unique_id;
    (parent != 0 && parent != unique).then_some(parent)
}

fn look(unique: u64, namespace: NamespaceId, looks: &mut u64) -> Option<Statmount> {
    *looks += 1;
    let mut buffer = Vec::new();
    sys::statmount(unique, namespace.0, mask::MNT_BASIC, &mut buffer).ok()??;
    statmount::parse(&buffer).ok()
}
