//! The tree of listed mounts, and how it is drawn.

use crate::query::Listed;
use hashbrown::{HashMap, HashSet};

/// Levels that are drawn and indented; deeper ones stand below each other. A stack of 100,000
/// mounts at one place is a legal tree, and its drawing would be gigabytes.
pub(super) const LEVELS_MAX: usize = 64;

/// A row of the tree, from the top down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Which of the listed mounts.
    pub(super) index: usize,
    pub(super) level: usize,
    pub(super) is_last: bool,
}

/// How a list is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// In the kernel's order.
    Flat,
    /// In the order of the tree, which is not drawn.
    TreeOrder,
    /// As a tree: drawn with these characters; in JSON with `children`.
    Tree(Symbols),
}

/// The rows of a list with this shape.
pub(super) fn rows_of(mounts: &[Listed], shape: Shape) -> Vec<Row> {
    match shape {
        Shape::Flat => flat((0..mounts.len()).collect()),
        Shape::TreeOrder => flat(rows(mounts).into_iter().map(|row| row.index).collect()),
        Shape::Tree(_) => rows(mounts),
    }
}

fn flat(order: Vec<usize>) -> Vec<Row> {
    order.into_iter().map(|index| Row { index, level: 0, is_last: false }).collect()
}

/// The mounts in the order of a tree: children below their parent, by mount ID as findmnt(8) has
/// them. A mount whose parent is not listed is a root; roots keep the order of the list.
fn rows(mounts: &[Listed]) -> Vec<Row> {
    let listed: HashSet<_> = mounts.iter().map(|listed| listed.mount.key).collect();
    let mut roots = Vec::new();
    let mut children: HashMap<_, Vec<usize>> = HashMap::new();
    for (index, Listed { mount, .. }) in mounts.iter().enumerate() {
        if mount.is_detached_root() || !listed.contains(&mount.parent) {
            roots.push(index);
        } else {
            children.entry(mount.parent).or_default().push(index);
        }
    }
    for below in children.values_mut() {
        below.sort_by_key(|index| mounts.get(*index).map(|listed| listed.mount.id));
    }
    let mut rows = Vec::with_capacity(mounts.len());
    let mut pending = Vec::new();
    push(&mut pending, &roots, 0);
    while let Some(row) = pending.pop() {
        rows.push(row);
        let key = mounts.get(row.index).map(|listed| listed.mount.key);
        if let Some(below) = key.and_then(|key| children.remove(&key)) {
            push(&mut pending, &below, row.level + 1);
        }
    }
    rows
}

/// The mounts in the order of the whole tree, so that what is left of them after a selection stands
/// in the order in which findmnt(8) shows it.
pub fn in_tree_order(mounts: &[Listed]) -> Vec<Listed> {
    rows(mounts).iter().filter_map(|row| mounts.get(row.index)).cloned().collect()
}

/// The last one is pushed first, so that the first one is popped first.
fn push(pending: &mut Vec<Row>, indexes: &[usize], level: usize) {
    for (place, index) in indexes.iter().enumerate().rev() {
        pending.push(Row { index: *index, level, is_last: place + 1 == indexes.len() });
    }
}

/// The characters of which trees are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symbols {
    /// Box drawing characters.
    Utf8,
    /// ASCII characters.
    Ascii,
}

/// What stands before the text of each row.
pub(super) fn prefixes(rows: &[Row], symbols: Symbols) -> Vec<String> {
    let (branch, last, line) = match symbols {
        Symbols::Utf8 => ("├─", "└─", "│ "),
        Symbols::Ascii => ("|-", "`-", "| "),
    };
    // For each level above the row, whether its line goes on.
    let mut goes_on: Vec<bool> = Vec::new();
    let mut prefixes = Vec::with_capacity(rows.len());
    for row in rows {
        goes_on.truncate(row.level.min(LEVELS_MAX));
        let mut prefix: String =
            goes_on.iter().skip(1).map(|goes_on| if *goes_on { line } else { "  " }).collect();
        if row.level > 0 {
            prefix.push_str(if row.is_last { last } else { branch });
        }
        prefixes.push(prefix);
        goes_on.push(!row.is_last);
    }
    prefixes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(level: usize, is_last: bool) -> Row {
        Row { index: 0, level, is_last }
    }

    #[test]
    fn a_tree_is_drawn_as_findmnt_draws_it() {
        let rows = [
            row(0, true),
            row(1, false),
            row(2, false),
            row(3, true),
            row(2, true),
            row(1, true),
            row(2, true),
        ];
        assert_eq!(
            prefixes(&rows, Symbols::Utf8),
            ["", "├─", "│ ├─", "│ │ └─", "│ └─", "└─", "  └─"]
        );
        assert_eq!(
            prefixes(&rows, Symbols::Ascii),
            ["", "|-", "| |-", "| | `-", "| `-", "`-", "  `-"]
        );
    }

    #[test]
    fn a_deep_tree_is_drawn_to_a_limit() {
        let rows: Vec<_> = (0..10_000).map(|level| row(level, true)).collect();
        let widest = prefixes(&rows, Symbols::Ascii).iter().map(String::len).max();
        assert!(widest <= Some(2 * LEVELS_MAX), "{widest:?}");
    }
}
