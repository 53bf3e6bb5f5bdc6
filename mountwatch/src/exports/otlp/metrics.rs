//! From a scrape to metrics of OpenTelemetry: the same numbers under the same names. Pure.

use super::record::{attribute, string};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum,
};

/// When the numbers were taken, and since when they count, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) start_ns: u64,
    pub(super) now_ns: u64,
}

/// The metrics of a scrape in OpenMetrics, as [`crate::metrics::Metrics::text`] writes it.
pub(super) fn metrics(text: &str, span: Span) -> Vec<Metric> {
    let mut metrics: Vec<Metric> = Vec::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            comment_on(&mut metrics, comment);
        } else if let (Some(metric), Some(sample)) = (metrics.last_mut(), Sample::parse(line)) {
            sample.put(metric, span);
        }
    }
    metrics.retain(|metric| metric.data.is_some());
    metrics
}

fn comment_on(metrics: &mut Vec<Metric>, comment: &str) {
    let mut words = comment.splitn(3, ' ');
    match (words.next(), words.next(), words.next()) {
        (Some("HELP"), Some(name), Some(help)) => metrics.push(Metric {
            name: name.to_owned(),
            description: help.to_owned(),
            ..Metric::default()
        }),
        (Some("TYPE"), Some(_), Some(kind)) => {
            let Some(metric) = metrics.last_mut() else { return };
            let temporality = AggregationTemporality::Cumulative.into();
            metric.data = match kind {
                "counter" => Some(Data::Sum(Sum {
                    data_points: Vec::new(),
                    aggregation_temporality: temporality,
                    is_monotonic: true,
                })),
                "gauge" | "info" => Some(Data::Gauge(Gauge::default())),
                "histogram" => Some(Data::Histogram(Histogram {
                    data_points: Vec::new(),
                    aggregation_temporality: temporality,
                })),
                _ => None,
            };
        }
        (Some("UNIT"), Some(_), Some(unit)) => {
            if let Some(metric) = metrics.last_mut() {
                unit_of(unit).clone_into(&mut metric.unit);
            }
        }
        _ => {}
    }
}

/// Units in UCUM's words.
fn unit_of(unit: &str) -> &str {
    match unit {
        "seconds" => "s",
        "bytes" => "By",
        other => other,
    }
}

/// One line: `name{label="value"} 1`.
#[derive(Debug, PartialEq)]
struct Sample<'a> {
    name: &'a str,
    labels: Vec<(&'a str, String)>,
    value: f64,
}

impl<'a> Sample<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (name, mut rest) = line.split_at(line.find(['{', ' '])?);
        let mut labels = Vec::new();
        if let Some(inner) = rest.strip_prefix('{') {
            rest = inner;
            while !rest.starts_with('}') {
                let (key, after) = rest.trim_start_matches(',').split_once("=\"")?;
                let (value, after) = quoted(after)?;
                labels.push((key, value));
                rest = after;
            }
            rest = rest.strip_prefix('}')?;
        }
        Some(Self { name, labels, value: rest.trim().parse().ok()? })
    }

    /// The attributes of its series: `le` tells buckets of one series apart.
    fn attributes(&self) -> Vec<KeyValue> {
        let labels = self.labels.iter().filter(|(key, _)| *key != "le");
        labels.map(|(key, value)| attribute(key, string(value))).collect()
    }

    fn put(&self, metric: &mut Metric, span: Span) {
        let point = || NumberDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: span.start_ns,
            time_unix_nano: span.now_ns,
            value: Some(Value::AsDouble(self.value)),
            ..NumberDataPoint::default()
        };
        match &mut metric.data {
            Some(Data::Sum(sum)) => sum.data_points.push(point()),
            Some(Data::Gauge(gauge)) => gauge.data_points.push(point()),
            Some(Data::Histogram(histogram)) => self.put_part(&mut histogram.data_points, span),
            _ => {}
        }
    }

    /// One of the lines of a histogram: they come series by series, buckets in their order.
    fn put_part(&self, points: &mut Vec<HistogramDataPoint>, span: Span) {
        let attributes = self.attributes();
        let known = points.iter().position(|point| point.attributes == attributes);
        let index = known.unwrap_or_else(|| {
            points.push(HistogramDataPoint {
                attributes,
                start_time_unix_nano: span.start_ns,
                time_unix_nano: span.now_ns,
                ..HistogramDataPoint::default()
            });
            points.len() - 1
        });
        let Some(point) = points.get_mut(index) else { return };
        if self.name.ends_with("_sum") {
            point.sum = Some(self.value);
        } else if self.name.ends_with("_count") {
            point.count = whole(self.value);
        } else if let Some((_, bound)) = self.labels.iter().find(|(key, _)| *key == "le") {
            // Theirs count what is in a bucket, ours what is in it or below.
            let below: u64 = point.bucket_counts.iter().sum();
            point.bucket_counts.push(whole(self.value).saturating_sub(below));
            point
                .explicit_bounds
                .extend(bound.parse().ok().filter(|bound: &f64| bound.is_finite()));
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
fn whole(value: f64) -> u64 {
    value as u64
}

/// A text up to its closing quote, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match letters.next()?.1 {
                'n' => value.push('\n'),
                escaped => value.push(escaped),
            },
            letter => value.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SPAN: Span = Span { start_ns: 1, now_ns: 2 };

    #[test]
    fn numbers_stay_what_they_are() {
        let text = "# HELP a_lag_seconds Time.\n# TYPE a_lag_seconds histogram\n\
                    # UNIT a_lag_seconds seconds\na_lag_seconds_sum 0.5\na_lag_seconds_count 4\n\
                    a_lag_seconds_bucket{le=\"0.1\"} 1\na_lag_seconds_bucket{le=\"1.0\"} 3\n\
                    a_lag_seconds_bucket{le=\"+Inf\"} 4\n# HELP a_events Of all kinds.\n\
                    # TYPE a_events counter\na_events_total{kind=\"at\\\"tach\",x=\"y\"} 3\n\
                    # HELP a_mounts Mounts.\n# TYPE a_mounts gauge\na_mounts 7\n# EOF\n";
        let metrics = metrics(text, SPAN);
        let names: Vec<_> = metrics.iter().map(|metric| metric.name.as_str()).collect();
        assert_eq!(names, ["a_lag_seconds", "a_events", "a_mounts"]);
        let Some(Data::Histogram(lag)) = &metrics[0].data else { panic!("{metrics:?}") };
        let point = &lag.data_points[0];
        assert_eq!((point.count, point.sum), (4, Some(0.5)));
        assert_eq!(point.bucket_counts, [1, 2, 1]);
        assert_eq!(point.explicit_bounds, [0.1, 1.0]);
        assert_eq!(metrics[0].unit, "s");
        let Some(Data::Sum(events)) = &metrics[1].data else { panic!("{metrics:?}") };
        assert!(events.is_monotonic);
        assert_eq!(events.data_points[0].value, Some(Value::AsDouble(3.0)));
        assert_eq!(
            events.data_points[0].attributes,
            [attribute("kind", string("at\"tach")), attribute("x", string("y"))]
        );
    }

    proptest! {
        #[test]
        fn any_text_is_taken_without_a_panic(text in ".{0,200}") {
            let _ = metrics(&format!("# HELP a b\n# TYPE a histogram\n{text}"), SPAN);
        }
    }
}
