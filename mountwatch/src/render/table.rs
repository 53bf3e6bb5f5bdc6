//! Tables as findmnt(8) prints them.

use super::grid::{Grid, Layout};
use super::{Column, Form, Shape, View, tree};
use crate::query::Listed;

/// The mounts of each view as one table. A tree is drawn in the column TARGET, in the form
/// [`Form::Aligned`] alone; give its mounts [`in_tree_order`](super::in_tree_order).
pub fn table(
    parts: &[(View<'_>, Vec<Listed>)],
    columns: &[&'static Column],
    shape: Shape,
    layout: Layout,
) -> String {
    let mut grid = Grid::new(layout, columns.iter().map(|column| (column.name, column.side)));
    for (view, mounts) in parts {
        push(&mut grid, *view, mounts, columns, shape, layout);
    }
    grid.text()
}

fn push(
    grid: &mut Grid,
    view: View<'_>,
    mounts: &[Listed],
    columns: &[&'static Column],
    shape: Shape,
    layout: Layout,
) {
    let rows = tree::rows_of(view.tables, mounts, shape);
    let prefixes = match shape {
        Shape::Tree(symbols) if layout.form == Form::Aligned => tree::prefixes(&rows, symbols),
        _ => vec![String::new(); rows.len()],
    };
    for (row, prefix) in rows.iter().zip(prefixes) {
        let Some(listed) = mounts.get(row.index) else { continue };
        grid.push(columns.iter().map(|column| {
            let is_drawn = column.name == "TARGET";
            let prefix = if is_drawn { prefix.clone() } else { String::new() };
            (prefix, column.cell(view, listed))
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::super::{COLUMNS, Secrets, Symbols, sample};
    use super::*;

    fn check(names: &[&str], shape: Shape, layout: Layout) -> String {
        let state = sample::state();
        let tables = state.tables();
        let holders = sample::holders();
        let view = View::new(tables, sample::view(tables), Secrets::Hidden)
            .with_tid(77)
            .with_holders(&holders);
        let columns: Vec<_> = names.iter().map(|name| Column::find(name).unwrap()).collect();
        table(&[(view, tables.list(view.from))], &columns, shape, layout)
    }

    #[test]
    fn a_tree_has_findmnts_columns() {
        let text =
            check(super::super::COLUMNS_DEFAULT, Shape::Tree(Symbols::Utf8), Layout::default());
        insta::assert_snapshot!(text, @r#"
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
        insta::assert_snapshot!(check(&names, Shape::Flat, Layout::default()), @r#"
        TARGET       SOURCE                    FSTYPE   OPTIONS                                        ID PARENT    UNIQ-ID MAJ:MIN FSROOT           VFS-OPTIONS        FS-OPTIONS                     PROPAGATION              OPT-FIELDS                  NS NS-ID PEER-GROUP MASTER PROPAGATE-FROM COVERED BIND   CREATED-BY CREATED-AT CREATED-PID CREATED-COMM CREATED-CONTAINER CHANGED-BY CHANGED-AT CHANGED-PID CHANGED-COMM FROM TID CONTAINER                                                        PID COMM
        /            /dev/vda                  ext4     rw,nosuid,relatime,errors=remount-ro           21     21 2147483649 0:1     /                rw,nosuid,relatime rw,errors=remount-ro           private                                      4026531841    11                                  no                                                                                                                                   77 c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ff  42 ini t
        /a b\x0a\    so#ur ce                  tmpfs    rw,nosuid,relatime,sync,lazytime,size=4k       22     21 2147483650 0:2     /                rw,nosuid,relatime rw,sync,lazytime,size=4k       shared                   shared:1            4026531841    11          1                       no                                                                                                                                   77 c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ff  42 ini t
        /c\xff       so#ur ce[/sub]            tmpfs    rw,nosuid,relatime,sync,lazytime,size=4k       23     21 2147483651 0:2     /sub             rw,nosuid,relatime rw,sync,lazytime,size=4k       private,slave,unbindable master:1 unbindable 4026531841    11                 1                no      part                                                                                                                         77 c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ff  42 ini t
        /hidden/deep /dev/vda                  ext4     rw,nosuid,relatime,errors=remount-ro           24     21 2147483652 0:1     /                rw,nosuid,relatime rw,errors=remount-ro           private                                      4026531841    11                                  yes     again                                                                                                                        77 c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ff  42 ini t
        /hidden      https://me:<hidden>@host/ fuse.a b ro,nosuid,relatime,user_id=0,password=<hidden> 25     21 2147483653 0:3     /                rw,nosuid,relatime ro,user_id=0,password=<hidden> private                                      4026531841    11                                  no                                                                                                                                   77 c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ff  42 ini t
        /ns          [mnt:[4026531841]]        nsfs     rw,nosuid,relatime                             26     21 2147483654 0:4     mnt:[4026531841] rw,nosuid,relatime rw                             private                                      4026531841    11                                  yes     object                                                                                                                       77 c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ff  42 ini t
        /ns          top                       tmpfs    rw,nosuid,relatime,sync,lazytime,size=4k       27     26 2147483655 0:2     /                rw,nosuid,relatime rw,sync,lazytime,size=4k       private                                      4026531841    11                                  no                                                                                                                                   77 c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ff  42 ini t
        "#);
    }

    #[test]
    fn raw_and_pairs_are_for_programs() {
        let names = ["TARGET", "SOURCE", "MAJ:MIN", "OPT-FIELDS"];
        let raw = Layout { form: Form::Raw, ..Layout::default() };
        insta::assert_snapshot!(check(&names, Shape::Tree(Symbols::Utf8), raw), @r#"
        TARGET SOURCE MAJ:MIN OPT-FIELDS
        / /dev/vda 0:1 
        /a\x20b\x0a\x5c so#ur\x20ce 0:2 shared:1
        /c\xff so#ur\x20ce[/sub] 0:2 master:1\x20unbindable
        /hidden/deep /dev/vda 0:1 
        /hidden https://me:<hidden>@host/ 0:3 
        /ns [mnt:[4026531841]] 0:4 
        /ns top 0:2
        "#);
        let pairs = Layout { form: Form::Pairs, ..Layout::default() };
        insta::assert_snapshot!(check(&names, Shape::Flat, pairs), @r#"
        TARGET="/" SOURCE="/dev/vda" MAJ:MIN="0:1" OPT-FIELDS=""
        TARGET="/a b\x0a\x5c" SOURCE="so#ur ce" MAJ:MIN="0:2" OPT-FIELDS="shared:1"
        TARGET="/c\xff" SOURCE="so#ur ce[/sub]" MAJ:MIN="0:2" OPT-FIELDS="master:1 unbindable"
        TARGET="/hidden/deep" SOURCE="/dev/vda" MAJ:MIN="0:1" OPT-FIELDS=""
        TARGET="/hidden" SOURCE="https://me:<hidden>@host/" MAJ:MIN="0:3" OPT-FIELDS=""
        TARGET="/ns" SOURCE="[mnt:[4026531841]]" MAJ:MIN="0:4" OPT-FIELDS=""
        TARGET="/ns" SOURCE="top" MAJ:MIN="0:2" OPT-FIELDS=""
        "#);
        let bare = Layout { headings: false, shell_names: true, ..pairs };
        insta::assert_snapshot!(check(&names, Shape::Flat, bare), @r#"
        TARGET="/" SOURCE="/dev/vda" MAJ_MIN="0:1" OPT_FIELDS=""
        TARGET="/a b\x0a\x5c" SOURCE="so#ur ce" MAJ_MIN="0:2" OPT_FIELDS="shared:1"
        TARGET="/c\xff" SOURCE="so#ur ce[/sub]" MAJ_MIN="0:2" OPT_FIELDS="master:1 unbindable"
        TARGET="/hidden/deep" SOURCE="/dev/vda" MAJ_MIN="0:1" OPT_FIELDS=""
        TARGET="/hidden" SOURCE="https://me:<hidden>@host/" MAJ_MIN="0:3" OPT_FIELDS=""
        TARGET="/ns" SOURCE="[mnt:[4026531841]]" MAJ_MIN="0:4" OPT_FIELDS=""
        TARGET="/ns" SOURCE="top" MAJ_MIN="0:2" OPT_FIELDS=""
        "#);
        let bare = Layout { headings: false, ..Layout::default() };
        insta::assert_snapshot!(check(&["ID", "TARGET"], Shape::Flat, bare), @r#"
        21 /
        22 /a b\x0a\
        23 /c\xff
        24 /hidden/deep
        25 /hidden
        26 /ns
        27 /ns
        "#);
    }
}
