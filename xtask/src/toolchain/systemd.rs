//! systemd with all that it needs, as Debian builds it: the root of a machine.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::apt::Apt;
use super::{Wanted, entry};

/// Where Debian puts what all of systemd's programs share; its name says the version.
const SHARED: (&str, &str, &str) =
    ("usr/lib/x86_64-linux-gnu/systemd", "libsystemd-shared-", ".so");

/// Packages, unpacked and not installed.
#[derive(Debug)]
pub(crate) struct Systemd {
    pub(crate) version: String,
    pub(crate) root: PathBuf,
}

/// Finds or fetches it.
pub(crate) fn prepare(wanted: Wanted) -> Result<Systemd> {
    let root = entry("systemd", wanted, |target| {
        Apt::open()?.with_lists(|apt| apt.unpack_with_needs(&["systemd"], target))
    })?;
    let (directory, prefix, suffix) = SHARED;
    let names = fs::read_dir(root.join(directory)).context("the package has no systemd")?;
    let mut names = names.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let version = names
        .find_map(|name| Some(name.strip_prefix(prefix)?.strip_suffix(suffix)?.to_owned()))
        .context("systemd does not say its version")?;
    Ok(Systemd { version, root })
}
