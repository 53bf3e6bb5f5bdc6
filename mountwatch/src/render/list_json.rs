//! Lists of mounts in the shape of `findmnt -J`.

use super::json::Object;
use super::{Column, Shape, Source, View, tree};
use crate::query::Listed;

/// `{"answered_by":…,"revision":…,"coverage":…,"filesystems":[{…,"children":[…]}]}`: the mounts of each view, one
/// line a mount; with `children` if it is a tree and has the column TARGET, as findmnt(8) has it. The
/// keys are the columns' names in lower case.
pub fn list_json(
    parts: &[(View<'_>, Vec<Listed>)],
    columns: &[&'static Column],
    shape: Shape,
    source: Source<'_>,
) -> String {
    let mut head = Object::default();
    source.put(&mut head);
    let mut out = head.line();
    out.truncate(out.len().saturating_sub(1));
    out.push_str(",\"filesystems\":[");
    let mut is_first = true;
    let has_targets = columns.iter().any(|column| column.name == "TARGET");
    let shape = if has_targets { shape } else { without_levels(shape) };
    for (view, mounts) in parts {
        let rows = tree::rows_of(view.tables, mounts, shape);
        // Written level by level, not by recursion: a tree of mounts can be 100,000 levels deep.
        let mut rows = rows.iter().peekable();
        while let Some(row) = rows.next() {
            let Some(listed) = mounts.get(row.index) else { continue };
            if !is_first {
                out.push(',');
            }
            is_first = false;
            out.push('\n');
            out.push_str(&"  ".repeat(row.level.min(tree::LEVELS_MAX) + 1));
            let line = object(*view, listed, columns).line();
            let next_level = rows.peek().map_or(0, |next| next.level);
            if next_level > row.level {
                out.push_str(line.strip_suffix('}').unwrap_or(&line));
                out.push_str(",\"children\":[");
                is_first = true;
            } else {
                out.push_str(&line);
                out.push_str(&"]}".repeat(row.level - next_level));
            }
        }
    }
    out.push_str("\n]}\n");
    out
}

fn without_levels(shape: Shape) -> Shape {
    match shape {
        Shape::Tree(_) => Shape::TreeOrder,
        other => other,
    }
}

fn object(view: View<'_>, listed: &Listed, columns: &[&'static Column]) -> Object {
    let mut object = Object::default();
    for column in columns {
        object.put_cell(column.key(), column.cell(view, listed));
    }
    object
}

#[cfg(test)]
mod tests {
    use super::super::{COLUMNS, Secrets, Symbols, sample};
    use super::*;
    use crate::model::{Coverage, Revision};

    fn check(shape: Shape, columns: &[&'static Column]) -> String {
        let state = sample::state();
        let tables = state.tables();
        let view = View::new(tables, sample::view(tables), Secrets::Hidden);
        let parts = [(view, tables.list(view.from))];
        let (revision, coverage) = (Some(Revision(7)), &Coverage::Complete);
        let source = Source { answered_by: "hooks", revision, coverage, clock: None };
        let text = list_json(&parts, columns, shape, source);
        let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(parsed.get("revision").unwrap(), 7);
        text
    }

    #[test]
    fn a_tree_has_findmnts_shape() {
        insta::assert_snapshot!(check(Shape::Tree(Symbols::Utf8), &["TARGET", "ID"].map(|name| Column::find(name).unwrap())), @r#"
        {"answered_by":"hooks","revision":7,"coverage":"complete","filesystems":[
          {"target":"/","id":21,"children":[
            {"target":"/a b\n\\","id":22},
            {"target":"/c�","target_hex":"2f63ff","id":23},
            {"target":"/hidden/deep","id":24},
            {"target":"/hidden","id":25},
            {"target":"/ns","id":26,"children":[
              {"target":"/ns","id":27}]}]}
        ]}
        "#);
    }

    #[test]
    fn every_column_is_a_key() {
        let columns: Vec<_> = COLUMNS.iter().collect();
        let text = check(Shape::Flat, &columns);
        insta::assert_snapshot!(text.lines().nth(2).unwrap().trim(), @r#"{"target":"/a b\n\\","source":"so#ur ce","fstype":"tmpfs","options":"rw,nosuid,relatime,sync,lazytime,size=4k","id":22,"parent":21,"uniq-id":2147483650,"maj:min":"0:2","fsroot":"/","vfs-options":"rw,nosuid,relatime","fs-options":"rw,sync,lazytime,size=4k","propagation":"shared","opt-fields":"shared:1","ns":4026531841,"ns-id":11,"peer-group":1,"master":null,"propagate-from":null,"covered":false,"bind":null,"created-by":null,"created-at":null,"created-pid":null,"created-comm":null,"created-container":null,"changed-by":null,"changed-at":null,"changed-pid":null,"changed-comm":null,"from":null,"tid":null,"container":null,"pid":null,"comm":null},"#);
    }
}
