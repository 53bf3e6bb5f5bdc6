//! The plan that the table of hooks gives on one kernel, as text under review.

use crate::features::Kernel;
use hashbrown::HashSet;
use mountwatch::kernel::hooks::{self, Missing, Skipped, Step, Way, Wishes, fallback};
use mountwatch_common::hook;
use std::fmt::Write as _;

pub(crate) fn text(kernel: &Kernel) -> String {
    let plan = hooks::plan(&kernel.features, &Wishes::default());
    let mut out = format!(
        "Made by `cargo xtask kernels`. The first way is taken; the next one if the kernel refuses \
         it.\n\nkernel {}\n",
        kernel.release
    );
    for step in &plan.steps {
        line(&mut out, hook::name(step.hook), &ways(step, ", then "));
        if let (true, Some(way)) = (step.with_spare, step.ways.first()) {
            line(&mut out, "", &spare(step, way));
        }
        line(&mut out, "", &format!("if none attaches: {}", missing(step.missing)));
    }
    for step in &plan.calls {
        line(&mut out, hook::name(step.hook), &ways(step, ", then "));
    }
    for (number, name) in hook::NAMES {
        let steps = plan.steps.iter().filter(|step| step.hook == *number);
        let attached: HashSet<_> =
            steps.filter_map(|step| Some(step.ways.first()?.candidate.function)).collect();
        if attached.is_empty() {
            continue;
        }
        for other in fallback::others(&kernel.features, *number, &attached, false) {
            line(&mut out, name, &format!("if it is silent: {}", ways(&other, ", or ")));
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

/// Which program stands behind which.
fn spare(step: &Step, way: &Way) -> String {
    let (spare, probe) = (way.candidate.spare, way.candidate.probe);
    match (step.skipped, way.candidate.at_return) {
        (Skipped::Spared, true) => format!("spare: kretprobe {spare}"),
        (Skipped::Spared, false) => {
            format!("kprobe {probe} before it, and fentry {spare} as spare")
        }
        _ => format!("spare: {} {spare}", way.kind.name()),
    }
}

fn ways(step: &Step, between: &str) -> String {
    step.ways.iter().map(way).collect::<Vec<_>>().join(between)
}

fn way(way: &Way) -> String {
    format!("{} {} ({})", way.kind.name(), way.candidate.function, way.program())
}

pub(crate) fn missing(missing: Missing) -> &'static str {
    match missing {
        Missing::Refuse => "no index",
        Missing::Blind(sentence) => sentence,
        Missing::Nothing => "the operation is not watched; no function means that there is none",
    }
}
