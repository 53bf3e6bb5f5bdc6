//! Lines of mountinfo(5), as far as a difference between two of them has to be told.

use std::collections::BTreeMap;

/// Names of the fields, in the words of mountinfo(5).
const FIELDS: [&str; 10] = [
    "mount ID",
    "parent ID",
    "device",
    "root",
    "mountpoint",
    "attributes",
    "propagation",
    "type",
    "source",
    "super block options",
];

/// The fields of one line, as bytes of the kernel: escapes are not touched.
fn fields(line: &[u8]) -> [Vec<u8>; FIELDS.len()] {
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let dash = words.iter().skip(6).position(|word| *word == b"-").map_or(words.len(), |at| at + 6);
    let word = |at: usize| words.get(at).map(|word| word.to_vec()).unwrap_or_default();
    let optional = words.get(6..dash).unwrap_or_default().join(&b' ');
    // Options are last and may contain blanks if a file system does not escape them.
    let options = words.get(dash + 3..).unwrap_or_default().join(&b' ');
    [
        word(0),
        word(1),
        word(2),
        word(3),
        word(4),
        word(5),
        optional,
        word(dash + 1),
        word(dash + 2),
        options,
    ]
}

/// The lines of a file.
pub(crate) fn lines(file: &[u8]) -> Vec<&[u8]> {
    file.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect()
}

/// Every difference between what the index says and what the kernel says, in a sentence each.
/// Empty if they are equal; the order of the lines counts if `with_order`.
pub(crate) fn differences(index: &[u8], kernel: &[u8], with_order: bool) -> Vec<String> {
    if lines(index) == lines(kernel) {
        return Vec::new();
    }
    let by_id = |file| -> BTreeMap<Vec<u8>, &[u8]> {
        lines(file)
            .into_iter()
            .map(|line| (line.split(|byte| *byte == b' ').next().unwrap_or(line).to_vec(), line))
            .collect()
    };
    let (ours, theirs) = (by_id(index), by_id(kernel));
    let mut found = Vec::new();
    for (id, line) in &theirs {
        match ours.get(id) {
            None => found.push(format!("mount {} is missing: {}", show(id), show(line))),
            Some(our_line) if our_line != line => {
                for ((name, our), their) in FIELDS.iter().zip(fields(our_line)).zip(fields(line)) {
                    if our != their {
                        let (id, our, their) = (show(id), show(&our), show(&their));
                        found.push(format!(
                            "mount {id}: {name}: index {our:?}, kernel {their:?} ({})",
                            show(line)
                        ));
                    }
                }
            }
            Some(_) => {}
        }
    }
    for (id, line) in &ours {
        if !theirs.contains_key(id) {
            found.push(format!("mount {} is not there: {}", show(id), show(line)));
        }
    }
    if found.is_empty() {
        let order = |file| -> Vec<String> {
            lines(file)
                .iter()
                .map(|line| show(line.split(|byte| *byte == b' ').next().unwrap_or_default()))
                .collect()
        };
        let (ours, theirs) = (order(index), order(kernel));
        if ours.len() != theirs.len() {
            found.push(format!(
                "{} lines in the index, {} in the kernel",
                ours.len(),
                theirs.len()
            ));
        } else if with_order {
            found.push(format!("order: index {ours:?}, kernel {theirs:?}"));
        }
    }
    found
}

fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// The file without the options of those super blocks whose mounts are chosen by ID.
pub(crate) fn without_super_options(file: &[u8], is_chosen: &dyn Fn(u32) -> bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(file.len());
    for line in lines(file) {
        let [id, .., options] = fields(line);
        let id = std::str::from_utf8(&id).ok().and_then(|id| id.parse().ok());
        let is_chosen = id.is_some_and(is_chosen);
        let kept = if is_chosen { line.len() - options.len() } else { line.len() };
        out.extend_from_slice(line.get(..kept).unwrap_or(line));
        out.push(b'\n');
    }
    out
}

/// Mountpoints of the lines that show a mount namespace (nsfs), unescaped, with `mnt:[INODE]`.
pub(crate) fn bound_namespaces(file: &[u8]) -> Vec<(Vec<u8>, String)> {
    lines(file)
        .into_iter()
        .map(fields)
        .filter(|fields| fields[7] == b"nsfs" && fields[3].starts_with(b"mnt:["))
        .map(|fields| (unescape(&fields[4]), show(&fields[3])))
        .collect()
}

fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match (first, digits.and_then(|digits| u8::from_str_radix(digits, 8).ok())) {
            (b'\\', Some(byte)) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            (byte, _) => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KERNEL: &[u8] = b"22 27 0:21 / /proc rw,relatime - proc proc rw\n\
        63 43 0:39 /a /mnt rw shared:1 master:2 - tmpfs x rw,size=4k\n";

    fn told(index: &[u8]) -> Vec<String> {
        differences(index, KERNEL, true)
    }

    #[test]
    fn equal_files_have_no_difference() {
        assert!(told(KERNEL).is_empty());
    }

    #[test]
    fn a_changed_field_is_named() {
        let index = String::from_utf8(KERNEL.to_vec()).unwrap().replace("master:2", "master:3");
        let told = told(index.as_bytes());
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with(
            "mount 63: propagation: index \"shared:1 master:3\", kernel \"shared:1 master:2\""
        ));
    }

    #[test]
    fn missing_added_and_reordered_lines_are_told() {
        let lines = lines(KERNEL);
        let one = [lines[0], b"\n"].concat();
        assert!(told(&one)[0].starts_with("mount 63 is missing"));
        let three = [KERNEL, b"64 1 0:1 / /x rw - tmpfs x rw\n"].concat();
        assert!(told(&three)[0].starts_with("mount 64 is not there"));
        let turned = [lines[1], b"\n", lines[0], b"\n"].concat();
        assert!(told(&turned)[0].starts_with("order"));
        assert!(differences(&turned, KERNEL, false).is_empty());
        let twice = [KERNEL, lines[0], b"\n"].concat();
        assert_eq!(told(&twice), ["3 lines in the index, 2 in the kernel"]);
    }

    #[test]
    fn options_of_chosen_super_blocks_are_left_out() {
        let told = without_super_options(KERNEL, &|id| id == 63);
        let lines = lines(&told);
        assert!(lines[0].ends_with(b"proc proc rw"));
        assert!(lines[1].ends_with(b"tmpfs x "));
    }

    #[test]
    fn namespaces_that_are_bound_are_found() {
        let file = b"70 1 0:4 mnt:[4026532] /a\\040b rw - nsfs nsfs rw\n";
        assert_eq!(bound_namespaces(file), [(b"/a b".to_vec(), "mnt:[4026532]".to_owned())]);
    }

    proptest! {
        /// Any two files: no panic, and differences exactly if they differ in their lines.
        #[test]
        fn any_bytes_are_compared(index: Vec<u8>, kernel: Vec<u8>) {
            let is_equal = lines(&index) == lines(&kernel);
            let found = differences(&index, &kernel, true);
            prop_assert_eq!(is_equal, found.is_empty());
        }
    }
}
