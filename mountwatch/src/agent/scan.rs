//! Scans: what a back end tells of whole namespaces, into the state.

use super::losses::Lost;
use super::options::Texts;
use super::source::{Sink, SourceError, Target};
use super::steps;
use super::writer::Writer;
use crate::model::{Event, NamespaceInode};
use crate::state::{Published, ScanMark, State};
use std::cell::Cell;
use std::rc::Rc;

/// Sentences about namespaces that cannot be scanned, which `status` shows.
const REFUSED_MAX: usize = 64;

/// The writer's end of a scan.
struct Scanning<'a> {
    state: &'a mut State,
    panic: Rc<Cell<Option<u64>>>,
    mark: ScanMark,
    texts: Texts,
    /// Namespaces that were told.
    told: u64,
    unscanned: Vec<String>,
    /// Changes that ended meanwhile, and how many of them are wanted one by one.
    steps: Vec<Published>,
    room: usize,
}

impl Sink for Scanning<'_> {
    fn begin(&mut self) {
        self.mark = self.state.begin_scan();
        self.texts = Texts::new(self.state);
    }

    fn take(&mut self, text: &[u8], events: Vec<Event>, lost: Lost) {
        let room = self.room.saturating_sub(self.steps.len());
        self.steps.extend(steps::apply(self.state, events, &lost, &self.panic, room));
        self.texts.take(text, self.state);
    }

    fn end(&mut self, inode: NamespaceInode, is_whole: bool) {
        self.told += 1;
        if !is_whole {
            self.state.lost_of_scan(inode);
        }
        self.state.end_scan(self.mark, inode);
    }

    fn refused(&mut self, inode: NamespaceInode, error: &SourceError) {
        self.told += 1;
        let sentence = format!("mount namespace {inode} cannot be scanned: {error}");
        log::warn!("{sentence}");
        self.unscanned.push(sentence);
    }

    fn not_found(&mut self, inode: NamespaceInode, is_gone: bool) {
        if is_gone {
            self.state.namespace_vanished(inode);
        } else {
            self.state.namespace_not_found(inode);
        }
    }
}

impl Writer {
    /// Scans every namespace.
    pub(super) fn scan_all(&mut self) -> Result<(), SourceError> {
        let mark = self.parts().0.begin_scan_of_all();
        let (found, unscanned) = self.scan(Target::All)?;
        // A scan may meet what the back end did not know that it cannot see, and a namespace that
        // cannot be scanned is in no table that could say so.
        let mut blind = self.source().blind();
        blind.extend(unscanned);
        let (state, _) = self.parts();
        state.set_blind(blind);
        state.end_scan_of_all(mark, &found);
        Ok(())
    }

    /// Scans one namespace, if it is still there, or reads what a task sees of its own.
    pub(super) fn scan_one(&mut self, target: Target) -> Result<(), SourceError> {
        self.scan(target).map(drop)
    }

    fn scan(&mut self, target: Target) -> Result<(Vec<NamespaceInode>, Vec<String>), SourceError> {
        let room = self.room();
        let (source, state, panic) = self.split();
        let (mark, texts) = (state.begin_scan(), Texts::new(state));
        let (unscanned, steps) = (Vec::new(), Vec::new());
        let mut sink = Scanning { state, panic, mark, texts, told: 0, unscanned, steps, room };
        let found = source.scan(target, &mut sink);
        let (told, unscanned, steps) = (sink.told, sink.unscanned, sink.steps);
        for step in steps {
            self.show(step);
        }
        self.parts().1.rescans += told + u64::from(matches!(target, Target::Task(_)));
        for sentence in &unscanned {
            self.note_refused(sentence, REFUSED_MAX);
        }
        Ok((found?, unscanned))
    }
}
