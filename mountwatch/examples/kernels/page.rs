//! `KERNELS.md`.

use crate::features::Kernel;
use crate::plan::missing;
use crate::tables::{MEMBERS, PROBES, RULES};
use mountwatch::kernel::hooks::{CALLS, FALLBACKS, HOOKS, Row};
use mountwatch_common::{hook, offset};
use std::fmt::Write as _;

const HEAD: &str = "# Kernels

Every difference between kernels that mountwatch knows of, with its reason. Made by `cargo xtask
kernels` of the tables in the code and of what the kernels of the test matrix have
(`mountwatch/kernels/*.features`): change those, not this page. Code asks for a feature, never for a
version, since distributions backport.

";

pub(crate) fn text(kernels: &[Kernel]) -> String {
    let mut out = String::from(HEAD);
    table(&mut out, &["series", "release in the matrix"], kernels, |kernel| {
        vec![kernel.series.to_owned(), format!("`{}`", kernel.release)]
    });
    out.push_str(
        "\n## Hooks\n\nFor each row of `mountwatch/src/kernel/hooks/table.rs` the function that is chosen. \
         Probed in the kernel's\nBTF; attached or refused at start; proved by the self-test. `–`: \
         none, and what that means is in the\nnext to last column.\n\n",
    );
    let mut head = vec!["hook"];
    head.extend(kernels.iter().map(|kernel| kernel.series));
    head.extend(["if none", "why this function"]);
    table(&mut out, &head, HOOKS, |row| {
        let mut cells = vec![format!("`{}`", hook::name(row.hook))];
        cells.extend(kernels.iter().map(|kernel| chosen(kernel, row)));
        cells.extend([missing(row.missing).to_owned(), row.reason.to_owned()]);
        cells
    });
    out.push_str(
        "\n## Who and whence\n\nFor each row of `mountwatch/src/kernel/hooks/calls.rs`. The index does not rest on \
         them: without one its\noperations, or the originals of copies, are not told, and `status` says so.\n\n",
    );
    let mut head = vec!["hook"];
    head.extend(kernels.iter().map(|kernel| kernel.series));
    head.push("what it tells");
    table(&mut out, &head, CALLS, |row| {
        let mut cells = vec![format!("`{}`", hook::name(row.hook))];
        cells.extend(kernels.iter().map(|kernel| chosen(kernel, row)));
        cells.push(row.reason.to_owned());
        cells
    });
    out.push_str(
        "\n## In place of a hook that is silent\n\nAttached when the self-test has noticed \
         that a hook does not fire: the other candidates of its row,\nand",
    );
    out.push_str(
        " all of these together, as also on a kernel without a function for the hook.\n\n",
    );
    let mut head = vec!["hook"];
    head.extend(kernels.iter().map(|kernel| kernel.series));
    head.push("what it sees");
    table(&mut out, &head, FALLBACKS, |row| {
        let mut cells = vec![format!("`{}`", hook::name(row.hook))];
        cells.extend(kernels.iter().map(|kernel| chosen(kernel, row)));
        cells.push(row.reason.to_owned());
        cells
    });
    members(&mut out, kernels);
    out.push_str("\n## Found out while it runs\n\n");
    table(
        &mut out,
        &["what", "kernels", "how it is found out", "without it", "where"],
        PROBES,
        |probe| {
            let file = format!("`{}`", probe.file);
            [probe.what, probe.kernels, probe.how, probe.without, &file].map(str::to_owned).to_vec()
        },
    );
    out.push_str("\n## Written around\n\n");
    table(&mut out, &["kernels", "what is done"], RULES, |(kernels, answer)| {
        vec![(*kernels).to_owned(), (*answer).to_owned()]
    });
    out
}

fn members(out: &mut String, kernels: &[Kernel]) {
    out.push_str(
        "\n## Members\n\nMembers of kernel structures that not every kernel has, probed in the \
         kernel's BTF; the number is the\noffset. All others of `mountwatch-common/src/offset.rs` \
         are on every kernel, and without them nothing\nstarts.\n\n",
    );
    let mut head = vec!["member"];
    head.extend(kernels.iter().map(|kernel| kernel.series));
    head.extend(["kernels", "without it"]);
    table(out, &head, MEMBERS, |member| {
        let index = offset::MEMBERS
            .iter()
            .position(|(structure, name, _)| format!("{structure}.{name}") == member.name);
        let mut cells = vec![format!("`{}`", member.name)];
        cells.extend(kernels.iter().map(|kernel| match index {
            Some(index) if kernel.has_member(index) => kernel.features.offsets[index].to_string(),
            _ => String::from("–"),
        }));
        cells.extend([member.kernels.to_owned(), member.without.to_owned()]);
        cells
    });
}

fn chosen(kernel: &Kernel, row: &Row) -> String {
    row.candidates
        .iter()
        .find_map(|one| {
            let (function, features) = (one.function, &kernel.features);
            if features.functions.contains(function) && !one.probe_only {
                Some(format!("`{function}`"))
            } else if features.symbols.contains(function) {
                Some(format!("`{function}` (probe)"))
            } else {
                None
            }
        })
        .unwrap_or_else(|| String::from("–"))
}

fn table<T>(out: &mut String, head: &[&str], rows: &[T], cells: impl Fn(&T) -> Vec<String>) {
    // Writing to a `String` cannot fail.
    let _ = writeln!(out, "| {} |\n|{}", head.join(" | "), "---|".repeat(head.len()));
    for row in rows {
        let _ = writeln!(out, "| {} |", cells(row).join(" | "));
    }
}
