//! Records about one system call, into the event that tells it.

use crate::model::{
    Bytes, Call, CallEvent, CommitEvent, Event, GivenText, NamespaceId, NamespaceInode,
    Surroundings,
};
use crate::wire::{cgroup, record};
use hashbrown::HashMap;
use mountwatch_common::limits::TEXT_BYTES_MAX;
use mountwatch_common::record::{ArgumentRecord, CallRecord, flag};

/// Threads whose calls have texts and did not end. More are those whose ends were missed.
const THREADS_MAX: usize = 16_384;
/// Paths that are kept in each of two generations, many times as many as the kernel side takes for
/// told: what it uses is used here too, and stays.
const GENERATION: usize = 16_384;
/// Paths of which a part was told.
const PARTS_MAX: usize = 1_024;

/// One component of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// The thread that told it.
    pub tid: u32,
    /// What the path is of.
    pub key: PathKey,
    /// From 0, which is the last one of the path.
    pub index: u32,
    /// Its name.
    pub name: Bytes,
    /// It is none: the path is whole.
    pub is_end: bool,
}

/// What a path is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PathKey {
    /// An executable.
    Executable(u64),
    /// A cgroup.
    Cgroup(u64),
}

/// What was told of calls that have not ended, and the paths that were told once.
#[derive(Debug, Default)]
pub struct CallReader {
    /// By thread, with when its call began.
    texts: HashMap<u32, (u64, Vec<GivenText>)>,
    parts: HashMap<(u32, PathKey), Vec<Bytes>>,
    young: HashMap<PathKey, Bytes>,
    old: HashMap<PathKey, Bytes>,
}

impl CallReader {
    /// Takes a text that a call was given; `None`: it could not be read.
    pub fn take_text(&mut self, record: &ArgumentRecord, text: Option<Bytes>) {
        let origin = record::origin(&record.header);
        if self.texts.len() >= THREADS_MAX {
            self.texts.clear();
        }
        let begin = origin.begin_ktime_ns;
        let (of, texts) = self.texts.entry(origin.tid).or_default();
        if *of != begin {
            (*of, *texts) = (begin, Vec::new());
        }
        let is_truncated = text.as_ref().is_some_and(|text| text.len() + 1 >= TEXT_BYTES_MAX);
        let index = u8::try_from(record.index).unwrap_or(u8::MAX);
        texts.retain(|known| known.index != index);
        texts.push(GivenText { index, text, is_truncated });
    }

    /// Takes one component of a path.
    pub fn take_component(&mut self, component: Component) {
        let place = (component.tid, component.key);
        if component.index == 0 && self.parts.len() >= PARTS_MAX {
            self.parts.clear();
        }
        let parts = self.parts.entry(place).or_default();
        if component.index == 0 {
            parts.clear();
        }
        // One is missing: it is told anew some time.
        if usize::try_from(component.index) != Ok(parts.len()) {
            self.parts.remove(&place);
            return;
        }
        if !component.is_end {
            parts.push(component.name);
            return;
        }
        let parts = self.parts.remove(&place).unwrap_or_default();
        let mut path = Vec::new();
        for name in parts.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        if path.is_empty() {
            path.push(b'/');
        }
        self.keep(component.key, path.into());
    }

    fn keep(&mut self, key: PathKey, path: Bytes) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.insert(key, path);
    }

    /// A path that is in use stays.
    fn path(&mut self, key: PathKey) -> Option<Bytes> {
        if let Some(path) = self.old.remove(&key) {
            self.keep(key, path);
        }
        self.young.get(&key).cloned()
    }

    /// The call ended.
    pub fn ended(&mut self, record: &CallRecord, call: Call) -> Event {
        let origin = record::origin(&record.header);
        let texts = self.texts.remove(&origin.tid);
        let texts = texts.filter(|(begin, _)| *begin == origin.begin_ktime_ns);
        let known = call.arguments().len();
        let mut arguments = record.args;
        for word in arguments.iter_mut().skip(known) {
            *word = 0;
        }
        let mut texts = texts.map_or_else(Vec::new, |(_, texts)| texts);
        texts.sort_by_key(|text| text.index);
        let event = CallEvent {
            call,
            arguments,
            texts,
            result: record.ret,
            caller: caller(record),
            surroundings: self.surroundings(record),
        };
        Event::Call(origin, Box::new(event))
    }

    fn surroundings(&mut self, record: &CallRecord) -> Surroundings {
        let is_known = record.parent_pid != 0;
        let cgroup_path = self.path(PathKey::Cgroup(record.cgroup));
        Surroundings {
            executable: self.path(PathKey::Executable(record.executable)),
            parent_pid: is_known.then_some(record.parent_pid),
            parent_comm: is_known.then(|| record::until_zero(&record.parent_comm).into()),
            mount_namespace: (record.ns_inum != 0).then_some(NamespaceInode(record.ns_inum)),
            mount_namespace_id: (record.ns_id != 0).then_some(NamespaceId(record.ns_id)),
            pid_namespace: (record.pid_ns_inum != 0).then_some(record.pid_ns_inum),
            container: cgroup_path.as_deref().and_then(cgroup::container_of_path),
            cgroup_path,
        }
    }
}

/// Who made the call.
pub fn caller(record: &CallRecord) -> CommitEvent {
    CommitEvent {
        comm: record::until_zero(&record.comm).into(),
        cgroup_id: record.cgroup_id,
        uid: record.uid,
    }
}

/// Whether the record is of a call's end.
pub fn is_end(record: &CallRecord) -> bool {
    record.header.flags & flag::EXIT != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    fn component(key: PathKey, index: u32, name: &str, is_end: bool) -> Component {
        Component { tid: 8, key, index, name: Bytes::from(name.as_bytes()), is_end }
    }

    fn call() -> CallRecord {
        let mut record = CallRecord::new_zeroed();
        record.header.pid_tgid = (7 << 32) | 8;
        record.header.begin_ktime_ns = 5;
        record.header.ktime_ns = 9;
        record.args = [1, 2, 3, 4, 5, 6];
        record.ret = -16;
        (record.executable, record.cgroup, record.parent_pid) = (100, 100, 3);
        record.parent_comm[..2].copy_from_slice(b"sh");
        record
    }

    fn text(
        begin_ktime_ns: u64,
        index: u32,
        text: Option<&str>,
    ) -> (ArgumentRecord, Option<Bytes>) {
        let mut record = ArgumentRecord::new_zeroed();
        record.header.pid_tgid = (7 << 32) | 8;
        record.header.begin_ktime_ns = begin_ktime_ns;
        record.index = index;
        (record, text.map(|text| Bytes::from(text.as_bytes())))
    }

    #[test]
    fn a_call_is_told_with_its_texts_and_paths() {
        let mut reader = CallReader::default();
        for (begin, index, given) in [(4, 0, Some("/old")), (5, 0, None), (5, 0, Some("/mnt"))] {
            let (record, text) = text(begin, index, given);
            reader.take_text(&record, text);
        }
        let (executable, cgroup) = (PathKey::Executable(100), PathKey::Cgroup(100));
        reader.take_component(component(executable, 0, "umount", false));
        reader.take_component(component(cgroup, 0, "", true));
        reader.take_component(component(executable, 1, "bin", false));
        reader.take_component(component(executable, 2, "", true));
        let Event::Call(origin, event) = reader.ended(&call(), Call::Umount2) else {
            panic!("no call")
        };
        assert_eq!((origin.tid, origin.begin_ktime_ns), (8, 5));
        assert_eq!(event.arguments, [1, 2, 0, 0, 0, 0]);
        assert_eq!(event.texts.len(), 1);
        assert_eq!(event.texts.first().and_then(|text| text.text.as_deref()), Some(&b"/mnt"[..]));
        assert_eq!(event.surroundings.executable.as_deref(), Some(&b"/bin/umount"[..]));
        assert_eq!(event.surroundings.cgroup_path.as_deref(), Some(&b"/"[..]));
        assert_eq!(event.surroundings.parent_comm.as_deref(), Some(&b"sh"[..]));
    }

    #[test]
    fn a_path_with_a_hole_is_no_path() {
        let mut reader = CallReader::default();
        let key = PathKey::Executable(100);
        reader.take_component(component(key, 0, "a", false));
        reader.take_component(component(key, 2, "", true));
        assert_eq!(reader.path(key), None);
        assert!(reader.parts.is_empty());
    }

    #[test]
    fn paths_in_use_stay() {
        let mut reader = CallReader::default();
        let key = PathKey::Executable(u64::MAX);
        reader.keep(key, Bytes::from(&b"/a"[..]));
        for number in 0..4 * GENERATION {
            reader.keep(PathKey::Cgroup(number.try_into().unwrap()), Bytes::from(&b"/"[..]));
            if number % 1_000 == 0 {
                assert!(reader.path(key).is_some(), "{number}");
            }
        }
        assert!(reader.young.len() + reader.old.len() <= 2 * GENERATION);
        assert_eq!(reader.path(PathKey::Cgroup(0)), None);
    }
}
