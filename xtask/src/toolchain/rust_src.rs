//! The compiler in use and the sources of its `core`, which the BPF target is built from.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::apt::Apt;
use super::{directory, lock, remove};
use crate::process;

/// The compiler in use.
#[derive(Debug)]
pub(crate) struct Compiler {
    /// Its version, as in `1.95.0`.
    pub(crate) release: String,
    /// The version of its LLVM, as in `22.1.2`.
    pub(crate) llvm: String,
    /// Where it is installed.
    pub(crate) sysroot: PathBuf,
}

/// Asks the compiler.
pub(crate) fn compiler() -> Result<Compiler> {
    let about = process::text(Command::new("rustc").args(["--version", "--verbose"]))?;
    let field = |name: &str| {
        let found = about.lines().find_map(|line| line.strip_prefix(name));
        found.map(|value| value.trim().to_owned()).with_context(|| format!("rustc says no {name}"))
    };
    let sysroot = process::text(Command::new("rustc").args(["--print", "sysroot"]))?;
    Ok(Compiler {
        release: field("release:")?,
        llvm: field("LLVM version:")?,
        sysroot: sysroot.trim_end().into(),
    })
}

/// Makes sure that the sources lie where cargo looks for them, and says where that is.
///
/// They must be of exactly the compiler's version. Debian carries several versions side by side
/// and changes nothing in `core`; where it has not ours, rustup is asked.
pub(crate) fn prepare() -> Result<PathBuf> {
    let compiler = compiler()?;
    let place = compiler.sysroot.join("lib/rustlib/src/rust");
    let library = place.join("library");
    let there = || library.join("core/src/lib.rs").is_file();
    let _lock = lock("rust-src")?;
    if there() {
        return Ok(library);
    }
    let Err(no_package) = from_debian(&compiler, &place) else { return Ok(library) };
    eprintln!("xtask: {no_package:#}; asking rustup");
    let mut rustup = Command::new("rustup");
    rustup.args(["component", "add", "rust-src"]);
    process::bytes(&mut rustup).with_context(|| {
        format!("cannot get the sources of rustc {} to {}", compiler.release, library.display())
    })?;
    ensure!(there(), "rustup has added rust-src, but not to {}", library.display());
    Ok(library)
}

/// Puts the library of Debian's package at the place where cargo looks.
fn from_debian(compiler: &Compiler, place: &Path) -> Result<()> {
    let release = &compiler.release;
    let unpacked = directory().join("rust-src.partial");
    remove(&unpacked)?;
    Apt::open()?.with_lists(|apt| {
        let known = apt.versions("rust-src")?;
        let ours = known.iter().find(|package| is_release(&package.version, release));
        let ours = ours.with_context(|| format!("Debian has no rust-src {release}"))?;
        apt.unpack(&[ours.exactly()], &unpacked)
    })?;
    let sources = unpacked.join("usr/src").join(format!("rustc-{release}")).join("library");
    ensure!(sources.is_dir(), "the package has no {}", sources.display());
    // Copied, not linked: the toolchain outlives this workspace.
    let partial = place.join("library.partial");
    remove(&partial)?;
    fs::create_dir_all(place).with_context(|| format!("cannot create {}", place.display()))?;
    process::run(Command::new("cp").arg("-r").arg(&sources).arg(&partial))?;
    fs::rename(&partial, place.join("library")).context("cannot put rust-src in its place")?;
    remove(&unpacked)
}

/// Whether a version of Debian is this release of Rust: `1.95.0+dfsg1-2~bpo13+1` is 1.95.0.
fn is_release(version: &str, release: &str) -> bool {
    let rest = version.strip_prefix(release);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', '~', '-']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_release_will_do() {
        assert!(is_release("1.95.0+dfsg1-2~bpo13+1", "1.95.0"));
        assert!(!is_release("1.95.01-1", "1.95.0"));
        assert!(!is_release("1.96.0+dfsg1-1", "1.95.0"));
    }

    #[test]
    fn the_compiler_says_what_we_need() {
        let compiler = compiler().unwrap();
        assert!(compiler.release.starts_with("1."), "{compiler:?}");
        assert!(compiler.sysroot.join("lib").is_dir(), "{compiler:?}");
        assert!(compiler.llvm.contains('.'), "{compiler:?}");
    }
}
