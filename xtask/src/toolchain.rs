//! What building and testing need beyond a Rust compiler, fetched once into `target/toolchain`.
//!
//! Every entry is a directory that appears whole or not at all: it is made under another name and
//! renamed at the end. Two xtasks at once wait for each other at the entry's lock file. What is
//! there is used as it is, with no look at the network, until `cargo xtask toolchain --refresh`.

pub(crate) mod apt;
pub(crate) mod busybox;
pub(crate) mod kernel;
pub(crate) mod linker;
pub(crate) mod prometheus;
pub(crate) mod qemu;
pub(crate) mod runtimes;
pub(crate) mod rust_src;
pub(crate) mod systemd;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::workspace;

/// Whether what is cached is good enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Whatever is there.
    Any,
    /// The newest: look again.
    Newest,
}

/// Arguments of `cargo xtask toolchain`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Look for newer kernels and packages although older ones are there
    #[arg(long)]
    refresh: bool,
}

/// Prepares everything, without a look for newer versions, and prints what there is.
pub(crate) fn prepare() -> Result<()> {
    run(&Arguments { refresh: false })
}

/// Prepares everything and prints what there is.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let wanted = if arguments.refresh { Wanted::Newest } else { Wanted::Any };
    println!("rustc       {}", rust_src::compiler()?.release);
    println!("rust-src    {}", rust_src::prepare()?.display());
    println!("bpf-linker  {}", linker::prepare()?.version);
    if wanted == Wanted::Newest {
        apt::Apt::open()?.update()?;
    }
    println!("qemu        {}", qemu::prepare(wanted)?.version);
    println!("prometheus  {}", prometheus::prepare(wanted)?.version);
    println!("runtimes    {}", runtimes::prepare(wanted)?.version);
    println!("busybox     {}", busybox::prepare(wanted)?.version);
    println!("systemd     {}", systemd::prepare(wanted)?.version);
    for series in kernel::Series::ALL {
        let kernel = kernel::prepare(series, wanted)?;
        println!("kernel {:<4} {}", series.name(), kernel.version);
    }
    Ok(())
}

/// The directory of all entries.
pub(crate) fn directory() -> PathBuf {
    workspace::path("target/toolchain")
}

/// Takes an entry's lock; it is released when the file is dropped.
pub(crate) fn lock(name: &str) -> Result<File> {
    let path = directory().join(format!("{name}.lock"));
    let parent = path.parent().context("a lock file lies in a directory")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    let file = File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

/// The entry's directory: as it is when it may be, else made by `make`, which fills an empty one.
pub(crate) fn entry(
    name: &str,
    wanted: Wanted,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let finished = directory().join(name);
    let _lock = lock(name)?;
    if wanted == Wanted::Any && finished.is_dir() {
        return Ok(finished);
    }
    let partial = directory().join(format!("{name}.partial"));
    remove(&partial)?;
    fs::create_dir_all(&partial)?;
    make(&partial).with_context(|| format!("cannot prepare {name}"))?;
    remove(&finished)?;
    fs::rename(&partial, &finished)
        .with_context(|| format!("cannot rename to {}", finished.display()))?;
    Ok(finished)
}

/// The words of a command that runs a program of packages that were unpacked with all that they
/// need. The loader that belongs to their C library runs it: any other would not fit.
fn words_of_unpacked(directory: &Path, program: &str) -> Vec<PathBuf> {
    let libraries = directory.join("usr/lib/x86_64-linux-gnu");
    let loader = libraries.join("ld-linux-x86-64.so.2");
    vec![loader, "--library-path".into(), libraries, directory.join("usr/bin").join(program)]
}

/// Removes a directory that may not be there.
fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
