//! Who descends from whom, as `/proc` shows it now.

use crate::model::{Bytes, Descent};
use hashbrown::HashMap;
use mountwatch_common::limits;
use std::fs;
use std::io;
use std::path::Path;

/// Whether a thread descends from a process. `None`: it is not there any more.
pub(super) fn of_task(tid: u32, ancestor: u32) -> Option<Descent> {
    let mut at = Status::of(tid)?;
    if at.process == ancestor {
        return Some(Descent::No);
    }
    for _ in 0..limits::ANCESTORS_MAX {
        match at.parent {
            parent if parent == ancestor => return Some(Descent::Yes),
            0 | 1 => return Some(Descent::No),
            parent => at = Status::of(parent)?,
        }
    }
    Some(Descent::Unknown)
}

/// A process that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its ID, in the PID namespace of our `/proc`.
    pub pid: u32,
    /// `comm`.
    pub comm: Bytes,
}

/// The descendants of this process that have not ended, by ID. What vanishes meanwhile is left out, and
/// what nobody has waited for yet.
pub fn living() -> io::Result<Vec<Process>> {
    let mut known = HashMap::new();
    for pid in super::namespaces::numbers(Path::new("/proc"))? {
        if let Some(status) = Status::of(pid) {
            known.insert(pid, status);
        }
    }
    let own = std::process::id();
    let descends = |pid: u32| {
        let mut at = pid;
        for _ in 0..=known.len() {
            match known.get(&at) {
                Some(status) if status.parent == own => return true,
                Some(status) => at = status.parent,
                None => return false,
            }
        }
        false
    };
    let mut found: Vec<_> = known
        .iter()
        .filter(|(pid, status)| !status.has_ended && descends(**pid))
        .map(|(pid, status)| Process { pid: *pid, comm: status.comm.clone() })
        .collect();
    found.sort_by_key(|process| process.pid);
    Ok(found)
}

/// What `/proc/PID/status` says.
#[derive(Debug)]
struct Status {
    process: u32,
    parent: u32,
    has_ended: bool,
    comm: Bytes,
}

impl Status {
    fn of(task: u32) -> Option<Self> {
        let text = fs::read(format!("/proc/{task}/status")).ok()?;
        let line = |name: &[u8]| {
            text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(name))
        };
        let number = |name: &[u8]| std::str::from_utf8(line(name)?.trim_ascii()).ok()?.parse().ok();
        let comm = fs::read(format!("/proc/{task}/comm")).unwrap_or_default();
        Some(Self {
            process: number(b"Tgid:")?,
            parent: number(b"PPid:")?,
            has_ended: matches!(line(b"State:")?.trim_ascii().first(), Some(b'Z' | b'X')),
            comm: comm.strip_suffix(b"\n").unwrap_or(&comm).into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_child_is_found_until_it_ends() {
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
        let (pid, own) = (child.id(), std::process::id());
        let found = living().unwrap().into_iter().any(|process| process.pid == pid);
        let descents = [of_task(pid, own), of_task(own, own), of_task(own, pid)];
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found);
        assert_eq!(descents, [Some(Descent::Yes), Some(Descent::No), Some(Descent::No)]);
        assert_eq!(of_task(pid, own), None);
        assert!(!living().unwrap().into_iter().any(|process| process.pid == pid));
    }
}
