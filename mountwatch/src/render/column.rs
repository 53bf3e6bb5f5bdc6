//! Columns: one table gives their names, help texts, cells and JSON keys.

use super::{Clock, Secrets, options, rfc3339};
use crate::model::{Holder, Holders, Mount, Namespace, Operation, OperationId};
use crate::query::{Bind, Listed, Viewpoint};
use crate::state::Tables;
use crate::wire::mountinfo::unescape;

/// From where mounts are shown, and how.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The tables.
    pub tables: &'a Tables,
    /// Whose paths.
    pub from: Viewpoint,
    /// Whether secrets are shown.
    pub secrets: Secrets,
    /// The task whose view it is, if it is one's.
    pub tid: Option<u32>,
    /// Who holds the namespaces, if that was looked for.
    pub holders: Option<&'a Holders>,
    /// Sources come without the root in brackets.
    pub bare_sources: bool,
    /// What time it is, to say when something happened.
    pub clock: Option<Clock>,
}

impl<'a> View<'a> {
    /// Nobody's view in particular.
    pub fn new(tables: &'a Tables, from: Viewpoint, secrets: Secrets) -> Self {
        Self { tables, from, secrets, tid: None, holders: None, bare_sources: false, clock: None }
    }

    /// The view of this task.
    #[must_use]
    pub fn with_tid(self, tid: u32) -> Self {
        Self { tid: Some(tid), ..self }
    }

    /// With the time.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock: Some(clock), ..self }
    }

    /// With what is known of holders.
    #[must_use]
    pub fn with_holders(self, holders: &'a Holders) -> Self {
        Self { holders: Some(holders), ..self }
    }
}

/// The value of a column for one mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Nothing, `null` in JSON.
    None,
    /// Bytes, not necessarily UTF-8.
    Text(Vec<u8>),
    /// A number.
    Number(u64),
    /// `yes` or `no`, a boolean in JSON.
    Flag(bool),
}

/// Where the cells of a column stand in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// A column of tables, and a key of JSON objects.
#[derive(Debug)]
pub struct Column {
    /// Its name; in lower case its JSON key.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    pub(super) side: Side,
    cell: fn(View<'_>, &Listed) -> Cell,
}

impl Column {
    /// A column by its name, whatever the case of its letters.
    pub fn find(name: &str) -> Option<&'static Self> {
        COLUMNS.iter().find(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// What it says of a mount.
    pub fn cell(&self, view: View<'_>, listed: &Listed) -> Cell {
        match (self.cell)(view, listed) {
            Cell::Text(text) if text.is_empty() => Cell::None,
            cell => cell,
        }
    }

    /// Whether it needs [`View::holders`].
    pub fn needs_holders(&self) -> bool {
        HOLDER_COLUMNS.contains(&self.name)
    }

    pub(super) fn key(&self) -> String {
        self.name.to_ascii_lowercase()
    }
}

/// The columns about whoever holds the namespace.
const HOLDER_COLUMNS: &[&str] = &["CONTAINER", "PID", "COMM"];

/// The columns that are shown if none are asked for.
pub const COLUMNS_DEFAULT: &[&str] = &["TARGET", "SOURCE", "FSTYPE", "OPTIONS"];

macro_rules! columns {
    ($($name:literal $side:ident $help:literal $cell:expr;)*) => {
        /// Every column. Names that findmnt(8) has mean what they mean there.
        pub const COLUMNS: &[Column] = &[$(Column {
            name: $name,
            help: $help,
            side: Side::$side,
            cell: $cell,
        }),*];
    };
}

columns! {
    "TARGET" Left "mountpoint" |_, listed| Cell::Text(listed.path.to_vec());
    "SOURCE" Left "source, with the root in brackets if it is not the whole file system" source;
    "FSTYPE" Left "file system type" fs_type;
    "OPTIONS" Left "all options: those of the mount, then those of the file system" all_options;
    "ID" Right "mount ID, reused by the kernel" |_, listed| Cell::Number(listed.mount.id.0.into());
    "PARENT" Right "mount ID of the parent" |_, listed| Cell::Number(listed.mount.parent_id.0.into());
    "UNIQ-ID" Right "unique mount ID, never reused (kernel 6.8)" |_, listed| number(listed.mount.unique_id.map(|id| id.0));
    "MAJ:MIN" Left "device of the file system" |_, listed| Cell::Text(listed.mount.device.to_string().into_bytes());
    "FSROOT" Left "the directory of the file system that is shown" |view, listed| root(view.tables, &listed.mount).map_or(Cell::None, Cell::Text);
    "VFS-OPTIONS" Left "options of the mount" |_, listed| Cell::Text(listed.mount.attributes.to_string().into_bytes());
    "FS-OPTIONS" Left "options of the file system" |view, listed| Cell::Text(fs_options(view, &listed.mount));
    "PROPAGATION" Left "propagation type" |_, listed| Cell::Text(options::propagation(&listed.mount).into_bytes());
    "OPT-FIELDS" Left "optional fields of mountinfo(5)" opt_fields;
    "NS" Right "inode of the mount namespace" |view, listed| number(namespace(view, listed).map(|known| known.inode.0.into()));
    "NS-ID" Right "ID of the mount namespace, never reused" |view, listed| number(namespace(view, listed).and_then(|known| Some(known.id?.0)));
    "PEER-GROUP" Right "peer group of a shared mount" |_, listed| number(listed.mount.peer_group.map(|group| group.0.into()));
    "MASTER" Right "peer group from which a slave receives" |_, listed| number(listed.mount.master.map(|group| group.0.into()));
    "PROPAGATE-FROM" Right "nearest peer group above a slave that is visible from here" |view, listed| number(view.tables.propagate_from(&listed.mount, view.from).map(|group| group.0.into()));
    "COVERED" Left "whether another mount hides it" covered;
    "BIND" Left "why it is a bind mount: object, part or again; nothing for a real one" |view, listed| text(view.tables.bind(&listed.mount).map(Bind::word));
    "CREATED-BY" Left "the call that made it; nothing: before mountwatch" |view, listed| operation(view, created(listed), |of| text(Some(of.call.name())));
    "CREATED-AT" Left "when that was" |view, listed| operation(view, created(listed), |of| time(view, of));
    "CREATED-PID" Right "the process that made it" |view, listed| operation(view, created(listed), |of| number(Some(of.task.pid.into())));
    "CREATED-COMM" Left "that process's command" |view, listed| operation(view, created(listed), |of| Cell::Text(of.task.comm.to_vec()));
    "CREATED-CONTAINER" Left "that process's container, from its cgroup" |view, listed| operation(view, created(listed), |of| text(of.surroundings.container.as_ref().map(|container| &*container.id)));
    "CHANGED-BY" Left "the call that changed it last, after it was made" |view, listed| operation(view, changed(listed), |of| text(Some(of.call.name())));
    "CHANGED-AT" Left "when that was" |view, listed| operation(view, changed(listed), |of| time(view, of));
    "CHANGED-PID" Right "the process that changed it" |view, listed| operation(view, changed(listed), |of| number(Some(of.task.pid.into())));
    "CHANGED-COMM" Left "that process's command" |view, listed| operation(view, changed(listed), |of| Cell::Text(of.task.comm.to_vec()));
    "FROM" Right "unique ID of the mount that it was copied from, mount ID before kernel 6.8" |_, listed| number(listed.mount.provenance.copied_from().map(|id| id.0).or(listed.mount.provenance.copied_from_id().map(|id| id.0.into())));
    "TID" Right "the task whose view is shown" |view, _| number(view.tid.map(u64::from));
    "CONTAINER" Left "container of the namespace's lowest process, from its cgroup" |view, listed| holder(view, listed).and_then(|known| known.container.as_deref()).map_or(Cell::None, |id| text(Some(id)));
    "PID" Right "the lowest process in the mount namespace" |view, listed| number(holder(view, listed).and_then(|known| known.pid).map(u64::from));
    "COMM" Left "that process's command" |view, listed| holder(view, listed).map_or(Cell::None, |known| Cell::Text(known.comm.to_vec()));
}

fn created(listed: &Listed) -> Option<OperationId> {
    listed.mount.provenance.created_by
}

fn changed(listed: &Listed) -> Option<OperationId> {
    listed.mount.provenance.changed_by
}

fn operation(view: View<'_>, id: Option<OperationId>, cell: impl Fn(&Operation) -> Cell) -> Cell {
    id.and_then(|id| view.tables.operation(id)).map_or(Cell::None, |operation| cell(operation))
}

fn time(view: View<'_>, operation: &Operation) -> Cell {
    let wall = view.clock.map(|clock| rfc3339(clock.wall_ns(operation.begin_ktime_ns)));
    text(wall.as_deref())
}

fn number(value: Option<u64>) -> Cell {
    value.map_or(Cell::None, Cell::Number)
}

fn text(value: Option<&str>) -> Cell {
    value.map_or(Cell::None, |value| Cell::Text(value.into()))
}

fn holder<'a>(view: View<'a>, listed: &Listed) -> Option<&'a Holder> {
    view.holders?.get(&namespace(view, listed)?.inode)
}

fn source(view: View<'_>, listed: &Listed) -> Cell {
    let mut text = view.secrets.source(&listed.mount.source);
    let root = root(view.tables, &listed.mount).filter(|root| root != b"/");
    if let Some(root) = root.filter(|_| !view.bare_sources) {
        text.push(b'[');
        text.extend_from_slice(&root);
        text.push(b']');
    }
    Cell::Text(text)
}

fn fs_type(view: View<'_>, listed: &Listed) -> Cell {
    let known = view.tables.super_block(listed.mount.super_block);
    known.map_or(Cell::None, |known| Cell::Text(known.fs_type.to_vec()))
}

fn all_options(view: View<'_>, listed: &Listed) -> Cell {
    let of_mount = listed.mount.attributes.to_string();
    Cell::Text(options::merged(of_mount.as_bytes(), &fs_options(view, &listed.mount)))
}

pub(super) fn fs_options(view: View<'_>, mount: &Mount) -> Vec<u8> {
    let known = view.tables.super_block(mount.super_block).map(|known| &**known);
    unescape(&options::of_super(known, view.secrets))
}

/// The root, without escapes.
pub(super) fn root(tables: &Tables, mount: &Mount) -> Option<Vec<u8>> {
    match tables.dentry(mount.root) {
        Some(root) if root.is_literal => Some(unescape(&root.name)),
        _ => tables.root_of(mount),
    }
}

fn opt_fields(view: View<'_>, listed: &Listed) -> Cell {
    let fields = options::optional_fields(view.tables, &listed.mount, view.from);
    Cell::Text(fields.trim_start().into())
}

fn namespace<'a>(view: View<'a>, listed: &Listed) -> Option<&'a Namespace> {
    view.tables.namespace(listed.mount.namespace).map(|known| &**known)
}

/// A walk along its path ends on another mount.
fn covered(view: View<'_>, listed: &Listed) -> Cell {
    let top = view.tables.covering(&listed.path, view.from);
    Cell::Flag(top.is_none_or(|top| top.mount.key != listed.mount.key))
}
