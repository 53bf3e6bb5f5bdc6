//! `mountwatch status`.

use super::source::Source;
use super::{Global, JsonArgs, output};
use crate::model::Coverage;
use crate::render::{status_json, status_text};
use std::process::ExitCode;

pub(super) fn run(global: &Global, args: JsonArgs) -> anyhow::Result<ExitCode> {
    let source = Source::open_whole(global)?;
    let status = source.status()?;
    let text = if args.json { status_json(&status) } else { status_text(&status) };
    output::write(text.as_bytes())?;
    // Seeded, and everything known that this back end can know: what it can never see is said above
    // and is no failure of the moment.
    let is_settled = status.revision.0 > 0 && status.coverage != Coverage::Stale;
    Ok(if is_settled { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
