//! `cargo xtask test`: everything, in stages, with one closing line.

mod world;

pub(crate) use self::world::{Machine, World};

use std::time::Instant;

use anyhow::{Result, bail};

use crate::tally::Tally;
use crate::{api, check, docs, ebpf, kernels, proto, telemetry, tidy, toolchain};

/// Arguments of `cargo xtask test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Run this stage alone, or this group of stages: check, kernel, worlds
    #[arg(long, value_name = "STAGE")]
    only: Option<String>,
}

/// A stage counts tests; one that is right or wrong as a whole is one test.
struct Stage {
    group: &'static str,
    name: &'static str,
    run: Box<dyn Fn() -> Result<Tally>>,
}

/// Runs the stages; says whether nothing failed. The closing line is the last of all.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let mut stages = stages();
    if let Some(only) = &arguments.only {
        stages.retain(|stage| stage.name == only || stage.group == only);
        if stages.is_empty() {
            bail!("there is no stage {only}; there are {}", names().join(", "));
        }
    }
    let mut sum = Tally::default();
    let mut summary = String::new();
    for stage in stages {
        let (tally, line) = timed(&stage);
        summary += &line;
        sum.add(tally);
    }
    print!("{summary}");
    for line in &sum.said {
        println!("{line}");
    }
    println!("{} passed, {} failed", sum.passed, sum.failed);
    Ok(sum.failed == 0)
}

fn names() -> Vec<&'static str> {
    stages().iter().map(|stage| stage.name).collect()
}

fn stages() -> Vec<Stage> {
    let stage = |group, name, run: fn() -> Result<Tally>| Stage { group, name, run: Box::new(run) };
    let mut stages = vec![
        stage("check", "format", || whole(check::format)),
        stage("check", "lints", || whole(check::lints)),
        stage("check", "tidy", || whole(tidy::run)),
        stage("check", "kernels", || whole(kernels::check)),
        stage("check", "docs", || whole(docs::check)),
        stage("check", "proto", || whole(proto::check)),
        stage("check", "api", || whole(api::check)),
        stage("check", "unit", check::tests),
        stage("kernel", "toolchain", || whole(toolchain::prepare)),
        stage("kernel", "ebpf", || whole(ebpf::check)),
        stage("kernel", "telemetry", || whole(telemetry::run)),
    ];
    for world in world::WORLDS {
        let run = Box::new(|| world::run(world));
        stages.push(Stage { group: "worlds", name: world.name, run });
    }
    stages
}

/// A chore as a test.
fn whole(chore: fn() -> Result<()>) -> Result<Tally> {
    chore().map(|()| Tally { passed: 1, ..Tally::default() })
}

/// Runs a stage, and says so in a line. One that cannot run has failed, it is never skipped.
fn timed(stage: &Stage) -> (Tally, String) {
    println!("==> {}", stage.name);
    let start = Instant::now();
    let tally = (stage.run)().unwrap_or_else(|error| {
        let said = format!("xtask: {}: {error:#}", stage.name);
        println!("{said}");
        Tally { passed: 0, failed: 1, said: vec![said] }
    });
    let seconds = start.elapsed().as_secs_f64();
    let Tally { passed, failed, .. } = &tally;
    let line = format!("<== {}: {passed} passed, {failed} failed in {seconds:.1} s\n", stage.name);
    print!("{line}");
    (tally, line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_have_names_of_their_own() {
        let mut names = names();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn a_stage_that_cannot_run_has_failed() {
        let stage = Stage { group: "x", name: "x", run: Box::new(|| bail!("cannot")) };
        let said = vec!["xtask: x: cannot".to_owned()];
        assert_eq!(timed(&stage).0, Tally { passed: 0, failed: 1, said });
        let arguments = Arguments { only: Some("nosuch".into()) };
        assert!(run(&arguments).unwrap_err().to_string().contains("unit"));
    }
}
