//! bpf-linker, which turns LLVM bitcode into one BPF object with BTF.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::rust_src::{Compiler, compiler};
use super::{Wanted, directory, entry};
use crate::{process, workspace};

/// Links against rustc's own LLVM library: no LLVM of the distribution, half the time to build.
const VERSION: &str = "0.13.0";
/// The last version that finds rustc's LLVM by itself at run time; both give the same object.
const FALLBACK: &str = "0.10.4";

/// A linker that runs.
#[derive(Debug)]
pub(crate) struct Linker {
    /// Its version.
    pub(crate) version: String,
    /// The binary.
    pub(crate) path: PathBuf,
}

/// The linker for the compiler in use; built when it is not there.
pub(crate) fn prepare() -> Result<Linker> {
    let compiler = compiler()?;
    // Each compiler brings its own LLVM, so each has its own linker.
    let name = format!("bpf-linker-{VERSION}-rustc-{}", compiler.release);
    let prepare = |wanted| {
        let directory = entry(&name, wanted, |target| build(&compiler, target))?;
        let path = directory.join("bin/bpf-linker");
        Ok(Linker { version: version(&path)?, path })
    };
    // It finds LLVM where that was when it was built: a workspace that has moved needs a new one.
    prepare(Wanted::Any).or_else(|_: anyhow::Error| prepare(Wanted::Newest))
}

/// What it says its version is: "bpf-linker 0.13.0". Proves that it finds its library.
fn version(linker: &Path) -> Result<String> {
    let text = process::text(Command::new(linker).arg("--version"))?;
    let version = text.split_whitespace().nth(1).context("bpf-linker says no version")?;
    Ok(version.to_owned())
}

fn build(compiler: &Compiler, target: &Path) -> Result<()> {
    eprintln!("xtask: building bpf-linker (a minute or two, once)");
    let Err(error) = with_rustc_llvm(compiler, target) else { return Ok(()) };
    eprintln!("xtask: no bpf-linker {VERSION} ({error:#}); trying {FALLBACK}");
    process::run(install(FALLBACK, target).arg("--force"))
}

fn install(version: &str, target: &Path) -> Command {
    let mut command = workspace::cargo(["install", "bpf-linker", "--locked", "--quiet"]);
    command.args(["--version", version, "--root"]).arg(target);
    command.arg("--target-dir").arg(directory().join("bpf-linker-build"));
    // Flags meant for the workspace are not meant for it.
    command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    command
}

/// Builds the linker with an LLVM prefix that consists of rustc's library under LLVM's name.
fn with_rustc_llvm(compiler: &Compiler, target: &Path) -> Result<()> {
    let library = llvm_library(compiler)?;
    let name = library.file_name().context("a library has a name")?;
    // The prefix goes into the binary's run path, so it must not lie in `target`, which gets
    // another name at the end.
    let prefix = directory().join(format!("llvm-of-rustc-{}", compiler.release));
    let lib = prefix.join("lib");
    fs::create_dir_all(&lib)?;
    for link in [lib.join("libLLVM.so"), lib.join(name)] {
        let _ = fs::remove_file(&link);
        symlink(&library, &link).with_context(|| format!("cannot create {}", link.display()))?;
    }
    let major = compiler.llvm.split('.').next().unwrap_or_default();
    let mut command = install(VERSION, target);
    command.args(["--no-default-features", "--features", &format!("llvm-{major}")]);
    process::run(command.env("LLVM_PREFIX", &prefix))?;
    version(&target.join("bin/bpf-linker")).map(drop)
}

/// `libLLVM.so.22.1-rust-1.95.0-stable`: the library itself; `libLLVM-22-…so` is a linker script.
fn llvm_library(compiler: &Compiler) -> Result<PathBuf> {
    let lib = compiler.sysroot.join("lib");
    let entries = fs::read_dir(&lib).with_context(|| format!("cannot read {}", lib.display()))?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    let found = paths.find(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libLLVM.so."))
    });
    found.with_context(|| format!("{} has no LLVM library", lib.display()))
}
