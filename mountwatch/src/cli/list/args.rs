//! What `mountwatch list` can be asked.

use crate::cli::WhoseArgs;
use crate::render::{COLUMNS, COLUMNS_DEFAULT, Column, Form, Layout, Shape, Symbols};
use anyhow::{Context, anyhow};
use clap::Args;
use std::path::{Path, PathBuf};

const FORM: &str = "Form of the output";
const FILTER: &str = "Which mounts";

/// Arguments of `list`.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
#[derive(Debug, Args)]
#[command(after_help = columns_help())]
pub struct ListArgs {
    /// Only what is mounted at this path.
    ///
    /// Without --task and --ns it is a path of this process and symbolic links are followed;
    /// otherwise it is an absolute path of the task or namespace, taken as it stands.
    pub path: Option<PathBuf>,
    /// Whose mounts.
    #[command(flatten)]
    pub whose: WhoseArgs,
    /// Every mount namespace, each from its own root.
    #[arg(short = 'A', long, conflicts_with_all = ["task", "ns"])]
    pub all_namespaces: bool,
    /// Only what is mounted at this path: another way to give PATH.
    #[arg(short = 'M', long, value_name = "PATH", help_heading = FILTER, conflicts_with_all = ["path", "target"])]
    pub mountpoint: Option<PathBuf>,
    /// The mount on which this path lies.
    #[arg(short = 'T', long, value_name = "PATH", help_heading = FILTER, conflicts_with = "path")]
    pub target: Option<PathBuf>,
    /// Also what is mounted below the path.
    #[arg(short = 'R', long, help_heading = FILTER)]
    pub submounts: bool,
    /// Only these file system types, separated by commas; `no` in front means all others.
    #[arg(short = 't', long, value_name = "TYPES", help_heading = FILTER)]
    pub types: Option<String>,
    /// Only mounts with all of these options, separated by commas; `no` in front of one means
    /// without it (`+no…` for an option that begins so).
    #[arg(short = 'O', long, value_name = "OPTIONS", help_heading = FILTER)]
    pub options: Option<String>,
    /// Only this source, or this device as MAJ:MIN.
    #[arg(short = 'S', long, value_name = "SOURCE", help_heading = FILTER)]
    pub source: Option<String>,
    /// Only the mount with this ID.
    #[arg(long, value_name = "ID", help_heading = FILTER)]
    pub id: Option<u32>,
    /// Only the mount with this unique ID.
    #[arg(long, value_name = "ID", help_heading = FILTER)]
    pub uniq_id: Option<u64>,
    /// Only file systems that keep files somewhere.
    #[arg(long, help_heading = FILTER, conflicts_with = "pseudo")]
    pub real: bool,
    /// Only file systems that the kernel or a program makes up.
    #[arg(long, help_heading = FILTER)]
    pub pseudo: bool,
    /// Only mounts on top of which another one is mounted.
    #[arg(long, help_heading = FILTER)]
    pub shadowed: bool,
    /// No bind mounts.
    #[arg(long, help_heading = FILTER)]
    pub no_bind: bool,
    /// Only the first one that is found.
    #[arg(short = 'f', long, help_heading = FILTER)]
    pub first_only: bool,
    /// JSON in the shape of `findmnt -J`; all columns that need no walk over /proc, unless -o is given.
    #[arg(short = 'J', long, help_heading = FORM)]
    pub json: bool,
    /// Columns, separated by commas; after `+` in addition to the default ones.
    #[arg(short = 'o', long, value_name = "COLUMNS", help_heading = FORM)]
    pub output: Option<String>,
    /// All columns.
    #[arg(long, help_heading = FORM, conflicts_with = "output")]
    pub output_all: bool,
    /// Say what columns there are, and nothing else.
    #[arg(short = 'H', long, help_heading = FORM)]
    pub list_columns: bool,
    /// As a tree. This is the default, except with a path and without --submounts.
    #[arg(long, help_heading = FORM, overrides_with = "list")]
    pub tree: bool,
    /// As a list.
    #[arg(short = 'l', long, help_heading = FORM)]
    pub list: bool,
    /// Draw the tree with ASCII characters.
    #[arg(short = 'a', long, help_heading = FORM)]
    pub ascii: bool,
    /// A blank between cells, and `\xNN` for what is not plain text.
    #[arg(short = 'r', long, help_heading = FORM, conflicts_with_all = ["json", "pairs", "tree"])]
    pub raw: bool,
    /// NAME="cell" for each cell.
    #[arg(short = 'P', long, help_heading = FORM, conflicts_with_all = ["json", "tree"])]
    pub pairs: bool,
    /// Names of columns that are variables of a shell: MAJ_MIN for MAJ:MIN.
    #[arg(short = 'y', long, help_heading = FORM)]
    pub shell: bool,
    /// No line of names on top.
    #[arg(short = 'n', long, help_heading = FORM)]
    pub noheadings: bool,
    /// Sources without the root in brackets.
    #[arg(short = 'v', long, help_heading = FORM)]
    pub nofsroot: bool,
    /// The kernel's own text, line for line what /proc/TID/mountinfo says.
    #[arg(long, help_heading = FORM, conflicts_with_all = ["all_namespaces", "json", "output", "tree", "list", "raw", "pairs"])]
    pub mountinfo: bool,
}

impl ListArgs {
    /// The path at or below which mounts are asked for.
    pub(super) fn at(&self) -> Option<&Path> {
        self.path.as_deref().or(self.mountpoint.as_deref())
    }

    /// As findmnt(8): a tree, except for what is at one path or of one source, and for one line.
    pub(super) fn shape(&self) -> Shape {
        let is_one = self.at().is_some() || self.target.is_some() || self.source.is_some();
        let is_cut_out = (is_one || self.first_only) && !self.submounts;
        let is_flat = self.list || self.raw || self.pairs || is_cut_out;
        if self.tree || !is_flat {
            Shape::Tree(if self.ascii { Symbols::Ascii } else { Symbols::Utf8 })
        } else if self.submounts {
            Shape::TreeOrder
        } else {
            Shape::Flat
        }
    }

    pub(super) fn layout(&self) -> Layout {
        let form = match (self.raw, self.pairs) {
            (true, _) => Form::Raw,
            (_, true) => Form::Pairs,
            _ => Form::Aligned,
        };
        Layout { form, headings: !self.noheadings, shell_names: self.shell }
    }

    pub(super) fn columns(&self) -> anyhow::Result<Vec<&'static Column>> {
        let find = |name: &str| {
            Column::find(name).ok_or_else(|| {
                let hint =
                    super::super::hint::nearest(name, COLUMNS.iter().map(|column| column.name));
                anyhow!(
                    "there is no column {name}{hint}; `mountwatch list --list-columns` has them all"
                )
            })
        };
        let named =
            |names: &[&str]| names.iter().map(|name| find(name)).collect::<Result<Vec<_>, _>>();
        let columns = match self.output.as_deref() {
            None if self.output_all => Ok(COLUMNS.iter().collect()),
            None if self.json => {
                Ok(COLUMNS.iter().filter(|column| !column.needs_holders()).collect())
            }
            None => named(COLUMNS_DEFAULT),
            Some(names) => {
                let (mut columns, names) = match names.strip_prefix('+') {
                    Some(names) => (named(COLUMNS_DEFAULT)?, names),
                    None => (Vec::new(), names),
                };
                let more: Vec<_> = names.split(',').collect();
                named(&more).map(|more| {
                    columns.extend(more);
                    columns
                })
            }
        };
        columns.context("list the mounts")
    }
}

/// Each column with its help, a line each.
pub(super) fn columns_text() -> String {
    let width = COLUMNS.iter().map(|column| column.name.len()).max().unwrap_or(0);
    let lines = COLUMNS.iter().map(|column| format!("{:>width$}  {}\n", column.name, column.help));
    lines.collect()
}

fn columns_help() -> String {
    let text = columns_text();
    format!("Columns:\n{text}\nExit status: 0 something found, 1 nothing.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn args(line: &str) -> ListArgs {
        let line = ["mountwatch", "list"].into_iter().chain(line.split_whitespace());
        match Cli::try_parse_from(line).unwrap().command {
            Command::List(args) => args,
            other => panic!("{other:?}"),
        }
    }

    fn names(line: &str) -> Vec<&'static str> {
        args(line).columns().unwrap().iter().map(|column| column.name).collect()
    }

    #[test]
    fn columns_are_the_default_or_more_or_others() {
        assert_eq!(names(""), COLUMNS_DEFAULT);
        assert_eq!(names("-o id,Target"), ["ID", "TARGET"]);
        assert_eq!(names("-o +ID"), ["TARGET", "SOURCE", "FSTYPE", "OPTIONS", "ID"]);
        assert_eq!(names("--output-all").len(), COLUMNS.len());
        assert!(!names("-J").contains(&"CONTAINER"));
        let error = args("-o TARGTE").columns().unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains("no column TARGTE, but TARGET"), "{error}");
    }

    #[test]
    fn shapes_are_findmnts() {
        let tree = Shape::Tree(Symbols::Utf8);
        for (line, shape) in [
            ("", tree),
            ("-a", Shape::Tree(Symbols::Ascii)),
            ("/x", Shape::Flat),
            ("-T /x", Shape::Flat),
            ("-S x", Shape::Flat),
            ("-f -t x", Shape::Flat),
            ("-t x", tree),
            ("-R /x", tree),
            ("-R -l /x", Shape::TreeOrder),
            ("-l", Shape::Flat),
            ("-r", Shape::Flat),
            ("-P -R -M /x", Shape::TreeOrder),
            ("--tree /x", tree),
            ("-l --tree", tree),
        ] {
            assert_eq!(args(line).shape(), shape, "{line}");
        }
    }
}
