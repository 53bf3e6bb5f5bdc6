//! From OpenMetrics to the older text format of Prometheus.
//!
//! What differs for the metrics that we have: a counter's family is named with `_total`, an info's
//! with `_info` and is a gauge; there is no `# UNIT` and no `# EOF`.

use std::fmt::Write as _;

/// The same samples with the older format's comments.
pub(super) fn from_open_metrics(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for family in text.split_inclusive('\n').fold(Vec::new(), into_families) {
        let suffix = match family.kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let kind = if family.kind == "info" { "gauge" } else { family.kind };
        let (name, help) = (family.name, family.help);
        let _ = write!(out, "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n");
        out.extend(family.samples);
    }
    out
}

/// One metric with its samples.
struct Family<'a> {
    name: &'a str,
    help: &'a str,
    kind: &'a str,
    samples: Vec<&'a str>,
}

fn into_families<'a>(mut families: Vec<Family<'a>>, line: &'a str) -> Vec<Family<'a>> {
    let comment = line.strip_prefix("# ").map(str::trim_end);
    let words = comment.map(|comment| comment.splitn(3, ' ').collect::<Vec<_>>());
    match (words.as_deref(), families.last_mut()) {
        (Some(["HELP", name, help]), _) => {
            families.push(Family { name, help, kind: "untyped", samples: Vec::new() });
        }
        (Some(["TYPE", _, kind]), Some(family)) => family.kind = kind,
        (None, Some(family)) => family.samples.push(line),
        _ => {}
    }
    families
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_named_as_their_samples() {
        let open = "# HELP a_lag_seconds Time.\n# TYPE a_lag_seconds histogram\n\
                    # UNIT a_lag_seconds seconds\na_lag_seconds_sum 0.5\na_lag_seconds_count 1\n\
                    # HELP a_events Of all kinds.\n# TYPE a_events counter\n\
                    a_events_total{kind=\"attach\"} 3\n\
                    # HELP a_build About it.\n# TYPE a_build info\na_build_info{v=\"1\"} 1\n# EOF\n";
        insta::assert_snapshot!(from_open_metrics(open), @r#"
        # HELP a_lag_seconds Time.
        # TYPE a_lag_seconds histogram
        a_lag_seconds_sum 0.5
        a_lag_seconds_count 1
        # HELP a_events_total Of all kinds.
        # TYPE a_events_total counter
        a_events_total{kind="attach"} 3
        # HELP a_build_info About it.
        # TYPE a_build_info gauge
        a_build_info{v="1"} 1
        "#);
    }
}
