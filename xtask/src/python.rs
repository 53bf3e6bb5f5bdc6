//! Python with packages of PyPI, in a directory of its own, and scripts that mount things.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process;

/// The interpreter in `work` with these packages; fetched once.
pub(crate) fn prepare(work: &Path, packages: &[&str]) -> Result<PathBuf> {
    let venv = work.join("venv");
    let python = venv.join("bin/python");
    if !venv.join("ready").exists() {
        process::run(Command::new("python3").args(["-m", "venv"]).arg(&venv))
            .context("python3 with its module venv is needed")?;
        let mut pip = Command::new(&python);
        process::run(pip.args(["-m", "pip", "install", "--quiet"]).args(packages))?;
        fs::write(venv.join("ready"), "")?;
    }
    Ok(python)
}

/// A command that runs a script with an empty file system at `ground`, in a mount namespace of its
/// own: whatever goes wrong, the machine's mounts stay as they are.
pub(crate) fn on_ground(python: &Path, script: &Path, ground: &Path) -> Result<Command> {
    fs::create_dir_all(ground)?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--", "sh", "-c"]);
    command.arg("mount -t tmpfs ground \"$1\" && shift && exec \"$@\"").arg("sh").arg(ground);
    command.arg(python).arg(script);
    Ok(command)
}
