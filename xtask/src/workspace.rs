//! Where things lie in this workspace, and how its cargo is called.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use anyhow::Result;

use crate::process;

/// The workspace's root directory.
///
/// The cargo that runs us says where our package lies now. What the compiler saw is second best:
/// two workspaces that share a target directory share our binary.
pub(crate) fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let manifest = env::var_os("CARGO_MANIFEST_DIR");
        let manifest = manifest.map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        manifest.parent().map(Path::to_owned).unwrap_or(manifest)
    });
    &ROOT
}

/// A path below the root.
pub(crate) fn path(relative: &str) -> PathBuf {
    root().join(relative)
}

/// A cargo command in the root: the cargo that runs us, where one does.
pub(crate) fn cargo<const N: usize>(arguments: [&str; N]) -> Command {
    let program = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.current_dir(root()).args(arguments);
    command
}

/// The target triple of binaries that run on the host and in the virtual machines.
pub(crate) const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// Builds one binary of the workspace statically in release mode and returns its path.
///
/// Static, because it runs in machines that have no shared library at all. It has a target
/// directory of its own, because other flags would throw away the everyday build.
pub(crate) fn build_static(binary: &str) -> Result<PathBuf> {
    Ok(build_statically("--bin", binary)?.join(binary))
}

/// The same for an example.
pub(crate) fn build_static_example(example: &str) -> Result<PathBuf> {
    Ok(build_statically("--example", example)?.join("examples").join(example))
}

/// Runs an example of the library, which makes committed files out of the code. `is_check`: it writes
/// nothing, and fails if a file is not what the code gives.
pub(crate) fn run_example(example: &str, is_check: bool) -> Result<()> {
    let verb = if is_check { "check" } else { "write" };
    let mut cargo = cargo(["run", "--quiet", "--package", "mountwatch"]);
    process::run(cargo.args(["--example", example, "--", verb]))
}

/// The directory of what was built.
fn build_statically(kind: &str, name: &str) -> Result<PathBuf> {
    let target = path("target/vm");
    let mut command = cargo(["build", "--release", "--quiet", "--target", TRIPLE, kind, name]);
    // All packages, whichever binary it is: they agree on their dependencies' features then, and
    // the library is compiled once.
    for package in ["mountwatch", "mountwatch-tests", "mountwatch-bench"] {
        command.args(["--package", package]);
    }
    command.arg("--target-dir").arg(&target).env_remove("CARGO_ENCODED_RUSTFLAGS");
    command.env("RUSTFLAGS", "-Ctarget-feature=+crt-static");
    process::run(&mut command)?;
    Ok(target.join(TRIPLE).join("release"))
}
