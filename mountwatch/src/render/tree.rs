//! The tree of listed mounts, and how it is drawn.

use crate::model::{Mount, MountKey};
use crate::query::Listed;
use crate::state::Tables;
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

/// The rows of a list with this shape. For a tree the list is [`in_tree_order`], perhaps with some
/// taken out: what sits on one of those hangs from the next listed mount above it.
pub(super) fn rows_of(tables: &Tables, mounts: &[Listed], shape: Shape) -> Vec<Row> {
    match shape {
        Shape::Flat | Shape::TreeOrder => {
            (0..mounts.len()).map(|index| Row { index, level: 0, is_last: false }).collect()
        }
        Shape::Tree(_) => rows(tables, mounts),
    }
}

fn rows(tables: &Tables, mounts: &[Listed]) -> Vec<Row> {
    let mut above = Above::of(tables, mounts);
    let mut roots = Vec::new();
    let mut children: HashMap<_, Vec<usize>> = HashMap::new();
    for (index, Listed { mount, .. }) in mounts.iter().enumerate() {
        match above.nearest(mount) {
            Some(parent) => children.entry(parent).or_default().push(index),
            None => roots.push(index),
        }
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

/// The nearest listed mount above others. Each way up is walked once.
struct Above<'a> {
    tables: &'a Tables,
    listed: HashSet<MountKey>,
    known: HashMap<MountKey, Option<MountKey>>,
}

impl<'a> Above<'a> {
    fn of(tables: &'a Tables, mounts: &[Listed]) -> Self {
        let listed = mounts.iter().map(|listed| listed.mount.key).collect();
        Self { tables, listed, known: HashMap::new() }
    }

    fn nearest(&mut self, mount: &Mount) -> Option<MountKey> {
        let mut way = vec![mount.key];
        let mut at = mount;
        let found = loop {
            let parent = at.parent;
            if parent == at.key || way.len() > self.tables.mount_count() {
                break None;
            }
            if self.listed.contains(&parent) {
                break Some(parent);
            }
            if let Some(known) = self.known.get(&parent) {
                break *known;
            }
            way.push(parent);
            match self.tables.mount(parent) {
                Some(parent) => at = parent,
                None => break None,
            }
        };
        self.known.extend(way.into_iter().map(|key| (key, found)));
        found
    }
}

/// The mounts in the order of the tree: each before those that sit on it, and those by mount ID, as
/// findmnt(8) has them. A mount whose parent is not listed is a root; roots keep the order of the list.
pub fn in_tree_order(tables: &Tables, mounts: &[Listed]) -> Vec<Listed> {
    let mut by_id: Vec<_> = mounts.to_vec();
    let listed: HashSet<_> = mounts.iter().map(|listed| listed.mount.key).collect();
    let is_root = |listed_one: &Listed| {
        let mount = &listed_one.mount;
        mount.is_detached_root() || !listed.contains(&mount.parent)
    };
    // Stable: roots stay as they are, before all others.
    by_id.sort_by_key(|one| if is_root(one) { None } else { Some(one.mount.id) });
    rows(tables, &by_id).iter().filter_map(|row| by_id.get(row.index)).cloned().collect()
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
    fn what_sits_on_a_mount_that_is_left_out_hangs_from_the_next_one_above() {
        let text = "\
1 0 8:1 / / rw - ext4 d rw
5 1 0:5 / /z rw - tmpfs z rw
3 1 0:3 / /b rw - tmpfs b rw
4 3 0:4 / /b/x rw - proc x rw
6 4 0:6 / /b/x/y rw - tmpfs y rw
2 3 0:2 / /b/w rw - tmpfs w rw
";
        let view = crate::fake::Index::new().namespace(1, text).unwrap().view(1).unwrap();
        let tables = view.snapshot();
        let list = in_tree_order(tables, &tables.list(view.viewpoint()));
        let check = |without: &[u32]| {
            let mut list = list.clone();
            list.retain(|listed| !without.contains(&listed.mount.id.0));
            let rows = rows_of(tables, &list, Shape::Tree(Symbols::Ascii));
            let prefixes = prefixes(&rows, Symbols::Ascii);
            let ids = rows.iter().map(|row| list.get(row.index).unwrap().mount.id.to_string());
            prefixes.into_iter().zip(ids).map(|(prefix, id)| prefix + &id).collect::<Vec<_>>()
        };
        assert_eq!(check(&[]), ["1", "|-3", "| |-2", "| `-4", "|   `-6", "`-5"]);
        assert_eq!(check(&[3]), ["1", "|-2", "|-4", "| `-6", "`-5"]);
        assert_eq!(check(&[3, 4]), ["1", "|-2", "|-6", "`-5"]);
        assert_eq!(check(&[1, 4]), ["3", "|-2", "`-6", "5"]);
    }

    #[test]
    fn a_deep_tree_is_drawn_to_a_limit() {
        let rows: Vec<_> = (0..10_000).map(|level| row(level, true)).collect();
        let widest = prefixes(&rows, Symbols::Ascii).iter().map(String::len).max();
        assert!(widest <= Some(2 * LEVELS_MAX), "{widest:?}");
    }
}
