//! Lists of mounts in the shape of `findmnt -J`.

use super::json::{Json, Object};
use super::{Cell, Column, View, tree};
use crate::model::{Coverage, Revision};
use crate::query::Listed;

/// `{"revision":…,"coverage":…,"filesystems":[{…,"children":[…]}]}`: the mounts of each view, one
/// line a mount; with `children` if `is_tree`. The keys are the columns' names in lower case.
pub fn list_json(
    parts: &[(View<'_>, Vec<Listed>)],
    columns: &[&'static Column],
    is_tree: bool,
    revision: Revision,
    coverage: &Coverage,
) -> String {
    let mut head = Object::default();
    head.put("revision", revision.0);
    head.put("coverage", coverage.word());
    let mut out = head.line();
    out.truncate(out.len().saturating_sub(1));
    out.push_str(",\"filesystems\":[");
    let mut is_first = true;
    for (view, mounts) in parts {
        let rows = if is_tree { tree::rows(mounts) } else { flat(mounts.len()) };
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

fn flat(count: usize) -> Vec<tree::Row> {
    (0..count).map(|index| tree::Row { index, level: 0, is_last: false }).collect()
}

fn object(view: View<'_>, listed: &Listed, columns: &[&'static Column]) -> Object {
    let mut object = Object::default();
    for column in columns {
        let key = column.key();
        match column.cell(view, listed) {
            Cell::None => object.put(key, Json::Null),
            Cell::Text(bytes) => object.put_bytes(key, Some(&bytes)),
            Cell::Number(number) => object.put(key, number),
            Cell::Flag(flag) => object.put(key, flag),
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use super::super::{COLUMNS, Secrets, sample};
    use super::*;

    fn check(is_tree: bool, columns: &[&'static Column]) -> String {
        let state = sample::state();
        let tables = state.tables();
        let view = View { tables, from: sample::view(tables), secrets: Secrets::Hidden };
        let parts = [(view, tables.list(view.from))];
        let text = list_json(&parts, columns, is_tree, Revision(7), &Coverage::Complete);
        let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(parsed.get("revision").unwrap(), 7);
        text
    }

    #[test]
    fn a_tree_has_findmnts_shape() {
        insta::assert_snapshot!(check(true, &["TARGET", "ID"].map(|name| Column::find(name).unwrap())), @r#"
        {"revision":7,"coverage":"complete","filesystems":[
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
        let text = check(false, &columns);
        insta::assert_snapshot!(text.lines().nth(2).unwrap().trim(), @r#"
          {"target":"/a b\n\\","source":"so#ur ce","fstype":"tmpfs","options":"rw,nosuid,relatime,sync,lazytime,size=4k","id":22,"parent":21,"uniq-id":2147483650,"maj:min":"0:2","fsroot":"/","vfs-options":"rw,nosuid,relatime","fs-options":"rw,sync,lazytime,size=4k","propagation":"shared","opt-fields":"shared:1","ns":4026531841,"ns-id":11,"peer-group":1,"master":null,"propagate-from":null,"covered":false},
        "#);
    }
}
