//! The plan that the table of hooks gives on one kernel, as text under review.

use crate::features::Kernel;
use mountwatch::kernel::hooks::{self, Candidate, Missing, fallback};
use mountwatch_common::hook;
use std::fmt::Write as _;

pub(crate) fn text(kernel: &Kernel) -> String {
    let plan = hooks::plan(&kernel.features, &[]);
    let mut out = format!(
        "Made by `cargo xtask kernels`. The first candidate is attached; the next one if the kernel \
         refuses it.\n\nkernel {}\n",
        kernel.release
    );
    for step in &plan.steps {
        let candidates: Vec<_> = step.candidates.iter().map(name).collect();
        line(&mut out, hook::name(step.hook), &candidates.join(", then "));
        line(&mut out, "", &format!("if none attaches: {}", missing(step.missing)));
    }
    for row in hooks::HOOKS {
        let chosen = plan.steps.iter().filter(|step| step.hook == row.hook);
        let attached = chosen.filter_map(|step| step.candidates.first()).map(|one| one.function);
        let others = fallback::others(&kernel.features, row.hook, &attached.collect());
        let others: Vec<_> = others.iter().map(name).collect();
        let said = format!("{:<16} if it is silent", hook::name(row.hook));
        if !others.is_empty() && !out.contains(&said) {
            line(
                &mut out,
                hook::name(row.hook),
                &format!("if it is silent: {}", others.join(", ")),
            );
        }
    }
    for hook in &plan.refused {
        line(&mut out, "refused", hook::name(*hook));
    }
    for sentence in &plan.blind {
        line(&mut out, "blind", sentence);
    }
    out
}

fn line(out: &mut String, name: &str, text: &str) {
    // Writing to a `String` cannot fail.
    let _ = writeln!(out, "{name:<16} {text}");
}

fn name(candidate: &Candidate) -> String {
    format!("{} {} ({})", candidate.kind.name(), candidate.function, candidate.program)
}

pub(crate) fn missing(missing: Missing) -> &'static str {
    match missing {
        Missing::Refuse => "no index",
        Missing::Blind(sentence) => sentence,
        Missing::Nothing => "the operation is not watched; no function means that there is none",
    }
}
