//! Which mounts count as bind mounts. That depends on other mounts that show the same directory, so
//! those are judged again whenever one of them changes, and no others.

use super::{Source, Touched, Writer};
use crate::layout::{
    BIND_OBJECT, BIND_PART, D_OWN, D_PARENT, D_SIBLINGS, M_PARENT, M_SHOWN, M_SIBLINGS, M_SUPER,
};
use std::collections::HashMap;

/// What has to be judged again.
#[derive(Debug, Default)]
pub(super) struct Cases {
    /// Dentries (keys) that changed mounts show, or showed; and whether mounts of directories above
    /// them matter.
    pub(super) roots: HashMap<u64, bool>,
    /// Dentries (numbers) that have another parent.
    pub(super) moved: Vec<u32>,
    /// Super blocks (numbers) of another type.
    pub(super) retyped: Vec<u32>,
}

impl Writer {
    pub(super) fn judge<S: Source>(&self, source: &S, touched: &Touched, cases: &Cases) {
        let mut pending: Vec<u32> = Vec::new();
        for key in &touched.mounts {
            if let Some(slot) = self.mount_slots.get(key) {
                self.judge_one(source, *slot, &mut pending);
            }
        }
        for (key, matters_below) in &cases.roots {
            let Some(root) = self.dentry_slots.get(key).copied() else { continue };
            self.judge_shown(source, root, &mut pending);
            if *matters_below {
                self.judge_below(source, root, &mut pending);
            }
        }
        for key in &touched.shown_elsewhere {
            let Some(root) = self.dentry_slots.get(key).copied() else { continue };
            // One that shows it alone in its namespace is real, whatever others there are.
            let first = self.cells.high(self.cells.dentry(root, D_OWN));
            if first != 0 && self.cells.low(self.cells.mount(first, M_SHOWN)) != 0 {
                self.judge_shown(source, root, &mut pending);
            }
        }
        for dentry in &cases.moved {
            self.judge_shown(source, *dentry, &mut pending);
            self.judge_below(source, *dentry, &mut pending);
        }
        for super_block in &cases.retyped {
            for slot in self.mount_slots.values() {
                if self.cells.low(self.cells.mount(*slot, M_SUPER)) == *super_block {
                    self.judge_one(source, *slot, &mut pending);
                }
            }
        }
        // What a recursive bind copied is what the mount is on which it sits.
        while let Some(mount) = pending.pop() {
            let mut child = self.cells.high(self.cells.mount(mount, M_PARENT));
            while child != 0 {
                self.judge_one(source, child, &mut pending);
                child = self.cells.low(self.cells.mount(child, M_SIBLINGS));
            }
        }
    }

    /// Whether it is something else than before.
    fn judge_one<S: Source>(&self, source: &S, slot: u32, pending: &mut Vec<u32>) -> bool {
        let Some(key) = self.mount_keys.get(slot as usize) else { return false };
        let (at, bind) = (self.cells.mount(slot, M_SUPER), source.bind(*key));
        let is_other = self.cells.high(at) != bind;
        if is_other {
            self.cells.set_high(at, bind);
            pending.push(slot);
        }
        is_other
    }

    /// All that show a dentry. Objects and parts are so by what they show: if one is that as before,
    /// the others are too.
    fn judge_shown<S: Source>(&self, source: &S, root: u32, pending: &mut Vec<u32>) {
        let mut mount = self.cells.high(self.cells.dentry(root, D_OWN));
        while mount != 0 {
            let is_other = self.judge_one(source, mount, pending);
            let bind = self.cells.high(self.cells.mount(mount, M_SUPER));
            if !is_other && matches!(bind, BIND_OBJECT | BIND_PART) {
                break;
            }
            mount = self.cells.low(self.cells.mount(mount, M_SHOWN));
        }
    }

    /// All that show something below a dentry, of file systems where that matters.
    fn judge_below<S: Source>(&self, source: &S, dentry: u32, pending: &mut Vec<u32>) {
        let mut dentries = vec![dentry];
        while let Some(dentry) = dentries.pop() {
            let shown = self.cells.high(self.cells.dentry(dentry, D_OWN));
            if shown != 0 {
                let super_block = self.cells.low(self.cells.mount(shown, M_SUPER));
                let key = self.super_keys.get(super_block as usize);
                if !key.is_some_and(|key| source.is_partly_mounted(*key)) {
                    return;
                }
                self.judge_shown(source, dentry, pending);
            }
            let mut child = self.cells.high(self.cells.dentry(dentry, D_PARENT));
            while child != 0 {
                dentries.push(child);
                child = self.cells.low(self.cells.dentry(child, D_SIBLINGS));
            }
        }
    }
}
