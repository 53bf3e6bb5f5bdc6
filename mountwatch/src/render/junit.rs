//! The same for continuous integration: JUnit's XML.

use super::leaks::{Exit, Judgement, leaks_text};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use std::time::Duration;

/// One suite with two cases: that the command succeeded, and that it left nothing behind.
pub fn leaks_junit(judgement: &Judgement<'_>) -> Result<String, quick_junit::SerializeError> {
    let name = judgement.command_line();
    let failure = |kind: &str, message: String| {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status.set_type(kind).set_message(message);
        status
    };
    let ended = match judgement.exit {
        Exit::Status(0) => TestCaseStatus::success(),
        Exit::Status(status) => failure("exit_status", format!("{name} ended with {status}")),
        Exit::Signal(signal) => failure("signal", format!("{name} was ended by signal {signal}")),
    };
    let text = leaks_text(judgement);
    let clean = if judgement.left.is_empty() {
        TestCaseStatus::success()
    } else {
        let message = format!("{} left behind by {name}", judgement.counts());
        let mut status = failure("left_behind", message);
        status.set_description(text.clone());
        status
    };
    let mut suite = TestSuite::new(name);
    for (case, status) in [("exit status", ended), ("nothing left behind", clean)] {
        let mut case = TestCase::new(case, status);
        case.set_classname("mountwatch.exec");
        case.set_time(Duration::from_nanos(judgement.duration_ns));
        suite.add_test_case(case);
    }
    if !text.is_empty() {
        suite.set_system_err(text);
    }
    let mut report = Report::new("mountwatch exec");
    report.add_test_suite(suite);
    report.to_string()
}
