//! What watching costs those who mount: the same operations with mountwatch off and on, in turns.

use crate::measure::{Row, median};
use crate::{changes, data, start, sys};
use anyhow::{Context as _, Result};
use mountwatch::agent::Config;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, unmount,
};
use std::fs;
use std::sync::mpsc;
use std::time::Instant;

/// How often it is switched on and off.
const ROUNDS: usize = 3;
/// Namespaces that a mount propagates to.
const PEERS: usize = 100;
/// Mounts of the namespace that is copied.
const COPIED: usize = 10_000;

type Operation<'a> = (&'static str, Box<dyn Fn() -> Result<f64> + 'a>);

/// Measures everything.
pub(crate) fn measure(config: &Config) -> Result<Vec<Row>> {
    let small = data::make(20)?;
    let mut rows = alternate(
        config,
        &[
            ("getppid", Box::new(|| Ok(each(20_000, sys::getppid)))),
            ("bind mount+umount", Box::new(|| changes::cycle_ns(&small, 200))),
            ("tmpfs mount+umount", Box::new(|| tmpfs_ns(&small.spare))),
        ],
    )?;
    rows.extend(propagation(config, &small.source)?);
    small.end()?;
    let large = data::make(COPIED)?;
    rows.extend(alternate(config, &[("unshare of 10,000 mounts", Box::new(unshare_ns))])?);
    large.end()?;
    Ok(rows)
}

fn alternate(config: &Config, operations: &[Operation<'_>]) -> Result<Vec<Row>> {
    let mut values: Vec<[Vec<f64>; 2]> = operations.iter().map(|_| Default::default()).collect();
    let mut lost = 0;
    for _ in 0..ROUNDS {
        for on in [0, 1] {
            let tracker = if on == 1 { Some(start(config)?) } else { None };
            for ((_, operation), values) in operations.iter().zip(&mut values) {
                values[on].push(operation()?);
            }
            if let Some(tracker) = tracker {
                tracker.now()?;
                lost += tracker.status()?.losses;
            }
        }
    }
    let mut rows = Vec::new();
    for ((what, _), [off, on]) in operations.iter().zip(values) {
        rows.push(Row::of(what, "off", off));
        rows.push(Row::of(what, "on", on).noting(format!("{lost} losses")));
    }
    Ok(rows)
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn each(times: u32, operation: impl Fn()) -> f64 {
    let start = Instant::now();
    for _ in 0..times {
        operation();
    }
    start.elapsed().as_nanos() as f64 / f64::from(times)
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn timed(operation: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    operation()?;
    Ok(start.elapsed().as_nanos() as f64)
}

fn tmpfs_ns(at: &str) -> Result<f64> {
    let once = || {
        timed(|| {
            mount("tmpfs", at, "tmpfs", MountFlags::empty(), None)?;
            Ok(unmount(at, UnmountFlags::empty())?)
        })
    };
    let values: Result<Vec<_>> = (0..50).map(|_| once()).collect();
    Ok(median(values?).0)
}

/// One mount and umount below a mount that so many namespaces share.
fn propagation(config: &Config, source: &str) -> Result<Vec<Row>> {
    let shared = format!("{source}/shared");
    fs::create_dir_all(&shared)?;
    mount("tmpfs", &shared, "tmpfs", MountFlags::empty(), None)?;
    mount_change(&shared, MountPropagationFlags::SHARED)?;
    let at = format!("{shared}/at");
    fs::create_dir(&at)?;
    let rows = std::thread::scope(|scope| -> Result<Vec<Row>> {
        let mut ends = Vec::new();
        for _ in 0..PEERS {
            let (end, wait) = mpsc::channel::<()>();
            let (ready, begun) = mpsc::channel();
            scope.spawn(move || {
                let _ = ready.send(sys::unshare_mounts());
                let _ = wait.recv();
            });
            begun.recv().context("a thread ended")??;
            ends.push(end);
        }
        let once = || {
            let cycle = || {
                timed(|| {
                    mount_bind(source, &at)?;
                    Ok(unmount(&at, UnmountFlags::DETACH)?)
                })
            };
            let values: Result<Vec<_>> = (0..20).map(|_| cycle()).collect();
            Ok(median(values?).0)
        };
        alternate(config, &[("mount+umount that 100 namespaces share", Box::new(once))])
    })?;
    unmount(&shared, UnmountFlags::DETACH)?;
    Ok(rows)
}

/// A copy of our mount namespace, in a thread of its own.
fn unshare_ns() -> Result<f64> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| timed(|| Ok(sys::unshare_mounts()?)));
        thread.join().map_err(|_| anyhow::anyhow!("the thread panicked"))?
    })
}
