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
The paths that are asked about are never close together in memory, except in the row that says so. Memory \
is what an agent has in a process of its own: the least within two seconds after it has taken what there is.

`×` is how many times ours fits into it.
";

const TAIL: &str = "## What misses, and what it would take

* **A point query** is one look-up of a hash of the path where paths are kept, which they are of a namespace \
that is asked about often; what is asked seldom is walked along its names, nine of them here. Warm that is \
some 0.1 µs. Among many mounts most of it is misses of the cache, the first of them for the path that is \
asked about. The mapped table has no paths, and is walked.
* **Memory**: whatever there is takes 51 MB, the ring's 16 MiB among them. A mount's own directories take some \
250 bytes each with their names and the hashes by which `notify` notices that they are renamed; a \
container's mount has two to five; the options of an overlay are some 270. A copied mount takes 0.4 KB in \
the index (a mount of 160 bytes, and its entries in nine indexes), and 0.25 KB in what `notify` remembers of what \
it told; the rest is what the allocator rounds up.
* **CPU**: each change wakes the writer, which looks once for it, publishes, and sleeps. Two changes in one \
turn cost little more than one; that it goes before those that mount (`--nice -20`) makes its turns smaller: \
with `--nice 0` it was 14 to 15 % in place of 18 to 21, in turns on the same machine. The kernel's part of \
it, waking and looking, is more than half.
* **Through the socket**: some 0.3 ms on two processors that four threads share: the asker, the event loop, \
the barrier and the tracker take turns.
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
    let plot = plot::svg(&on_host(known));
    let files = [(JSON, format!("{:#}\n", json!(known))), (SVG, plot), (PAGE, page(known))];
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
    let host = on_host(known);
    out.push_str(
        "\n## As the mounts grow, this machine\n\n| what | at the fewest | at the most | times | target |\n\
         |---|--:|--:|--:|---|\n",
    );
    for [what, few, many, times, target] in table::growth(&host) {
        let _ = writeln!(out, "| {what} | {few} | {many} | {times} | {target} |");
    }
    let _ = write!(out, "\n{TAIL}");
    out
}

fn on_host(known: &Map<String, Value>) -> Vec<Value> {
    let host = known.iter().filter(|(name, _)| name.starts_with("host "));
    host.map(|(_, run)| run.clone()).collect()
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
