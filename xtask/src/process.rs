//! Child processes: each failure is one sentence that names the command.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

/// The command as a person would type it, for error messages.
fn words(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

/// Runs a command to its end; what it prints goes to stderr, since our stdout belongs to the
/// verb's result (`cargo xtask vm` passes a guest's bytes on there).
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    ensure!(status.success(), "`{}` failed: {status}", words(command));
    Ok(())
}

/// As [`run`], with a file as its stdin.
pub(crate) fn run_on(command: &mut Command, stdin: &Path) -> Result<()> {
    let file = File::open(stdin).with_context(|| format!("cannot open {}", stdin.display()))?;
    command.stdin(file).stdout(io::stderr());
    let status = command.status().with_context(|| format!("cannot start `{}`", words(command)))?;
    ensure!(status.success(), "`{}` failed: {status}", words(command));
    Ok(())
}

/// As [`run`], but a failure is the caller's to judge.
pub(crate) fn status(command: &mut Command) -> Result<ExitStatus> {
    command.stdin(Stdio::null()).stdout(io::stderr());
    command.status().with_context(|| format!("cannot start `{}`", words(command)))
}

/// Runs a command and returns what it printed; what it said on stderr is part of the error only.
pub(crate) fn bytes(command: &mut Command) -> Result<Vec<u8>> {
    command.stdin(Stdio::null());
    let output = command.output().with_context(|| format!("cannot start `{}`", words(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed: {}\n{}", words(command), output.status, said.trim_end());
    }
    Ok(output.stdout)
}

/// As [`bytes`], for text.
pub(crate) fn text(command: &mut Command) -> Result<String> {
    let bytes = bytes(command)?;
    String::from_utf8(bytes).with_context(|| format!("`{}` printed no UTF-8", words(command)))
}

/// Runs a command, passes its stdout on to `out` line by line, and shows each line to `look`.
pub(crate) fn tee(
    command: &mut Command,
    out: &mut impl Write,
    mut look: impl FnMut(&str),
) -> Result<ExitStatus> {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child =
        command.spawn().with_context(|| format!("cannot start `{}`", words(command)))?;
    let pipe = child.stdout.take().context("the child has no stdout")?;
    for line in BufReader::new(pipe).split(b'\n') {
        let mut line = line?;
        look(&String::from_utf8_lossy(&line));
        line.push(b'\n');
        out.write_all(&line)?;
        out.flush()?;
    }
    Ok(child.wait()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_what_it_said() {
        let error = bytes(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("sh -c") && text.contains('3') && text.ends_with("why"), "{text}");
    }

    #[test]
    fn tee_shows_each_line_and_passes_it_on() {
        let (mut lines, mut out) = (Vec::new(), Vec::new());
        let mut command = Command::new("sh");
        let status = tee(command.args(["-c", "echo a; printf b"]), &mut out, |line| {
            lines.push(line.to_owned());
        });
        assert!(status.unwrap().success());
        assert_eq!(lines, ["a", "b"]);
        assert_eq!(out, b"a\nb\n");
    }
}
