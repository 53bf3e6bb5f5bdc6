//! Immutable views.

use super::Tables;
use crate::model::{Coverage, Revision};
use std::ops::Deref;

/// The whole index at one revision. It never changes, and holding it costs nothing but memory.
#[derive(Clone, Debug)]
pub struct Snapshot {
    tables: Tables,
    revision: Revision,
    coverage: Coverage,
}

impl Snapshot {
    pub(crate) fn new(tables: Tables, revision: Revision, coverage: Coverage) -> Self {
        Self { tables, revision, coverage }
    }

    /// The same, and stale: as a whole and each namespace.
    pub(super) fn into_stale(mut self) -> Self {
        self.tables.mark_all_stale();
        Self { coverage: Coverage::Stale, ..self }
    }

    /// The number of this state.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The least that is known of any namespace in it. Each namespace has its own as well.
    pub fn coverage(&self) -> &Coverage {
        &self.coverage
    }
}

impl Deref for Snapshot {
    type Target = Tables;

    fn deref(&self) -> &Tables {
        &self.tables
    }
}
