//! Options of super blocks: the one thing that no hook can tell, since only the file system's own
//! code can write them.

use super::source::{SourceError, Target};
use super::writer::Writer;
use crate::kernel::task::{self, TaskRoot};
use crate::kernel::{namespaces, notify};
use crate::model::{Mount, MountId, Namespace, NamespaceInode, SuperFlags, SuperKey};
use crate::state::{State, Tables, Wanted};
use crate::wire::mountinfo;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Rounds of one look-up: options that became stale again while they were looked up.
const ROUNDS_MAX: u32 = 4;

/// Looks up the options that nobody told: one look at one mount for each new super block where the
/// kernel has statmount(2) with options (6.11), else one read of a mountinfo that shows it.
pub(super) fn look_up(writer: &mut Writer) {
    for _ in 0..ROUNDS_MAX {
        let wanted = writer.parts().0.take_wanted_options();
        if wanted.is_empty() {
            return;
        }
        let mut readers = Vec::new();
        for asked in &wanted {
            match look(writer, asked) {
                Some(reader) if !readers.contains(&reader) => readers.push(reader),
                _ => {}
            }
        }
        for reader in readers {
            let before = writer.parts().1.rescans;
            if let Err(error) = writer.scan_one(reader) {
                log::warn!("no options of what {reader:?} shows: {error}");
            }
            let numbers = writer.parts().1;
            numbers.rereads += numbers.rescans - before;
        }
        for asked in &wanted {
            writer.parts().0.options_untold(asked);
        }
    }
}

/// How often, at the most, a mountinfo is read for what file systems change by themselves, where one
/// mount cannot be looked at: a read of everything is too much for each question.
const READ_EVERY: Duration = Duration::from_secs(10);

/// How often, at the most, single mounts are looked at for that. Each look takes `namespace_sem` for
/// a moment, which no question does.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Looks at what file systems change by themselves ([`SuperBlock::changes_by_itself`]): soon where
/// the kernel has statmount(2) with options, now and then elsewhere.
///
/// [`SuperBlock::changes_by_itself`]: crate::model::SuperBlock::changes_by_itself
pub(super) fn refresh(writer: &mut Writer) {
    let (state, numbers) = writer.parts();
    if numbers.looked_at.is_some_and(|last| last.elapsed() < LOOK_EVERY) {
        return;
    }
    numbers.looked_at = Some(Instant::now());
    let is_time = numbers.read_at.get_or_insert_with(Instant::now).elapsed() >= READ_EVERY;
    for (key, mount) in state.self_changing() {
        let Some(namespace) = state.tables().namespace(mount.namespace) else { continue };
        match options_of(&mount, namespace) {
            Ok(Some((flags, options))) => {
                numbers.looks += 1;
                numbers.can_look = true;
                state.set_looked_at(key, flags, options.into());
            }
            Ok(None) if numbers.can_look => {}
            Ok(None) if is_time => {
                numbers.read_at = Some(Instant::now());
                state.reread_options(key);
            }
            Ok(None) => return,
            Err(error) => log::debug!("no options of mount {}: {error}", mount.id),
        }
    }
}

/// The flags and options of a mount's super block, `None` if this kernel does not tell them of one
/// mount.
fn options_of(
    mount: &Mount,
    namespace: &Namespace,
) -> Result<Option<(SuperFlags, Vec<u8>)>, SourceError> {
    let (Some(mount), Some(namespace)) = (mount.unique_id, namespace.id) else {
        return Ok(None);
    };
    Ok(notify::options_of(mount, namespace)?)
}

/// Asks about one mount; says whose mountinfo shows it if that has to be read.
fn look(writer: &mut Writer, asked: &Wanted) -> Option<Target> {
    let (state, numbers) = writer.parts();
    let namespace = state.tables().namespace(asked.mount.namespace).cloned()?;
    numbers.looks += 1;
    match options_of(&asked.mount, &namespace) {
        Ok(Some((_, options))) => {
            numbers.can_look = true;
            state.set_options(asked.key, options.into());
            None
        }
        // It left between its record and the look; who mounts it next is looked at anew.
        Ok(None) if numbers.can_look => None,
        Ok(None) if asked.is_seen => Some(Target::Namespace(namespace.inode)),
        Ok(None) => who_sees(state.tables(), asked, namespace.inode).map(Target::Task),
        Err(error) => {
            log::debug!("no options of mount {}: {error}", asked.mount.id);
            None
        }
    }
}

/// A task of the namespace whose root directory shows the mount.
fn who_sees(tables: &Tables, asked: &Wanted, namespace: NamespaceInode) -> Option<u32> {
    let tasks = namespaces::tasks_in(namespace).ok()?;
    tasks.into_iter().find(|tid| {
        let Ok(root) = task::root_of(*tid) else { return false };
        mount_of(tables, &root)
            .and_then(|mount| tables.viewpoint_at(mount, root.is_mount_root, &root.path))
            .is_some_and(|view| tables.path_of(asked.mount.key, view).is_some())
    })
}

/// The mount on which a root directory lies.
pub(super) fn mount_of<'a>(tables: &'a Tables, root: &TaskRoot) -> Option<&'a Arc<Mount>> {
    let by_id = || tables.mount_by_id(root.mount_id);
    match root.unique_mount_id {
        // `poll` cannot ask for the unique ID of a root on which nothing is mounted.
        Some(id) => tables
            .mount_by_unique_id(id)
            .or_else(|| by_id().filter(|mount| mount.unique_id.is_none())),
        None => by_id(),
    }
}

/// Options out of the text that a scan reads anyway.
pub(super) struct Texts {
    /// A line may be cut by the end of a read.
    rest: Vec<u8>,
    /// How often options had become stale when the last piece had been applied.
    stale: u64,
}

impl Texts {
    pub(super) fn new(state: &State) -> Self {
        Self { rest: Vec::new(), stale: state.options_stale_count() }
    }

    /// Takes a piece of mountinfo, after the events that came until it was read were applied. If
    /// options became stale meanwhile the piece may be older than that: it is not used, and those
    /// options are looked up.
    pub(super) fn take(&mut self, text: &[u8], state: &mut State) {
        self.rest.extend_from_slice(text);
        let fresh = state.options_stale_count() == self.stale;
        self.stale = state.options_stale_count();
        let end = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let lines: Vec<u8> = self.rest.drain(..end).collect();
        if !fresh {
            return;
        }
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let Ok(line) = mountinfo::parse(line) else { continue };
            let Some((key, is_known)) = super_of(state, MountId(line.id)) else { continue };
            if !is_known {
                state.set_options(key, line.file_system_options().into());
            }
        }
    }
}

fn super_of(state: &State, id: MountId) -> Option<(SuperKey, bool)> {
    let mount = state.tables().mount_by_id(id)?;
    let super_block = state.tables().super_block(mount.super_block)?;
    Some((super_block.key, !state.is_wanted(super_block)))
}
