//! QEMU: the machine's own when it is new enough, else one that is unpacked here.
//!
//! The unpacked one comes with every library that it needs, down to the C library and its
//! loader: nothing is installed on the machine, and the machine's release does not matter.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::apt::Apt;
use super::{Wanted, entry};
use crate::process;

/// The oldest major version that will do: 7.2 crashes Linux 6.12 at boot in a third of all boots.
const OLDEST: u32 = 8;

/// The emulator's name.
const PROGRAM: &str = "qemu-system-x86_64";

/// A QEMU that works.
#[derive(Debug)]
pub(crate) struct Qemu {
    /// Its version.
    pub(crate) version: String,
    /// Where its packages are unpacked; `None` for the machine's own.
    unpacked: Option<PathBuf>,
}

impl Qemu {
    /// The words of a command that runs it.
    pub(crate) fn words(&self) -> Vec<PathBuf> {
        self.unpacked.as_deref().map_or_else(|| vec![PROGRAM.into()], words_of_unpacked)
    }
}

/// Finds or fetches QEMU.
pub(crate) fn prepare(wanted: Wanted) -> Result<Qemu> {
    if let Some(version) = version(&[PROGRAM.into()]).filter(|text| major(text) >= Some(OLDEST)) {
        return Ok(Qemu { version, unpacked: None });
    }
    let directory = entry("qemu", wanted, |target| {
        Apt::open()?.with_lists(|apt| apt.unpack_with_needs(&["qemu-system-x86"], target))
    })?;
    let version =
        version(&words_of_unpacked(&directory)).context("the unpacked qemu does not run")?;
    ensure!(major(&version) >= Some(OLDEST), "qemu {version} is too old: {OLDEST} is needed");
    Ok(Qemu { version, unpacked: Some(directory) })
}

fn words_of_unpacked(directory: &Path) -> Vec<PathBuf> {
    let mut words = super::words_of_unpacked(directory, PROGRAM);
    for part in ["qemu", "seabios"] {
        words.extend(["-L".into(), directory.join("usr/share").join(part)]);
    }
    words
}

/// What the program says its version is: "QEMU emulator version 10.0.2 (Debian …)".
fn version(words: &[PathBuf]) -> Option<String> {
    let (program, rest) = words.split_first()?;
    let text = process::text(Command::new(program).args(rest).arg("--version")).ok()?;
    Some(text.split("version ").nth(1)?.split_whitespace().next()?.to_owned())
}

fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_first_number() {
        assert_eq!(major("10.0.2"), Some(10));
        assert_eq!(major("7.2.22"), Some(7));
        assert_eq!(major("none"), None);
        assert!(major("none") < Some(OLDEST), "a version that cannot be read will not do");
    }
}
