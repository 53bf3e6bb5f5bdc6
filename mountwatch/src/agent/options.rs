//! Options of super blocks: the one thing that no hook can tell, since only the file system's own
//! code can write them.

use super::source::Source;
use super::writer::Writer;
use crate::model::{MountId, SuperKey};
use crate::state::State;
use crate::wire::mountinfo;

/// Looks up the options that nobody told: one look at one mount for each new super block where the
/// kernel has statmount(2) with options (6.11), else one read of a namespace's mountinfo.
pub(super) fn look_up(writer: &mut Writer) {
    let wanted = writer.parts().0.take_wanted_options();
    if wanted.is_empty() {
        return;
    }
    let mut reread = Vec::new();
    for (key, mount) in wanted {
        let (state, numbers) = writer.parts();
        let Some(mount) = state.tables().mount(mount).cloned() else { continue };
        let Some(namespace) = state.tables().namespace(mount.namespace).cloned() else { continue };
        numbers.looks += 1;
        match Source::options_of(&mount, &namespace) {
            Ok(Some(options)) => {
                numbers.can_look = true;
                state.set_options(key, options.into());
            }
            // It left between its record and the look; who mounts it next is looked at anew.
            Ok(None) if numbers.can_look => {}
            Ok(None) if !reread.contains(&namespace.inode) => reread.push(namespace.inode),
            Ok(None) => {}
            Err(error) => log::debug!("no options of mount {}: {error}", mount.id),
        }
    }
    for inode in reread {
        let before = writer.parts().1.rescans;
        if let Err(error) = writer.scan_one(inode, None) {
            log::warn!("no options of namespace {inode}: {error}");
        }
        let numbers = writer.parts().1;
        numbers.rereads += numbers.rescans - before;
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
    Some((super_block.key, super_block.options.is_some()))
}
