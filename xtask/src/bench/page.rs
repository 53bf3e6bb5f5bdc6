//! docs/BENCHMARKS.md, docs/bench.json and docs/bench.svg: what was measured, where, and which target
//! holds.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

use super::{plot, table};
use crate::workspace;

const JSON: &str = "docs/bench.json";
const SVG: &str = "docs/bench.svg";
const PAGE: &str = "docs/BENCHMARKS.md";

const HEAD: &str = "# Benchmarks

Made by `cargo xtask bench --docs` (this machine) and `cargo xtask bench --kernel K --docs` (a virtual \
machine); the figures are in [bench.json](bench.json). Ours and each peer take turns in one process, on \
the same mounts, round by round; each figure is the median, beside it the least. **Look at the ratios: the machines are shared, \
and times differ from day to day.** A virtual machine here is emulated (TCG), so its times are some ten \
times longer than those of real hardware, and only its ratios of one operation with mountwatch off and on \
mean something.

The mounts are those of a node with containers: of each ten three overlays with 900 bytes of options, four \
tmpfs, three bind mounts; 122 bytes of path. `mountinfo` is one read of /proc/self/mountinfo into a buffer \
that is used again, with a parser that copies nothing; `procfs crate` and findmnt(8) are what programs use. \
The paths that are asked about are never close together in memory, except in the row that says so.

`×` is how many times ours fits into it.
";

const TAIL: &str = "## What misses, and what it would take

* **A point query** is a walk along the names of the path: a path of nine names is nine look-ups of a name \
in its directory, and two for each mount on the way. Warm that is a few hundred nanoseconds; among 100,000 \
mounts most of it is misses of the cache. One look-up for a whole path would need hashes of whole paths, \
which a rename of a directory changes for everything below it: the index keeps none, so that a rename stays \
one event. A table for other processes can keep them, since it is written anew anyway.
* **Memory**: whatever there is takes 40 MB, the ring's 16 MiB among them. Of a mount's 2.5 KB some 270 are \
the options of its overlay, and its own directories take some 150 each with their names, of which a \
container's mount has two to five. A copied mount takes 1.2 KB, of which its entries in eight indexes are \
208 where leaves are full, and they are half full; the rest was not looked into.
* **CPU**: each change wakes the writer, which looks once for it, publishes, and sleeps. Two changes in one \
turn cost little more than one; that it goes before those that mount (`--nice`) makes its turns smaller.
* **The barrier** makes no system call with `hooks` on kernels that do not preempt themselves. On others a \
program can be skipped, which only a system call tells, and with `notify` the queue has to be read.
";

/// What docs/bench.json has.
pub(super) fn known() -> Result<Map<String, Value>> {
    match fs::read_to_string(workspace::path(JSON)) {
        Ok(text) => serde_json::from_str(&text).with_context(|| format!("{JSON} is no object")),
        Err(_) => Ok(Map::new()),
    }
}

/// The same with new runs in place of those on the same machine of the same size and back end.
pub(super) fn with(
    mut known: Map<String, Value>,
    place: &str,
    runs: &[Value],
) -> Map<String, Value> {
    for run in runs {
        let size = run["size"].as_u64().unwrap_or(0);
        let backend = run["backend"].as_str().unwrap_or_default();
        let kind = if size == 0 { "cost".to_owned() } else { format!("{size:07}") };
        known.insert(format!("{place} {backend} {kind}"), run.clone());
    }
    known
}

/// Writes all three.
pub(super) fn write(known: &Map<String, Value>) -> Result<()> {
    let host: Vec<_> = known
        .iter()
        .filter(|(name, _)| name.starts_with("host "))
        .map(|(_, run)| run.clone())
        .collect();
    let files =
        [(JSON, format!("{:#}\n", json!(known))), (SVG, plot::svg(&host)), (PAGE, page(known))];
    fs::create_dir_all(workspace::path("docs"))?;
    for (file, text) in files {
        fs::write(workspace::path(file), text).with_context(|| format!("cannot write {file}"))?;
    }
    Ok(())
}

fn page(known: &Map<String, Value>) -> String {
    let mut out = format!("{HEAD}\n![What each question takes as the mounts grow](bench.svg)\n");
    for (name, run) in known {
        let place = match name.split_once(' ') {
            Some(("host", _)) => "this machine".to_owned(),
            Some((series, _)) => format!("a virtual machine with Linux {series}"),
            None => continue,
        };
        let machine = &run["machine"];
        let text = |key: &str| machine[key].as_str().unwrap_or("?").to_owned();
        let _ = writeln!(
            out,
            "\n## {}, {place}\n\nLinux {}, {} × {}, load {} at its end.\n",
            table::title(run),
            text("kernel"),
            machine["cpus"],
            text("cpu"),
            text("load"),
        );
        out.push_str(
            "| what | way | median | least | ratio | target | note |\n|---|---|--:|--:|--:|---|---|\n",
        );
        let notes = table::figures(run).into_iter().map(|one| one.note);
        for ([what, way, value, least, ratio, target], note) in
            table::rows(run).into_iter().zip(notes)
        {
            let _ = writeln!(
                out,
                "| {what} | {way} | {value} | {least} | {ratio} | {target} | {note} |"
            );
        }
    }
    let _ = write!(out, "\n{TAIL}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_what_the_figures_give() {
        let known = known().unwrap();
        let page = page(&known);
        assert_eq!(
            fs::read_to_string(workspace::path(PAGE)).unwrap(),
            page,
            "run `cargo xtask bench --page`"
        );
        assert!(
            known.keys().any(|name| name.starts_with("host ")),
            "no run on a machine's own kernel"
        );
    }

    #[test]
    fn a_run_takes_the_place_of_the_one_before() {
        let run =
            |load: &str| json!({ "size": 1_000, "backend": "notify", "machine": { "load": load } });
        let known = with(Map::new(), "host", &[run("1")]);
        let known = with(known, "host", &[run("2")]);
        assert_eq!(known.len(), 1);
        assert_eq!(known["host notify 0001000"]["machine"]["load"], "2");
    }
}
