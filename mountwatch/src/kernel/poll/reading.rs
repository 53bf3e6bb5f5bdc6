//! A mount table as it was read: lines that fit together.

use crate::kernel::notify::dentries::relative;
use crate::model::{NamespaceId, NamespaceInode};
use crate::wire::mountinfo::{self, Line};
use hashbrown::HashMap;

/// One mount namespace as it was read.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    /// Its inode.
    pub(super) inode: NamespaceInode,
    /// Its ID, where the kernel has one.
    pub(super) id: Option<NamespaceId>,
    /// A task in it, if one is known.
    pub(super) task: Option<u32>,
    /// Its mounts, the root first and each after its parent.
    pub(super) mounts: Vec<Placed>,
    /// Unique IDs by mount IDs, where the kernel has them.
    pub(super) unique: HashMap<u32, u64>,
    /// The unique ID of what the root sits on, which nobody sees.
    pub(super) below_root: Option<u64>,
}

/// A line with its place.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    /// The line.
    pub(super) line: Line,
    /// Its parent among the mounts before it; `None`: it is the root of what is seen.
    pub(super) parent: Option<usize>,
    /// The way from the parent's root to the mountpoint.
    pub(super) way: Vec<u8>,
}

/// Puts the lines of a text in their places; also how many have none.
pub(super) fn place(text: &[u8]) -> (Vec<Placed>, usize) {
    let lines: Vec<_> = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let count = lines.len();
    let lines: Vec<Line> =
        lines.into_iter().filter_map(|line| mountinfo::parse(line).ok()).collect();
    // An ID that is there twice was used again while the text was read: the later line is right.
    let last: HashMap<u32, usize> =
        lines.iter().enumerate().map(|(at, line)| (line.id, at)).collect();
    let is_last = |(at, line): (usize, Line)| (last.get(&line.id) == Some(&at)).then_some(line);
    let mut children: HashMap<u32, Vec<Line>> = HashMap::new();
    let mut placed: Vec<Placed> = Vec::with_capacity(lines.len());
    for line in lines.into_iter().enumerate().filter_map(is_last) {
        let is_root = line.parent_id == line.id || !last.contains_key(&line.parent_id);
        if !is_root {
            children.entry(line.parent_id).or_default().push(line);
        } else if placed.is_empty() && line.mountpoint == b"/" {
            placed.push(Placed { line, parent: None, way: Vec::new() });
        }
    }
    let mut at = 0;
    while let Some(parent) = placed.get(at) {
        let (id, mountpoint) = (parent.line.id, parent.line.mountpoint.clone());
        for line in children.remove(&id).unwrap_or_default() {
            let way = relative(&mountpoint, &line.mountpoint).map(<[u8]>::to_vec);
            if let Some(way) = way {
                placed.push(Placed { line, parent: Some(at), way });
            }
        }
        at += 1;
    }
    let torn = count - placed.len();
    (placed, torn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ways(text: &str) -> (Vec<(u32, String)>, usize) {
        let (placed, torn) = place(text.as_bytes());
        let way = |placed: &Placed| String::from_utf8(placed.way.clone()).unwrap();
        (placed.iter().map(|placed| (placed.line.id, way(placed))).collect(), torn)
    }

    #[test]
    fn each_mount_comes_after_its_parent() {
        let (ways, torn) = ways(
            "5 4 0:3 / /a/b/c rw - t t rw\n\
             4 2 0:2 / /a rw - t t rw\n\
             2 1 0:1 / / rw - t t rw\n\
             6 4 0:4 / /a rw - t t rw\n",
        );
        let expected = [(2, ""), (4, "a"), (5, "b/c"), (6, "")];
        assert_eq!(ways, expected.map(|(id, way)| (id, way.to_owned())));
        assert_eq!(torn, 0);
    }

    #[test]
    fn what_fits_to_nothing_is_counted_and_left_out() {
        let (ways, torn) = ways(
            "2 1 0:1 / / rw - t t rw\n\
             4 3 0:2 / /a rw - t t rw\n\
             5 4 0:2 / /a/b rw - t t rw\n\
             6 2 0:2 / /c rw - t t rw\n\
             7 6 0:2 / /d/e rw - t t rw\n\
             nonsense\n",
        );
        assert_eq!(ways.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [2, 6]);
        assert_eq!(torn, 4);
    }

    proptest! {
        #[test]
        fn any_text_has_each_line_once_or_not_at_all(
            lines in proptest::collection::vec((0u32..6, 0u32..6, "/[ab/]{0,4}"), 0..12),
        ) {
            let line = |(id, parent, path): &(u32, u32, String)| {
                format!("{id} {parent} 0:1 / {path} rw - t t rw\n")
            };
            let text = lines.iter().map(line).collect::<Vec<_>>().concat();
            let (placed, torn) = place(text.as_bytes());
            prop_assert_eq!(placed.len() + torn, lines.len());
            for (at, one) in placed.iter().enumerate() {
                prop_assert!(one.parent.is_none_or(|parent| parent < at));
                prop_assert_eq!(one.parent.is_none(), at == 0);
                let id = one.line.id;
                prop_assert_eq!(placed.iter().filter(|other| other.line.id == id).count(), 1);
            }
        }
    }
}
