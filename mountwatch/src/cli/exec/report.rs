//! Where the reports go.

use super::ExecArgs;
use crate::render::{Judgement, leaks_json, leaks_junit, leaks_text};
use anyhow::Context;
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// The files, open before the command runs: what cannot be written is known by then.
pub(super) struct Reports<'a> {
    args: &'a ExecArgs,
    output: Option<File>,
    junit: Option<File>,
}

impl<'a> Reports<'a> {
    pub(super) fn open(args: &'a ExecArgs) -> anyhow::Result<Self> {
        let open = |path: &Path| {
            File::create(path).with_context(|| format!("write the report {}", path.display()))
        };
        let output = args.output.as_deref().map(open).transpose()?;
        let junit = args.junit.as_deref().map(open).transpose()?;
        Ok(Self { args, output, junit })
    }

    pub(super) fn write(self, judgement: &Judgement<'_>) -> anyhow::Result<()> {
        let text = if self.args.json { leaks_json(judgement) } else { leaks_text(judgement) };
        let written = match self.output {
            Some(mut file) => file.write_all(text.as_bytes()),
            None => std::io::stderr().write_all(text.as_bytes()),
        };
        written.context("write the report")?;
        if let Some(mut file) = self.junit {
            let text = leaks_junit(judgement).context("make the report for --junit")?;
            file.write_all(text.as_bytes()).context("write the report for --junit")?;
        }
        Ok(())
    }
}
