//! `cargo xtask ebpf`: the eBPF object that lies next to the library, and the proof that it is
//! what the source gives.
//!
//! The object is committed so that `cargo build` needs stable Rust alone. Therefore the bytes must
//! not depend on where or by whom they are built: paths are remapped, the linker is pinned, the
//! profile is given here, and DWARF is taken out (BTF stays, the kernel needs it).

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::toolchain::linker;
use crate::toolchain::rust_src::{self, Compiler};
use crate::{process, workspace};

const PACKAGE: &str = "mountwatch-ebpf";
const TARGET: &str = "bpfel-unknown-none";
/// The committed object.
const OBJECT: &str = "mountwatch/ebpf/mountwatch.bpf.o";

/// Arguments of `cargo xtask ebpf`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Write nothing; fail if the committed object is not what the source gives
    #[arg(long)]
    check: bool,
}

/// Builds the object, then writes or compares it.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let built = build(workspace::root(), arguments.check)?;
    if arguments.check { compare(&built) } else { write(&built) }
}

/// Fails unless the committed object is what the source gives.
pub(crate) fn check() -> Result<()> {
    run(&Arguments { check: true })
}

fn write(built: &[u8]) -> Result<()> {
    let path = workspace::path(OBJECT);
    if fs::read(&path).is_ok_and(|committed| committed == built) {
        eprintln!("xtask: {OBJECT} is up to date ({} bytes)", built.len());
        return Ok(());
    }
    let parent = path.parent().context("the object lies in a directory")?;
    fs::create_dir_all(parent)?;
    // Renamed, since a build of the library may be reading it.
    let partial = parent.join(".partial");
    fs::write(&partial, built).with_context(|| format!("cannot write {}", partial.display()))?;
    fs::rename(&partial, &path).with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("xtask: wrote {OBJECT} ({} bytes)", built.len());
    Ok(())
}

fn compare(built: &[u8]) -> Result<()> {
    let committed = fs::read(workspace::path(OBJECT))
        .with_context(|| format!("cannot read {OBJECT}: run `cargo xtask ebpf` and commit it"))?;
    let at = built.iter().zip(&committed).position(|(a, b)| a != b);
    ensure!(
        built == committed,
        "{OBJECT} ({} bytes) is not what the source gives ({} bytes; they differ from byte {} \
         on): run `cargo xtask ebpf` and commit it",
        committed.len(),
        built.len(),
        at.unwrap_or(built.len().min(committed.len())),
    );
    eprintln!("xtask: {OBJECT} is what the source gives ({} bytes)", built.len());
    Ok(())
}

/// Builds the package and returns the stripped object.
fn build(root: &Path, locked: bool) -> Result<Vec<u8>> {
    let compiler = rust_src::compiler()?;
    rust_src::prepare()?;
    let linker = linker::prepare()?.path;
    let target = workspace::path("target/ebpf");
    let mut cargo = workspace::cargo(["build", "--release", "--quiet", "--package", PACKAGE]);
    cargo.args(["--target", TARGET, "-Zbuild-std=core", "--target-dir"]).arg(&target);
    if locked {
        // Another lock file may give other bytes.
        cargo.arg("--locked");
    }
    // There is no `core` for this target to download, and aya-ebpf needs inline assembly for BPF:
    // both are unstable features of the stable compiler.
    cargo.env("RUSTC_BOOTSTRAP", "1");
    cargo.env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &linker);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags(root, &compiler).join("\x1f"));
    for (setting, value) in PROFILE {
        cargo.env(format!("CARGO_PROFILE_RELEASE_{setting}"), value);
    }
    process::run(&mut cargo).context("cannot build the eBPF object")?;
    let object = target.join(TARGET).join("release").join(PACKAGE);
    strip(&object, &compiler)
}

/// The object without DWARF, by the copy of LLVM's objcopy that comes with the compiler: GNU's
/// does not know BPF, and a distribution's would make the bytes depend on its version.
fn strip(object: &Path, compiler: &Compiler) -> Result<Vec<u8>> {
    let stripped = object.with_extension("stripped");
    let tools = compiler.sysroot.join("lib/rustlib").join(workspace::TRIPLE).join("bin");
    let mut objcopy = Command::new(tools.join("rust-objcopy"));
    objcopy.env("LD_LIBRARY_PATH", compiler.sysroot.join("lib"));
    process::run(objcopy.arg("--strip-debug").arg(object).arg(&stripped))?;
    fs::read(&stripped).with_context(|| format!("cannot read {}", stripped.display()))
}

/// The release profile of the kernel side; the workspace's own is meant for userspace.
const PROFILE: &[(&str, &str)] = &[
    ("OPT_LEVEL", "3"),
    ("PANIC", "abort"),
    // BTF is made from the debug information.
    ("DEBUG", "2"),
    ("STRIP", "none"),
    ("DEBUG_ASSERTIONS", "false"),
    ("OVERFLOW_CHECKS", "false"),
    ("INCREMENTAL", "false"),
    ("CODEGEN_UNITS", "1"),
];

/// Flags for the compiler. Paths: the later mapping wins, so the workspace, in which the others
/// may lie, comes first.
fn flags(root: &Path, compiler: &Compiler) -> Vec<String> {
    let sources = compiler.sysroot.join("lib/rustlib/src/rust");
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    vec![
        "-Clink-arg=--btf".into(),
        // aya-ebpf's bindings differ by the machine that the programs run on.
        "--cfg=bpf_target_arch=\"x86_64\"".into(),
        remap(root, "/mountwatch"),
        remap(&cargo_home(), "/cargo"),
        remap(&sources, "/rust"),
    ]
}

/// Where cargo keeps the sources of dependencies.
fn cargo_home() -> PathBuf {
    let home = env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
    env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from)
}
