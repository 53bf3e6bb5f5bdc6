//! The proof: the index against the kernel's own files, field by field, in every mount namespace.
//!
//! [`differences`] is pure. [`compare`] reads every namespace's mountinfo from inside the namespace
//! while the tracker goes on; a namespace that changes meanwhile is read again.

use crate::agent::{LOOK_EVERY, Tracker, TrackerError};
use crate::client::{ClientError, blocking};
use crate::kernel::namespaces::{self, NamespacesError};
use crate::kernel::scan::Scanner;
use crate::model::{Dialect, MountId, NamespaceInode};
use crate::render::{self, Secrets};
use crate::state::Snapshot;
use crate::wire::mountinfo::{escape_word, unescape};
use hashbrown::{HashMap, HashSet};
use std::fmt;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use thiserror::Error;

/// How often a namespace that changes while it is read is read again.
const READS_MAX: usize = 8;

/// The fields of a line of mountinfo(5), by the names that differences use.
const FIELDS: [&str; 6] = ["ID", "parent", "device", "root", "mountpoint", "attributes"];

/// Why nothing could be compared.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// The tracker ended.
    #[error(transparent)]
    Tracker(#[from] TrackerError),
    /// The agent gives no answer.
    #[error(transparent)]
    Agent(#[from] ClientError),
    /// The namespaces cannot be listed.
    #[error(transparent)]
    Namespaces(#[from] NamespacesError),
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verification {
    /// Each namespace that could be compared.
    pub namespaces: Vec<NamespaceVerification>,
    /// Namespaces that could not be read, with the reason.
    pub unreadable: Vec<(NamespaceInode, String)>,
    /// Namespaces that changed during each of several reads.
    pub unstable: Vec<NamespaceInode>,
}

/// One namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct NamespaceVerification {
    /// Its inode.
    pub inode: NamespaceInode,
    /// A task in it, if there is one.
    pub task: Option<u32>,
    /// Mounts that the kernel shows.
    pub mounts: usize,
    /// Differences; none is what we want.
    pub differences: Vec<Difference>,
    /// Differences that are known to come and go where one super block cannot be looked at (before
    /// 6.11): what its file system changed by itself since its options were read.
    pub late: Vec<Difference>,
}

/// One difference between the index and the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The kernel shows a mount that the index does not have.
    Missing {
        /// The kernel's line.
        line: Vec<u8>,
    },
    /// The index has a mount that the kernel does not show.
    Surplus {
        /// The index's line.
        line: Vec<u8>,
    },
    /// A field differs.
    Field {
        /// Its mount's ID.
        id: u32,
        /// Its name.
        field: &'static str,
        /// What the index says.
        index: Vec<u8>,
        /// What the kernel says.
        kernel: Vec<u8>,
    },
    /// The same lines in another order.
    Order,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match self {
            Self::Missing { line } => write!(f, "missing in the index: {}", text(line)),
            Self::Surplus { line } => write!(f, "only in the index: {}", text(line)),
            Self::Field { id, field, index, kernel } => write!(
                f,
                "mount {id}: {field} is {:?} in the index and {:?} in the kernel",
                text(index),
                text(kernel)
            ),
            Self::Order => f.write_str("the order of the lines differs"),
        }
    }
}

impl Verification {
    /// Whether everything could be compared and is equal.
    pub fn is_equal(&self) -> bool {
        self.unreadable.is_empty()
            && self.unstable.is_empty()
            && self.namespaces.iter().all(|namespace| namespace.differences.is_empty())
    }
}

/// The differences between two texts of mountinfo(5). Pure. `ordered`: the order counts too (the
/// index keeps the kernel's since 6.8).
pub fn differences(index: &[u8], kernel: &[u8], ordered: bool) -> Vec<Difference> {
    if index == kernel {
        return Vec::new();
    }
    let ours: HashMap<u32, &[u8]> =
        lines(index).filter_map(|line| Some((id(line)?, line))).collect();
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    for line in lines(kernel) {
        let Some(id) = id(line) else { continue };
        seen.insert(id);
        match ours.get(&id) {
            None => found.push(Difference::Missing { line: line.to_vec() }),
            Some(our) if *our != line => fields(id, our, line, &mut found),
            Some(_) => {}
        }
    }
    for line in lines(index) {
        if id(line).is_some_and(|id| !seen.contains(&id)) {
            found.push(Difference::Surplus { line: line.to_vec() });
        }
    }
    if found.is_empty() && ordered {
        found.push(Difference::Order);
    }
    found
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

fn id(line: &[u8]) -> Option<u32> {
    let word = line.split(|byte| *byte == b' ').next()?;
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// Names each field that differs between two lines of one mount.
fn fields(id: u32, index: &[u8], kernel: &[u8], found: &mut Vec<Difference>) {
    let (ours, theirs) = (Line::split(index), Line::split(kernel));
    let mut push = |field, index: &[u8], kernel: &[u8]| {
        if index != kernel {
            let (index, kernel) = (index.to_vec(), kernel.to_vec());
            found.push(Difference::Field { id, field, index, kernel });
        }
    };
    for (at, field) in FIELDS.into_iter().enumerate() {
        let word = |line: &Line| line.head.get(at).map_or(Vec::new(), |word| word.to_vec());
        push(field, &word(&ours), &word(&theirs));
    }
    push("propagation", &ours.tags.join(&b' '), &theirs.tags.join(&b' '));
    for (at, field) in ["fs type", "source", "super options"].into_iter().enumerate() {
        let word = |line: &Line| line.tail.get(at).map_or(Vec::new(), |word| word.to_vec());
        push(field, &word(&ours), &word(&theirs));
    }
}

/// A line in its three parts.
struct Line<'a> {
    head: Vec<&'a [u8]>,
    tags: Vec<&'a [u8]>,
    tail: Vec<&'a [u8]>,
}

impl<'a> Line<'a> {
    fn split(line: &'a [u8]) -> Self {
        let mut words = line.split(|byte| *byte == b' ');
        let head = words.by_ref().take(FIELDS.len()).collect();
        let tags = words.by_ref().take_while(|word| *word != b"-").collect();
        Self { head, tags, tail: words.collect() }
    }
}

/// An index that is compared: a tracker's own, or a copy of an agent's.
struct Compared<'a> {
    now: &'a dyn Fn() -> Result<Arc<Snapshot>, VerifyError>,
    /// Secrets are hidden in it, and so they are in what it is compared with.
    is_hidden: bool,
}

/// Compares every mount namespace of the host with the index, now.
pub fn compare(tracker: &Tracker) -> Result<Verification, VerifyError> {
    compare_all(&Compared { now: &|| Ok(tracker.now()?), is_hidden: false })
}

/// The same with the index of an agent. It has to show all of it: what this process may not see is
/// a difference.
pub fn compare_agent(agent: &blocking::Client) -> Result<Verification, VerifyError> {
    let is_hidden = !agent.version()?.shows_secrets;
    compare_all(&Compared { now: &|| Ok(agent.copy(false)?.snapshot), is_hidden })
}

fn compare_all(index: &Compared<'_>) -> Result<Verification, VerifyError> {
    let mut scanner = Scanner::spawn();
    let mut result = Verification::default();
    let mut found = HashSet::new();
    for namespace in namespaces::all()? {
        found.insert(namespace.inode);
        compare_one(index, &mut scanner, &namespace, &mut result)?;
    }
    // A namespace that the index has and the kernel does not.
    let snapshot = (index.now)()?;
    for known in snapshot.namespaces() {
        let is_there = found.contains(&known.inode)
            || namespaces::open(known.inode, None)?.is_some()
            || (index.now)()?.namespace_by_inode(known.inode).is_none();
        if !is_there {
            let line =
                format!("mount namespace {} with {} mounts", known.inode, known.mount_count());
            result.namespaces.push(NamespaceVerification {
                inode: known.inode,
                task: None,
                mounts: 0,
                differences: vec![Difference::Surplus { line: line.into_bytes() }],
                late: Vec::new(),
            });
        }
    }
    Ok(result)
}

fn compare_one(
    compared: &Compared<'_>,
    scanner: &mut Scanner,
    namespace: &namespaces::FoundNamespace,
    result: &mut Verification,
) -> Result<(), VerifyError> {
    let inode = namespace.inode;
    let mut before = text_of(&*(compared.now)()?, inode);
    let mut has_waited = false;
    for _ in 0..READS_MAX {
        let Ok(fd) = namespace.fd.try_clone() else { break };
        let kernel = match read(scanner, fd) {
            Ok(kernel) if compared.is_hidden => without_secrets(&kernel),
            Ok(kernel) => kernel,
            Err(why) => {
                result.unreadable.push((inode, why));
                return Ok(());
            }
        };
        let snapshot = (compared.now)()?;
        let index = text_of(&snapshot, inode);
        let differences = differences(&index, &kernel, is_ordered(&snapshot, inode));
        // Equal to what the kernel says is right, whatever happened meanwhile; else it counts only
        // if nothing happened meanwhile.
        let is_soon = |found: &Difference| {
            changes_by_itself(&snapshot, found) && !is_late(&snapshot, inode, found)
        };
        if !has_waited && differences.iter().any(is_soon) {
            // It is looked at from time to time.
            std::thread::sleep(LOOK_EVERY * 2);
            has_waited = true;
            before = index;
            continue;
        }
        if differences.is_empty() || index == before {
            let mounts = lines(&kernel).count();
            let task = namespace.task;
            let (late, differences) =
                differences.into_iter().partition(|found| is_late(&snapshot, inode, found));
            result.namespaces.push(NamespaceVerification {
                inode,
                task,
                mounts,
                differences,
                late,
            });
            return Ok(());
        }
        before = index;
    }
    result.unstable.push(inode);
    Ok(())
}

fn text_of(snapshot: &Snapshot, inode: NamespaceInode) -> Vec<u8> {
    snapshot
        .namespace_by_inode(inode)
        .and_then(|namespace| snapshot.viewpoint_of_namespace(namespace.key))
        .map_or_else(Vec::new, |viewpoint| render::mountinfo(snapshot, viewpoint))
}

/// The lines with the values of secrets hidden, as an agent hides them.
fn without_secrets(text: &[u8]) -> Vec<u8> {
    let hide = |line: &[u8]| {
        let mut line = Line::split(line);
        // The third and the fourth field from the end: `- type source options`.
        let source = line.tail.get(1).map(|source| hidden_source(source));
        let options = line.tail.get(2).map(|options| Secrets::Hidden.options(options));
        let mut words: Vec<&[u8]> = std::mem::take(&mut line.head);
        words.append(&mut line.tags);
        words.push(b"-");
        words.extend(line.tail.first());
        words.extend(source.as_deref());
        words.extend(options.as_deref());
        let mut line = words.join(&b' ');
        line.push(b'\n');
        line
    };
    lines(text).flat_map(hide).collect()
}

/// A source is told with the kernel's escapes, and hidden without them.
fn hidden_source(source: &[u8]) -> Vec<u8> {
    let plain = unescape(source);
    let hidden = Secrets::Hidden.source(&plain);
    if hidden == plain { source.to_vec() } else { escape_word(&hidden, Dialect::default()) }
}

/// Whether a difference is one of a file system that changed by itself, on a kernel where that is
/// seen late: one without IDs of namespaces, which came with the options of statmount(2).
fn is_late(snapshot: &Snapshot, inode: NamespaceInode, difference: &Difference) -> bool {
    snapshot.namespace_by_inode(inode).is_some_and(|namespace| namespace.id.is_none())
        && changes_by_itself(snapshot, difference)
}

/// Whether a difference is one of a file system that may have changed by itself.
fn changes_by_itself(snapshot: &Snapshot, difference: &Difference) -> bool {
    let Difference::Field { id, field: "super options", .. } = difference else { return false };
    snapshot
        .mount_by_id(MountId(*id))
        .and_then(|mount| snapshot.super_block(mount.super_block))
        .is_some_and(|known| known.changes_by_itself())
}

/// The index keeps the kernel's order where mounts have unique IDs.
fn is_ordered(snapshot: &Snapshot, inode: NamespaceInode) -> bool {
    snapshot
        .namespace_by_inode(inode)
        .and_then(|namespace| snapshot.mount(namespace.keys().next()?)?.unique_id)
        .is_some()
}

fn read(scanner: &mut Scanner, namespace: OwnedFd) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    scanner
        .scan(namespace, |piece| {
            text.extend_from_slice(piece);
            ControlFlow::Continue(())
        })
        .map_err(|error| error.to_string())?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Bytes, Device, Event, MountEvent, MountKey, NamespaceId, NamespaceKey, Origin, SuperEvent,
        SuperFlags, SuperKey,
    };
    use crate::state::State;
    use mountwatch_common::hook;

    #[test]
    fn secrets_are_hidden_as_an_agent_hides_them() {
        let text =
            b"22 27 0:21 / /a rw shared:5 master:2 - cifs //u:p@h/x rw,password=a=b,vers=3\n\
            23 27 0:22 / /b ro - tmpfs a\\040b rw,size=4k\n";
        let hidden = String::from_utf8(without_secrets(text)).unwrap();
        insta::assert_snapshot!(hidden, @r"
        22 27 0:21 / /a rw shared:5 master:2 - cifs //u:p@h/x rw,password=<hidden>,vers=3
        23 27 0:22 / /b ro - tmpfs a\040b rw,size=4k
        ");
    }

    const LINE: &[u8] = b"22 27 0:21 / /proc rw,relatime shared:5 - proc proc rw\n";

    /// One namespace with one mount.
    fn snapshot(device: Device, namespace_id: Option<NamespaceId>) -> Snapshot {
        let scan = Origin { hook: hook::SCAN, scan: true, ..Origin::default() };
        let mut state = State::new(Vec::new());
        let super_block = SuperEvent {
            key: SuperKey(9),
            device,
            magic: 0,
            flags: SuperFlags::empty(),
            fs_type: Bytes::from(&b"ext4"[..]),
            options_stale: false,
            options: None,
        };
        let mount = MountEvent {
            key: MountKey(1),
            parent: MountKey(1),
            id: MountId(22),
            super_block: SuperKey(9),
            device,
            namespace: Some(NamespaceKey(5)),
            namespace_id,
            namespace_inode: NamespaceInode(5),
            is_namespace_root: true,
            ..MountEvent::default()
        };
        state.apply(Event::Super(scan, super_block));
        state.apply(Event::Mount(scan, Box::new(mount)));
        state.snapshot()
    }

    #[test]
    fn late_are_options_of_a_disk_where_it_cannot_be_looked_at_and_nothing_else() {
        let (disk, none) = (Device::new(8, 1), Device::new(0, 21));
        let field = |field| Difference::Field { id: 22, field, index: vec![], kernel: vec![] };
        let late = |device, id, difference: &Difference| {
            is_late(&snapshot(device, id), NamespaceInode(5), difference)
        };
        assert!(late(disk, None, &field("super options")));
        assert!(!late(disk, None, &field("source")));
        assert!(!late(disk, None, &Difference::Order));
        assert!(!late(none, None, &field("super options")));
        assert!(!late(disk, Some(NamespaceId(7)), &field("super options")));
    }

    #[test]
    fn equal_texts_have_no_differences() {
        assert_eq!(differences(LINE, LINE, true), []);
    }

    #[test]
    fn each_field_is_named() {
        let other = b"22 27 0:21 / /proc ro,relatime master:5 - proc none rw,hidepid=2\n";
        let names: Vec<_> = differences(LINE, other, true)
            .into_iter()
            .map(|difference| match difference {
                Difference::Field { field, .. } => field,
                other => panic!("{other}"),
            })
            .collect();
        assert_eq!(names, ["attributes", "propagation", "source", "super options"]);
    }

    #[test]
    fn missing_surplus_and_order_are_told() {
        let other = b"23 27 0:22 / /sys rw - sysfs sysfs rw\n";
        let both = [LINE, other].concat();
        let swapped = [other, LINE].concat();
        assert_eq!(
            differences(LINE, &both, true),
            [Difference::Missing { line: other.trim_ascii_end().to_vec() }]
        );
        assert_eq!(
            differences(&both, LINE, true),
            [Difference::Surplus { line: other.trim_ascii_end().to_vec() }]
        );
        assert_eq!(differences(&both, &swapped, true), [Difference::Order]);
        assert_eq!(differences(&both, &swapped, false), []);
    }
}
