//! The kernels on which the tests run as root, and how.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::tally::{self, Tally, Words};
use crate::toolchain::kernel::Series;
use crate::toolchain::{Wanted, runtimes};
use crate::workspace;

/// A row of the table of worlds.
#[derive(Debug)]
pub(super) struct Row {
    /// The name of the stage.
    pub(super) name: &'static str,
    machine: Machine,
    backend: &'static str,
    /// More arguments of `vm-tests`.
    words: &'static [&'static str],
    /// Texts in the names of the tests that are left out.
    without: &'static [&'static [&'static str]],
    /// Seconds after which it counts as hung: some five times what it takes.
    limit: u64,
    /// Runc and crun are there.
    has_runtimes: bool,
}

/// Where tests run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Machine {
    /// On the machine's own kernel.
    Host,
    /// In a virtual machine with a kernel of this series.
    Vm(Series),
}

/// Tests on a machine.
#[derive(Clone, Debug)]
pub(crate) struct World {
    /// Where.
    pub(crate) machine: Machine,
    /// Arguments of `vm-tests`.
    pub(crate) words: Vec<String>,
    /// Seconds after which it counts as hung.
    pub(crate) limit: u64,
    /// Whether a virtual machine has runc and crun in it.
    pub(crate) has_runtimes: bool,
}

/// File systems that the scenarios mount and that Debian has as modules.
const MODULES: &str = "overlay,fuse,loop,autofs4";

const ALL: &[&str] = &[];
/// Emulation is slow: fewer cycles. Each check of a command starts a tracker or two, which takes seconds
/// there. What is left out, what the agent and `exec` do with the index among it, is checked on the host.
const IN_VM: &[&str] = &["--cycle-seconds", "4", "--random-seconds", "45"];
const NOT_IN_VM: &[&str] = &[
    "cli_agent",
    "cli_doctor",
    "cli_exec",
    "cli_findmnt",
    "cli_info",
    "cli_is_mountpoint",
    "cli_list_json",
    "cli_namespaces",
    "cli_watch_timeout",
    "cycles_one_thread",
    "flood_unfollowed",
    "scale_memory",
];
/// What depends on the ring and on the writer, and on no kernel: in one machine, and on the host.
const NOT_TWICE: &[&str] = &["mapped_", "scale_"];
/// For a kernel between two others: what depends on its functions, and less of what depends on its age.
const BETWEEN: &[&str] = &["--random-seconds", "30"];
const NOT_BETWEEN: &[&str] = &[
    "cli_list",
    "cli_operations",
    "cli_selftest_killed",
    "cli_status",
    "cli_verify",
    "cli_watch",
    "cycles",
    "flood",
];
/// For a back end that is the last resort.
const SCENARIOS: &[&str] = &["--only", "scenarios"];
/// For kernels without trampolines.
const PROBES: &[&str] = &["--only", "scenarios", "--no-fentry"];
/// For kernels whose compiler inlined the function of a hook.
const FALLBACKS: &[&str] = &["--only", "scenarios", "--fallback-hook", "attach"];

/// Containers of real runtimes; `cargo xtask containers` makes more.
const CONTAINERS: &[&str] = &["--only", "containers", "--container-loops", "20"];

/// The simulated kernel against the real one.
const MODEL: &[&str] = &["--only", "model", "--seed", "1", "--random-seconds", "20"];

const fn vm(name: &'static str, series: Series, words: &'static [&'static str]) -> Row {
    let machine = Machine::Vm(series);
    Row {
        name,
        machine,
        backend: "hooks",
        words,
        without: &[NOT_IN_VM, NOT_TWICE],
        limit: 1800,
        has_runtimes: false,
    }
}

pub(super) const WORLDS: &[Row] = &[
    // Any host will do for this back end, and a container's: it needs no BPF.
    Row {
        name: "host",
        machine: Machine::Host,
        backend: "notify",
        words: ALL,
        without: &[],
        limit: 1200,
        has_runtimes: false,
    },
    vm("vm-5.10", Series::V5_10, IN_VM),
    Row { without: &[NOT_IN_VM, NOT_TWICE, NOT_BETWEEN], ..vm("vm-6.1", Series::V6_1, BETWEEN) },
    Row { without: &[NOT_IN_VM], ..vm("vm-6.12", Series::V6_12, IN_VM) },
    vm("vm-7", Series::V7, IN_VM),
    // The newest kernel has calls that the host's may lack.
    Row { backend: "notify", ..vm("vm-7-notify", Series::V7, IN_VM) },
    // It needs nothing of the kernel that differs between these.
    Row { backend: "poll", ..vm("vm-6.1-poll", Series::V6_1, SCENARIOS) },
    vm("vm-5.10-probes", Series::V5_10, PROBES),
    vm("vm-7-fallbacks", Series::V7, FALLBACKS),
    vm("vm-7-model", Series::V7, MODEL),
    Row { has_runtimes: true, ..vm("vm-6.12-containers", Series::V6_12, CONTAINERS) },
    Row { has_runtimes: true, ..vm("vm-7-containers", Series::V7, CONTAINERS) },
];

/// Builds the tests and runs them in a world.
pub(super) fn run(row: &Row) -> Result<Tally> {
    let without = row.without.iter().copied().flatten().flat_map(|text| ["--without", *text]);
    let words = ["--backend", row.backend].into_iter().chain(row.words.iter().copied());
    let words = words.chain(without).map(str::to_owned).collect();
    let (machine, limit, has_runtimes) = (row.machine, row.limit, row.has_runtimes);
    let world = World { machine, words, limit, has_runtimes };
    let mut out = Prefixed { name: row.name };
    tally::run(row.name, Words::VmTests, &mut world.command()?, &mut out)
}

/// The name of the stage.
pub(super) const SYSTEMD: &str = "systemd";

/// The shipped unit under systemd: one start and one end, since each takes long under emulation.
pub(super) fn systemd() -> Result<Tally> {
    let mut command = Command::new(env::current_exe().context("cannot find myself")?);
    command.args(["systemd", "--once"]);
    tally::run(SYSTEMD, Words::VmTests, &mut command, &mut Prefixed { name: SYSTEMD })
}

impl Row {
    /// Whether nothing else is to run meanwhile: the machine's own kernel is shared by all.
    pub(super) fn is_alone(&self) -> bool {
        self.machine == Machine::Host
    }
}

/// Standard output, each line with whose it is.
struct Prefixed {
    name: &'static str,
}

impl Write for Prefixed {
    /// Takes lines as a whole.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut out = io::stdout().lock();
        write!(out, "{}: ", self.name)?;
        out.write_all(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

impl World {
    /// Builds what is needed and gives the command that runs the tests.
    pub(crate) fn command(&self) -> Result<Command> {
        let tests = workspace::build_static("vm-tests")?;
        match self.machine {
            Machine::Host => self.on_host(&tests),
            Machine::Vm(series) => self.in_vm(series, &tests),
        }
    }

    /// In a mount namespace of its own: whatever goes wrong, the machine's mounts stay as they are.
    fn on_host(&self, tests: &Path) -> Result<Command> {
        let ours = fs::metadata("/proc/self").context("cannot read /proc/self")?;
        ensure!(ours.uid() == 0, "the tests on the host's kernel need root");
        let mountwatch = workspace::build_static("mountwatch")?;
        let mut command = Command::new("timeout");
        command.args(["--kill-after=10", &self.limit.to_string()]);
        command.args(["unshare", "--mount", "--propagation", "private", "--"]);
        command.arg(tests).args(&self.words).arg("--mountwatch").arg(mountwatch);
        Ok(command)
    }

    /// Another xtask boots the machine, since its output is to be looked at on its way.
    fn in_vm(&self, series: Series, tests: &Path) -> Result<Command> {
        let mut add = tests.as_os_str().to_owned();
        add.push(":/usr/bin/vm-tests");
        let mut command = Command::new(env::current_exe().context("cannot find myself")?);
        command.args(["vm", "--kernel", series.name(), "--modules", MODULES]);
        command.args(["--timeout", &self.limit.to_string(), "--add"]).arg(add);
        if self.has_runtimes {
            for (host, guest) in runtimes::prepare(Wanted::Any)?.adds() {
                let mut add = host.into_os_string();
                add.push(":");
                add.push(guest);
                command.arg("--add").arg(add);
            }
        }
        command.args(["--", "vm-tests"]).args(&self.words);
        command.args(["--mountwatch", "/usr/bin/mountwatch"]);
        // The modules were loaded: one that is missing is no reason to skip.
        command.args(["--every-file-system", "--own-machine"]);
        Ok(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_world_for_each_kernel() {
        for series in Series::ALL {
            let row = WORLDS.iter().find(|row| row.machine == Machine::Vm(series));
            assert_eq!(row.map(|row| row.name.to_owned()), Some(format!("vm-{}", series.name())));
        }
    }
}
