//! `mountwatch list` beside findmnt(8), and `is-mountpoint`, `info` and `namespaces` beside the kernel:
//! in one world with mounts of all odd kinds.

use crate::cli_checks::{Setting, ensure_status, finish};
use crate::command::Unshare;
use crate::scenario::MAIN;
use crate::world::World;
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::fs;
use std::process::{Command, Output, Stdio};

/// Columns that both have and that mean the same.
const COLUMNS: &str = "TARGET,SOURCE,FSTYPE,OPTIONS,VFS-OPTIONS,FS-OPTIONS,FSROOT,ID,PARENT,PROPAGATION,\
                       OPT-FIELDS,MAJ:MIN,TID";

/// Options that both have and after which both have to print the same bytes. `BASE` is the directory of
/// the world.
const FORMS: &[&str] = &[
    "",
    "-l",
    "-r",
    "-P",
    "-a",
    "-n",
    "-R BASE",
    "-R BASE/a",
    "-l -R BASE",
    "-r -n -R BASE",
    "-P -R BASE",
    "-P -y -o TARGET,MAJ:MIN,OPT-FIELDS,FS-OPTIONS -R BASE",
    "-r -o TARGET,OPT-FIELDS,SOURCE",
    "-o ID,TARGET,PARENT,PROPAGATION,TARGET",
    "-o ID,PARENT",
    "-o +FSROOT",
    "-v -l",
    "-t tmpfs",
    "-t notmpfs,proc",
    "-l -t tmpfs,proc",
    "-O ro",
    "-O noro,nosuid",
    "-O size=64k",
    "-S odd",
    "--real",
    "--pseudo",
    "--shadowed",
    "-f -t tmpfs",
    "BASE/a",
    "-M BASE/a",
    "-T BASE/a",
];

/// Why the checks beside findmnt(8) cannot run here, if they cannot.
pub(crate) fn reason_to_skip(name: &str) -> Option<String> {
    let is_there = || Command::new("findmnt").arg("--version").output().is_ok();
    (name.starts_with("cli_findmnt") && !is_there())
        .then(|| String::from("there is no findmnt(8) here: install util-linux"))
}

/// A world with blanks, newlines, bytes that are not UTF-8, what a shell and a terminal take for
/// something else, stacks, bind mounts of all kinds and deleted roots.
fn odd_world(setting: &Setting) -> Result<World> {
    let mut world = World::new(&setting.base)?;
    for line in [
        // What is mounted later gets their numbers: a tree has another order than the kernel's list.
        "mkdir -p /z/0",
        "mkdir /z/1",
        "mount tmpfs /z/0",
        "mount tmpfs /z/1",
        "mkdir /a",
        "mount tmpfs -s \"with blank\" -o size=64k,nodev /a",
        "make shared /a",
        "mkdir \"/a/b\\nc\"",
        "mount tmpfs \"/a/b\\nc\"",
        "mkdir \"/a/\\xff\"",
        "mount tmpfs -s odd -o ro \"/a/\\xff\"",
        "mkdir \"/q$`'x\"",
        "mount tmpfs -s \"s$`'\" \"/q$`'x\"",
        "mkdir /d",
        "umount /z/0",
        "umount /z/1",
        "rbind /a /d",
        "mkdir -p /gone/root",
        "mkdir /e",
        "bind /gone/root /e",
        "rmdir /gone/root",
        "mkdir /f",
        "bind /a /f",
        "make private /f",
        "make unbindable /f",
        "mkdir /s",
        "mount tmpfs -s lower /s",
        "mount tmpfs -s upper /s",
        "touch /file",
        "bind /file /file",
        "mkdir /p",
        "mount proc /p",
    ] {
        world.line(MAIN, line).with_context(|| line.to_owned())?;
    }
    world.namespace("A", MAIN, Unshare::Slave)?;
    world.line("A", "umount -l /d")?;
    Ok(world)
}

/// Each value of each column that both have is the same, in every namespace of the world; a program
/// that reads the tree of one reads that of the other.
pub(crate) fn values(setting: &Setting) -> Result<()> {
    let world = odd_world(setting)?;
    for viewer in world.viewers() {
        let tid = viewer.tid.to_string();
        for shape in [&["-J", "-l"][..], &["-J", "--tree"], &["-J"]] {
            // findmnt draws a whole table as a tree by itself, and with --tree nothing at all.
            let theirs: Vec<_> = shape.iter().filter(|option| **option != "--tree").collect();
            let theirs = theirs.into_iter().copied().chain(["-N", &tid, "-o", COLUMNS]);
            let theirs = json(&output(Command::new("findmnt").args(theirs))?)?;
            let ours = [&["list"], shape, &["-N", &tid, "-o", COLUMNS]].concat();
            let ours = json(&finish(setting.command(&ours).spawn()?)?)?;
            let (theirs, ours) = (&theirs["filesystems"], &ours["filesystems"]);
            ensure!(
                theirs.as_array().is_some_and(|list| !list.is_empty()),
                "findmnt lists nothing"
            );
            let mut found = Vec::new();
            differences("", theirs, ours, &mut found);
            ensure!(found.is_empty(), "{} {shape:?}: {}", viewer.name, found.join("; "));
        }
    }
    world.tear_down();
    Ok(())
}

/// Each form that both have is the same, byte for byte.
pub(crate) fn forms(setting: &Setting) -> Result<()> {
    let world = odd_world(setting)?;
    let viewers = world.viewers();
    let viewer = viewers.iter().find(|viewer| viewer.name == MAIN).context("no task")?;
    let tid = viewer.tid.to_string();
    let base = setting.base.to_str().context("the base directory is no text")?;
    let mut found = Vec::new();
    for form in FORMS {
        let form = form.replace("BASE", base);
        let arguments: Vec<_> = form.split_whitespace().chain(["-N", &tid]).collect();
        let theirs = output(Command::new("findmnt").args(&arguments))?;
        let ours = finish(setting.command(&[&["list"], &arguments[..]].concat()).spawn()?)?;
        if theirs.stdout != ours.stdout {
            let show = |bytes: &[u8]| bytes.escape_ascii().to_string().replace("\\n", "\n");
            let (theirs, ours) = (show(&theirs.stdout), show(&ours.stdout));
            found.push(format!("`{form}`: findmnt:\n{theirs}mountwatch:\n{ours}"));
        }
        ensure!(!ours.stdout.is_empty(), "`{form}` gives nothing");
    }
    ensure!(found.is_empty(), "{}", found.join("\n"));
    world.tear_down();
    Ok(())
}

fn output(command: &mut Command) -> Result<Output> {
    let command = command.stdin(Stdio::null()).env("LC_ALL", "C.UTF-8");
    command.output().context("cannot run it")
}

/// findmnt writes names that are not UTF-8 as they are.
fn json(output: &Output) -> Result<Value> {
    serde_json::from_str(&String::from_utf8_lossy(&output.stdout)).with_context(|| {
        format!("the output is no JSON: {}", String::from_utf8_lossy(&output.stderr))
    })
}

/// What is in the first and not the same in the second; the second may have more keys.
fn differences(at: &str, theirs: &Value, ours: &Value, found: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Array(theirs), Value::Array(ours)) => {
            if theirs.len() != ours.len() {
                found.push(format!("{at}: {} and {} entries", theirs.len(), ours.len()));
            }
            for (place, (theirs, ours)) in theirs.iter().zip(ours).enumerate() {
                differences(&format!("{at}/{place}"), theirs, ours, found);
            }
        }
        (Value::Object(theirs), Value::Object(ours)) => {
            for (key, value) in theirs {
                let none = Value::Null;
                differences(&format!("{at}/{key}"), value, ours.get(key).unwrap_or(&none), found);
            }
        }
        (theirs, ours) if theirs != ours => found.push(format!("{at}: {theirs} and {ours}")),
        _ => {}
    }
}

/// What path of the world is a mount point, and whether it is one without bind mounts.
const MOUNT_POINTS: &[(&str, bool, bool)] = &[
    ("/a", true, true),
    ("/a/b\nc", true, true),
    ("/d", true, false),
    ("/d/b\nc", true, false),
    ("/e", true, false),
    ("/f", true, false),
    ("/s", true, true),
    ("/file", true, false),
    ("/p", true, true),
    ("/gone", false, false),
    ("/q$`'x", true, true),
    ("/a/.", true, true),
    ("/nothing", false, false),
];

/// `is-mountpoint` says the same with a back end and without, about others' paths and about its own, and
/// its exit status is that of mountpoint(1).
pub(crate) fn is_mountpoint(setting: &Setting) -> Result<()> {
    let world = odd_world(setting)?;
    let viewers = world.viewers();
    let viewer = viewers.iter().find(|viewer| viewer.name == MAIN).context("no task")?;
    let tid = viewer.tid.to_string();
    let mut asked = 0;
    let mut status = |path: &str, more: &[&str]| -> Result<Option<i32>> {
        let arguments = [&["is-mountpoint", "-q", path], more].concat();
        let direct = Command::new(&setting.mountwatch).args(&arguments).output()?.status.code();
        asked += 1;
        // A back end takes its time to start, where the machine is emulated.
        if setting.backend.is_some() && asked % 5 == 0 {
            let indexed = finish(setting.command(&arguments).spawn()?)?.status.code();
            ensure!(
                direct == indexed,
                "{arguments:?}: {direct:?} directly, {indexed:?} by the index"
            );
        }
        Ok(direct)
    };
    for (path, is_one, is_real) in MOUNT_POINTS {
        let path = format!("{}{path}", setting.base.display());
        let expected = |is_one: bool| Some(if is_one { 0 } else { 32 });
        let found = status(&path, &["-N", &tid])?;
        ensure!(found == expected(*is_one), "{path:?}: {found:?}");
        let found = status(&path, &["-N", &tid, "--no-bind"])?;
        ensure!(found == expected(*is_real), "{path:?} without bind mounts: {found:?}");
    }
    for (path, expected) in [("/", 0), ("/proc", 0), ("/proc/self/task", 32), ("/no/such", 1)] {
        let found = status(path, &[])?;
        ensure!(found == Some(expected), "{path}: {found:?}");
    }
    world.tear_down();
    Ok(())
}

/// `info` by path and by ID is the same and is what the kernel's line says; a path that is no mount point
/// gives a hint.
pub(crate) fn info(setting: &Setting) -> Result<()> {
    let world = odd_world(setting)?;
    let viewers = world.viewers();
    for viewer in &viewers {
        let tid = viewer.tid.to_string();
        let path = format!("{}/s", setting.base.display());
        let by_path = run_json(setting, &["info", "-J", "-N", &tid, &path])?;
        let id = by_path["id"].to_string();
        let by_id = run_json(setting, &["info", "-J", &id])?;
        for key in ["target", "source", "uniq-id", "ns", "parent", "fsroot", "maj:min", "covers"] {
            ensure!(by_path[key] == by_id[key], "{key}: {} and {}", by_path[key], by_id[key]);
        }
        ensure!(by_path["source"] == "upper" && by_path["bind"].is_null(), "{by_path}");
        ensure!(by_path["covers"].as_array().is_some_and(|list| list.len() == 1), "{by_path}");
        let kernel = fs::read(format!("/proc/{tid}/mountinfo"))?;
        let kernel = String::from_utf8_lossy(&kernel);
        let line = kernel.lines().find(|line| line.starts_with(&format!("{id} ")));
        ensure!(line.is_some_and(|line| line.contains(" upper ")), "mount {id} is another one");
    }
    let tid = viewers.first().context("no task")?.tid.to_string();
    let path = format!("{}/gone", setting.base.display());
    let output = finish(setting.command(&["info", "-N", &tid, &path]).spawn()?)?;
    ensure_status(&output, 1)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(said.contains("it lies on mount"), "no hint: {said}");
    let there = run_json(setting, &["info", "-J", "-T", "-N", &tid, &path])?;
    ensure!(there["target"].as_str() == setting.base.to_str(), "{there}");
    world.tear_down();
    Ok(())
}

/// `namespaces` has each namespace with as many mounts as its processes see, and with them.
pub(crate) fn namespaces(setting: &Setting) -> Result<()> {
    let world = odd_world(setting)?;
    let list = run_json(setting, &["namespaces", "-J"])?;
    let list = list["namespaces"].as_array().context("no array `namespaces`")?;
    for viewer in world.viewers() {
        let name = crate::task::namespace_of(viewer.pid, viewer.tid).context("the task is gone")?;
        let inode = name.strip_prefix("mnt:[").and_then(|rest| rest.strip_suffix(']'));
        let inode: u64 = inode.context("another form")?.parse()?;
        let Some(found) = list.iter().find(|one| one["ns"].as_u64() == Some(inode)) else {
            bail!("{} is not listed", viewer.name);
        };
        let kernel = fs::read(format!("/proc/{}/mountinfo", viewer.tid))?;
        let (mounts, lines) = (&found["mounts"], crate::mountinfo::lines(&kernel).len());
        // What lies below the root directory of a namespace is in it and not seen.
        ensure!(mounts.as_u64() >= u64::try_from(lines).ok(), "{mounts} mounts, {lines} lines");
        ensure!(found["nprocs"].as_u64() > Some(0), "nobody is in it: {found}");
        ensure!(found["held-by"].is_null(), "{found}");
    }
    world.tear_down();
    Ok(())
}

fn run_json(setting: &Setting, arguments: &[&str]) -> Result<Value> {
    let output = finish(setting.command(arguments).spawn().context("cannot start mountwatch")?)?;
    ensure_status(&output, 0).with_context(|| format!("{arguments:?}"))?;
    serde_json::from_slice(&output.stdout).context("the output is no JSON")
}
