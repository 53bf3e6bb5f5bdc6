//! How much of the truth an answer rests on.

use std::fmt;
use std::sync::Arc;

/// How far an answer can be trusted. Every answer carries one, so a clone copies no sentence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Coverage {
    /// Everything is known and every change will be told.
    Complete,
    /// Something was lost or is not known yet; a scan is under way or needed.
    #[default]
    Stale,
    /// Known at every change that the back end can see; the sentences say what it cannot see.
    Blind(Arc<[String]>),
    /// Read again from time to time: right when nothing moves. The sentences say what that cannot
    /// see.
    Polling(Arc<[String]>),
}

impl Coverage {
    /// The word for it: `complete`, `stale`, `blind` or `polling`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Stale => "stale",
            Self::Blind(_) => "blind",
            Self::Polling(_) => "polling",
        }
    }

    /// What cannot be seen, in sentences.
    pub fn blind(&self) -> &[String] {
        match self {
            Self::Blind(sentences) | Self::Polling(sentences) => sentences,
            _ => &[],
        }
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
