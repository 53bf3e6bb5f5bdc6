//! Rows of cells in the forms of findmnt(8) and lsns(8).

use super::text;
use super::{Cell, Side};
use std::fmt::Write;

/// How rows are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Columns of the same width, for people.
    #[default]
    Aligned,
    /// A blank between cells, with all that is not plain text escaped as `\xNN`.
    Raw,
    /// `NAME="cell"` with a blank between, in a shell's quotes.
    Pairs,
}

/// The form of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// How rows are written.
    pub form: Form,
    /// A line of names comes first (not with [`Form::Pairs`]).
    pub headings: bool,
    /// Names that are variables of a shell: `MAJ_MIN` for `MAJ:MIN`.
    pub shell_names: bool,
}

impl Default for Layout {
    fn default() -> Self {
        Self { form: Form::Aligned, headings: true, shell_names: false }
    }
}

/// Rows of cells under names.
#[derive(Debug)]
pub(super) struct Grid {
    layout: Layout,
    names: Vec<(String, Side)>,
    rows: Vec<Vec<String>>,
}

impl Grid {
    pub(super) fn new(layout: Layout, names: impl Iterator<Item = (&'static str, Side)>) -> Self {
        let name = |name: &str| {
            if layout.shell_names { name.replace([':', '-', '%'], "_") } else { name.to_owned() }
        };
        let names = names.map(|(text, side)| (name(text), side)).collect();
        Self { layout, names, rows: Vec::new() }
    }

    /// Adds a row: a cell for each name, with what stands before its text.
    pub(super) fn push(&mut self, cells: impl Iterator<Item = (String, Cell)>) {
        let form = self.layout.form;
        self.rows.push(cells.map(|(prefix, cell)| prefix + &text_of(&cell, form)).collect());
    }

    pub(super) fn text(&self) -> String {
        match self.layout.form {
            Form::Aligned => self.aligned(),
            Form::Raw => self.raw(),
            Form::Pairs => self.pairs(),
        }
    }

    fn headings(&self) -> Option<Vec<String>> {
        self.layout.headings.then(|| self.names.iter().map(|(name, _)| name.clone()).collect())
    }

    /// Cells in columns of the same width, a blank between them, nothing after the last.
    fn aligned(&self) -> String {
        let headings = self.headings();
        // Names are as wide as their column even where they are not shown.
        let names = self.names.iter().map(|(name, _)| name.chars().count());
        let widths: Vec<usize> = names
            .enumerate()
            .map(|(place, width)| {
                let cells = self.rows.iter().filter_map(|line| line.get(place));
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(width)
            })
            .collect();
        let mut out = String::new();
        for line in headings.iter().chain(&self.rows) {
            let start = out.len();
            for ((cell, (_, side)), width) in line.iter().zip(&self.names).zip(&widths) {
                // Writing to a `String` cannot fail.
                let _ = match side {
                    Side::Right => write!(out, "{cell:>width$} "),
                    Side::Left => write!(out, "{cell:<width$} "),
                };
            }
            let line = out.get(start..).unwrap_or_default();
            out.truncate(start + line.trim_end_matches(' ').len());
            out.push('\n');
        }
        out
    }

    fn raw(&self) -> String {
        let headings = self.headings();
        headings
            .iter()
            .chain(&self.rows)
            .fold(String::new(), |out, line| out + &line.join(" ") + "\n")
    }

    fn pairs(&self) -> String {
        let mut out = String::new();
        for line in &self.rows {
            let pairs = self.names.iter().zip(line);
            let pairs: Vec<_> =
                pairs.map(|((name, _), cell)| format!("{name}=\"{cell}\"")).collect();
            out += &pairs.join(" ");
            out.push('\n');
        }
        out
    }
}

fn text_of(cell: &Cell, form: Form) -> String {
    match (cell, form) {
        (Cell::None, _) => String::new(),
        (Cell::Text(bytes), Form::Aligned) => text::visible(bytes),
        (Cell::Text(bytes), Form::Raw) => text::hex_escaped(bytes, b" \\"),
        (Cell::Text(bytes), Form::Pairs) => text::hex_escaped(bytes, b"\"\\`$"),
        (Cell::Number(number), _) => number.to_string(),
        (Cell::Flag(flag), _) => String::from(if *flag { "yes" } else { "no" }),
    }
}
