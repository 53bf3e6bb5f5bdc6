//! Test results, counted over programs that print them in different words.

use std::io::Write;
use std::process::Command;

use anyhow::{Result, bail, ensure};

use crate::process;

/// How many tests passed and failed, and what was said of those that failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Lines, repeated at the end, where one looks first.
    pub(crate) said: Vec<String>,
}

/// How many lines about one failure are repeated.
const SAID_LINES_MAX: usize = 16;

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.said.extend(other.said);
    }
}

/// Whose words the results are in. What a test itself prints may look like another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Words {
    /// `test result: ok. 3 passed; 0 failed; …`
    CargoTest,
    /// `3 passed, 0 failed…`
    VmTests,
}

/// Runs a program that prints results, passes its output on, and counts them. `name` says what
/// ran, for the errors: nothing counted, or a failure that no result line tells of.
pub(crate) fn run(
    name: &str,
    words: Words,
    command: &mut Command,
    out: &mut impl Write,
) -> Result<Tally> {
    let mut tally = Tally::default();
    let (mut lines, mut room) = (0, 0);
    let mut said = Vec::new();
    let status = process::tee(command, out, |line| {
        if let Some(found) = result_line(words, line) {
            tally.add(found);
            lines += 1;
        }
        room = if tells_failure(words, line) {
            SAID_LINES_MAX
        } else if line.starts_with("    ") {
            usize::saturating_sub(room, 1)
        } else {
            0
        };
        if room > 0 {
            said.push(format!("{name}: {}", line.trim_end()));
        }
    })?;
    tally.said = said;
    if !status.success() && tally.failed == 0 {
        bail!("{name}: ended with {status}, and no result line says which test failed");
    }
    ensure!(lines > 0, "{name}: printed no result line");
    ensure!(tally.passed + tally.failed > 0, "{name}: no test ran");
    Ok(tally)
}

fn result_line(words: Words, line: &str) -> Option<Tally> {
    let line = line.trim();
    let (counts, comma) = match words {
        Words::CargoTest => (line.strip_prefix("test result: ")?.split_once(". ")?.1, "; "),
        Words::VmTests => (line, ", "),
    };
    let (passed, rest) = counts.split_once(" passed")?;
    let (failed, _) = rest.strip_prefix(comma)?.split_once(" failed")?;
    let (passed, failed) = (passed.parse().ok()?, failed.parse().ok()?);
    Some(Tally { passed, failed, ..Tally::default() })
}

/// Whether a test says here that it failed; more about it follows indented.
fn tells_failure(words: Words, line: &str) -> bool {
    match words {
        Words::CargoTest => line.trim_end() == "failures:",
        Words::VmTests => line.starts_with("FAILED "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_understood() {
        let tally = |passed, failed| Some(Tally { passed, failed, ..Tally::default() });
        for (line, cargo, vm) in [
            ("test result: ok. 12 passed; 0 failed; 1 ignored; in 0.00s", tally(12, 0), None),
            ("test result: FAILED. 1 passed; 2 failed; 0 ignored", tally(1, 2), None),
            ("7 passed, 0 failed", None, tally(7, 0)),
            ("7 passed, 3 failed, 2 skipped in 1.2 s\r", None, tally(7, 3)),
            ("7 passed", None, None),
            ("test a ... ok", None, None),
            ("scenario says: 1 passed, 2 failed", None, None),
        ] {
            assert_eq!(result_line(Words::CargoTest, line), cargo, "{line}");
            assert_eq!(result_line(Words::VmTests, line), vm, "{line}");
        }
    }

    #[test]
    fn a_failure_without_a_result_line_is_an_error() {
        let run = |script: &str| {
            let mut command = Command::new("sh");
            run("it", Words::VmTests, command.args(["-c", script]), &mut Vec::new())
        };
        let script =
            "echo FAILED x: no; echo '    at 3'; echo ok y; echo 1 passed, 1 failed; exit 1";
        let said = vec!["it: FAILED x: no".to_owned(), "it:     at 3".to_owned()];
        assert_eq!(run(script).unwrap(), Tally { passed: 1, failed: 1, said });
        for script in
            ["exit 1", "echo 1 passed, 0 failed; exit 9", "true", "echo 0 passed, 0 failed"]
        {
            assert!(run(script).unwrap_err().to_string().starts_with("it: "), "{script}");
        }
    }
}
