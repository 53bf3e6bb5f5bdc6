//! `doctor`: what the host allows, what comes of it, and what to do, in sentences.

use super::json::{Json, Object};
use crate::agent::Status;
use crate::kernel::examine::Check;
use crate::model::Coverage;
use std::fmt::Write;

/// Everything that `doctor` found.
#[derive(Clone, Debug)]
pub struct Diagnosis {
    /// Release of the running kernel.
    pub kernel: String,
    /// What the host allows.
    pub checks: Vec<Check>,
    /// The tracker that started, or why none did.
    pub status: Result<Status, String>,
}

impl Diagnosis {
    /// Whether the best back end runs and sees everything.
    pub fn is_well(&self) -> bool {
        self.status
            .as_ref()
            .is_ok_and(|status| status.backend == "hooks" && status.coverage == Coverage::Complete)
    }

    /// What would make it better, each cure once: those for the back ends that do not start, and
    /// for the one that runs.
    fn cures(&self) -> Vec<&'static str> {
        let wanted: &[&str] = match &self.status {
            Ok(status) if status.backend == "hooks" => &["hooks"],
            Ok(status) if status.backend == "notify" => &["hooks"],
            _ => &["hooks", "notify", "poll"],
        };
        let failed = || self.checks.iter().filter(|check| check.outcome.is_err());
        let has_first = failed().any(|check| check.is_first);
        let mut cures = Vec::new();
        for check in failed().filter(|check| check.is_first || !has_first) {
            let helps = check.needed_by.iter().any(|backend| wanted.contains(backend));
            let is_new = !check.cure.is_empty() && !cures.contains(&check.cure);
            if helps && is_new && !self.is_well() {
                cures.push(check.cure);
            }
        }
        cures
    }
}

/// What the three back ends promise.
fn promise(backend: &str) -> &'static str {
    match backend {
        "hooks" => "every change is seen at the instant at which it happens",
        "notify" => "what stays is right as soon as the kernel's notifications are read",
        _ => "mount tables are read again and compared: right when nothing moves",
    }
}

/// The diagnosis for people.
pub fn doctor_text(diagnosis: &Diagnosis) -> String {
    let mut out = String::new();
    // Writing to a `String` cannot fail.
    let _ = writeln!(out, "This is Linux {}. What it allows:", diagnosis.kernel);
    for check in &diagnosis.checks {
        let (word, text) = match &check.outcome {
            Ok(text) => ("ok", text),
            Err(text) => ("no", text),
        };
        let _ = writeln!(out, "  {word}  {}", sentence(text));
    }
    match &diagnosis.status {
        Ok(status) => push_status(&mut out, status),
        Err(why) => {
            let _ = writeln!(out, "\nNothing can be tracked. {}", sentence(why));
        }
    }
    let cures = diagnosis.cures();
    if !cures.is_empty() {
        out.push_str("\nWhat would help:\n");
    }
    for cure in cures {
        let _ = writeln!(out, "  {}", sentence(cure));
    }
    out
}

fn push_status(out: &mut String, status: &Status) {
    let backend = status.backend;
    let _ = writeln!(out, "\nThe back end {backend} is taken: {}.", promise(backend));
    for refused in &status.refused {
        let _ = writeln!(out, "  {}", sentence(refused));
    }
    let blind = status.coverage.blind();
    if blind.is_empty() {
        let _ = writeln!(out, "\nIt sees everything (coverage {}).", status.coverage);
    } else {
        let _ = writeln!(out, "\nWhat it cannot see (coverage {}):", status.coverage);
    }
    for one in blind {
        let _ = writeln!(out, "  {}", sentence(one));
    }
    out.push_str("\nWhat it costs:\n");
    for cost in costs(status) {
        let _ = writeln!(out, "  {}", sentence(&cost));
    }
}

/// What tracking costs, in sentences.
fn costs(status: &Status) -> Vec<String> {
    let mut costs: Vec<String> = status.cost.iter().map(ToString::to_string).collect();
    let count = |name| status.counters.iter().find(|(known, _)| *known == name);
    if let Some((_, micros)) = count("reading_us") {
        costs.push(format!(
            "no system call takes longer, but the {} mounts of {} mount namespaces are read once in \
             a second and at each question, which took {micros} microseconds the last time and holds \
             up whoever mounts meanwhile",
            status.mounts, status.namespaces
        ));
    }
    costs
}

/// With a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.trim_end_matches('.').chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

/// The diagnosis as JSON.
pub fn doctor_json(diagnosis: &Diagnosis) -> String {
    let mut object = Object::default();
    object.put("kernel", diagnosis.kernel.as_str());
    object.put("well", diagnosis.is_well());
    let checks = diagnosis.checks.iter().map(|check| {
        let mut object = Object::default();
        object.put("name", check.name);
        object.put("ok", check.outcome.is_ok());
        let text = match &check.outcome {
            Ok(text) | Err(text) => text.as_str(),
        };
        object.put("found", text);
        let needed_by = check.needed_by.iter().map(|name| Json::from(*name)).collect();
        object.put("needed_by", Json::List(needed_by));
        object.put("cure", if check.outcome.is_ok() { Json::Null } else { check.cure.into() });
        Json::from(object)
    });
    object.put("checks", Json::List(checks.collect()));
    let status = diagnosis.status.as_ref();
    object.put("backend", status.map_or(Json::Null, |status| status.backend.into()));
    object.put("coverage", status.map_or(Json::Null, |status| status.coverage.word().into()));
    object.put("error", status.err().map_or(Json::Null, |error| error.as_str().into()));
    let list = |texts: Vec<String>| Json::from(texts);
    object.put("refused", list(status.map_or_else(|_| Vec::new(), |it| it.refused.clone())));
    object
        .put("blind", list(status.map_or_else(|_| Vec::new(), |it| it.coverage.blind().to_vec())));
    object.put("costs", list(status.map_or_else(|_| Vec::new(), costs)));
    let cures = diagnosis.cures().into_iter().map(str::to_owned).collect();
    object.put("cures", list(cures));
    object.lines()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Revision, SyscallCost};
    use crate::render::status;

    fn check(name: &'static str, outcome: Result<&str, &str>) -> Check {
        let outcome = outcome.map(str::to_owned).map_err(str::to_owned);
        let cure = if name == "rights" { "run it as root" } else { "boot another kernel" };
        Check { name, is_first: name == "rights", needed_by: &["hooks"], outcome, cure }
    }

    fn notify() -> Diagnosis {
        let status = Status {
            backend: "notify",
            coverage: Coverage::Blind(["renames are not seen".to_owned()].into()),
            refused: vec!["the back end hooks does not start: no fentry".to_owned()],
            cost: Some(SyscallCost { before_ns: 80, after_ns: 110 }),
            ..status::sample()
        };
        Diagnosis {
            kernel: "6.18.0".to_owned(),
            checks: vec![
                check("btf", Ok("the kernel describes its types")),
                check("fentry", Err("the kernel refuses fentry programs")),
                check("fexit", Err("the kernel refuses fexit programs")),
            ],
            status: Ok(status),
        }
    }

    #[test]
    fn it_says_what_is_taken_and_why_nothing_better() {
        insta::assert_snapshot!(doctor_text(&notify()), @r#"
        This is Linux 6.18.0. What it allows:
          ok  The kernel describes its types.
          no  The kernel refuses fentry programs.
          no  The kernel refuses fexit programs.

        The back end notify is taken: what stays is right as soon as the kernel's notifications are read.
          The back end hooks does not start: no fentry.

        What it cannot see (coverage blind):
          Renames are not seen.

        What it costs:
          Each system call of each process takes 30 ns more while this runs: the cheapest one took 80 ns before and takes 110 ns now (37 % more).

        What would help:
          Boot another kernel.
        "#);
    }

    #[test]
    fn polling_says_what_the_readings_cost() {
        let mut diagnosis = notify();
        if let Ok(status) = &mut diagnosis.status {
            status.backend = "poll";
            status.coverage = Coverage::Polling(["polling: of several changes".to_owned()].into());
            (status.cost, status.counters) = (None, vec![("reading_us".into(), 450)]);
        }
        let text = doctor_text(&diagnosis);
        let end = text.split_once("\n\n").map(|(_, end)| end).unwrap_or_default();
        insta::assert_snapshot!(end, @r#"
        The back end poll is taken: mount tables are read again and compared: right when nothing moves.
          The back end hooks does not start: no fentry.

        What it cannot see (coverage polling):
          Polling: of several changes.

        What it costs:
          No system call takes longer, but the 40 mounts of 2 mount namespaces are read once in a second and at each question, which took 450 microseconds the last time and holds up whoever mounts meanwhile.

        What would help:
          Boot another kernel.
        "#);
    }

    #[test]
    fn a_host_on_which_nothing_starts_is_told_why() {
        let why = "cannot watch the mounts of this host: no back end starts";
        let diagnosis = Diagnosis { status: Err(why.to_owned()), ..notify() };
        let text = doctor_text(&diagnosis);
        let end = text.split_once("\n\n").map(|(_, end)| end).unwrap_or_default();
        insta::assert_snapshot!(end, @r#"
        Nothing can be tracked. Cannot watch the mounts of this host: no back end starts.

        What would help:
          Boot another kernel.
        "#);
        let parsed: serde_json::Value = serde_json::from_str(&doctor_json(&diagnosis)).unwrap();
        assert_eq!(parsed.get("error").unwrap(), why);
        assert!(parsed.get("backend").unwrap().is_null());
    }

    #[test]
    fn without_rights_nothing_else_is_advised() {
        let mut diagnosis = notify();
        assert_eq!(diagnosis.cures(), ["boot another kernel"]);
        diagnosis.checks.push(check("rights", Err("this process lacks CAP_SYS_ADMIN")));
        assert_eq!(diagnosis.cures(), ["run it as root"]);
    }

    #[test]
    fn a_host_that_allows_everything_needs_no_cure() {
        let mut diagnosis = notify();
        if let Ok(status) = &mut diagnosis.status {
            *status =
                Status { coverage: Coverage::Complete, revision: Revision(1), ..status::sample() };
        }
        assert!(diagnosis.is_well());
        assert!(!doctor_text(&diagnosis).contains("help"));
        let parsed: serde_json::Value = serde_json::from_str(&doctor_json(&diagnosis)).unwrap();
        assert_eq!(parsed.get("well").unwrap(), true);
        assert_eq!(parsed.pointer("/checks/1/ok").unwrap(), false);
        assert_eq!(parsed.get("cures").unwrap().as_array().unwrap().len(), 0);
    }
}
