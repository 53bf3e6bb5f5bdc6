//! From a line of `watch -J` to a log record of OpenTelemetry. Pure.

use opentelemetry_proto::tonic::common::v1::any_value::Value as Kind;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};
use serde_json::{Map, Value};

/// Keys that OpenTelemetry's semantic conventions have names for. All others are `mountwatch.KEY`.
const SEMANTIC: [(&str, &str); 13] = [
    ("mountpoint", "system.filesystem.mountpoint"),
    ("fstype", "system.filesystem.type"),
    ("source", "system.device"),
    ("pid", "process.pid"),
    ("parent_pid", "process.parent_pid"),
    ("tid", "thread.id"),
    ("uid", "process.real_user.id"),
    ("comm", "process.executable.name"),
    ("executable", "process.executable.path"),
    ("cgroup", "process.linux.cgroup"),
    ("container", "container.id"),
    ("runtime", "container.runtime.name"),
    ("errno", "error.type"),
];
/// What the record itself says.
const NO_ATTRIBUTES: [&str; 2] = ["time", "event"];

/// The record of one line. `wall_ns`: when it happened, in nanoseconds since 1970; `observed_ns`:
/// when it was told. `sequence`: its number among all that this process told, by which a receiver
/// sees what is missing and what came twice.
pub(super) fn record(
    line: &Map<String, Value>,
    wall_ns: u64,
    observed_ns: u64,
    sequence: u64,
) -> LogRecord {
    let text = |key: &str| line.get(key).and_then(Value::as_str);
    let event = text("event").unwrap_or("unknown");
    let failed = text("errno").is_some() || matches!(event, "lost" | "dropped");
    let severity = if failed { SeverityNumber::Warn } else { SeverityNumber::Info };
    let mut attributes = vec![attribute("mountwatch.sequence", number(sequence))];
    if let Some(options) = text("options") {
        let mode = if options.split(',').next() == Some("ro") { "ro" } else { "rw" };
        attributes.push(attribute("system.filesystem.mode", string(mode)));
    }
    for (key, value) in line.iter().filter(|(key, _)| !NO_ATTRIBUTES.contains(&key.as_str())) {
        put(&mut attributes, &name_of(key), value);
    }
    LogRecord {
        time_unix_nano: wall_ns,
        observed_time_unix_nano: observed_ns,
        severity_number: severity.into(),
        severity_text: if failed { "WARN" } else { "INFO" }.to_owned(),
        body: Some(AnyValue { value: Some(string(&body(line, event))) }),
        attributes,
        event_name: format!("mount.{event}"),
        ..LogRecord::default()
    }
}

/// What a person reads first.
fn body(line: &Map<String, Value>, event: &str) -> String {
    let text = |key: &str| line.get(key).and_then(Value::as_str);
    match (text("call"), text("errno"), text("mountpoint").or_else(|| text("why"))) {
        (Some(call), Some(errno), _) => format!("{call}: {errno}"),
        (Some(call), None, _) => call.to_owned(),
        (None, _, Some(what)) => format!("{event} {what}"),
        (None, _, None) => event.to_owned(),
    }
}

fn name_of(key: &str) -> String {
    let row = SEMANTIC.iter().find(|(ours, _)| *ours == key);
    row.map_or_else(|| format!("mountwatch.{key}"), |(_, theirs)| (*theirs).to_owned())
}

/// An attribute for each value that there is; objects have theirs behind a dot.
fn put(attributes: &mut Vec<KeyValue>, name: &str, value: &Value) {
    match value {
        Value::Object(parts) => {
            for (key, part) in parts {
                put(attributes, &format!("{name}.{key}"), part);
            }
        }
        value => attributes.extend(kind(value).map(|kind| attribute(name, kind))),
    }
}

fn kind(value: &Value) -> Option<Kind> {
    Some(match value {
        Value::Null | Value::Object(_) => return None,
        Value::Bool(value) => Kind::BoolValue(*value),
        Value::Number(value) => match (value.as_i64(), value.as_u64(), value.as_f64()) {
            (Some(value), ..) => Kind::IntValue(value),
            // Larger than their integers are.
            (None, Some(value), _) => string(&value.to_string()),
            (None, None, value) => Kind::DoubleValue(value.unwrap_or(f64::NAN)),
        },
        Value::String(value) => string(value),
        Value::Array(values) => {
            let values = values.iter().filter_map(kind).map(|kind| AnyValue { value: Some(kind) });
            Kind::ArrayValue(ArrayValue { values: values.collect() })
        }
    })
}

pub(super) fn attribute(name: &str, kind: Kind) -> KeyValue {
    KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue { value: Some(kind) }),
        ..KeyValue::default()
    }
}

pub(super) fn string(text: &str) -> Kind {
    Kind::StringValue(text.to_owned())
}

fn number(value: u64) -> Kind {
    Kind::IntValue(i64::try_from(value).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(line: &Value) -> LogRecord {
        record(line.as_object().unwrap(), 5, 7, 3)
    }

    fn shown(record: &LogRecord) -> Vec<String> {
        let value = |value: &Option<AnyValue>| match value.as_ref().and_then(|v| v.value.as_ref()) {
            Some(Kind::StringValue(text)) => format!("{text:?}"),
            Some(Kind::IntValue(number)) => number.to_string(),
            other => format!("{other:?}"),
        };
        record.attributes.iter().map(|one| format!("{}={}", one.key, value(&one.value))).collect()
    }

    #[test]
    fn a_failed_operation_is_a_warning_with_conventional_names() {
        let record = of(&json!({
            "time": "2026-01-01T00:00:00Z", "event": "operation", "revision": 4, "operation": 9,
            "call": "umount2", "arguments": {"target": "/mnt", "flags": ["MNT_FORCE"]},
            "result": -16, "errno": "EBUSY", "pid": 12, "comm": "umount", "container": null
        }));
        assert_eq!((record.time_unix_nano, record.observed_time_unix_nano), (5, 7));
        assert_eq!(record.event_name, "mount.operation");
        assert_eq!(record.severity_text, "WARN");
        assert_eq!(record.body.as_ref().unwrap().value, Some(string("umount2: EBUSY")));
        let shown = shown(&record);
        for expected in [
            "mountwatch.sequence=3",
            "mountwatch.operation=9",
            "mountwatch.arguments.target=\"/mnt\"",
            "error.type=\"EBUSY\"",
            "process.pid=12",
            "process.executable.name=\"umount\"",
        ] {
            assert!(shown.iter().any(|one| one == expected), "{expected}: {shown:?}");
        }
        let none = ["container", "event", "time"];
        assert!(!shown.iter().any(|one| none.iter().any(|none| one.contains(none))), "{shown:?}");
    }

    #[test]
    fn a_mount_has_the_attributes_of_a_file_system() {
        let record = of(&json!({
            "event": "attach", "mountpoint": "/mnt", "fstype": "tmpfs", "source": "x",
            "options": "ro,relatime", "unique_id": u64::MAX, "unbindable": false
        }));
        assert_eq!(record.event_name, "mount.attach");
        assert_eq!(record.severity_text, "INFO");
        let shown = shown(&record);
        for expected in [
            "system.filesystem.mode=\"ro\"",
            "system.filesystem.mountpoint=\"/mnt\"",
            "system.filesystem.type=\"tmpfs\"",
            "system.device=\"x\"",
            "mountwatch.unique_id=\"18446744073709551615\"",
        ] {
            assert!(shown.iter().any(|one| one == expected), "{expected}: {shown:?}");
        }
    }
}
