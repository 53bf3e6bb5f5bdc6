//! Tables as findmnt(8) prints them.

use super::column::Side;
use super::{Cell, Column, Symbols, View, text, tree};
use crate::query::Listed;
use std::fmt::Write;

/// The mounts of each view as one table with a line of names on top; as a tree in the column
/// TARGET if `tree` says with which characters.
pub fn table(
    parts: &[(View<'_>, Vec<Listed>)],
    columns: &[&'static Column],
    tree: Option<Symbols>,
) -> String {
    let mut lines = vec![columns.iter().map(|column| column.name.to_owned()).collect::<Vec<_>>()];
    for (view, mounts) in parts {
        push_lines(&mut lines, *view, mounts, columns, tree);
    }
    join(&lines, columns)
}

fn push_lines(
    lines: &mut Vec<Vec<String>>,
    view: View<'_>,
    mounts: &[Listed],
    columns: &[&'static Column],
    tree: Option<Symbols>,
) {
    let (order, prefixes) = match tree {
        Some(symbols) => {
            let rows = tree::rows(mounts);
            let prefixes = tree::prefixes(&rows, symbols);
            (rows.iter().map(|row| row.index).collect::<Vec<_>>(), prefixes)
        }
        None => ((0..mounts.len()).collect(), vec![String::new(); mounts.len()]),
    };
    for (index, prefix) in order.into_iter().zip(prefixes) {
        let Some(listed) = mounts.get(index) else { continue };
        let cells = columns.iter().map(|column| {
            let cell = cell_text(&column.cell(view, listed));
            if column.name == "TARGET" { format!("{prefix}{cell}") } else { cell }
        });
        lines.push(cells.collect());
    }
}

fn cell_text(cell: &Cell) -> String {
    match cell {
        Cell::None => String::new(),
        Cell::Text(bytes) => text::visible(bytes),
        Cell::Number(number) => number.to_string(),
        Cell::Flag(flag) => String::from(if *flag { "yes" } else { "no" }),
    }
}

/// Cells in columns of the same width, a blank between them, nothing after the last.
fn join(lines: &[Vec<String>], columns: &[&'static Column]) -> String {
    let widths: Vec<usize> = (0..columns.len())
        .map(|place| {
            let cells = lines.iter().filter_map(|line| line.get(place));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    for line in lines {
        let start = out.len();
        for ((cell, column), width) in line.iter().zip(columns).zip(&widths) {
            // Writing to a `String` cannot fail.
            let _ = if column.side == Side::Right {
                write!(out, "{cell:>width$} ")
            } else {
                write!(out, "{cell:<width$} ")
            };
        }
        out.truncate(start + out.get(start..).map_or(0, |line| line.trim_end_matches(' ').len()));
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::{COLUMNS, Secrets, sample};
    use super::*;

    fn check(names: &[&str], tree: Option<Symbols>) -> String {
        let state = sample::state();
        let tables = state.tables();
        let view = View { tables, from: sample::view(tables), secrets: Secrets::Hidden };
        let columns: Vec<_> = names.iter().map(|name| Column::find(name).unwrap()).collect();
        table(&[(view, tables.list(view.from))], &columns, tree)
    }

    #[test]
    fn a_tree_has_findmnts_columns() {
        insta::assert_snapshot!(check(super::super::COLUMNS_DEFAULT, Some(Symbols::Utf8)), @r#"
        TARGET         SOURCE                    FSTYPE   OPTIONS
        /              /dev/vda                  ext4     rw,nosuid,relatime,errors=remount-ro
        ├─/a b\x0a\    so#ur ce                  tmpfs    rw,nosuid,relatime,sync,lazytime,size=4k
        ├─/c\xff       so#ur ce[/sub]            tmpfs    rw,nosuid,relatime,sync,lazytime,size=4k
        ├─/hidden/deep /dev/vda                  ext4     rw,nosuid,relatime,errors=remount-ro
        ├─/hidden      https://me:<hidden>@host/ fuse.a b ro,nosuid,relatime,user_id=0,password=<hidden>
        └─/ns          [mnt:[4026531841]]        nsfs     rw,nosuid,relatime
          └─/ns        top                       tmpfs    rw,nosuid,relatime,sync,lazytime,size=4k
        "#);
    }

    #[test]
    fn every_column_has_a_cell() {
        let names: Vec<_> = COLUMNS.iter().map(|column| column.name).collect();
        insta::assert_snapshot!(check(&names, None), @r#"
        TARGET       SOURCE                    FSTYPE   OPTIONS                                        ID PARENT    UNIQ-ID MAJ:MIN FSROOT           VFS-OPTIONS        FS-OPTIONS                     PROPAGATION              OPT-FIELDS                  NS NS-ID PEER-GROUP MASTER PROPAGATE-FROM COVERED
        /            /dev/vda                  ext4     rw,nosuid,relatime,errors=remount-ro           21     21 2147483649 0:1     /                rw,nosuid,relatime rw,errors=remount-ro           private                                      4026531841    11                                  no
        /a b\x0a\    so#ur ce                  tmpfs    rw,nosuid,relatime,sync,lazytime,size=4k       22     21 2147483650 0:2     /                rw,nosuid,relatime rw,sync,lazytime,size=4k       shared                   shared:1            4026531841    11          1                       no
        /c\xff       so#ur ce[/sub]            tmpfs    rw,nosuid,relatime,sync,lazytime,size=4k       23     21 2147483651 0:2     /sub             rw,nosuid,relatime rw,sync,lazytime,size=4k       private,slave,unbindable master:1 unbindable 4026531841    11                 1                no
        /hidden/deep /dev/vda                  ext4     rw,nosuid,relatime,errors=remount-ro           24     21 2147483652 0:1     /                rw,nosuid,relatime rw,errors=remount-ro           private                                      4026531841    11                                  yes
        /hidden      https://me:<hidden>@host/ fuse.a b ro,nosuid,relatime,user_id=0,password=<hidden> 25     21 2147483653 0:3     /                rw,nosuid,relatime ro,user_id=0,password=<hidden> private                                      4026531841    11                                  no
        /ns          [mnt:[4026531841]]        nsfs     rw,nosuid,relatime                             26     21 2147483654 0:4     mnt:[4026531841] rw,nosuid,relatime rw                             private                                      4026531841    11                                  yes
        /ns          top                       tmpfs    rw,nosuid,relatime,sync,lazytime,size=4k       27     26 2147483655 0:2     /                rw,nosuid,relatime rw,sync,lazytime,size=4k       private                                      4026531841    11                                  no
        "#);
    }
}
