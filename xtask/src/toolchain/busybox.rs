//! A static busybox: the user land of the virtual machines.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::apt::Apt;
use super::{Wanted, entry};
use crate::process;

/// A busybox that runs.
#[derive(Debug)]
pub(crate) struct Busybox {
    /// Its version.
    pub(crate) version: String,
    /// The binary.
    pub(crate) path: PathBuf,
    /// The names that it goes by.
    pub(crate) applets: Vec<String>,
}

/// Fetches busybox.
pub(crate) fn prepare(wanted: Wanted) -> Result<Busybox> {
    let directory = entry("busybox", wanted, |target| {
        Apt::open()?.with_lists(|apt| apt.unpack(&["busybox-static".into()], target))?;
        fs::rename(target.join("usr/bin/busybox"), target.join("busybox"))
            .context("the package has no busybox")
    })?;
    let path = directory.join("busybox");
    // "BusyBox v1.37.0 (Debian …) multi-call binary."
    let help = process::text(Command::new(&path).arg("--help"))?;
    let version = help.split_whitespace().nth(1).context("busybox says no version")?;
    let version = version.trim_start_matches('v').to_owned();
    let applets = process::text(Command::new(&path).arg("--list"))?;
    Ok(Busybox { version, path, applets: applets.lines().map(Into::into).collect() })
}
