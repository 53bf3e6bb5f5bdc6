//! `cargo xtask api`: every public item of the library, in one file that is under review.
//!
//! rustdoc writes what it knows as JSON, which is an unstable option; the file is made by the compiler
//! that the project is built with, as the eBPF object is.

use std::fs;

use anyhow::{Context as _, Result, ensure};

use crate::{process, workspace};

const PACKAGE: &str = "mountwatch";
/// The committed list.
const LIST: &str = "mountwatch/public-api.txt";
/// Where rustdoc works: its options would make cargo build everything else anew.
const WORK: &str = "target/api";

/// Arguments of `cargo xtask api`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Write nothing; fail if the list is not what the source gives
    #[arg(long)]
    check: bool,
}

/// Makes the list, then writes or compares it.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let made = list()?;
    let path = workspace::path(LIST);
    if !arguments.check {
        return fs::write(&path, made).with_context(|| format!("cannot write {}", path.display()));
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let new = made.lines().find(|line| !committed.lines().any(|known| known == *line));
    let gone = committed.lines().find(|line| !made.lines().any(|known| known == *line));
    ensure!(
        made == committed,
        "the public items are not those of {LIST} (new: {}; gone: {}): run `cargo xtask api`, look at \
         the difference, and commit it",
        new.unwrap_or("none"),
        gone.unwrap_or("none")
    );
    Ok(())
}

/// Fails if the list is not what the source gives.
pub(crate) fn check() -> Result<()> {
    run(&Arguments { check: true })
}

fn list() -> Result<String> {
    let work = workspace::path(WORK);
    let mut rustdoc =
        workspace::cargo(["rustdoc", "--quiet", "--locked", "--lib", "--package", PACKAGE]);
    rustdoc.arg("--target-dir").arg(&work).env("RUSTC_BOOTSTRAP", "1");
    rustdoc.args([
        "--",
        "-Z",
        "unstable-options",
        "--output-format",
        "json",
        "--cap-lints",
        "allow",
    ]);
    process::run(&mut rustdoc).context("rustdoc cannot tell the public items")?;
    let api = public_api::Builder::from_rustdoc_json(work.join("doc/mountwatch.json"))
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()
        .context(
            "this rustdoc's JSON is not understood: another compiler needs another public-api",
        )?;
    Ok(api.items().map(|item| item.to_string() + "\n").collect())
}
