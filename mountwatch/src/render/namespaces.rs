//! Mount namespaces, in the form of lsns(8).

use super::grid::{Grid, Layout};
use super::json::{Json, Object};
use super::{Cell, Side, Source, text};
use crate::model::{Holder, Holders, Namespace, NamespaceInode};
use crate::state::{Snapshot, Tables};
use hashbrown::HashMap;

/// One namespace with what is known of it.
#[derive(Debug)]
struct Row<'a> {
    namespace: &'a Namespace,
    holder: Option<&'a Holder>,
    /// Mounts of nsfs that keep it alive.
    mounts: &'a [String],
}

/// A column of the list of namespaces.
#[derive(Debug)]
pub struct NamespaceColumn {
    /// Its name; in lower case its JSON key.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    side: Side,
    cell: fn(&Row<'_>) -> Cell,
}

impl NamespaceColumn {
    /// A column by its name, whatever the case of its letters.
    pub fn find(name: &str) -> Option<&'static Self> {
        NAMESPACE_COLUMNS.iter().find(|column| column.name.eq_ignore_ascii_case(name))
    }
}

macro_rules! columns {
    ($($name:literal $side:ident $help:literal $cell:expr;)*) => {
        /// Every column of the list of namespaces.
        pub const NAMESPACE_COLUMNS: &[NamespaceColumn] = &[$(NamespaceColumn {
            name: $name,
            help: $help,
            side: Side::$side,
            cell: $cell,
        }),*];
    };
}

columns! {
    "NS" Right "inode of the mount namespace: that of /proc/PID/ns/mnt" |row| Cell::Number(row.namespace.inode.0.into());
    "NS-ID" Right "its ID, never reused (kernel 6.11)" |row| number(row.namespace.id.map(|id| id.0));
    "MOUNTS" Right "how many mounts are in it" |row| number(u64::try_from(row.namespace.mount_count()).ok());
    "NPROCS" Right "how many processes have a thread in it" |row| Cell::Number(row.holder.map_or(0, |known| known.processes).into());
    "PID" Right "the lowest of them" |row| number(row.holder.and_then(|known| known.pid).map(u64::from));
    "COMM" Left "its command" |row| text_cell(row.holder.map(|known| known.comm.to_vec()));
    "CONTAINER" Left "the container that it runs in, from its cgroup" |row| text_cell(row.holder.and_then(|known| known.container.clone()).map(Into::into));
    "HELD-BY" Left "what else keeps it alive, if no process is in it: mounts of nsfs, a descriptor" |row| text_cell(Some(held_by(row).into()));
    "COVERAGE" Left "how much of it is known" |row| Cell::Text(row.namespace.coverage.word().into());
}

fn number(value: Option<u64>) -> Cell {
    value.map_or(Cell::None, Cell::Number)
}

fn text_cell(text: Option<Vec<u8>>) -> Cell {
    text.filter(|text| !text.is_empty()).map_or(Cell::None, Cell::Text)
}

fn held_by(row: &Row<'_>) -> String {
    if row.holder.is_some_and(|known| known.processes > 0) {
        return String::new();
    }
    let mut by = row.mounts.to_vec();
    if let Some(pid) = row.holder.and_then(|known| known.descriptor_of) {
        by.push(format!("a descriptor of process {pid}"));
    }
    if by.is_empty() {
        by.push(String::from(
            "unknown: perhaps a descriptor in flight, or one that may not be seen",
        ));
    }
    by.join(", ")
}

/// The namespaces as a table, by ID.
pub fn namespaces_table(
    snapshot: &Snapshot,
    holders: &Holders,
    columns: &[&'static NamespaceColumn],
    layout: Layout,
) -> String {
    let mut grid = Grid::new(layout, columns.iter().map(|column| (column.name, column.side)));
    each(snapshot, holders, |row| {
        grid.push(columns.iter().map(|column| (String::new(), (column.cell)(row))));
    });
    grid.text()
}

/// `{"answered_by":…,"revision":…,"coverage":…,"namespaces":[{…}]}`. The keys are the columns' names in lower case.
pub fn namespaces_json(
    snapshot: &Snapshot,
    holders: &Holders,
    columns: &[&'static NamespaceColumn],
    answered_by: &str,
) -> String {
    let mut rows: Vec<Json> = Vec::new();
    each(snapshot, holders, |row| {
        let mut object = Object::default();
        for column in columns {
            object.put_cell(column.name.to_ascii_lowercase(), (column.cell)(row));
        }
        rows.push(object.into());
    });
    let mut whole = Object::default();
    let (revision, coverage) = (Some(snapshot.revision()), snapshot.coverage());
    Source { answered_by, revision, coverage, clock: None }.put(&mut whole);
    whole.put("namespaces", Json::List(rows));
    whole.lines()
}

fn each(snapshot: &Snapshot, holders: &Holders, mut visit: impl FnMut(&Row<'_>)) {
    let bound = bound(snapshot);
    let mut namespaces: Vec<_> = snapshot.namespaces().collect();
    namespaces.sort_by_key(|known| (known.id, known.inode));
    for namespace in namespaces {
        let mounts = bound.get(&namespace.inode).map_or(&[][..], |mounts| mounts);
        visit(&Row { namespace, holder: holders.get(&namespace.inode), mounts });
    }
}

/// The mounts of nsfs that show a mount namespace, by its inode.
fn bound(tables: &Tables) -> HashMap<NamespaceInode, Vec<String>> {
    let mut found: HashMap<_, Vec<_>> = HashMap::new();
    for mount in tables.mounts().filter(|mount| tables.is_attached(mount)) {
        let Some(inode) = tables.shown_namespace(mount) else { continue };
        let from = tables.viewpoint_of_namespace(mount.namespace);
        let path = from.and_then(|from| tables.path_of(mount.key, from)).unwrap_or_default();
        let namespace = tables.namespace(mount.namespace).map_or(0, |known| known.inode.0);
        let place = format!("{} in {namespace}", text::visible(&path));
        found.entry(inode).or_default().push((Tables::order(mount), place));
    }
    let sorted = |mut mounts: Vec<(_, String)>| {
        mounts.sort();
        mounts.into_iter().map(|(_, place)| format!("mount {place}")).collect()
    };
    found.into_iter().map(|(inode, mounts)| (inode, sorted(mounts))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Index;

    #[test]
    fn what_holds_each_is_said() {
        let snapshot = Index::new()
            .namespace(
                100,
                "1 0 8:1 / / rw - ext4 d rw\n2 1 0:4 mnt:[200] /run/ns rw - nsfs nsfs rw\n",
            )
            .and_then(|index| index.namespace(200, "3 0 8:1 / / rw - ext4 d rw\n"))
            .and_then(|index| index.namespace(300, "4 0 8:1 / / rw - ext4 d rw\n"))
            .and_then(|index| index.namespace(400, ""))
            .unwrap()
            .snapshot();
        let first = Holder {
            processes: 2,
            pid: Some(1),
            tid: Some(1),
            comm: b"sys\x1btemd"[..].into(),
            container: Some(String::from("c0ffee")),
            descriptor_of: None,
            descriptor: None,
        };
        let third = Holder { descriptor_of: Some(77), ..Holder::default() };
        let holders = Holders::from([(NamespaceInode(100), first), (NamespaceInode(300), third)]);
        let columns: Vec<_> = NAMESPACE_COLUMNS.iter().collect();
        insta::assert_snapshot!(namespaces_table(&snapshot, &holders, &columns, Layout::default()), @r#"
         NS NS-ID MOUNTS NPROCS PID COMM        CONTAINER HELD-BY                                                              COVERAGE
        100            2      2   1 sys\x1btemd c0ffee                                                                         complete
        200            1      0                           mount /run/ns in 100                                                 complete
        300            1      0                           a descriptor of process 77                                           complete
        400            0      0                           unknown: perhaps a descriptor in flight, or one that may not be seen complete
        "#);
        let some: Vec<_> =
            ["ns", "Pid", "held-by"].map(|name| NamespaceColumn::find(name).unwrap()).into();
        insta::assert_snapshot!(namespaces_json(&snapshot, &holders, &some, "hooks"), @r#"
        {
          "answered_by": "hooks",
          "revision": 1,
          "coverage": "complete",
          "namespaces": [
            {
              "ns": 100,
              "pid": 1,
              "held-by": null
            },
            {
              "ns": 200,
              "pid": null,
              "held-by": "mount /run/ns in 100"
            },
            {
              "ns": 300,
              "pid": null,
              "held-by": "a descriptor of process 77"
            },
            {
              "ns": 400,
              "pid": null,
              "held-by": "unknown: perhaps a descriptor in flight, or one that may not be seen"
            }
          ]
        }
        "#);
    }
}
