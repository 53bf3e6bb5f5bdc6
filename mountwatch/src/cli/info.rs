//! `mountwatch info` and `mountwatch is-mountpoint`: one mount, one path.

use super::source::{self, AGENT, Source as Index};
use super::{Backend, Global, WhoseArgs, output, path, start};
use crate::client::{Whose, blocking};
use crate::kernel::direct;
use crate::kernel::host::clock;
use crate::model::{Coverage, Mount, MountId, NamespaceInode, Revision, UniqueMountId};
use crate::query::{Answer, Binds, MountQueries, Portrait, SnapshotView, WhichMount};
use crate::render::{Source, info_json, info_text, is_mountpoint_json, visible};
use anyhow::{Context, anyhow, bail};
use clap::Args;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// As mountpoint(1) says no.
const NO: u8 = 32;
/// Mount IDs are below, unique mount IDs above: `MNT_UNIQUE_ID_OFFSET` in fs/namespace.c.
const UNIQUE_ID_MIN: u64 = 1 << 31;

/// Arguments of `info`.
#[derive(Debug, Args)]
pub struct InfoArgs {
    /// A mount: its path, its mount ID or its unique mount ID.
    ///
    /// A number is an ID; `./12` is a path. An ID may be that of a mount in any namespace, a path is
    /// one of this process or, with --task and --ns, of theirs.
    #[arg(value_name = "PATH|ID")]
    pub what: PathBuf,
    /// Whose path.
    #[command(flatten)]
    pub whose: WhoseArgs,
    /// If the path is no mount point, tell about the mount on which it lies.
    #[arg(short = 'T', long)]
    pub target: bool,
    /// JSON.
    #[arg(short = 'J', long)]
    pub json: bool,
}

/// Arguments of `is-mountpoint`.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
#[derive(Debug, Args)]
pub struct IsMountpointArgs {
    /// The path.
    pub path: PathBuf,
    /// Whose path.
    #[command(flatten)]
    pub whose: WhoseArgs,
    /// Bind mounts do not count. What a bind mount is stands in the README.
    #[arg(long)]
    pub no_bind: bool,
    /// Say nothing: the exit status is the answer.
    #[arg(short = 'q', long, conflicts_with = "json")]
    pub quiet: bool,
    /// Say on stderr who answered.
    #[arg(short = 'v', long)]
    pub verbose: bool,
    /// JSON.
    #[arg(short = 'J', long)]
    pub json: bool,
}

/// Who answers, and what it sees.
struct Asked {
    view: SnapshotView,
    /// The agent or tracker; `None`: the kernel.
    source: Option<Index>,
    answered_by: String,
}

impl Asked {
    /// The kernel, once.
    fn kernel(whose: WhoseArgs) -> anyhow::Result<Self> {
        let Some(task) = whose.tid() else {
            bail!("a namespace by its inode needs a back end: leave `--backend none` out, as root")
        };
        // This process is gone before anybody could go through it.
        let view = direct::view_of_task(task)?.with_task(whose.task);
        Ok(Self { view, source: None, answered_by: String::from("mountinfo") })
    }

    /// The kernel, where no back end starts and none was named.
    fn instead(global: &Global, args: &InfoArgs, error: anyhow::Error) -> anyhow::Result<Self> {
        let needs_index =
            args.whose.ns.is_some() || matches!(id_of(&args.what), Some(WhichMount::UniqueId(_)));
        if global.backend != Backend::Auto || needs_index {
            return Err(error);
        }
        eprintln!("mountwatch: note: the kernel is asked directly: cannot {error:#}");
        Self::kernel(args.whose)
    }

    /// The agent, or a tracker.
    fn index(global: &Global, whose: WhoseArgs) -> anyhow::Result<Self> {
        Self::of(Index::open(global)?, whose)
    }

    fn of(source: Index, whose: WhoseArgs) -> anyhow::Result<Self> {
        let answered_by = source.answered_by()?;
        let view = match whose.ns {
            Some(_) => {
                let snapshot = source.now()?;
                let from = whose.viewpoint(&source, &snapshot)?;
                let host = source.host(&snapshot);
                let view = SnapshotView::new(snapshot, from);
                host.map_or(view.clone(), |host| view.with_host(host))
            }
            None => source
                .view_of_task(whose.task.unwrap_or_else(std::process::id))
                .context("find out what the task sees")?
                .with_task(whose.task),
        };
        Ok(Self { view, source: Some(source), answered_by })
    }

    fn source<'a>(&'a self, coverage: &'a Coverage) -> Source<'a> {
        let revision = self.source.is_some().then(|| self.view.snapshot().revision());
        let clock = Some(clock());
        Source { answered_by: &self.answered_by, revision, coverage, clock }
    }

    fn path(&self, whose: WhoseArgs, path: &Path) -> Vec<u8> {
        whose.path(self.view.snapshot(), self.view.viewpoint(), path)
    }
}

/// Whether `auto` means the kernel itself: without root there is no back end.
fn asks_kernel(global: &Global, whose: WhoseArgs) -> bool {
    match global.backend {
        Backend::None => true,
        Backend::Auto => whose.ns.is_none() && !direct::is_root(),
        _ => false,
    }
}

pub(super) fn run(global: &Global, args: &InfoArgs) -> anyhow::Result<ExitCode> {
    let shown = visible(args.what.as_os_str().as_bytes());
    let about = || format!("tell about {shown}");
    let asked = match source::agent(global)? {
        Some(agent) => Asked::of(Index::Agent(Box::new(agent)), args.whose).with_context(about)?,
        None if asks_kernel(global, args.whose) => Asked::kernel(args.whose).with_context(about)?,
        None => {
            Asked::index(global, args.whose).or_else(|error| Asked::instead(global, args, error))?
        }
    };
    let portrait = portrait(&asked, args).with_context(about)?;
    let coverage = match asked.source {
        Some(_) => asked.view.coverage().clone(),
        None => Coverage::Blind([String::from("other mount namespaces are not known")].into()),
    };
    let (source, secrets) = (asked.source(&coverage), global.secrets());
    let text = if args.json {
        info_json(&portrait, source, secrets)
    } else {
        info_text(&portrait, source, secrets)
    };
    output::write(text.as_bytes())?;
    start::warn_if_uncertain(source.revision.unwrap_or(Revision(0)), &coverage);
    Ok(ExitCode::SUCCESS)
}

fn portrait(asked: &Asked, args: &InfoArgs) -> anyhow::Result<Portrait> {
    let (view, mount) = find(asked, args)?;
    let portrait = view.portrait(&mount).ok_or_else(|| {
        let namespace = view.snapshot().namespace(mount.namespace);
        let inode = namespace.map(|known| known.inode.to_string()).unwrap_or_default();
        anyhow!(
            "no path of mount namespace {inode} leads to it; `mountwatch watch --initial` shows it"
        )
    })?;
    if asked.source.is_some() {
        return Ok(portrait);
    }
    // What the index made up is taken out; what the kernel says of the path itself stays.
    let mut portrait = portrait.without_unique_ids();
    if args.whose.is_own()
        && let Ok(known) = direct::stat(&portrait.info.mountpoint)
        && known.mount_id == Some(portrait.info.id)
    {
        portrait.info.unique_id = known.unique_mount_id;
    }
    Ok(portrait)
}

fn find(asked: &Asked, args: &InfoArgs) -> anyhow::Result<(SnapshotView, Arc<Mount>)> {
    if let Some(which) = id_of(&args.what) {
        return find_by_id(asked, which);
    }
    let path = asked.path(args.whose, &args.what);
    let (snapshot, from) = (asked.view.snapshot(), asked.view.viewpoint());
    let covering = snapshot.covering(&path, from).context("nothing is mounted there")?;
    if !covering.is_mountpoint && !args.target {
        let at = snapshot.path_of(covering.mount.key, from);
        let at = at.map(|at| format!(" at {}", visible(&at))).unwrap_or_default();
        bail!(
            "it is no mount point; it lies on mount {}{at}, about which --target would tell",
            covering.mount.id
        );
    }
    Ok((asked.view.clone(), covering.mount))
}

fn find_by_id(asked: &Asked, which: WhichMount) -> anyhow::Result<(SnapshotView, Arc<Mount>)> {
    let snapshot = asked.view.snapshot();
    let mount = match which {
        WhichMount::UniqueId(_) if asked.source.is_none() => {
            bail!("a unique mount ID needs a back end: leave `--backend none` out, as root")
        }
        WhichMount::UniqueId(id) => snapshot.mount_by_unique_id(id),
        WhichMount::Id(id) => snapshot.mount_by_id(id),
    };
    let mount = mount.cloned().ok_or_else(|| match asked.source {
        Some(_) => anyhow!("there is no such mount; a path that is a number is written ./NUMBER"),
        None => {
            anyhow!("there is no such mount in this namespace; others need a back end, as root")
        }
    })?;
    if mount.namespace == asked.view.viewpoint().namespace {
        return Ok((asked.view.clone(), mount));
    }
    let from = snapshot.viewpoint_of_namespace(mount.namespace);
    let from = from.context("it is in no mount namespace now")?;
    // The host's way into it is that of the view that was asked for.
    let view = SnapshotView::new(Arc::clone(snapshot), from);
    Ok((view.with_host_of(&asked.view), mount))
}

/// The ID that an argument is, if it is a number.
fn id_of(what: &Path) -> Option<WhichMount> {
    let number: u64 = what.as_os_str().to_str()?.parse().ok()?;
    Some(match u32::try_from(number) {
        Ok(id) if number < UNIQUE_ID_MIN => WhichMount::Id(MountId(id)),
        _ => WhichMount::UniqueId(UniqueMountId(number)),
    })
}

pub(super) fn run_is_mountpoint(
    global: &Global,
    args: &IsMountpointArgs,
) -> anyhow::Result<ExitCode> {
    let shown = visible(args.path.as_os_str().as_bytes());
    let about = || format!("tell whether {shown} is a mount point");
    let binds = if args.no_bind { Binds::Exclude } else { Binds::Count };
    if let Some(agent) = source::agent(global)? {
        let answer = by_agent(&agent, args, binds).with_context(about)?;
        let (revision, coverage) = (Some(answer.revision), &answer.coverage);
        return tell(
            args,
            answer.value,
            Source { answered_by: AGENT, revision, coverage, clock: None },
        );
    }
    // One question is not worth a back end: the kernel answers it as exactly, for this moment.
    let is_kernel = global.backend == Backend::Auto && args.whose.ns.is_none();
    let (is_one, asked) = if is_kernel || asks_kernel(global, args.whose) {
        by_kernel(args, binds).with_context(about)?
    } else {
        by_tracker(global, args, binds).with_context(about)?
    };
    let coverage = asked.as_ref().map_or(Coverage::Complete, |asked| asked.view.coverage().clone());
    let source = match &asked {
        Some(asked) => asked.source(&coverage),
        None => Source { answered_by: "statx", revision: None, coverage: &coverage, clock: None },
    };
    tell(args, is_one, source)
}

fn tell(args: &IsMountpointArgs, is_one: bool, source: Source<'_>) -> anyhow::Result<ExitCode> {
    let shown = visible(args.path.as_os_str().as_bytes());
    if args.json {
        let text = is_mountpoint_json(args.path.as_os_str().as_bytes(), is_one, source);
        output::write(text.as_bytes())?;
    } else if !args.quiet {
        let word = if is_one { "is" } else { "is not" };
        output::write(format!("{shown} {word} a mount point\n").as_bytes())?;
    }
    if args.verbose {
        eprintln!("mountwatch: note: answered by {}", source.answered_by);
    }
    start::warn_if_uncertain(source.revision.unwrap_or(Revision(0)), source.coverage);
    Ok(if is_one { ExitCode::SUCCESS } else { ExitCode::from(NO) })
}

/// Two short questions at the most: nothing is copied.
fn by_agent(
    agent: &blocking::Client,
    args: &IsMountpointArgs,
    binds: Binds,
) -> anyhow::Result<Answer<bool>> {
    let whose = match (args.whose.ns, args.whose.task) {
        (Some(inode), _) => Whose::Namespace(NamespaceInode(inode)),
        (None, Some(task)) => Whose::Task(task),
        (None, None) => Whose::Caller,
    };
    let view = agent.view(whose);
    let as_path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
    if !args.whose.is_own() {
        return Ok(view.is_mount_point(&as_path(&path::lexical(&args.path)), binds)?);
    }
    let resolved = path::resolve(&args.path);
    let answer = view.is_mount_point(&as_path(&resolved), Binds::Count)?;
    if answer.value {
        // A mount point is not touched: its server may be gone.
        return if binds == Binds::Count {
            Ok(answer)
        } else {
            Ok(view.is_mount_point(&as_path(&resolved), binds)?)
        };
    }
    // Another path is, as it has to exist.
    let linked = as_path(&path::resolve_link(&resolved));
    let answer = view.is_mount_point(&linked, binds)?;
    if !answer.value {
        std::fs::metadata(&args.path)?;
    }
    Ok(answer)
}

/// statx(2) for a path of this process, as long as it knows; mountinfo for all else.
fn by_kernel(args: &IsMountpointArgs, binds: Binds) -> anyhow::Result<(bool, Option<Asked>)> {
    if args.whose.is_own() {
        let known = direct::stat(&args.path)?;
        match (known.is_mount_root, binds) {
            (Some(false), _) => return Ok((false, None)),
            (Some(true), Binds::Count) => return Ok((true, None)),
            _ => {}
        }
    }
    let asked = Asked::kernel(args.whose)?;
    Ok((is_mount_point(&asked, args, binds)?, Some(asked)))
}

fn by_tracker(
    global: &Global,
    args: &IsMountpointArgs,
    binds: Binds,
) -> anyhow::Result<(bool, Option<Asked>)> {
    let asked = Asked::index(global, args.whose)?;
    let is_one = is_mount_point(&asked, args, binds)?;
    if !is_one && args.whose.is_own() {
        // A mount point is not touched: its server may be gone. Another path is, as it has to exist.
        std::fs::metadata(&args.path)?;
    }
    Ok((is_one, Some(asked)))
}

fn is_mount_point(asked: &Asked, args: &IsMountpointArgs, binds: Binds) -> anyhow::Result<bool> {
    let path = asked.path(args.whose, &args.path);
    let path = Path::new(OsStr::from_bytes(&path));
    Ok(asked.view.is_mount_point(path, binds)?.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_ids() {
        let check = |text: &str, expected| assert_eq!(id_of(Path::new(text)), expected, "{text}");
        check("12", Some(WhichMount::Id(MountId(12))));
        check("2147483649", Some(WhichMount::UniqueId(UniqueMountId(2_147_483_649))));
        check("99999999999", Some(WhichMount::UniqueId(UniqueMountId(99_999_999_999))));
        for path in ["./12", "/12", "12/", "a", "", "-1", "99999999999999999999999"] {
            check(path, None);
        }
    }
}
