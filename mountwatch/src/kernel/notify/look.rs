//! Looks at single mounts: statmount(2) and listmount(2) in the words of the model.

use crate::kernel::sys;
use crate::model::{NamespaceId, SuperFlags, UniqueMountId};
use crate::wire::statmount::{self, Statmount, StatmountError, mask};
use std::io;
use thiserror::Error;

/// Everything that the index has of a mount.
const EVERYTHING: u64 = mask::SB_BASIC
    | mask::MNT_BASIC
    | mask::MNT_ROOT
    | mask::MNT_POINT
    | mask::FS_TYPE
    | mask::MNT_NS_ID
    | mask::MNT_OPTS
    | mask::FS_SUBTYPE
    | mask::SB_SOURCE;

/// Why a look failed.
#[derive(Debug, Error)]
pub enum LookError {
    /// statmount(2) failed.
    #[error("cannot statmount(2): {0}; run as root, on Linux 6.8 or later")]
    Statmount(#[source] io::Error),
    /// listmount(2) failed.
    #[error("cannot listmount(2): {0}; run as root, on Linux 6.11 or later")]
    Listmount(#[source] io::Error),
    /// The answer makes no sense.
    #[error("{0}; please report it with the kernel's version")]
    Answer(#[from] StatmountError),
}

/// Looks, with a buffer that is used again.
#[derive(Debug, Default)]
pub(super) struct Look {
    buffer: Vec<u8>,
    looks: u64,
    /// The caller is in the namespace that is asked about.
    pub(super) is_inside: bool,
}

impl Look {
    /// Looks so far.
    pub(super) fn looks(&self) -> u64 {
        self.looks
    }

    /// One mount of one namespace; `None` if it is not there.
    pub(super) fn stat(
        &mut self,
        id: UniqueMountId,
        namespace: NamespaceId,
    ) -> Result<Option<Statmount>, LookError> {
        self.ask(id.0, namespace.0, EVERYTHING)
    }

    /// Whether the mount is in that namespace.
    pub(super) fn is_in(
        &mut self,
        id: UniqueMountId,
        namespace: NamespaceId,
    ) -> Result<bool, LookError> {
        Ok(self.ask(id.0, namespace.0, mask::MNT_BASIC)?.is_some())
    }

    /// The caller's own namespace has the ID 0.
    fn id_of(&self, namespace: u64) -> u64 {
        if self.is_inside { 0 } else { namespace }
    }

    fn ask(&mut self, id: u64, namespace: u64, mask: u64) -> Result<Option<Statmount>, LookError> {
        self.looks += 1;
        let namespace = self.id_of(namespace);
        let found =
            sys::statmount(id, namespace, mask, &mut self.buffer).map_err(LookError::Statmount)?;
        found.map(|()| statmount::parse(&self.buffer)).transpose().map_err(LookError::from)
    }

    /// The mount below which all others of a namespace are (`mnt_namespace.root`); `None` if the
    /// namespace is gone. The kernel does not list it, but it is the end of each way up.
    pub(super) fn root(
        &mut self,
        namespace: NamespaceId,
    ) -> Result<Option<UniqueMountId>, LookError> {
        let listed = sys::listmount(sys::LISTMOUNT_ROOT, self.id_of(namespace.0))
            .map_err(LookError::Listmount)?
            .unwrap_or_default();
        for start in listed {
            let mut at = start;
            // A way that changes under us ends somewhere else, or nowhere: then from the next.
            while let Some(mount) = self.ask(at, namespace.0, mask::MNT_BASIC)? {
                if mount.parent_unique_id == at {
                    return Ok(Some(UniqueMountId(at)));
                }
                at = mount.parent_unique_id;
            }
        }
        Ok(None)
    }

    /// All mounts below one; `None` if it is gone.
    pub(super) fn below(
        &mut self,
        id: UniqueMountId,
        namespace: NamespaceId,
    ) -> Result<Option<Vec<UniqueMountId>>, LookError> {
        self.looks += 1;
        let ids = sys::listmount(id.0, self.id_of(namespace.0)).map_err(LookError::Listmount)?;
        Ok(ids.map(|ids| ids.into_iter().map(UniqueMountId).collect()))
    }
}

/// Options of a mount's super block as mountinfo(5) shows them, without its flags. `Ok(None)`: the
/// mount is gone, or this kernel does not give them (before 6.11).
pub fn options_of(
    id: UniqueMountId,
    namespace: NamespaceId,
) -> Result<Option<(SuperFlags, Vec<u8>)>, LookError> {
    let mut buffer = Vec::new();
    let wanted = mask::SB_BASIC | mask::MNT_OPTS | mask::MNT_NS_ID;
    let found = sys::statmount(id.0, namespace.0, wanted, &mut buffer);
    match found {
        Ok(Some(())) => {}
        Ok(None) => return Ok(None),
        Err(error)
            if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL | libc::E2BIG)) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(LookError::Statmount(error)),
    }
    let mount = statmount::parse(&buffer)?;
    // The ID came in the same version as the options: without it the kernel has neither.
    let is_known = mount.given & (mask::MNT_NS_ID | mask::MNT_OPTS) != 0;
    Ok(is_known.then(|| (mount.super_flags, mount.options.unwrap_or_default())))
}
