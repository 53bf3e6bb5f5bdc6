//! `mountwatch verify`.

use super::source::Source;
use super::{Global, VerifyArgs, output};
use crate::render::{verification_json, verification_text};
use anyhow::Context;
use std::process::ExitCode;
use std::time::Duration;

pub(super) fn run(global: &Global, args: VerifyArgs) -> anyhow::Result<ExitCode> {
    let source = Source::open(global)?;
    std::thread::sleep(Duration::from_millis(args.settle_ms));
    let verification = source.verify().context("compare the index with the kernel")?;
    let render = if args.json { verification_json } else { verification_text };
    output::write(render(&verification, global.secrets()).as_bytes())?;
    // What could not be compared is not proven.
    Ok(if verification.is_equal() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
