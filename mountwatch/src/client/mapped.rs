//! Questions that are answered out of memory which the agent shares: no round trip, no lock of the
//! agent's, no system call.
//!
//! The agent keeps a table of one mount namespace there ([`crate::mapped`], `docs/MAPPED.md`). What
//! [`View`] says is of one state of the index, with its revision and coverage, and it is as old as
//! [`View::age`] says at most, which is a tenth of a second in the long run and some microseconds as a
//! rule. [`View::sync`] takes one round trip, and what is asked after it shows everything that happened
//! before.
//!
//! ```no_run
//! use mountwatch::client::{MAPPED_SOCKET, mapped};
//! use mountwatch::query::{Binds, MountQueries};
//! use std::path::Path;
//!
//! let view = mapped::View::connect(Path::new(MAPPED_SOCKET))?;
//! view.sync()?;
//! let answer = view.is_mount_point(Path::new("/var"), Binds::Count)?;
//! println!("{} as of revision {} ({})", answer.value, answer.revision, answer.coverage);
//! # Ok::<(), mapped::ViewError>(())
//! ```

use crate::model::{
    Coverage, Device, MountAttributes, MountId, NamespaceId, NamespaceInode, PeerGroupId,
    Provenance, Revision, SuperFlags, UniqueMountId,
};
use crate::query::{Answer, Bind, Binds, HostPath, MountInfo, MountQueries, WhichMount, path_buf};
use mountwatch_mapped::{self as table, Mapped, MappedError};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use thiserror::Error;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ViewError {
    /// The path is none that can be asked about, or nobody keeps the table.
    #[error(transparent)]
    Table(#[from] MappedError),
    /// The table has no other mount namespace than its own.
    #[error(
        "how the host reaches a path is not in a mapped table: ask the agent through its own socket"
    )]
    OtherNamespace,
}

/// What somebody sees, in a table that the agent keeps.
///
/// In what it tells of a mount, that is `None` which is of other namespaces or of operations:
/// `propagate_from`, `created_by`, `changed_by`, and what is in `provenance`.
///
/// Threads may share one, and then ask one after the other; each with its own one ask at the same time.
#[derive(Debug)]
pub struct View {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    table: Mapped,
    /// Table and revision that the sentences are of, and they.
    sentences: ((u64, u64), Arc<[String]>),
}

impl View {
    /// What this process sees, from its root directory.
    pub fn connect(socket: &Path) -> Result<Self, ViewError> {
        Ok(Self::of(Mapped::connect(socket)?))
    }

    /// What a process sees that enters this mount namespace: for root, and for the group that the
    /// socket belongs to.
    pub fn connect_to(socket: &Path, namespace: NamespaceInode) -> Result<Self, ViewError> {
        Ok(Self::of(Mapped::connect_to(socket, namespace.0)?))
    }

    fn of(table: Mapped) -> Self {
        Self { inner: Mutex::new(Inner { table, sentences: ((0, 0), Arc::default()) }) }
    }

    /// What is asked after this shows everything that happened before it. One round trip.
    pub fn sync(&self) -> Result<(), ViewError> {
        self.inner().table.sync()?;
        Ok(())
    }

    /// How old an answer that was given now could be at most.
    pub fn age(&self) -> Result<Duration, ViewError> {
        let inner = self.inner();
        let root = inner.table.reader().covering_id(b"/")?;
        Ok(Duration::from_nanos(root.age_ns))
    }

    /// Nothing is half done if somebody panics who has it.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask<T, U>(
        &self,
        question: impl FnOnce(&mut Mapped) -> Result<table::Answer<T>, MappedError>,
        translate: impl FnOnce(T, &Named) -> U,
    ) -> Result<Answer<U>, ViewError> {
        let mut inner = self.inner();
        let answer = question(&mut inner.table)?;
        let coverage = inner.coverage(&answer)?;
        let reader = inner.table.reader();
        let named = Named {
            namespace: NamespaceInode(reader.namespace()),
            namespace_id: reader.namespace_id().map(NamespaceId),
        };
        let value = translate(answer.value, &named);
        Ok(Answer { value, revision: Revision(answer.revision), coverage })
    }
}

impl Inner {
    /// The sentences of the same state, or of a later one.
    fn coverage<T>(&mut self, answer: &table::Answer<T>) -> Result<Coverage, MappedError> {
        let make = match answer.coverage {
            table::Coverage::Complete => return Ok(Coverage::Complete),
            table::Coverage::Stale => return Ok(Coverage::Stale),
            table::Coverage::Blind => Coverage::Blind,
            table::Coverage::Polling => Coverage::Polling,
        };
        let state = (self.table.reader().epoch(), answer.revision);
        if self.sentences.0 != state {
            let sentences = self.table.reader().sentences()?.value;
            if *self.sentences.1 != *sentences {
                self.sentences.1 = sentences.into();
            }
            self.sentences.0 = state;
        }
        Ok(make(Arc::clone(&self.sentences.1)))
    }
}

impl MountQueries for View {
    type Error = ViewError;

    fn is_mount_point(&self, path: &Path, binds: Binds) -> Result<Answer<bool>, ViewError> {
        let binds = match binds {
            Binds::Count => table::Binds::Count,
            Binds::Exclude => table::Binds::Exclude,
        };
        self.ask(|table| table.is_mount_point(path.as_os_str().as_bytes(), binds), |is, _| is)
    }

    fn mount_at(&self, path: &Path) -> Result<Answer<Option<MountInfo>>, ViewError> {
        self.ask(|table| table.mount_at(path.as_os_str().as_bytes()), one)
    }

    fn covering(&self, path: &Path) -> Result<Answer<Option<MountInfo>>, ViewError> {
        self.ask(|table| table.covering(path.as_os_str().as_bytes()), one)
    }

    fn below(&self, path: &Path) -> Result<Answer<Vec<MountInfo>>, ViewError> {
        self.ask(|table| table.below(path.as_os_str().as_bytes()), all)
    }

    fn list(&self) -> Result<Answer<Vec<MountInfo>>, ViewError> {
        self.ask(Mapped::list, all)
    }

    fn mount(&self, which: WhichMount) -> Result<Answer<Option<MountInfo>>, ViewError> {
        self.ask(|table| table.mount(number(which)), one)
    }

    fn children(&self, which: WhichMount) -> Result<Answer<Vec<MountInfo>>, ViewError> {
        self.ask(|table| table.children(number(which)), all)
    }

    fn host_path(&self, _path: &Path) -> Result<Answer<Option<HostPath>>, ViewError> {
        Err(ViewError::OtherNamespace)
    }
}

/// Of which namespace a table is.
struct Named {
    namespace: NamespaceInode,
    namespace_id: Option<NamespaceId>,
}

fn number(which: WhichMount) -> table::WhichMount {
    match which {
        WhichMount::Id(id) => table::WhichMount::Id(id.0),
        WhichMount::UniqueId(id) => table::WhichMount::UniqueId(id.0),
    }
}

fn one(found: Option<table::MountInfo>, of: &Named) -> Option<MountInfo> {
    found.map(|found| info(found, of))
}

fn all(found: Vec<table::MountInfo>, of: &Named) -> Vec<MountInfo> {
    found.into_iter().map(|found| info(found, of)).collect()
}

fn info(found: table::MountInfo, of: &Named) -> MountInfo {
    MountInfo {
        id: MountId(found.id),
        unique_id: found.unique_id.map(UniqueMountId),
        parent_id: MountId(found.parent_id),
        parent_unique_id: found.parent_unique_id.map(UniqueMountId),
        namespace: of.namespace,
        namespace_id: of.namespace_id,
        device: Device(found.device),
        root: path_buf(found.root),
        mountpoint: path_buf(found.mountpoint),
        attributes: MountAttributes::from_bits_retain(found.attributes),
        peer_group: found.propagation.peer_group.map(PeerGroupId),
        master: found.propagation.master.map(PeerGroupId),
        propagate_from: None,
        unbindable: found.propagation.unbindable,
        fs_type: found.fs_type.into(),
        source: found.source.into(),
        super_flags: SuperFlags::from_bits_retain(found.super_flags),
        fs_options: found.fs_options.map(Into::into),
        bind: found.bind.map(|bind| match bind {
            table::Bind::Object => Bind::Object,
            table::Bind::Part => Bind::Part,
            table::Bind::Again => Bind::Again,
        }),
        is_covered: found.is_covered,
        provenance: Provenance::default(),
        created_by: None,
        changed_by: None,
    }
}
