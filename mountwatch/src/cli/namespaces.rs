//! `mountwatch namespaces`.

use super::source::Source;
use super::{Global, output, start};
use crate::render::{
    Layout, NAMESPACE_COLUMNS, NamespaceColumn, namespaces_json, namespaces_table,
};
use anyhow::{Context, anyhow};
use clap::Args;
use std::process::ExitCode;

/// Arguments of `namespaces`.
#[derive(Debug, Args)]
#[command(after_help = columns_help())]
pub struct NamespacesArgs {
    /// JSON.
    #[arg(short = 'J', long)]
    pub json: bool,
    /// Columns, separated by commas.
    #[arg(short = 'o', long, value_name = "COLUMNS")]
    pub output: Option<String>,
    /// No line of names on top.
    #[arg(short = 'n', long)]
    pub noheadings: bool,
}

pub(super) fn run(global: &Global, args: &NamespacesArgs) -> anyhow::Result<ExitCode> {
    let columns = columns(args).context("list the mount namespaces")?;
    let source = Source::open(global)?;
    let (snapshot, holders) = source.now_with_holders(true)?;
    let text = if args.json {
        namespaces_json(&snapshot, &holders, &columns, &source.answered_by()?)
    } else {
        let layout = Layout { headings: !args.noheadings, ..Layout::default() };
        namespaces_table(&snapshot, &holders, &columns, layout)
    };
    output::write(text.as_bytes())?;
    start::warn_if_uncertain(snapshot.revision(), snapshot.coverage());
    Ok(ExitCode::SUCCESS)
}

fn columns(args: &NamespacesArgs) -> anyhow::Result<Vec<&'static NamespaceColumn>> {
    let Some(names) = &args.output else { return Ok(NAMESPACE_COLUMNS.iter().collect()) };
    names
        .split(',')
        .map(|name| {
            NamespaceColumn::find(name).ok_or_else(|| {
                let names = NAMESPACE_COLUMNS.iter().map(|column| column.name);
                let hint = super::hint::nearest(name, names);
                anyhow!(
                    "there is no column {name}{hint}; `mountwatch namespaces --help` has them all"
                )
            })
        })
        .collect()
}

fn columns_help() -> String {
    let width = NAMESPACE_COLUMNS.iter().map(|column| column.name.len()).max().unwrap_or(0);
    let lines = NAMESPACE_COLUMNS
        .iter()
        .map(|column| format!("{:>width$}  {}\n", column.name, column.help));
    format!("Columns:\n{}", lines.collect::<String>())
}
