//! What differs between kernels, written down: `cargo xtask kernels`.
//!
//! `features` prints what the running kernel has of what the tables name (run in each virtual
//! machine by `cargo xtask kernels --update`). `write` makes `KERNELS.md` and the plans in
//! `mountwatch/kernels/` of the tables and of those features; `check` compares.

mod features;
mod page;
mod plan;
mod tables;

use anyhow::{Context as _, Result, bail, ensure};
use features::Kernel;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The kernels of the test matrix, oldest first.
const SERIES: [&str; 4] = ["5.10", "6.1", "6.12", "7"];

fn main() -> ExitCode {
    match run(std::env::args().nth(1).as_deref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kernels: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Option<&str>) -> Result<()> {
    match verb {
        Some("features") => {
            print!("{}", features::of_running_kernel()?);
            Ok(())
        }
        Some("write") => {
            for (path, text) in files()? {
                std::fs::write(&path, text)
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
            Ok(())
        }
        Some("check") => check(),
        _ => bail!("give one of: features, write, check"),
    }
}

/// Fails if a file is not what the tables give.
fn check() -> Result<()> {
    for (path, text) in files()? {
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        ensure!(
            written == text,
            "{} is not what the tables give: run `cargo xtask kernels`, look at the difference, \
             and commit it",
            path.strip_prefix(root()).unwrap_or(&path).display()
        );
    }
    Ok(())
}

/// Every file, with its text.
fn files() -> Result<Vec<(PathBuf, String)>> {
    let kernels = kernels()?;
    let mut files = vec![(root().join("KERNELS.md"), page::text(&kernels))];
    for kernel in &kernels {
        files.push((directory().join(format!("{}.plan", kernel.series)), plan::text(kernel)));
    }
    Ok(files)
}

fn kernels() -> Result<Vec<Kernel>> {
    SERIES
        .into_iter()
        .map(|series| {
            let path = directory().join(format!("{series}.features"));
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            features::parse(series, &text)
                .with_context(|| format!("{} is no list of features", path.display()))
        })
        .collect()
}

/// The root of the workspace.
fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

fn directory() -> PathBuf {
    root().join("mountwatch/kernels")
}

#[cfg(test)]
mod tests {
    use super::*;
    use mountwatch::kernel::hooks;

    #[test]
    fn what_is_committed_is_what_the_tables_give() {
        check().unwrap();
    }

    #[test]
    fn no_kernel_of_the_matrix_has_a_hole() {
        for kernel in kernels().unwrap() {
            let plan = hooks::plan(&kernel.features, &hooks::Wishes::default());
            assert!(plan.refused.is_empty(), "{}: {:?}", kernel.series, plan.refused);
            assert_eq!(plan.blind, Vec::<String>::new(), "{}", kernel.series);
            let missing: Vec<_> = kernel.features.missing_members().collect();
            assert!(missing.is_empty(), "{}: {missing:?}", kernel.series);
        }
    }

    #[test]
    fn every_member_is_on_some_kernel_of_the_matrix() {
        let kernels = kernels().unwrap();
        for (index, (structure, member, _)) in mountwatch_common::offset::MEMBERS.iter().enumerate()
        {
            let is_there = kernels.iter().any(|kernel| kernel.has_member(index));
            assert!(is_there, "struct {structure} has {member} nowhere");
        }
    }
}
