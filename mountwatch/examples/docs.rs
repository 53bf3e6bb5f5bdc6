//! Completions of shells and man pages, made of the definitions of the command line: `cargo xtask docs`.
//!
//! `write` puts them into `contrib/`, where packagers find them; `check` compares.

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;
use mountwatch::cli::Cli;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const NAME: &str = "mountwatch";
/// Each shell with the file name under which it looks for a completion.
const SHELLS: [(Shell, &str); 3] = [
    (Shell::Bash, "completions/mountwatch.bash"),
    (Shell::Zsh, "completions/_mountwatch"),
    (Shell::Fish, "completions/mountwatch.fish"),
];

fn main() -> ExitCode {
    match run(std::env::args().nth(1).as_deref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("docs: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Option<&str>) -> Result<()> {
    match verb {
        Some("write") => write(),
        Some("check") => check(),
        _ => bail!("give one of: write, check"),
    }
}

fn write() -> Result<()> {
    let files = files()?;
    for (name, text) in &files {
        let path = directory().join(name);
        let folder = path.parent().context("a file is in a folder")?;
        std::fs::create_dir_all(folder)?;
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    for name in committed()?.into_iter().filter(|name| !files.contains_key(name)) {
        std::fs::remove_file(directory().join(&name))
            .with_context(|| format!("cannot remove {name}"))?;
    }
    Ok(())
}

/// Fails if a file is not what the definitions give, or is of a command that is no more.
fn check() -> Result<()> {
    let files = files()?;
    for (name, text) in &files {
        let written = std::fs::read(directory().join(name)).unwrap_or_default();
        ensure!(written == *text, "contrib/{name} {WRONG}");
    }
    let left = committed()?.into_iter().find(|name| !files.contains_key(name));
    ensure!(left.is_none(), "contrib/{} {WRONG}", left.unwrap_or_default());
    Ok(())
}

const WRONG: &str = "is not what the definitions of the command line give: run `cargo xtask docs`";

/// Every file by its name below `contrib/`.
fn files() -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for (shell, name) in SHELLS {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), NAME, &mut text);
        files.insert(name.to_owned(), text);
    }
    let mut root = Cli::command();
    root.build();
    put_pages(&root, NAME, &mut files)?;
    Ok(files)
}

/// The page of a command and those of its subcommands: mountwatch-list(1) is that of `mountwatch list`.
fn put_pages(command: &Command, name: &str, files: &mut BTreeMap<String, Vec<u8>>) -> Result<()> {
    let mut text = Vec::new();
    let man = Man::new(command.clone()).title(name);
    let source = concat!("mountwatch ", env!("CARGO_PKG_VERSION"));
    man.source(source).manual("User Commands").render(&mut text)?;
    files.insert(format!("man/{name}.1"), text);
    let subcommands = command.get_subcommands();
    for below in subcommands.filter(|below| !below.is_hide_set() && below.get_name() != "help") {
        put_pages(below, &format!("{name}-{}", below.get_name()), files)?;
    }
    Ok(())
}

/// The names of the files that are there.
fn committed() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for folder in ["completions", "man"] {
        let Ok(entries) = std::fs::read_dir(directory().join(folder)) else { continue };
        for entry in entries {
            names.push(format!("{folder}/{}", entry?.file_name().to_string_lossy()));
        }
    }
    Ok(names)
}

fn directory() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).join("contrib")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_committed_is_what_the_definitions_give() {
        check().unwrap();
    }

    #[test]
    fn every_command_has_a_page() {
        let files = files().unwrap();
        for command in Cli::command().get_subcommands() {
            let page = format!("man/mountwatch-{}.1", command.get_name());
            assert!(files.contains_key(&page), "{page}");
        }
    }
}
