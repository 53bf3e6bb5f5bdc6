//! The kernels on which the tests run as root, and how.

use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::tally::{self, Tally, Words};
use crate::workspace;

/// A kernel and what is run there.
#[derive(Debug)]
pub(super) struct World {
    /// The name of the stage.
    pub(super) name: &'static str,
    kernel: Kernel,
    /// Arguments of `vm-tests`.
    arguments: &'static [&'static str],
    /// Seconds after which it counts as hung: some five times what it takes.
    limit: u32,
}

/// Whose kernel.
#[derive(Debug)]
enum Kernel {
    /// The machine's own.
    Host,
    /// A virtual machine with a kernel of this series and these modules.
    Vm { series: &'static str, modules: &'static str },
}

/// File systems that the scenarios mount and that Debian has as modules.
const MODULES: &str = "overlay,fuse";

pub(super) const WORLDS: &[World] = &[
    // Any host will do for this back end, and a container's: it needs no BPF.
    World { name: "host", kernel: Kernel::Host, arguments: &["--backend", "notify"], limit: 600 },
    World {
        name: "vm-6.12",
        kernel: Kernel::Vm { series: "6.12", modules: MODULES },
        arguments: &["--backend", "hooks"],
        limit: 1800,
    },
    World {
        name: "vm-7",
        kernel: Kernel::Vm { series: "7", modules: MODULES },
        arguments: &["--backend", "hooks"],
        limit: 1800,
    },
];

/// Builds the tests and runs them in a world.
pub(super) fn run(world: &World) -> Result<Tally> {
    let tests = workspace::build_static("vm-tests")?;
    let mut command = match &world.kernel {
        Kernel::Host => on_host(world, &tests)?,
        Kernel::Vm { series, modules } => in_vm(world, series, modules, &tests)?,
    };
    tally::run(world.name, Words::VmTests, &mut command, &mut io::stdout())
}

/// In a mount namespace of its own: whatever goes wrong, the machine's mounts stay as they are.
fn on_host(world: &World, tests: &Path) -> Result<Command> {
    let ours = fs::metadata("/proc/self").context("cannot read /proc/self")?;
    ensure!(ours.uid() == 0, "the tests on the host's kernel need root");
    let mountwatch = workspace::build_static("mountwatch")?;
    let mut command = Command::new("timeout");
    command.args(["--kill-after=10", &world.limit.to_string()]);
    command.args(["unshare", "--mount", "--propagation", "private", "--"]);
    command.arg(tests).args(world.arguments).arg("--mountwatch").arg(mountwatch);
    Ok(command)
}

/// Another xtask boots the machine, since its output is to be looked at on its way.
fn in_vm(world: &World, series: &str, modules: &str, tests: &Path) -> Result<Command> {
    let mut add = tests.as_os_str().to_owned();
    add.push(":/usr/bin/vm-tests");
    let mut command = Command::new(env::current_exe().context("cannot find myself")?);
    command.args(["vm", "--kernel", series, "--modules", modules]);
    command.args(["--timeout", &world.limit.to_string(), "--add"]).arg(add);
    command.args(["--", "vm-tests"]).args(world.arguments);
    command.args(["--mountwatch", "/usr/bin/mountwatch"]);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;
    use crate::toolchain::kernel::Series;

    #[test]
    fn worlds_name_kernels_that_there_are() {
        for world in WORLDS {
            if let Kernel::Vm { series, .. } = world.kernel {
                assert!(Series::from_str(series, false).is_ok(), "{series}");
                assert_eq!(world.name, format!("vm-{series}"));
            }
        }
    }
}
