//! The command line. Commands ask the library and write what [`render`](crate::render) makes of the
//! answer; they decide nothing about mounts.
//!
//! An error's text follows the word "cannot": its context is what was to be done.

mod agent;
mod doctor;
mod exec;
mod hint;
mod info;
mod list;
mod namespaces;
mod output;
mod path;
mod source;
mod start;
mod status;
mod verify;
mod watch;
mod whose;

pub use agent::{AgentArgs, Mode};
pub use exec::ExecArgs;
pub use info::{InfoArgs, IsMountpointArgs};
pub use list::ListArgs;
pub use namespaces::NamespacesArgs;
pub use whose::WhoseArgs;

use crate::agent::{BackendChoice, NICE};
use crate::kernel::sys_alloc;
use crate::render::Secrets;
use crate::serve::SOCKET;
use clap::{Args, Parser, Subcommand, ValueEnum};
use mountwatch_common::{hook, limits};
use std::path::PathBuf;
use std::process::ExitCode;

/// A live, exact index of every mount in every mount namespace of this host.
#[derive(Debug, Parser)]
#[command(name = "mountwatch", version, max_term_width = 100)]
#[command(
    after_help = "Exit status: 0 done, 1 failed or nothing found, 2 wrong usage, 32 no mount point."
)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EVERYWHERE: &str = "Options of every command";

#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
/// Options of every command, before or after it.
#[derive(Debug, Args)]
pub struct Global {
    /// The agent's socket. Commands ask the agent if it is there; '' for none.
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "PATH", env = "MOUNTWATCH_SOCKET", default_value = SOCKET)]
    pub socket: PathBuf,
    /// Ask no agent, even if there is one.
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub no_agent: bool,
    /// How the kernel is watched. Naming a back end means that no agent is asked.
    #[arg(long, global = true, help_heading = EVERYWHERE, value_enum, default_value_t = Backend::Auto, value_name = "NAME")]
    pub backend: Backend,
    /// Show the values of options that hold secrets (password=, credentials=, key=, …).
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub show_secrets: bool,
    /// Print what the kernel side logs, on stderr.
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub kernel_log: bool,
    /// Size of the ring buffer between the kernel and us, a power of two.
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "N", default_value_t = limits::RING_BYTES, value_parser = ring_bytes)]
    pub ring_bytes: u32,
    /// The nice value of the thread that tracks, -20 to 19. Where all processors are busy it would
    /// otherwise fall behind those that mount.
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "N", default_value_t = NICE, allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-20..=19))]
    pub nice: i32,
    /// Leave out a hook, to test what happens without it.
    #[arg(long = "without-hook", global = true, help_heading = EVERYWHERE, hide = true, value_name = "NAME", value_parser = hook_name)]
    pub without_hooks: Vec<String>,
    /// Replace a hook by what stands in for it, to test that.
    #[arg(long = "fallback-hook", global = true, help_heading = EVERYWHERE, hide = true, value_name = "NAME", value_parser = hook_name)]
    pub fallback_hooks: Vec<String>,
    /// Use probes in place of trampolines (fentry and fexit).
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub no_fentry: bool,
    /// Only say that a hook is attached, to test whether the self-test notices.
    #[arg(long = "mute-hook", global = true, help_heading = EVERYWHERE, hide = true, value_name = "NAME", value_parser = hook_name)]
    pub mute_hooks: Vec<String>,
}

impl Global {
    fn secrets(&self) -> Secrets {
        if self.show_secrets { Secrets::Shown } else { Secrets::Hidden }
    }
}

/// The back ends that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// The best one that this host allows.
    Auto,
    /// eBPF programs on the kernel's functions (kernel 5.10 with BTF).
    Hooks,
    /// eBPF programs on tracepoints and fanotify (kernel 6.15).
    Notify,
    /// No eBPF: mount tables are read again once in a second and before each answer.
    Poll,
    /// None: ask the kernel once, for `info` and `is-mountpoint`. Needs no privileges.
    None,
}

impl Backend {
    /// What the tracker is asked for; `None` for none.
    fn choice(self) -> Option<BackendChoice> {
        match self {
            Self::Auto => Some(BackendChoice::Auto),
            Self::Hooks => Some(BackendChoice::Hooks),
            Self::Notify => Some(BackendChoice::Notify),
            Self::Poll => Some(BackendChoice::Poll),
            Self::None => None,
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run in the foreground: watch, and answer others on a socket.
    ///
    /// Other commands ask it then, and start at once. Serves gRPC (mountwatch.v1, grpc.health.v1,
    /// reflection) until SIGTERM or SIGINT. Tells systemd when it is ready (Type=notify).
    Agent(AgentArgs),
    /// List mounts: all that this process sees, or those asked for.
    List(ListArgs),
    /// Tell everything about one mount.
    ///
    /// Without root, or with --backend none, the kernel is asked once, and only the mount namespace
    /// of the task is known. Exit status: 0 told, 1 no such mount.
    Info(InfoArgs),
    /// Say whether a path is a mount point.
    ///
    /// The kernel is asked directly, unless --backend names one: statx(2) or, for --no-bind and
    /// --task, one read of mountinfo. Exit status: 0 it is, 32 it is not (as mountpoint(1)), 1 it cannot
    /// be told.
    IsMountpoint(IsMountpointArgs),
    /// Follow changes in every mount namespace.
    Watch(WatchArgs),
    /// Run a command, and list the mounts and mount namespaces that it and its processes left behind.
    ///
    /// Whatever it starts is watched, in sessions and namespaces of its own too. The report says who
    /// made each, when and with which call, and how to remove them, in an order that works. It goes to
    /// stderr, and is empty if there is nothing to say. SIGINT, SIGTERM and their like are passed on.
    ///
    /// Exit status: that of the command (128 more than the number of the signal that ended it; 127 it is
    /// not there, 126 it cannot be executed), 90 it succeeded and left something behind, 1 mountwatch
    /// failed.
    Exec(ExecArgs),
    /// List the mount namespaces: what is in each, and what keeps it alive.
    Namespaces(NamespacesArgs),
    /// Compare the index with the kernel, now, in every mount namespace.
    ///
    /// Exit status: 0 no difference, 1 differences.
    Verify(VerifyArgs),
    /// Say how this host is watched, what cannot be seen, and what was counted.
    ///
    /// Exit status: 0 every namespace was read and nothing is stale, 1 not.
    Status(JsonArgs),
    /// Say in sentences what this host allows, which back end that makes, and what would help.
    ///
    /// Everything is tried for real; nothing stays behind.
    ///
    /// Exit status: 0 the back end hooks works and sees everything, 1 something is worse than that.
    Doctor(JsonArgs),
}

/// Arguments of `watch`.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Only mounts at or below this path of this process.
    pub path: Option<PathBuf>,
    /// First every mount that is there, then `synced`, then every change after exactly that.
    #[arg(long)]
    pub initial: bool,
    /// One JSON object a line.
    #[arg(short = 'J', long)]
    pub json: bool,
    /// Operations too: each system call of the mount family with its arguments and its result, those
    /// that failed included, after its changes.
    #[arg(long, overrides_with = "no_operations")]
    pub operations: bool,
    /// Changes alone; the default.
    #[arg(long, overrides_with = "operations")]
    pub no_operations: bool,
    /// End after this many changes, or operations if they are shown.
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// End after this many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<std::time::Duration>,
    /// Do not say on stderr that watching has begun.
    #[arg(short = 'q', long)]
    pub quiet: bool,
}

/// Arguments of commands that print one answer.
#[derive(Clone, Copy, Debug, Args)]
pub struct JsonArgs {
    /// JSON.
    #[arg(short = 'J', long)]
    pub json: bool,
}

/// Arguments of `verify`.
#[derive(Clone, Copy, Debug, Args)]
pub struct VerifyArgs {
    /// JSON.
    #[arg(short = 'J', long)]
    pub json: bool,
    /// Follow changes for this many milliseconds first: what is compared then is the index that
    /// they led to, not the one just read.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub settle_ms: u64,
}

/// Runs a command.
pub fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    sys_alloc::give_back_at_once();
    if !matches!(cli.command, Command::Exec(_)) {
        sys_alloc::take_small_pages();
    }
    match &cli.command {
        Command::Agent(args) => agent::run(&cli.global, args),
        Command::List(args) => list::run(&cli.global, args),
        Command::Info(args) => info::run(&cli.global, args),
        Command::IsMountpoint(args) => info::run_is_mountpoint(&cli.global, args),
        Command::Exec(args) => exec::run(&cli.global, args),
        Command::Namespaces(args) => namespaces::run(&cli.global, args),
        Command::Watch(args) => watch::run(&cli.global, args),
        Command::Verify(args) => verify::run(&cli.global, *args),
        Command::Status(args) => status::run(&cli.global, *args),
        Command::Doctor(args) => doctor::run(&cli.global, *args),
    }
}

fn ring_bytes(text: &str) -> Result<u32, String> {
    let least = limits::RING_BYTES_MIN;
    match text.parse::<u32>() {
        Ok(bytes) if bytes.is_power_of_two() && bytes >= least => Ok(bytes),
        _ => Err(format!("a power of two, at least {least}, is needed")),
    }
}

fn hook_name(text: &str) -> Result<String, String> {
    if hook::NAMES.iter().any(|(_, name)| *name == text) {
        return Ok(text.to_owned());
    }
    let names: Vec<_> = hook::NAMES.iter().map(|(_, name)| *name).collect();
    Err(format!("the hooks are {}", names.join(", ")))
}

fn seconds(text: &str) -> Result<std::time::Duration, String> {
    text.parse::<f64>()
        .ok()
        .and_then(|seconds| std::time::Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| String::from("a number of seconds is needed"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_stand_before_or_after() {
        for args in [["--backend", "notify", "status"], ["status", "--backend", "notify"]] {
            let cli = Cli::try_parse_from(["mountwatch"].into_iter().chain(args)).unwrap();
            assert_eq!(cli.global.backend, Backend::Notify);
        }
    }

    #[test]
    fn wrong_usage_is_2() {
        for line in [
            "",
            "list -N 1 --ns 2",
            "list -T /a /b",
            "list -r -J",
            "list --real --pseudo",
            "info",
            "is-mountpoint -q -J /",
            "namespaces --frob",
            "list --mountinfo -J",
            "watch -n 0",
            "watch --timeout -1",
            "status --ring-bytes 5000",
            "status --without-hook nonsense",
            "status --mute-hook nonsense",
            "list -A -N 1",
            "agent --socket-mode 999",
            "agent --socket-mode 1777",
            "exec",
            "exec --wait x true",
        ] {
            let args = ["mountwatch"].into_iter().chain(line.split_whitespace());
            assert_eq!(Cli::try_parse_from(args).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
