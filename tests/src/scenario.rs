//! Scenario files: a story in steps; after each step the index must be what the kernel says.
//!
//! ```text
//! # What it is about, and why.
//! needs: kernel 6.5 MOVE_MOUNT_BENEATH
//! needs: filesystem ext4
//! blind: notify renames are not notified
//!
//! ## a title
//! ns A slave
//! mount tmpfs /a
//! A: umount /a
//! A: expect EINVAL umount /a
//! for i 1..3 mkdir /d$i
//! ```
//!
//! `needs:` and `blind:` before the first step are about all steps, inside a step about this one.

use crate::command::{self, Command, Unshare};
use crate::kernel::{self, Kernel};
use crate::words;
use anyhow::{Context as _, Result, bail, ensure};
use std::fmt;

/// The task in which lines without a name run.
pub(crate) const MAIN: &str = "main";

/// One scenario.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    /// The file's name without its ending.
    pub(crate) name: String,
    /// The comment at its head.
    pub(crate) about: String,
    /// What all of it needs.
    pub(crate) needs: Vec<Need>,
    /// What cannot see all of it.
    pub(crate) blind: Vec<Blind>,
    /// Its steps.
    pub(crate) steps: Vec<Step>,
}

/// What has to be there. The only reason to skip anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// The oldest kernel that can do it.
    Kernel {
        /// Major and minor version.
        version: (u32, u32),
        /// What came with that version.
        reason: String,
    },
    /// A file system that a kernel need not have.
    FileSystem(String),
}

impl Need {
    /// Whether it is there.
    pub(crate) fn is_met(&self, kernel: Kernel) -> bool {
        match self {
            Self::Kernel { version, .. } => kernel.is_at_least(*version),
            Self::FileSystem(name) => kernel::has_file_system(name),
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel { version: (major, minor), reason } => {
                write!(f, "needs kernel {major}.{minor}, {reason}")
            }
            Self::FileSystem(name) => write!(f, "needs the file system {name}"),
        }
    }
}

/// A back end that cannot see what happens here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blind {
    /// Its name.
    pub(crate) backend: String,
    /// What it cannot see.
    pub(crate) reason: String,
}

/// Lines that run before one comparison.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The title after `##`.
    pub(crate) title: String,
    /// What it needs.
    pub(crate) needs: Vec<Need>,
    /// What cannot see it.
    pub(crate) blind: Vec<Blind>,
    /// Its lines.
    pub(crate) lines: Vec<Line>,
}

/// One line to run.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Where it stands in the file.
    pub(crate) number: usize,
    /// The command without the task's name and without `expect`.
    pub(crate) text: String,
    /// The task that runs it.
    pub(crate) task: String,
    /// The errors of which one must come, `OK` among them if it may succeed; none: it must.
    pub(crate) expect: Vec<String>,
    /// What it asks for.
    pub(crate) action: Action,
}

/// What a line asks for.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// A command for one task.
    Run(Command),
    /// `ns NAME [of TASK] [HOW]`: a new process with its own mount namespace.
    Namespace {
        /// Its name.
        name: String,
        /// From whose namespace it is made.
        of: String,
        /// How.
        how: Unshare,
    },
    /// `thread NAME in TASK [HOW]`: a thread of that process with its own mount namespace.
    Thread {
        /// Its name.
        name: String,
        /// The process.
        of: String,
        /// How.
        how: Unshare,
    },
    /// `exit NAME`, `kill NAME`: the task ends.
    End {
        /// Its name.
        name: String,
        /// By SIGKILL.
        by_kill: bool,
    },
    /// `rescan`: the tracker scans everything again.
    Rescan,
}

/// Reads a scenario file.
pub(crate) fn parse(name: &str, file: &[u8]) -> Result<Scenario> {
    let file =
        std::str::from_utf8(file).context("bytes that are not UTF-8 are written as \\xHH")?;
    let mut scenario = Scenario {
        name: name.to_owned(),
        about: String::new(),
        needs: Vec::new(),
        blind: Vec::new(),
        steps: Vec::new(),
    };
    for (index, line) in file.lines().enumerate() {
        let line = line.trim();
        add_line(&mut scenario, index + 1, line)
            .with_context(|| format!("{name}.mnt:{}: {line}", index + 1))?;
    }
    ensure!(!scenario.about.is_empty(), "{name}.mnt: no comment says what it is about");
    ensure!(!scenario.steps.is_empty(), "{name}.mnt has no step");
    Ok(scenario)
}

fn add_line(scenario: &mut Scenario, number: usize, line: &str) -> Result<()> {
    let step = scenario.steps.last_mut();
    if line.is_empty() {
    } else if let Some(title) = line.strip_prefix("## ") {
        scenario.steps.push(Step {
            title: title.to_owned(),
            needs: Vec::new(),
            blind: Vec::new(),
            lines: Vec::new(),
        });
    } else if let Some(comment) = line.strip_prefix('#') {
        if step.is_none() {
            scenario.about.push_str(comment.trim());
            scenario.about.push('\n');
        }
    } else if let Some(need) = line.strip_prefix("needs:") {
        step.map_or(&mut scenario.needs, |step| &mut step.needs).push(parse_need(need)?);
    } else if let Some(blind) = line.strip_prefix("blind:") {
        let (backend, reason) = blind.trim().split_once(' ').context("no reason is given")?;
        ensure!(matches!(backend, "notify" | "hooks" | "poll"), "{backend} is no back end");
        step.map_or(&mut scenario.blind, |step| &mut step.blind)
            .push(Blind { backend: backend.to_owned(), reason: reason.to_owned() });
    } else {
        let step = step.context("the first step has not begun")?;
        for line in unroll(line)? {
            step.lines.push(parse_line(number, &line)?);
        }
    }
    Ok(())
}

fn parse_need(need: &str) -> Result<Need> {
    let mut words = need.trim().splitn(3, ' ');
    match (words.next(), words.next(), words.next()) {
        (Some("kernel"), Some(version), Some(reason)) => {
            let (major, minor) = version.split_once('.').context("a version is MAJOR.MINOR")?;
            let version = (major.parse()?, minor.parse()?);
            Ok(Need::Kernel { version, reason: reason.to_owned() })
        }
        (Some("filesystem"), Some(name), None) => Ok(Need::FileSystem(name.to_owned())),
        _ => bail!("a need is `kernel MAJOR.MINOR REASON` or `filesystem NAME`"),
    }
}

/// `for i 1..3 LINE` is LINE three times, with `$i` replaced.
fn unroll(line: &str) -> Result<Vec<String>> {
    let Some(rest) = line.strip_prefix("for ") else { return Ok(vec![line.to_owned()]) };
    let mut words = rest.splitn(3, ' ');
    let (Some(name), Some(range), Some(line)) = (words.next(), words.next(), words.next()) else {
        bail!("a loop is `for NAME FIRST..LAST LINE`");
    };
    let (first, last) = range.split_once("..").context("a range is FIRST..LAST")?;
    let (first, last): (u32, u32) = (first.parse()?, last.parse()?);
    let variable = format!("${name}");
    (first..=last)
        .map(|number| unroll(&line.replace(&variable, &number.to_string())))
        .collect::<Result<Vec<_>>>()
        .map(|lines| lines.concat())
}

/// Reads one line of a step.
pub(crate) fn parse_line(number: usize, line: &str) -> Result<Line> {
    let (task, line) = match line.split_once(": ") {
        Some((task, rest)) if is_name(task) => (task.to_owned(), rest.trim()),
        _ => (MAIN.to_owned(), line),
    };
    let (expect, line) = match line.strip_prefix("expect ") {
        Some(rest) => {
            let (errors, line) = rest.split_once(' ').context("no command follows the errors")?;
            (errors.split('|').map(str::to_owned).collect(), line.trim())
        }
        None => (Vec::new(), line),
    };
    let action = parse_action(&task, &words::split(line.as_bytes())?)?;
    Ok(Line { number, text: line.to_owned(), task, expect, action })
}

fn is_name(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn parse_action(task: &str, words: &[Vec<u8>]) -> Result<Action> {
    let [verb, rest @ ..] = words else { bail!("no command") };
    let mut rest = rest.iter().map(|word| command::text(word)).peekable();
    let mut next = || rest.next().transpose();
    Ok(match &verb[..] {
        verb @ (b"ns" | b"thread") => {
            let name = next()?.context("no name is given")?;
            ensure!(is_name(&name), "{name} is no name");
            let mut of = task.to_owned();
            let mut how = Unshare::Peer;
            while let Some(word) = next()? {
                match &*word {
                    "of" | "in" => of = next()?.context("no task is given")?,
                    word => how = command::unshare(word)?,
                }
            }
            if verb == b"ns" {
                Action::Namespace { name, of, how }
            } else {
                Action::Thread { name, of, how }
            }
        }
        verb @ (b"exit" | b"kill") => {
            Action::End { name: next()?.context("no task is given")?, by_kill: verb == b"kill" }
        }
        b"rescan" => Action::Rescan,
        _ => Action::Run(command::parse(words)?),
    })
}

/// Every scenario of the directory `scenarios`, as it was when this binary was built.
pub(crate) fn all() -> Result<Vec<Scenario>> {
    let files: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/scenarios.rs"));
    files.iter().map(|(name, file)| parse(name, file)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_file_is_read() {
        let scenarios = all().unwrap();
        assert!(scenarios.len() > 40, "{} scenarios", scenarios.len());
        for scenario in scenarios {
            assert!(scenario.steps.iter().all(|step| !step.lines.is_empty()), "{}", scenario.name);
        }
    }

    #[test]
    fn a_story_has_needs_steps_and_lines() {
        let file = b"# about\nneeds: kernel 6.5 beneath\n## one\nblind: notify renames\n\
            A: expect EBUSY|EINVAL umount -l /a\nfor i 1..2 mkdir /d$i\nns B of A slave\nexit B\n";
        let scenario = parse("story", file).unwrap();
        assert_eq!(
            scenario.needs,
            [Need::Kernel { version: (6, 5), reason: "beneath".to_owned() }]
        );
        let [step] = &scenario.steps[..] else { panic!("{scenario:?}") };
        assert_eq!(step.blind[0].backend, "notify");
        assert_eq!(step.lines.len(), 5);
        assert_eq!(step.lines[0].task, "A");
        assert_eq!(step.lines[0].expect, ["EBUSY", "EINVAL"]);
        assert_eq!(step.lines[2].text, "mkdir /d2");
        assert!(
            matches!(&step.lines[3].action, Action::Namespace { of, how: Unshare::Slave, .. } if of == "A")
        );
    }

    #[test]
    fn a_mistake_is_told_with_its_line() {
        let told = |file: &str| format!("{:#}", parse("bad", file.as_bytes()).unwrap_err());
        assert!(told("# a\n## s\nmount\n").contains("bad.mnt:3"), "{}", told("# a\n## s\nmount\n"));
        assert!(told("# a\nmount tmpfs /a\n").contains("first step"));
        assert!(told("# a\n## s\nfrob /a\n").contains("frob"));
        assert!(
            told("# a\n## s\numount -x /a\n").contains("-x")
                || told("# a\n## s\numount -x /a\n").contains("unknown")
        );
    }
}
