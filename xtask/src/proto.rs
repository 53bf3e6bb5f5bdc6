//! `cargo xtask proto`: the gRPC interface as Rust, committed, so that nobody needs protoc to build.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::workspace;

/// Where the interface is defined.
const INCLUDE: &str = "mountwatch/proto";
const SOURCE: &str = "mountwatch/v1/mountwatch.proto";
/// Where the code is committed, and the definitions as server reflection tells them.
const GENERATED: &str = "mountwatch/proto/generated";
const DESCRIPTORS: &str = "mountwatch.v1.bin";
const CODE: &str = "mountwatch.v1.rs";
/// Where it is made.
const WORK: &str = "target/proto";

/// Arguments of `cargo xtask proto`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Write nothing; fail if the committed code is not what the definitions give
    #[arg(long)]
    check: bool,
}

/// Makes the code, then writes or compares it.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let work = workspace::path(WORK);
    make(&work)?;
    let committed = workspace::path(GENERATED);
    if !arguments.check {
        fs::create_dir_all(&committed)?;
    }
    for name in [CODE, DESCRIPTORS] {
        let made = fs::read(work.join(name)).with_context(|| format!("no {name} was made"))?;
        let path = committed.join(name);
        if arguments.check {
            ensure!(
                fs::read(&path).is_ok_and(|committed| committed == made),
                "{GENERATED}/{name} is not what {SOURCE} gives: run `cargo xtask proto` and commit it"
            );
        } else {
            fs::write(&path, made).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}

/// Fails if the committed code is not what the definitions give.
pub(crate) fn check() -> Result<()> {
    run(&Arguments { check: true })
}

fn make(work: &Path) -> Result<()> {
    fs::create_dir_all(work).with_context(|| format!("cannot make {}", work.display()))?;
    let include = [workspace::path(INCLUDE)];
    let mut compiler = protox::Compiler::new(&include)?;
    compiler.include_imports(true).open_file(SOURCE).context("the interface is not understood")?;
    let descriptors = work.join(DESCRIPTORS);
    fs::write(&descriptors, compiler.encode_file_descriptor_set())
        .with_context(|| format!("cannot write {}", descriptors.display()))?;
    tonic_prost_build::configure()
        .out_dir(work)
        .build_transport(false)
        .emit_rerun_if_changed(false)
        // The comments are those of the definitions with their source.
        .compile_fds(protox::compile([SOURCE], &include)?)
        .context("no code can be made of the interface")
}
