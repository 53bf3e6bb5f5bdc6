//! `mountwatch list`.

mod args;
mod filter;

pub use args::ListArgs;

use super::source::Source;
use super::{Global, output, path, start};
use crate::kernel::host::clock;
use crate::model::{Coverage, Holders};
use crate::query::{Listed, Viewpoint};
use crate::render::{
    Shape, Source as From, View, in_tree_order, list_json, mountinfo_of, table, visible,
};
use crate::state::Snapshot;
use anyhow::Context;
use std::path::Path;
use std::process::ExitCode;

pub(super) fn run(global: &Global, args: &ListArgs) -> anyhow::Result<ExitCode> {
    if args.list_columns {
        output::write(args::columns_text().as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let columns = args.columns()?;
    let source = Source::open(global)?;
    let (snapshot, holders) = if columns.iter().any(|column| column.needs_holders()) {
        source.now_with_holders(false)?
    } else {
        (source.now()?, Holders::new())
    };
    let views = views(&source, &snapshot, args)?;
    let parts: Vec<_> = views
        .into_iter()
        .map(|from| {
            let view = View {
                tid: args.whose.tid().filter(|_| !args.all_namespaces),
                bare_sources: args.nofsroot,
                ..View::new(&snapshot, from, global.secrets())
                    .with_holders(&holders)
                    .with_clock(clock())
            };
            (view, select(&snapshot, view, args))
        })
        .collect();
    let parts = cut(parts, args);
    let coverage = coverage(&snapshot, &parts);
    if parts.is_empty() && !args.json {
        say_what_is_there_instead(&source, &snapshot, args);
        start::warn_if_uncertain(snapshot.revision(), &coverage);
        return Ok(ExitCode::from(1));
    }
    let text = if args.mountinfo {
        let lines = parts
            .iter()
            .flat_map(|(view, mounts)| mountinfo_of(view.tables, view.from, mounts, view.secrets));
        lines.collect()
    } else if args.json {
        let answered_by = source.answered_by()?;
        let revision = Some(snapshot.revision());
        let from = From { answered_by: &answered_by, revision, coverage: &coverage, clock: None };
        list_json(&parts, &columns, args.shape(), from).into_bytes()
    } else {
        table(&parts, &columns, args.shape(), args.layout()).into_bytes()
    };
    output::write(&text)?;
    start::warn_if_uncertain(snapshot.revision(), &coverage);
    Ok(if parts.is_empty() { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn views(source: &Source, snapshot: &Snapshot, args: &ListArgs) -> anyhow::Result<Vec<Viewpoint>> {
    if args.all_namespaces {
        let mut namespaces: Vec<_> = snapshot.namespaces().collect();
        namespaces.sort_by_key(|known| (known.id, known.inode));
        let views =
            namespaces.iter().filter_map(|known| snapshot.viewpoint_of_namespace(known.key));
        return Ok(views.collect());
    }
    Ok(vec![args.whose.viewpoint(source, snapshot).context("list mounts")?])
}

fn select(snapshot: &Snapshot, view: View<'_>, args: &ListArgs) -> Vec<Listed> {
    let from = view.from;
    let resolve = |path: &Path| {
        if args.all_namespaces {
            // Whatever it is in each of them.
            path::lexical(path)
        } else {
            args.whose.path(snapshot, from, path)
        }
    };
    let mut mounts = match (args.at(), &args.target) {
        (Some(path), _) => at(snapshot, from, &resolve(path), args.submounts),
        (None, Some(target)) => {
            let covering = snapshot.covering(&resolve(target), from);
            let path = covering.and_then(|covering| snapshot.path_of(covering.mount.key, from));
            let top = path.map(|path| at(snapshot, from, &path, args.submounts));
            top.unwrap_or_default()
        }
        (None, None) => snapshot.list(from),
    };
    if args.target.is_some() && !args.submounts {
        // The one on top, on which the path lies.
        mounts.retain(|listed| {
            let top = snapshot.covering(&listed.path, from);
            top.is_some_and(|top| top.mount.key == listed.mount.key)
        });
    }
    if args.shape() != Shape::Flat && !args.mountinfo {
        mounts = in_tree_order(snapshot, &mounts);
    }
    if filter::is_any(args) {
        mounts.retain(|listed| filter::keeps(args, view, listed));
    }
    mounts
}

fn at(snapshot: &Snapshot, from: Viewpoint, path: &[u8], submounts: bool) -> Vec<Listed> {
    let mut mounts = snapshot.below(path, from);
    if !submounts {
        mounts.retain(|listed| *listed.path == *path);
    }
    mounts
}

/// Without the views in which nothing was found, and down to the first mount if that is wanted.
fn cut<'a>(parts: Vec<(View<'a>, Vec<Listed>)>, args: &ListArgs) -> Vec<(View<'a>, Vec<Listed>)> {
    let mut parts = parts;
    parts.retain(|(_, mounts)| !mounts.is_empty());
    if args.first_only {
        parts.truncate(1);
        if let Some((_, mounts)) = parts.first_mut() {
            mounts.truncate(1);
        }
    }
    parts
}

/// A path at which nothing is mounted: says on which mount it lies.
fn say_what_is_there_instead(source: &Source, snapshot: &Snapshot, args: &ListArgs) {
    let Some(path) = args.at().filter(|_| !args.all_namespaces && !filter::is_any(args)) else {
        return;
    };
    let Ok(from) = args.whose.viewpoint(source, snapshot) else { return };
    let path = args.whose.path(snapshot, from, path);
    let below = if args.submounts { " or below it" } else { "" };
    let covering = snapshot.covering(&path, from).and_then(|covering| {
        let at = snapshot.path_of(covering.mount.key, from)?;
        Some(format!("; it lies on mount {} at {}", covering.mount.id, visible(&at)))
    });
    let covering = covering.unwrap_or_default();
    eprintln!("mountwatch: note: nothing is mounted at {}{below}{covering}", visible(&path));
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
