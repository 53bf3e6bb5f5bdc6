//! One scenario on the running kernel: its tasks, and the comparison after each step.

use crate::command::{self, Command, Tree, Unshare};
use crate::oracle::{Held, Oracle, Viewer};
use crate::scenario::{Action, Line, MAIN, Scenario, Step};
use crate::task::{self, Reply, Task};
use crate::words;
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;
use std::path::Path;

/// How a scenario went.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// What is wrong: sentences, or nothing.
    pub(crate) failures: Vec<String>,
    /// Steps that the kernel is too old for, with the reason.
    pub(crate) skipped: Vec<String>,
    /// Steps that the back end cannot see, with the reason.
    pub(crate) not_claimed: Vec<String>,
}

/// The tasks of a scenario.
pub(crate) struct World {
    base: Vec<u8>,
    tasks: BTreeMap<String, Task>,
    /// `TASK.NAME` of descriptors, with their numbers, and whether they hold a mount namespace.
    descriptors: BTreeMap<String, (i64, bool)>,
}

impl World {
    /// A world with the task `main`: it is in a mount namespace of its own, where nothing is shared
    /// and a fresh file system is mounted on the base directory.
    pub(crate) fn new(base: &Path) -> Result<Self> {
        let base = base.as_os_str().as_encoded_bytes().to_vec();
        let mut world = Self { base, tasks: BTreeMap::new(), descriptors: BTreeMap::new() };
        let main = Task::start()?;
        let line = format!("setup {}", words::quote(&world.base));
        match main.run("", &line)? {
            Reply::Done(_) => {}
            reply => bail!("cannot mount the base directory: {reply:?}"),
        }
        world.tasks.insert(MAIN.to_owned(), main);
        Ok(world)
    }

    /// The tasks as the oracle wants them.
    pub(crate) fn viewers(&self) -> Vec<Viewer> {
        let viewer = |(name, task): (&String, &Task)| Viewer {
            name: name.clone(),
            pid: task.pid,
            tid: task.tid,
        };
        self.tasks.iter().map(viewer).collect()
    }

    /// The descriptors that hold mount namespaces.
    pub(crate) fn held(&self) -> Vec<Held> {
        self.descriptors
            .iter()
            .filter(|(_, (_, is_namespace))| *is_namespace)
            .filter_map(|(name, (descriptor, _))| {
                let (owner, _) = name.split_once('.')?;
                let pid = self.tasks.get(owner)?.pid;
                Some(Held { name: name.clone(), pid, descriptor: *descriptor })
            })
            .collect()
    }

    /// The tasks by name.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = (&str, &Task)> {
        self.tasks.iter().map(|(name, task)| (&**name, task))
    }

    /// What commands refer to by name, for [`Task::run`].
    pub(crate) fn bindings(&self) -> String {
        let tasks = self.tasks.iter().map(|(name, task)| (&**name, i64::from(task.tid)));
        let descriptors = self.descriptors.iter().map(|(name, (number, _))| (&**name, *number));
        task::bindings(tasks.chain(descriptors))
    }

    fn task(&self, name: &str) -> Result<&Task> {
        self.tasks.get(name).with_context(|| format!("there is no task {name}"))
    }

    /// Runs one command in a task.
    pub(crate) fn command(&mut self, name: &str, text: &str, command: &Command) -> Result<Reply> {
        let reply = self.task(name)?.run(&self.bindings(), text)?;
        if let Reply::Done(number) = reply {
            match command {
                Command::Close { name: closed } => {
                    self.descriptors.remove(&format!("{name}.{closed}"));
                }
                command => {
                    if let Some((opened, is_namespace)) = opened(command) {
                        self.descriptors.insert(format!("{name}.{opened}"), (number, is_namespace));
                    }
                }
            }
        }
        Ok(reply)
    }

    /// Runs a line that has to succeed.
    pub(crate) fn line(&mut self, task: &str, line: &str) -> Result<()> {
        let command = command::parse(&words::split(line.as_bytes())?)?;
        match self.command(task, line, &command)? {
            Reply::Done(_) => Ok(()),
            reply => bail!("{task}: {line}: {reply:?}"),
        }
    }

    /// A new process in a new mount namespace, made from the one of another task.
    pub(crate) fn namespace(&mut self, name: &str, of: &str, how: Unshare) -> Result<Reply> {
        if self.tasks.contains_key(name) {
            bail!("there is a task {name} already");
        }
        let task = Task::start()?;
        let base = format!("base {}", words::quote(&self.base));
        let lines = [format!("setns {of}"), base, format!("unshare {}", word(how))];
        self.task(of)?;
        for line in &lines {
            let reply = task.run(&self.bindings(), line)?;
            if !matches!(reply, Reply::Done(_)) {
                task.kill();
                return Ok(reply);
            }
        }
        self.tasks.insert(name.to_owned(), task);
        Ok(Reply::Done(0))
    }

    /// A new thread of a task's process, in a new mount namespace.
    pub(crate) fn thread(&mut self, name: &str, of: &str, how: Unshare) -> Result<()> {
        let process = self.tasks.get_mut(of).with_context(|| format!("there is no task {of}"))?;
        let thread = process.start_thread(word(how))?;
        self.tasks.insert(name.to_owned(), thread);
        Ok(())
    }

    /// Ends a task.
    pub(crate) fn end(&mut self, name: &str, by_kill: bool) -> Result<()> {
        let task = self.tasks.remove(name).with_context(|| format!("there is no task {name}"))?;
        let pid = task.pid;
        task.end(by_kill)?;
        if !self.tasks.values().any(|other| other.pid == pid) {
            self.descriptors.retain(|held, _| !held.starts_with(&format!("{name}.")));
        }
        Ok(())
    }

    /// Ends everything.
    pub(crate) fn tear_down(mut self) {
        // Threads end with their process.
        for task in std::mem::take(&mut self.tasks).into_values() {
            task.kill();
        }
    }

    fn run_line(&mut self, oracle: &Oracle, line: &Line) -> Result<()> {
        let reply = match &line.action {
            Action::Run(command) => self.command(&line.task, &line.text, command)?,
            Action::Namespace { name, of, how } => self.namespace(name, of, *how)?,
            Action::Thread { name, of, how } => {
                self.thread(name, of, *how)?;
                Reply::Done(0)
            }
            Action::End { name, by_kill } => {
                self.end(name, *by_kill)?;
                Reply::Done(0)
            }
            Action::Rescan => {
                oracle.rescan()?;
                Reply::Done(0)
            }
        };
        match reply {
            Reply::Done(_)
                if line.expect.is_empty() || line.expect.iter().any(|word| word == "OK") =>
            {
                Ok(())
            }
            Reply::Refused(error) if line.expect.contains(&error) => Ok(()),
            Reply::Done(_) => bail!("succeeded, expected was {}", line.expect.join("|")),
            Reply::Refused(error) => bail!("refused with {error}"),
            Reply::Failed(why) => bail!("{why}"),
        }
    }
}

/// The name of the descriptor that a command opens, and whether it is one of a mount namespace.
fn opened(command: &Command) -> Option<(&str, bool)> {
    match command {
        Command::OpenTree { name, tree, .. } => Some((name, *tree == Tree::Namespace)),
        Command::FsMount { name, namespace, .. } => Some((name, *namespace)),
        Command::OpenNamespace { name, kind, .. } => Some((name, kind == "mnt")),
        Command::Compat(command) => opened(command),
        Command::Take { name, .. } | Command::Disk { name, .. } | Command::Autofs { name, .. } => {
            Some((name, false))
        }
        _ => None,
    }
}

fn word(how: Unshare) -> &'static str {
    match how {
        Unshare::Peer => "peer",
        Unshare::Slave => "slave",
        Unshare::Private => "private",
        Unshare::User => "user",
        Unshare::Empty => "empty",
    }
}

/// Runs a scenario. `at` is told where it is, for whoever waits for it.
pub(crate) fn run(scenario: &Scenario, oracle: &Oracle, base: &Path, at: &dyn Fn(&str)) -> Outcome {
    let mut outcome = Outcome::default();
    let mut world = match World::new(base) {
        Ok(world) => world,
        Err(error) => {
            outcome.failures.push(format!("{error:#}"));
            return outcome;
        }
    };
    for (index, step) in scenario.steps.iter().enumerate() {
        let title = format!("step {} ({})", index + 1, step.title);
        at(&title);
        if let Some(need) = step.needs.iter().find(|need| !need.is_met(oracle.kernel)) {
            outcome.skipped.push(format!("{title}: {need}"));
            continue;
        }
        match run_step(&mut world, oracle, step, &title, &mut outcome) {
            Ok(found) if found.is_empty() => {}
            Ok(found) => {
                outcome.failures.extend(found.into_iter().map(|line| format!("{title}: {line}")));
                break;
            }
            Err(error) => {
                outcome.failures.push(format!("{title}: {error:#}"));
                break;
            }
        }
    }
    at("the end");
    world.tear_down();
    if outcome.failures.is_empty() {
        let mut found = oracle.ghosts();
        found.extend(oracle.differences(&[], &[]));
        outcome.failures.extend(found.into_iter().map(|line| format!("after the end: {line}")));
    }
    outcome
}

fn run_step(
    world: &mut World,
    oracle: &Oracle,
    step: &Step,
    title: &str,
    outcome: &mut Outcome,
) -> Result<Vec<String>> {
    for line in &step.lines {
        world
            .run_line(oracle, line)
            .with_context(|| format!("line {}: {}: {}", line.number, line.task, line.text))?;
    }
    if let Some(blind) = step.blind.iter().find(|blind| blind.backend == oracle.backend) {
        outcome.not_claimed.push(format!("{title}: {}", blind.reason));
        // What was not seen is made good, so that the next steps are judged alone.
        oracle.rescan()?;
    }
    Ok(oracle.differences(&world.viewers(), &world.held()))
}
