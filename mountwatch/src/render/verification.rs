//! `verify`: where the index and the kernel differ.

use super::json::{Json, Object};
use super::{Secrets, text};
use crate::verify::{Difference, Verification};
use std::fmt::Write;

/// One line for each difference and for each namespace that could not be compared, then a summary.
pub fn verification_text(verification: &Verification, secrets: Secrets) -> String {
    let mut out = String::new();
    // Writing to a `String` cannot fail.
    for namespace in &verification.namespaces {
        for difference in &namespace.differences {
            let sentence = text::visible(&sentence(difference, secrets));
            let _ = writeln!(out, "namespace {}: {sentence}", namespace.inode);
        }
    }
    for namespace in &verification.namespaces {
        for difference in &namespace.late {
            let sentence = text::visible(&sentence(difference, secrets));
            let _ = writeln!(
                out,
                "namespace {}: {sentence}, which the file system changed by itself and this kernel \
                 tells late",
                namespace.inode
            );
        }
    }
    for (inode, why) in &verification.unreadable {
        let why = text::visible(why.as_bytes());
        let _ = writeln!(out, "namespace {inode}: not compared: {why}");
    }
    for inode in &verification.unstable {
        let _ = writeln!(out, "namespace {inode}: not compared: it changed during every read");
    }
    let differences = differences(verification);
    let _ = writeln!(
        out,
        "{}, {} compared: {}",
        counted(verification.namespaces.len(), "mount namespace"),
        counted(verification.namespaces.iter().map(|namespace| namespace.mounts).sum(), "mount"),
        if differences == 0 {
            String::from("no difference")
        } else {
            counted(differences, "difference")
        },
    );
    out
}

/// The same as one JSON object.
pub fn verification_json(verification: &Verification, secrets: Secrets) -> String {
    let namespaces =
        verification.namespaces.iter().map(|namespace| {
            let mut object = Object::default();
            object.put("ns", namespace.inode.0);
            object.put("task", namespace.task);
            object.put("mounts", namespace.mounts as u64);
            let differences = namespace.differences.iter().map(|difference| {
                String::from_utf8_lossy(&sentence(difference, secrets)).into_owned()
            });
            object.put("differences", differences.collect::<Vec<_>>());
            let late = namespace.late.iter().map(|difference| {
                String::from_utf8_lossy(&sentence(difference, secrets)).into_owned()
            });
            object.put("late", late.collect::<Vec<_>>());
            Json::from(object)
        });
    let unreadable = verification.unreadable.iter().map(|(inode, why)| {
        let mut object = Object::default();
        object.put("ns", inode.0);
        object.put("why", why.as_str());
        Json::from(object)
    });
    let mut object = Object::default();
    object.put("equal", verification.is_equal());
    object.put("differences", differences(verification) as u64);
    object.put("namespaces", Json::List(namespaces.collect()));
    object.put("unreadable", Json::List(unreadable.collect()));
    let unstable = verification.unstable.iter().map(|inode| inode.0);
    object.put("unstable", unstable.collect::<Vec<_>>());
    object.lines()
}

/// A difference quotes lines of mountinfo, and those can hold secrets.
fn sentence(difference: &Difference, secrets: Secrets) -> Vec<u8> {
    secrets.source(difference.to_string().as_bytes())
}

fn differences(verification: &Verification) -> usize {
    verification.namespaces.iter().map(|namespace| namespace.differences.len()).sum()
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NamespaceInode;
    use crate::verify::NamespaceVerification;

    #[test]
    fn differences_are_lines_without_secrets() {
        let difference = Difference::Missing {
            line: b"22 21 0:1 / /a\x1b[31m rw - cifs //host rw,password=x,vers=3".to_vec(),
        };
        let late = Difference::Field {
            id: 23,
            field: "super options",
            index: b"rw".to_vec(),
            kernel: b"ro".to_vec(),
        };
        let inode = NamespaceInode(5);
        let verification = Verification {
            namespaces: vec![NamespaceVerification {
                inode,
                task: None,
                mounts: 2,
                differences: vec![difference],
                late: vec![late],
            }],
            unreadable: vec![(NamespaceInode(6), String::from("permission denied"))],
            unstable: vec![NamespaceInode(7)],
        };
        insta::assert_snapshot!(verification_text(&verification, Secrets::Hidden), @r#"
        namespace 5: missing in the index: 22 21 0:1 / /a\x1b[31m rw - cifs //host rw,password=<hidden>,vers=3
        namespace 5: mount 23: super options is "rw" in the index and "ro" in the kernel, which the file system changed by itself and this kernel tells late
        namespace 6: not compared: permission denied
        namespace 7: not compared: it changed during every read
        1 mount namespace, 2 mounts compared: 1 difference
        "#);
        let json = verification_json(&verification, Secrets::Hidden);
        let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(parsed.get("equal").unwrap(), false);
        assert!(!json.contains("=x"), "{json}");
    }
}
