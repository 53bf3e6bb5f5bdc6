//! The simulated kernel against the real one: the same sequential programs on both.
//!
//! Numbers of mounts, devices and groups differ, and so do options that file systems print. So a
//! mount is known by its place, and numbers are renamed in the order in which they are met.

use super::execute::Ended;
use super::fuzz;
use super::generate::{Flavour, Happening, program};
use super::kernel::Kernel;
use super::namespaces::HOST;
use super::shrink;
use super::world::World as Simulated;
use crate::command::Command;
use crate::program::PREPARATION;
use crate::scenario::{Action, Line, MAIN};
use crate::task::{self, Reply};
use crate::world::World as Real;
use anyhow::{Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Words of a super block's options that the kernel writes itself.
const SUPER_WORDS: [&str; 5] = ["rw", "ro", "sync", "dirsync", "lazytime"];

/// What one program gave.
#[derive(Clone, Debug, Default)]
pub(super) struct Compared {
    /// Lines that ran on both.
    pub(super) lines: u64,
    /// Views that were compared.
    pub(super) views: u64,
    /// The first difference, and the lines that lead there.
    pub(super) difference: Option<(Vec<String>, Vec<String>)>,
}

/// Runs the program of a seed on both kernels; one that shows a difference is made small.
pub(super) fn seed(seed: u64, base: &Path) -> Result<Compared> {
    let happenings = program(seed, Flavour::Real);
    let mut compared = run(&happenings, base)?;
    if compared.difference.is_some() {
        let fails = |candidate: &[Happening]| {
            run(candidate, base).is_ok_and(|compared| compared.difference.is_some())
        };
        let small = shrink::shrink(&happenings, fails);
        compared = run(&small, base)?;
    }
    Ok(compared)
}

fn run(happenings: &[Happening], base: &Path) -> Result<Compared> {
    let mut both = Both::new(base)?;
    let mut compared = Compared::default();
    let mut file = Vec::from(["## all".to_owned()]);
    let lines = happenings.iter().filter_map(|happening| match happening {
        Happening::Line(line) => Some(&**line),
        _ => None,
    });
    for line in PREPARATION.iter().copied().chain(lines) {
        let Some(parsed) = fuzz::runnable(&both.kernel, line) else { continue };
        let (said, found) = both.line(&parsed, line)?;
        compared.lines += 1;
        file.push(said);
        let found = if found.is_empty() { both.differences(&mut compared) } else { found };
        if !found.is_empty() {
            compared.difference = Some((found, file));
            break;
        }
    }
    both.real.tear_down();
    Ok(compared)
}

struct Both {
    kernel: Kernel,
    real: Real,
    base: Vec<u8>,
}

impl Both {
    fn new(base: &Path) -> Result<Self> {
        let real = Real::new(base)?;
        let base = base.as_os_str().as_encoded_bytes().to_vec();
        let mut kernel = Kernel::boot(&base);
        kernel.fork(MAIN);
        kernel.run(MAIN, &Command::Setup { base: base.clone() });
        Ok(Self { kernel, real, base })
    }

    /// Runs a line on both: the line with what the real kernel said, and what differs.
    fn line(&mut self, line: &Line, text: &str) -> Result<(String, Vec<String>)> {
        let ended = match &line.action {
            Action::Namespace { name, of, how } => self.kernel.start(name, of, &self.base, *how),
            action => Simulated::act(&mut self.kernel, &line.task, action),
        };
        let simulated = match ended {
            Ended::Done => "OK".to_owned(),
            Ended::Refused(error) => task::name_of(error),
            Ended::Failed(why) if why.starts_with("nothing is held") => why,
            Ended::Failed(why) => bail!("{text}: {why}"),
        };
        let reply = match &line.action {
            Action::Run(command) => self.real.command(&line.task, &line.text, command)?,
            Action::Namespace { name, of, how } => self.real.namespace(name, of, *how)?,
            Action::End { name, by_kill } => {
                self.real.end(name, *by_kill)?;
                Reply::Done(0)
            }
            Action::Thread { .. } | Action::Rescan => bail!("{text} is no line of a program"),
        };
        let real = match reply {
            Reply::Done(_) => "OK".to_owned(),
            Reply::Refused(error) => error,
            Reply::Failed(why) => why,
        };
        let said = if real == "OK" { text.to_owned() } else { fuzz::expecting(text, &real) };
        let found = if simulated == real {
            Vec::new()
        } else {
            vec![format!("{text}: the model says {simulated}, the kernel {real}")]
        };
        Ok((said, found))
    }

    /// What differs in the view of any task.
    fn differences(&self, compared: &mut Compared) -> Vec<String> {
        let (mut model, mut kernel) = (Renamed::default(), Renamed::default());
        let mut found = Vec::new();
        for viewer in self.real.viewers() {
            if !self.kernel.has_task(&viewer.name) || viewer.name == HOST {
                found.push(format!("{} is not in the model", viewer.name));
                continue;
            }
            let known = self.kernel.task(&viewer.name);
            let simulated = self.kernel.mountinfo(known.ns, known.root);
            let path = format!("/proc/{}/task/{}/mountinfo", viewer.pid, viewer.tid);
            let Ok(real) = fs::read(path) else { continue };
            compared.views += 1;
            let (ours, theirs) =
                (model.view(&simulated, &self.base), kernel.view(&real, &self.base));
            if ours != theirs {
                let only = |these: &[String], those: &[String], whose: &str| -> Vec<String> {
                    let differs = these.iter().filter(|line| !those.contains(line));
                    differs.map(|line| format!("{}: {whose}: {line}", viewer.name)).collect()
                };
                found.extend(only(&ours, &theirs, "model"));
                found.extend(only(&theirs, &ours, "kernel"));
            }
        }
        found
    }
}

/// Numbers by the order in which they are met.
#[derive(Default)]
struct Renamed {
    groups: BTreeMap<String, usize>,
    devices: BTreeMap<String, usize>,
}

impl Renamed {
    /// The mounts below the base directory, in the order of their places.
    fn view(&mut self, file: &[u8], base: &[u8]) -> Vec<String> {
        let text = String::from_utf8_lossy(file).into_owned();
        let base = String::from_utf8_lossy(base).into_owned();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(' ').collect()).collect();
        let by_id: BTreeMap<&str, &Vec<&str>> =
            lines.iter().filter_map(|words| Some((*words.first()?, words))).collect();
        let mut placed: Vec<(String, &Vec<&str>)> = lines
            .iter()
            .filter(|words| {
                words.get(4).is_some_and(|path| {
                    path.strip_prefix(&*base)
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                })
            })
            .map(|words| (place(words, &by_id, &base), words))
            .collect();
        placed.sort();
        placed.into_iter().map(|(place, words)| self.line(&place, words)).collect()
    }

    fn line(&mut self, place: &str, words: &[&str]) -> String {
        let word = |at: usize| words.get(at).copied().unwrap_or_default();
        let dash = words.iter().position(|word| *word == "-").unwrap_or(words.len());
        let optional: Vec<String> =
            words.get(6..dash).unwrap_or_default().iter().map(|word| self.group(word)).collect();
        let flags: Vec<&str> =
            word(dash + 3).split(',').filter(|word| SUPER_WORDS.contains(word)).collect();
        let next = self.devices.len();
        let device = *self.devices.entry(word(2).to_owned()).or_insert(next);
        format!(
            "{place} dev {device} {} {} {} - {} {} {}",
            word(3),
            word(5),
            optional.join(" "),
            word(dash + 1),
            word(dash + 2),
            flags.join(",")
        )
    }

    fn group(&mut self, word: &str) -> String {
        let Some((key, number)) = word.split_once(':') else { return word.to_owned() };
        let next = self.groups.len();
        format!("{key}:{}", self.groups.entry(number.to_owned()).or_insert(next))
    }
}

/// The mountpoints from the base directory down to a mount: where it sits, whatever its number.
fn place(words: &[&str], by_id: &BTreeMap<&str, &Vec<&str>>, base: &str) -> String {
    let mut places = Vec::new();
    let mut at = words;
    while let (Some(path), Some(parent)) = (at.get(4), at.get(1)) {
        let Some(rest) = path.strip_prefix(base) else { break };
        places.push(if rest.is_empty() { "/" } else { rest });
        match by_id.get(parent) {
            Some(above) if places.len() < by_id.len() => at = above,
            _ => break,
        }
    }
    places.reverse();
    places.join(" > ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_do_not_matter_and_places_do() {
        let one = b"1 0 0:9 / / rw - ext4 x rw\n\
            7 1 0:5 / /b rw shared:3 - tmpfs s rw,size=1k\n8 7 0:6 / /b/c rw master:3 - tmpfs s rw\n";
        let other = b"61 60 0:9 / / rw - ext4 x rw\n\
            78 67 0:8 / /b/c rw master:1 - tmpfs s rw\n67 61 0:7 / /b rw shared:1 - tmpfs s rw\n";
        let view = |file: &[u8]| Renamed::default().view(file, b"/b");
        assert_eq!(view(one), view(other));
        assert_eq!(view(one).len(), 2);
        let moved = String::from_utf8_lossy(other).replace("master:1", "master:2");
        assert_ne!(view(one), view(moved.as_bytes()));
    }
}
