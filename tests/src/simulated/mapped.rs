//! The table in shared memory against the snapshot that it was made of: every question, every path.

use mountwatch::mapped::Keeper;
use mountwatch::model::{MountId, NamespaceKey, UniqueMountId};
use mountwatch::query::{self, MountQueries, SnapshotView, Viewpoint};
use mountwatch::state::{Published, Snapshot};
use mountwatch_mapped as mapped;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// At one of how many publications a namespace is compared.
const RARELY: u64 = 5;

/// A table for each namespace, kept change by change.
#[derive(Default)]
pub(super) struct Tables {
    keeper: Option<Keeper>,
    /// Views from inside: of a namespace, a place and its number in which table.
    views: BTreeMap<NamespaceKey, (Viewpoint, u32, u64)>,
    /// Questions that were compared.
    pub(super) compared: u64,
}

impl Tables {
    /// Writes a step, and gives what the tables say otherwise than the snapshot.
    pub(super) fn apply(&mut self, published: &Published) -> Vec<String> {
        let snapshot = &published.snapshot;
        let keeper = self.keeper.get_or_insert_with(|| Keeper::new(Arc::clone(snapshot)));
        if let Err(error) = keeper.apply(published) {
            return vec![format!("mapped: cannot keep the tables: {error}")];
        }
        let mut found = Vec::new();
        if keeper.healed() > 0 {
            found.push("mapped: a table lost track of its namespace".to_owned());
        }
        let namespaces: Vec<_> = snapshot.namespaces().map(|known| known.key).collect();
        for namespace in namespaces {
            // Each namespace at one of so many publications, or these would take most of the time.
            if !(snapshot.revision().0 + namespace.0 / 64).is_multiple_of(RARELY) {
                continue;
            }
            if let Err(error) = self.compare(snapshot, namespace, &mut found) {
                found.push(format!("mapped: {error}"));
            }
        }
        found
    }

    fn compare(
        &mut self,
        snapshot: &Arc<Snapshot>,
        namespace: NamespaceKey,
        found: &mut Vec<String>,
    ) -> anyhow::Result<()> {
        let Some(keeper) = &mut self.keeper else { return Ok(()) };
        // An hour from now: how slow this machine is is not the question.
        keeper.fresh(mapped::monotonic_ns() + 3_600_000_000_000);
        let Some(file) = keeper.table(namespace)? else { return Ok(()) };
        let whole = snapshot.viewpoint_of_namespace(namespace);
        let whole = whole.unwrap_or(Viewpoint::nowhere(namespace));
        let reader = mapped::Reader::open(file)?;
        let view = SnapshotView::new(Arc::clone(snapshot), whole);
        self.compared += compare_view(&view, &reader, found)?;
        // A namespace that was gone for a while has another table, without views.
        if self.views.get(&namespace).is_some_and(|(.., epoch)| *epoch != reader.epoch()) {
            self.views.remove(&namespace);
        }
        // From the directory in which some mount sits, for as long as that is there.
        if !self.views.contains_key(&namespace)
            && let Some(from) = inside(snapshot, whole)
            && let Some(number) = keeper.add_view(from)?
        {
            self.views.insert(namespace, (from, number, reader.epoch()));
        }
        if let Some((from, number, _)) = self.views.get(&namespace).copied() {
            if snapshot.mount(from.mount).is_none_or(|mount| mount.namespace != namespace) {
                keeper.drop_view(namespace, number);
                self.views.remove(&namespace);
            } else if let Some(file) = keeper.table(namespace)? {
                let reader = mapped::Reader::open(file)?.with_view(number);
                let view = SnapshotView::new(Arc::clone(snapshot), from);
                self.compared += compare_view(&view, &reader, found)?;
            }
        }
        Ok(())
    }
}

/// The directory above some mountpoint.
fn inside(snapshot: &Snapshot, whole: Viewpoint) -> Option<Viewpoint> {
    let last = snapshot.list(whole).pop()?;
    let parent = snapshot.mount(last.mount.parent)?;
    if parent.root == last.mount.mountpoint {
        // What is above is not shown by that mount.
        return None;
    }
    let dentry = snapshot.dentry(last.mount.mountpoint)?.parent;
    Some(Viewpoint { namespace: whole.namespace, mount: parent.key, dentry })
}

/// How many questions were compared.
fn compare_view(
    view: &SnapshotView,
    reader: &mapped::Reader,
    found: &mut Vec<String>,
) -> anyhow::Result<u64> {
    let list = view.list()?;
    let listed = reader.list()?;
    let mut differ = |what: &str, a: &dyn std::fmt::Debug, b: &dyn std::fmt::Debug| {
        let (a, b) = (format!("{a:?}"), format!("{b:?}"));
        if a != b {
            found.push(format!("mapped: {what}: the index says {a}, the table {b}"));
        }
    };
    differ("revision", &list.revision.0, &listed.revision);
    differ(
        "coverage",
        &list.coverage.word(),
        &format!("{:?}", listed.coverage).to_lowercase().as_str(),
    );
    differ("list", &plain(&list.value), &listed.value);
    let mut asked = 1;
    for path in paths(&list.value) {
        let at = Path::new(OsStr::from_bytes(&path));
        let what = |question: &str| format!("{question} {}", at.display());
        for (ours, theirs) in [
            (query::Binds::Count, mapped::Binds::Count),
            (query::Binds::Exclude, mapped::Binds::Exclude),
        ] {
            let (a, b) = (view.is_mount_point(at, ours)?, reader.is_mount_point(&path, theirs)?);
            differ(&what("is_mount_point"), &a.value, &b.value);
        }
        let (a, b) = (view.mount_at(at)?.value, reader.mount_at(&path)?.value);
        differ(&what("mount_at"), &a.as_ref().map(plain_one), &b);
        let (a, b) = (view.covering(at)?.value, reader.covering(&path)?.value);
        differ(&what("covering"), &a.as_ref().map(plain_one), &b);
        let (a, b) = (view.below(at)?.value, reader.below(&path)?.value);
        differ(&what("below"), &plain(&a), &b);
        asked += 5;
    }
    for info in &list.value {
        let MountId(id) = info.id;
        let (a, b) = (
            view.mount(query::WhichMount::Id(info.id))?.value,
            reader.mount(mapped::WhichMount::Id(id))?.value,
        );
        differ(&format!("mount {id}"), &a.as_ref().map(plain_one), &b);
        if let Some(UniqueMountId(unique)) = info.unique_id {
            let b = reader.mount(mapped::WhichMount::UniqueId(unique))?.value;
            differ(&format!("mount {unique}"), &a.as_ref().map(plain_one), &b);
        }
        asked += 2;
    }
    Ok(asked)
}

/// Each mountpoint, the directories above, and something that is not there.
fn paths(list: &[query::MountInfo]) -> BTreeSet<Vec<u8>> {
    let mut paths = BTreeSet::from([b"/".to_vec(), b"/nothing/here".to_vec()]);
    for info in list {
        for path in info.mountpoint.ancestors() {
            paths.insert(path.as_os_str().as_bytes().to_vec());
        }
        let mountpoint = info.mountpoint.as_os_str().as_bytes();
        paths.insert([mountpoint, b"//./nothing/"].concat());
    }
    paths
}

fn plain(infos: &[query::MountInfo]) -> Vec<mapped::MountInfo> {
    infos.iter().map(plain_one).collect()
}

/// What the index says, as the table would.
fn plain_one(info: &query::MountInfo) -> mapped::MountInfo {
    mapped::MountInfo {
        id: info.id.0,
        unique_id: info.unique_id.map(|id| id.0),
        parent_id: info.parent_id.0,
        parent_unique_id: info.parent_unique_id.map(|id| id.0),
        device: info.device.0,
        root: info.root.as_os_str().as_bytes().to_vec(),
        mountpoint: info.mountpoint.as_os_str().as_bytes().to_vec(),
        attributes: info.attributes.bits(),
        propagation: mapped::Propagation {
            peer_group: info.peer_group.map(|group| group.0),
            master: info.master.map(|group| group.0),
            unbindable: info.unbindable,
        },
        fs_type: info.fs_type.to_vec(),
        source: info.source.to_vec(),
        super_flags: info.super_flags.bits(),
        fs_options: info.fs_options.as_ref().map(|options| options.to_vec()),
        bind: info.bind.map(|bind| match bind {
            query::Bind::Object => mapped::Bind::Object,
            query::Bind::Part => mapped::Bind::Part,
            query::Bind::Again => mapped::Bind::Again,
        }),
        is_covered: info.is_covered,
    }
}
