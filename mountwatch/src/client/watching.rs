//! Changes from an agent.

use super::{ClientError, Whose, bytes};
use crate::model::Revision;
use crate::proto::event::said_of;
use crate::proto::mount::coverage_of;
use crate::proto::{Malformed, v1};
use crate::render::Said;
use std::path::PathBuf;
use tonic::Streaming;
use v1::watch_response::What;

/// A place in the sequence of changes: whoever keeps the last one goes on there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The run of the agent.
    pub instance: u64,
    /// The revision.
    pub revision: Revision,
    /// How many events of that were told; `None`: all.
    pub events: Option<u32>,
}

/// What is followed.
#[derive(Clone, Debug, Default)]
pub struct WatchOptions {
    /// Only mounts at or below this path.
    pub path: Option<PathBuf>,
    /// Whose path that is.
    pub whose: Whose,
    /// Operations too.
    pub operations: bool,
    /// First what is there.
    pub initial: bool,
    /// Go on after this place; `None`: from now on.
    pub after: Option<Position>,
}

impl WatchOptions {
    pub(super) fn message(&self) -> v1::WatchRequest {
        v1::WatchRequest {
            viewpoint: self.whose.message(),
            after: self.after.map(|after| v1::Position {
                instance: after.instance,
                revision: after.revision.0,
                events: after.events,
            }),
            initial: self.initial,
            filter: Some(v1::WatchFilter {
                path: self.path.as_deref().map(bytes).unwrap_or_default(),
                operations: self.operations,
                ..v1::WatchFilter::default()
            }),
        }
    }
}

/// What an agent tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Watched {
    /// Everything after this revision will be told.
    Started(Revision, crate::model::Coverage),
    /// A mount that is there, a change, or that all that is there was told.
    Said(Box<Said>),
    /// Nothing of interest happened up to here.
    Bookmark,
    /// Changes are missing: why. Nothing follows; begin again with what is there.
    Gap(String),
}

/// Changes as they happen.
#[derive(Debug)]
pub struct Watching {
    messages: Streaming<v1::WatchResponse>,
    position: Option<Position>,
}

impl Watching {
    pub(super) fn new(messages: Streaming<v1::WatchResponse>) -> Self {
        Self { messages, position: None }
    }

    /// The place of what was given last.
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// What is told next; `None` once the agent has told why nothing follows.
    pub async fn next(&mut self) -> Result<Option<Watched>, ClientError> {
        let Some(message) = self.messages.message().await? else { return Ok(None) };
        let position = message.position.ok_or(Malformed("position"))?;
        let (instance, revision) = (position.instance, Revision(position.revision));
        self.position = Some(Position { instance, revision, events: position.events });
        let coverage = coverage_of(message.coverage)?;
        Ok(Some(match message.what.ok_or(Malformed("what"))? {
            What::Started(_) => Watched::Started(revision, coverage),
            What::Bookmark(_) => Watched::Bookmark,
            What::Lost(v1::watch_response::Lost { why })
            | What::Compacted(v1::watch_response::Compacted { why }) => Watched::Gap(why),
            what => match said_of(revision, coverage, what)? {
                Some(said) => Watched::Said(Box::new(said)),
                None => Watched::Bookmark,
            },
        }))
    }
}
