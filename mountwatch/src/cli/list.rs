//! `mountwatch list`.

use super::{Global, ListArgs, output, path, start};
use crate::agent::Tracker;
use crate::model::{Coverage, NamespaceInode};
use crate::query::{Listed, Viewpoint};
use crate::render::{
    COLUMNS, COLUMNS_DEFAULT, Column, Symbols, View, in_tree_order, list_json, mountinfo_of, table,
};
use crate::state::Snapshot;
use anyhow::{Context, anyhow};
use std::process::ExitCode;

pub(super) fn run(global: &Global, args: &ListArgs) -> anyhow::Result<ExitCode> {
    let columns = columns(args)?;
    let tracker = start::tracker(global)?;
    let snapshot = tracker.now().context("bring the index up to date")?;
    let views = views(&tracker, &snapshot, args)?;
    let parts: Vec<_> = views
        .into_iter()
        .map(|from| {
            let view = View { tables: &snapshot, from, secrets: global.secrets() };
            (view, select(&snapshot, from, args))
        })
        .filter(|(_, mounts)| !mounts.is_empty())
        .collect();
    let coverage = coverage(&snapshot, &parts);
    if parts.is_empty() && !args.json {
        start::warn_if_uncertain(snapshot.revision(), &coverage);
        return Ok(ExitCode::from(1));
    }
    let is_tree = is_tree(args);
    let text = if args.mountinfo {
        let lines = parts
            .iter()
            .flat_map(|(view, mounts)| mountinfo_of(view.tables, view.from, mounts, view.secrets));
        lines.collect()
    } else if args.json {
        list_json(&parts, &columns, is_tree, snapshot.revision(), &coverage).into_bytes()
    } else {
        let symbols = if args.ascii { Symbols::Ascii } else { Symbols::Utf8 };
        table(&parts, &columns, is_tree.then_some(symbols)).into_bytes()
    };
    output::write(&text)?;
    start::warn_if_uncertain(snapshot.revision(), &coverage);
    Ok(if parts.is_empty() { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// As findmnt(8): a tree, except for what is mounted at one path.
fn is_tree(args: &ListArgs) -> bool {
    args.tree || !(args.list || (args.path.is_some() && !args.submounts))
}

fn views(
    tracker: &Tracker,
    snapshot: &Snapshot,
    args: &ListArgs,
) -> anyhow::Result<Vec<Viewpoint>> {
    if args.all_namespaces {
        let mut namespaces: Vec<_> = snapshot.namespaces().collect();
        namespaces.sort_by_key(|known| (known.id, known.inode));
        let views =
            namespaces.iter().filter_map(|known| snapshot.viewpoint_of_namespace(known.key));
        return Ok(views.collect());
    }
    if let Some(inode) = args.ns {
        let view = snapshot
            .namespace_by_inode(NamespaceInode(inode))
            .ok_or_else(|| anyhow!("there is no such mount namespace"))
            .and_then(|known| {
                snapshot
                    .viewpoint_of_namespace(known.key)
                    .ok_or_else(|| anyhow!("nothing is mounted in it"))
            })
            .with_context(|| format!("list the mounts of namespace {inode}"))?;
        return Ok(vec![view]);
    }
    if let Some(task) = args.task {
        let view = tracker
            .viewpoint_of_task(snapshot, task)
            .with_context(|| format!("list the mounts that task {task} sees"))?;
        return Ok(vec![view]);
    }
    Ok(vec![start::own_view(tracker, snapshot)?])
}

fn select(snapshot: &Snapshot, from: Viewpoint, args: &ListArgs) -> Vec<Listed> {
    let mut mounts = match &args.path {
        None => snapshot.list(from),
        Some(path) => {
            let is_own = args.task.is_none() && args.ns.is_none() && !args.all_namespaces;
            let path = if is_own { own_path(snapshot, from, path) } else { path::lexical(path) };
            let mut mounts = snapshot.below(&path, from);
            if !args.submounts {
                mounts.retain(|listed| *listed.path == *path);
            }
            mounts
        }
    };
    if let Some(types) = &args.types {
        if is_tree(args) && !args.mountinfo {
            mounts = in_tree_order(&mounts);
        }
        mounts.retain(|listed| {
            let known = snapshot.super_block(listed.mount.super_block);
            known.is_some_and(|known| is_of_types(&known.fs_type, types))
        });
    }
    mounts
}

fn own_path(snapshot: &Snapshot, from: Viewpoint, path: &std::path::Path) -> Vec<u8> {
    let path = path::resolve(path);
    match snapshot.covering(&path, from) {
        Some(covering) if covering.is_mountpoint => path,
        _ => path::resolve_link(&path),
    }
}

/// As mount(8): a list of types, any of them; with `no` in front none of them.
fn is_of_types(fs_type: &[u8], types: &str) -> bool {
    let (is_any, types) = match types.strip_prefix("no") {
        Some(types) => (false, types),
        None => (true, types),
    };
    let mut types = types
        .split(',')
        .map(|name| if is_any { name } else { name.strip_prefix("no").unwrap_or(name) });
    types.any(|name| name.as_bytes() == fs_type) == is_any
}

fn columns(args: &ListArgs) -> anyhow::Result<Vec<&'static Column>> {
    let find = |name: &str| {
        Column::find(name)
            .ok_or_else(|| anyhow!("there is no such column; `mountwatch list --help` names all"))
            .with_context(|| format!("show the column {name}"))
    };
    let default = || {
        let namespace = args.all_namespaces.then_some("NS");
        namespace.into_iter().chain(COLUMNS_DEFAULT.iter().copied()).map(find)
    };
    match args.output.as_deref() {
        None if args.json => Ok(COLUMNS.iter().collect()),
        None => default().collect(),
        Some(names) => match names.strip_prefix('+') {
            Some(names) => default().chain(names.split(',').map(find)).collect(),
            None => names.split(',').map(find).collect(),
        },
    }
}

/// The coverage of the namespace that is listed; of several, the least of all.
fn coverage(snapshot: &Snapshot, parts: &[(View<'_>, Vec<Listed>)]) -> Coverage {
    match parts {
        [(view, _)] => snapshot
            .namespace(view.from.namespace)
            .map_or_else(|| snapshot.coverage().clone(), |known| known.coverage.clone()),
        _ => snapshot.coverage().clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_mounts() {
        let check = |types: &str, expected: bool| {
            assert_eq!(is_of_types(b"tmpfs", types), expected, "{types}");
        };
        check("tmpfs", true);
        check("ext4,tmpfs", true);
        check("ext4", false);
        check("notmpfs", false);
        check("noext4,nfs", true);
        check("noext4,notmpfs", false);
        check("", false);
    }
}
