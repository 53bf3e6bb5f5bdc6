//! The container runtimes runc and crun with their libraries, as Debian builds them, for the guest.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::apt::Apt;
use super::{Wanted, entry, remove};
use crate::process;

/// Where the libraries of an unpacked package lie, and where programs look for them.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
const LOADER: &str = "ld-linux-x86-64.so.2";

/// Runtimes that run in a guest.
#[derive(Debug)]
pub(crate) struct Runtimes {
    /// Their versions.
    pub(crate) version: String,
    directory: PathBuf,
}

impl Runtimes {
    /// What goes where in the guest.
    pub(crate) fn adds(&self) -> Vec<(PathBuf, PathBuf)> {
        let own = |path: &str| self.directory.join(path);
        let libraries = own(LIBRARIES);
        vec![
            (own("usr/sbin/runc"), "/usr/bin/runc".into()),
            (own("usr/bin/crun"), "/usr/bin/crun".into()),
            (libraries.join(LOADER), Path::new("/lib64").join(LOADER)),
            (libraries, Path::new("/").join(LIBRARIES)),
        ]
    }
}

/// Finds or fetches them.
pub(crate) fn prepare(wanted: Wanted) -> Result<Runtimes> {
    let directory = entry("runtimes", wanted, |target| {
        let fetch = |apt: &Apt| apt.unpack_with_needs(&["runc", "crun"], target);
        Apt::open()?.with_lists(fetch)?;
        // Nobody converts character sets; documents are of no use in a guest.
        remove(&target.join(LIBRARIES).join("gconv"))?;
        remove(&target.join("usr/share"))
    })?;
    let libraries = directory.join(LIBRARIES);
    let mut version = Vec::new();
    for program in ["usr/sbin/runc", "usr/bin/crun"] {
        let mut command = std::process::Command::new(libraries.join(LOADER));
        command.arg("--library-path").arg(&libraries).arg(directory.join(program));
        // "runc version 1.1.15…", "crun version 1.21"
        let text = process::text(command.arg("--version"))?;
        let line = text.lines().next().context("a runtime does not say its version")?;
        version.push(line.replace(" version ", " "));
    }
    Ok(Runtimes { version: version.join(", "), directory })
}
