//! What a kernel has, as text: a line for each function and each member that the tables name.

use anyhow::{Context as _, Result, bail, ensure};
use hashbrown::HashSet;
use mountwatch::kernel::hooks::{CALLS, FALLBACKS, Features, HOOKS};
use mountwatch::kernel::load;
use mountwatch_common::offset;
use std::fmt::Write as _;

/// One kernel of the test matrix.
pub(crate) struct Kernel {
    pub(crate) series: &'static str,
    pub(crate) release: String,
    pub(crate) features: Features,
}

impl Kernel {
    pub(crate) fn has_member(&self, index: usize) -> bool {
        self.features.offsets[index] != offset::ABSENT
    }
}

/// The functions that the tables name, each once, in their order.
fn functions() -> Vec<&'static str> {
    let hooks = HOOKS.iter().flat_map(|row| row.candidates);
    let fallbacks = FALLBACKS.iter().flat_map(|row| row.candidates);
    let mut names = Vec::new();
    let calls = CALLS.iter().flat_map(|row| row.candidates);
    for candidate in hooks.chain(fallbacks).chain(calls) {
        if !names.contains(&candidate.function) {
            names.push(candidate.function);
        }
    }
    names
}

pub(crate) fn of_running_kernel() -> Result<String> {
    let features = load::features()?;
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut out = format!("kernel {release}");
    writeln!(out, "preemptible {}", word(features.is_preemptible))?;
    for function in functions() {
        writeln!(out, "function {function} {}", word(features.functions.contains(function)))?;
        writeln!(out, "symbol {function} {}", word(features.symbols.contains(function)))?;
    }
    for ((structure, member, _), at) in offset::MEMBERS.iter().zip(features.offsets) {
        if at == offset::ABSENT {
            writeln!(out, "member {structure}.{member} no")?;
        } else {
            writeln!(out, "member {structure}.{member} {at}")?;
        }
    }
    Ok(out)
}

fn word(is_there: bool) -> &'static str {
    if is_there { "yes" } else { "no" }
}

/// Understands such a text. It must tell of everything that the tables name.
pub(crate) fn parse(series: &'static str, text: &str) -> Result<Kernel> {
    let find = |kind: &str, name: &str| -> Result<&str> {
        text.lines()
            .find_map(|line| {
                line.strip_prefix(kind)?.strip_prefix(' ')?.strip_prefix(name)?.strip_prefix(' ')
            })
            .with_context(|| {
                format!("it says nothing of {kind} {name}: run `cargo xtask kernels --update`")
            })
    };
    let release = text.lines().next().and_then(|line| line.strip_prefix("kernel "));
    let release = release.context("it does not begin with the kernel's release")?.to_owned();
    ensure!(release.starts_with(&format!("{series}.")), "it is of kernel {release}");
    let is = |kind: &str, name: &str| match find(kind, name)? {
        "yes" => Ok(true),
        "no" => Ok(false),
        other => bail!("{kind} {name} is {other:?}"),
    };
    let mut features = Features {
        offsets: [offset::ABSENT; offset::COUNT],
        functions: HashSet::new(),
        symbols: HashSet::new(),
        is_preemptible: text.lines().any(|line| line == "preemptible yes"),
        nop_idmap: 0,
    };
    for function in functions() {
        if is("function", function)? {
            features.functions.insert(function);
        }
        if is("symbol", function)? {
            features.symbols.insert(function);
        }
    }
    for ((structure, member, _), cell) in offset::MEMBERS.iter().zip(&mut features.offsets) {
        let name = format!("{structure}.{member}");
        match find("member", &name)? {
            "no" => {}
            number => *cell = number.parse().with_context(|| format!("member {name}"))?,
        }
    }
    Ok(Kernel { series, release, features })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_told_is_not_guessed() {
        let told = |without: &str| {
            let mut text = String::from("kernel 6.1.2-x\n");
            for function in functions().into_iter().filter(|name| *name != without) {
                writeln!(text, "function {function} yes\nsymbol {function} yes").unwrap();
            }
            for (structure, member, _) in offset::MEMBERS {
                writeln!(text, "member {structure}.{member} 8").unwrap();
            }
            text
        };
        let kernel = parse("6.1", &told("")).unwrap();
        assert_eq!(kernel.features.functions.len(), functions().len());
        assert!(kernel.has_member(0));
        let error = parse("6.1", &told("copy_tree")).err().unwrap().to_string();
        assert!(error.contains("function copy_tree") && error.contains("--update"), "{error}");
        assert!(parse("6.12", &told("")).is_err());
    }
}
