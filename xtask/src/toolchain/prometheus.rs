//! Prometheus and promtool, as Debian builds them.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::apt::Apt;
use super::{Wanted, entry, words_of_unpacked};
use crate::process;

/// Prometheus' programs.
#[derive(Debug)]
pub(crate) struct Prometheus {
    /// Their version.
    pub(crate) version: String,
    directory: PathBuf,
}

impl Prometheus {
    /// The linter of metrics and rules.
    pub(crate) fn promtool(&self) -> Command {
        self.command("promtool")
    }

    /// The server.
    pub(crate) fn server(&self) -> Command {
        self.command("prometheus")
    }

    fn command(&self, program: &str) -> Command {
        let words = words_of_unpacked(&self.directory, program);
        let (loader, rest) = words.split_first().expect("a program has a loader");
        let mut command = Command::new(loader);
        command.args(rest.iter().map(AsRef::<OsStr>::as_ref));
        command
    }
}

/// Finds or fetches them. What the package needs besides a C library is for its web pages.
pub(crate) fn prepare(wanted: Wanted) -> Result<Prometheus> {
    let directory = entry("prometheus", wanted, |target| {
        let packages = ["prometheus", "promtool", "libc6"].map(str::to_owned);
        Apt::open()?.with_lists(|apt| apt.unpack(&packages, target))
    })?;
    let mut prometheus = Prometheus { version: String::new(), directory };
    let text = process::text(prometheus.promtool().arg("--version"))?;
    let version = text.split("version ").nth(1).and_then(|rest| rest.split([',', ' ']).next());
    version.context("promtool does not say its version")?.clone_into(&mut prometheus.version);
    Ok(prometheus)
}
