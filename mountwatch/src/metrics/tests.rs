use super::*;
use crate::model::{
    Bytes, Call, Change, Effects, NamespaceInode, NamespaceKey, Operation, OperationId, Revision,
    Task,
};
use std::sync::Arc;

fn transaction(changes: Vec<ChangeKind>) -> Transaction {
    let task = Some(Arc::default());
    let change =
        |kind| Change { kind, hook: 1, ktime_ns: 1_000, task: task.clone(), operation: None };
    let changes = changes.into_iter().map(change).collect();
    Transaction { revision: Revision(2), changes, operations: Vec::new() }
}

fn operation(call: Call, result: Option<i64>, duration_ns: Option<u64>) -> Arc<Operation> {
    Arc::new(Operation {
        id: OperationId::new(1).unwrap(),
        call,
        arguments: [0; 6],
        texts: Vec::new(),
        result,
        begin_ktime_ns: 1_000,
        duration_ns,
        task: Arc::new(Task::default()),
        surroundings: Arc::default(),
        effects: Effects::default(),
    })
}

fn sample() -> Metrics {
    let metrics = Metrics::new();
    let kind = ChangeKind::NamespaceBorn {
        namespace: NamespaceKey(1),
        inode: NamespaceInode(4_026_531_841),
    };
    metrics.observe(&transaction(vec![kind.clone(), kind]), 41_000);
    metrics.observe(
        &Transaction {
            operations: vec![
                operation(Call::Mount, Some(0), Some(20_000)),
                operation(Call::Umount2, Some(-16), Some(3_000)),
                operation(Call::Umount2, Some(-4_000), None),
                operation(Call::NamespaceDeath, None, None),
            ],
            ..transaction(Vec::new())
        },
        0,
    );
    metrics.query("IsMountPoint", "OK", Duration::from_micros(90));
    metrics
}

fn text(format: Format) -> String {
    let process = Some(Process { cpu_seconds: 1.5, open_fds: 12, ..Process::default() });
    let dropped = vec![("otlp", Dropped { queue: 3, ..Dropped::default() })];
    let (namespace_mounts_max, mount_max) = (30, 100_000);
    let gauges = Gauges { namespace_mounts_max, mount_max, dropped, process, ..Gauges::default() };
    let text = sample().text(&crate::render::sample_status(), &gauges, format);
    // Series of one family come in any order.
    let mut lines: Vec<_> = text.split_inclusive('\n').collect();
    let is_comment = |line: &&str| line.starts_with('#');
    for lines in lines.chunk_by_mut(|a, b| is_comment(a) == is_comment(b)) {
        if !lines.iter().all(is_comment) {
            lines.sort_unstable();
        }
    }
    lines.concat()
}

#[test]
fn what_is_scraped() {
    insta::assert_snapshot!("open_metrics", text(Format::OpenMetrics));
    insta::assert_snapshot!("classic", text(Format::Classic));
}

#[test]
fn both_formats_have_the_same_samples() {
    let samples = |text: &str| {
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
    };
    let (open, classic) = (text(Format::OpenMetrics), text(Format::Classic));
    assert_eq!(samples(&open), samples(&classic));
    assert!(open.ends_with("# EOF\n") && !classic.contains("# EOF"));
}

#[test]
fn no_series_depends_on_what_is_mounted() {
    let lines = |metrics: &Metrics| {
        let gauges = Gauges::default();
        metrics.text(&crate::render::sample_status(), &gauges, Format::Classic).lines().count()
    };
    let metrics = sample();
    let before = lines(&metrics);
    for number in 0..1_000 {
        let name = |text: &str| -> Bytes { format!("{text}{number}").into_bytes().into() };
        let (before, name) = (name("a"), name("b"));
        let dentry = crate::model::DentryKey(number);
        metrics.observe(&transaction(vec![ChangeKind::Rename { dentry, before, name }]), 0);
    }
    assert_eq!(lines(&metrics), before);
}

#[test]
fn a_client_gets_what_it_accepts() {
    for (header, format) in [
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2", Format::OpenMetrics),
        ("text/plain;version=0.0.4", Format::Classic),
        ("*/*", Format::Classic),
        ("", Format::Classic),
    ] {
        assert_eq!(Format::accepted(header), format, "{header}");
    }
}
