//! What the pure parts cost as the index grows: questions, an event with its publication, seeding,
//! decoding.
#![expect(missing_docs, reason = "the macro of criterion makes a function")]

mod common;

use common::{Made, SIZES, make};
use criterion::{BatchSize, BenchmarkId, Criterion, SamplingMode, criterion_group, criterion_main};
use mountwatch::model::UniqueMountId;
use mountwatch::query::{Binds, MountQueries as _, SnapshotView, WhichMount};
use mountwatch::wire::record;
use mountwatch_common::record::MountRecord;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use zerocopy::{FromZeros as _, IntoBytes as _};

fn view(made: &Made) -> SnapshotView {
    SnapshotView::new(Arc::new(made.state.snapshot()), made.from())
}

fn questions(criterion: &mut Criterion) {
    for size in SIZES {
        let made = make(size);
        let view = view(&made);
        let mut group = criterion.benchmark_group("question");
        let mut paths = made.paths.iter().cycle().step_by(7919);
        let mut next = || Path::new(paths.next().expect("a cycle has no end"));
        group.bench_function(BenchmarkId::new("is_mount_point", size), |bench| {
            bench.iter(|| black_box(view.is_mount_point(next(), Binds::Count)));
        });
        let mut asked = make(size);
        asked.state.keep_paths(common::NAMESPACE);
        let kept = self::view(&asked);
        group.bench_function(BenchmarkId::new("is_mount_point_kept", size), |bench| {
            bench.iter(|| black_box(kept.is_mount_point(next(), Binds::Count)));
        });
        drop((kept, asked));
        let path = Path::new(&made.paths[made.paths.len() / 2]);
        group.bench_function(BenchmarkId::new("is_mount_point_again", size), |bench| {
            bench.iter(|| black_box(view.is_mount_point(black_box(path), Binds::Count)));
        });
        group.bench_function(BenchmarkId::new("covering", size), |bench| {
            bench.iter(|| black_box(view.covering(next())));
        });
        let mut number = 0;
        group.bench_function(BenchmarkId::new("find", size), |bench| {
            bench.iter(|| {
                number = (number + 7919) % size;
                let id = UniqueMountId((1 << 31) + 2 + number);
                black_box(view.find(WhichMount::UniqueId(id)).expect("a mount").key)
            });
        });
        group.bench_function(BenchmarkId::new("mount", size), |bench| {
            bench.iter(|| {
                number = (number + 7919) % size;
                let id = UniqueMountId((1 << 31) + 2 + number);
                black_box(view.mount(WhichMount::UniqueId(id)))
            });
        });
        let from = made.from();
        for (name, path) in [("below_mount", &made.parent), ("below_directory", &made.directory)] {
            assert!(view.snapshot().below(path.as_bytes(), from).len() >= 10);
            group.bench_function(BenchmarkId::new(name, size), |bench| {
                bench.iter(|| black_box(view.snapshot().below(black_box(path).as_bytes(), from)));
            });
        }
        group.sample_size(10);
        group.bench_function(BenchmarkId::new("list", size), |bench| {
            bench.iter(|| black_box(view.snapshot().list(from)));
        });
    }
}

fn events(criterion: &mut Criterion) {
    for size in SIZES {
        let mut made = make(size);
        let mut group = criterion.benchmark_group("event");
        let cycle = made.cycle();
        group.bench_function(BenchmarkId::new("attach_publish_detach_publish", size), |bench| {
            bench.iter(|| {
                for events in &cycle {
                    for event in events.iter().cloned() {
                        made.state.apply(event);
                    }
                    black_box(made.state.publish());
                }
            });
        });
        made.state.keep_paths(common::NAMESPACE);
        group.bench_function(BenchmarkId::new("the_same_with_paths_kept", size), |bench| {
            bench.iter(|| {
                for events in &cycle {
                    for event in events.iter().cloned() {
                        made.state.apply(event);
                    }
                    black_box(made.state.publish());
                }
            });
        });
        group.bench_function(BenchmarkId::new("keep_paths", size), |bench| {
            bench.iter(|| made.state.keep_paths(common::NAMESPACE));
        });
        group.sample_size(10).sampling_mode(SamplingMode::Flat);
        group.bench_function(BenchmarkId::new("seed", size), |bench| {
            bench.iter_batched(|| (), |()| make(size).state, BatchSize::PerIteration);
        });
    }
}

fn decode(criterion: &mut Criterion) {
    let mut record = MountRecord::new_zeroed();
    record.header.kind = mountwatch_common::record::kind::MOUNT;
    let bytes = record.as_bytes().to_vec();
    criterion.bench_function("decode/mount", |bench| {
        bench.iter(|| black_box(record::decode(black_box(&bytes))));
    });
}

criterion_group!(benches, questions, events, decode);
criterion_main!(benches);
