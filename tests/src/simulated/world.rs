//! Scenarios in the simulated world.

use super::audit;
use super::driver::Driver;
use super::execute::Ended;
use super::kernel::Kernel;
use super::namespaces::HOST;
use crate::command::{Command, Unshare};
use crate::scenario::{Action, Line, MAIN, Scenario};
use crate::task;
use anyhow::{Context as _, Result, bail};

/// Where scenarios mount.
const BASE: &[u8] = b"/tmp/base";

/// Scenarios that the simulated kernel cannot run, each with the reason.
pub(crate) const LEFT_OUT: &[(&str, &str)] = &[
    ("autofs", "an automounter is a process that answers the kernel"),
    ("ext4_error", "a disk, and a file system that finds an error on it"),
    ("mount_proc_hidepid", "options that only a real file system takes and shows"),
    ("overlay_layers", "options that only a real file system takes and shows"),
    (
        "big_tree",
        "8,000 mounts are there for the verifiers of real kernels; here they cost minutes",
    ),
];

/// A simulated kernel with mountwatch on it.
pub(crate) struct World {
    /// The kernel.
    pub(crate) kernel: Kernel,
    /// The writer.
    pub(crate) driver: Driver,
}

impl World {
    /// A world with the task `main`, which mounted a file system on the base directory.
    pub(crate) fn new() -> Self {
        let mut kernel = Kernel::boot(BASE);
        let mut driver = Driver::start(&mut kernel);
        kernel.fork(MAIN);
        kernel.run(MAIN, &Command::Setup { base: BASE.to_vec() });
        driver.step(&mut kernel);
        Self { kernel, driver }
    }

    /// Runs one line, and nothing of mountwatch.
    pub(crate) fn act(kernel: &mut Kernel, task: &str, action: &Action) -> Ended {
        match action {
            Action::Run(command) => kernel.run(task, command),
            Action::Namespace { name, of, how } => start(kernel, name, of, *how),
            Action::Thread { name, of, how } => kernel.start_thread(name, of, *how),
            Action::End { name, .. } => {
                if !kernel.has_task(name) {
                    return Ended::Failed(format!("there is no task {name}"));
                }
                kernel.end(name);
                Ended::Done
            }
            Action::Rescan => Ended::Done,
        }
    }

    fn run_line(&mut self, line: &Line) -> Result<()> {
        let ended = Self::act(&mut self.kernel, &line.task, &line.action);
        if matches!(line.action, Action::Rescan) {
            self.driver.rescan(&mut self.kernel, &mut |_| {});
        }
        self.driver.step(&mut self.kernel);
        let expects = |word: &str| line.expect.iter().any(|expected| expected == word);
        match ended {
            Ended::Done if line.expect.is_empty() || expects("OK") => Ok(()),
            Ended::Refused(error) if expects(&task::name_of(error)) => Ok(()),
            Ended::Done => bail!("succeeded, expected was {}", line.expect.join("|")),
            Ended::Refused(error) => bail!("refused with {}", task::name_of(error)),
            Ended::Failed(why) => bail!("{why}"),
        }
    }

    /// Everything that is wrong now: what the auditor found, what tasks see, what the core says of
    /// itself.
    pub(crate) fn differences(&mut self) -> Vec<String> {
        let mut found = std::mem::take(&mut self.driver.found);
        found.extend(audit::tasks(self.driver.latest(), &self.kernel));
        let word = self.driver.latest().coverage().word();
        if word != "complete" {
            found.push(format!("coverage is {word}"));
        }
        found
    }

    /// Nothing was lost, so nothing may have been missed.
    pub(crate) fn alarms(&self) -> Vec<String> {
        let counters = self.driver.state().counters();
        let counts = [
            ("anomalies", counters.anomalies),
            ("losses", counters.losses),
            ("records lost", self.kernel.hooks.counted.losses()),
        ];
        let grown = counts.iter().filter(|(_, count)| *count > 0);
        grown.map(|(name, count)| format!("{count} {name} without a fault")).collect()
    }
}

fn start(kernel: &mut Kernel, name: &str, of: &str, how: Unshare) -> Ended {
    if kernel.has_task(name) || !kernel.has_task(of) || name == HOST {
        return Ended::Failed(format!("{name} cannot be made of {of}"));
    }
    kernel.start(name, of, BASE, how)
}

/// Runs a scenario: what is wrong, or nothing.
pub(crate) fn run(scenario: &Scenario) -> Vec<String> {
    let mut world = World::new();
    for (index, step) in scenario.steps.iter().enumerate() {
        let title = format!("step {} ({})", index + 1, step.title);
        for line in &step.lines {
            let result = world.run_line(line).with_context(|| {
                format!("{title}: line {}: {}: {}", line.number, line.task, line.text)
            });
            if let Err(error) = result {
                return vec![format!("{error:#}")];
            }
        }
        let mut found = world.differences();
        found.extend(world.alarms());
        if !found.is_empty() {
            return found.into_iter().map(|line| format!("{title}: {line}")).collect();
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario;

    /// The comparison itself: a record that is missing and counted nowhere has to be noticed.
    #[test]
    fn a_record_that_is_silently_missing_is_noticed() {
        let mut world = World::new();
        let act = |world: &mut World, line: &str| {
            let scenario = scenario::parse("x", format!("# x\n## x\n{line}\n").as_bytes()).unwrap();
            world.run_line(&scenario.steps[0].lines[0]).unwrap();
        };
        act(&mut world, "mkdir /a");
        assert_eq!(world.differences(), Vec::<String>::new());
        world.kernel.hooks.faults.silent = 100;
        act(&mut world, "mount tmpfs /a");
        let found = world.differences();
        assert!(found.iter().any(|line| line.contains("is missing")), "{found:?}");
        assert!(found.iter().any(|line| line.starts_with("namespace ")), "{found:?}");
        assert!(found.iter().any(|line| line.starts_with("main: ")), "{found:?}");
    }

    #[test]
    fn every_scenario_holds_in_the_simulated_kernel() {
        let scenarios = scenario::all().unwrap();
        let mut found = Vec::new();
        let mut ran = 0;
        for scenario in &scenarios {
            if LEFT_OUT.iter().any(|(name, _)| *name == scenario.name) {
                continue;
            }
            ran += 1;
            found
                .extend(run(scenario).into_iter().map(|line| format!("{}: {line}", scenario.name)));
        }
        assert_eq!(ran + LEFT_OUT.len(), scenarios.len(), "a name of LEFT_OUT is no scenario");
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
}
