//! `mountwatch doctor`.

use super::{Global, JsonArgs, output, start};
use crate::kernel::examine;
use crate::render::{Diagnosis, doctor_json, doctor_text};
use std::process::ExitCode;

pub(super) fn run(global: &Global, args: JsonArgs) -> anyhow::Result<ExitCode> {
    let checks = examine::examine();
    let started = start::tracker(global).and_then(|tracker| Ok(tracker.status()?));
    let diagnosis = Diagnosis {
        kernel: examine::kernel(),
        checks,
        status: started.map_err(|error| format!("cannot {error:#}")),
    };
    let text = if args.json { doctor_json(&diagnosis) } else { doctor_text(&diagnosis) };
    output::write(text.as_bytes())?;
    Ok(if diagnosis.is_well() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
