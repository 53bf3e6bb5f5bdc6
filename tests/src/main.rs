//! Tests of mountwatch on the kernel that runs: scenarios and random programs of mount operations,
//! after each step of which the index has to be what the kernel says, and checks of the command.
//!
//! Runs as root. All that it mounts is in mount namespaces of its own.
//!
//! | file | what it is |
//! |---|---|
//! | `words`, `command`, `scenario` | the language of the scenario files |
//! | `flags`, `execute`, `task`, `sys`, `sys_compat` | commands as system calls, in processes of their own |
//! | `disk`, `autofs` | a loop device with a file system, an automounter |
//! | `mountinfo`, `visit`, `oracle` | index against kernel |
//! | `world`, `random`, `program` | scenarios and random programs |
//! | `faults` | what goes wrong on purpose |
//! | `lifetime` | namespaces die though they are watched |
//! | `cycles` | a thousand short-lived mounts in a second |
//! | `flood`, `flood_mounts` | calls that fail, and mounts of a user namespace, as fast as anyone can make them |
//! | `scale` | much at once, with a ring of the usual size |
//! | `mapped_checks`, `mapped_load` | the tables in shared memory, their server and their readers |
//! | `simulated` | the same on a simulated kernel, without root |
//! | `cli_checks`, `watch_checks`, `doctor_checks`, `exec_checks`, `findmnt_checks`, `operation_checks` | the command `mountwatch` |
//! | `container_checks`, `bundle` | containers that runc and crun make; only when asked for |
//! | `agent`, `agent_checks`, `agent_load_checks` | `mountwatch agent` |
//! | `report`, `kernel` | results, and what may be skipped |

mod agent;
mod agent_checks;
mod agent_load_checks;
mod autofs;
mod bundle;
mod cli_checks;
mod command;
mod container_checks;
mod cycles;
mod disk;
mod doctor_checks;
mod exec_checks;
mod execute;
mod faults;
mod findmnt_checks;
mod flags;
mod flood;
mod flood_mounts;
mod kernel;
mod lifetime;
mod mapped_checks;
mod mapped_load;
mod mountinfo;
mod operation_checks;
mod oracle;
mod program;
mod random;
mod report;
mod scale;
mod scenario;
mod selftest_checks;
mod simulated;
mod sys;
mod sys_compat;
mod task;
mod visit;
mod watch_checks;
mod words;
mod world;

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use cli_checks::{Lengths, Setting};
use kernel::Kernel;
use mountwatch::agent::{BackendChoice, Config, Tracker};
use oracle::{Oracle, SharedOracle};
use report::{Report, Verdict};
use scenario::{Need, Scenario};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{env, fs, process};

/// A scenario under emulation takes some seconds.
const SCENARIO_LIMIT: Duration = Duration::from_mins(2);
/// What a random program may take in addition to its own length.
const RANDOM_LIMIT: Duration = Duration::from_mins(4);

#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
/// Runs scenarios and random mount programs against the index, and checks the command.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "vm-tests",
    after_help = "Exit status: 0 all passed, 1 some failed, 2 wrong usage."
)]
struct Arguments {
    /// The back end under test.
    #[arg(long, value_enum, default_value_t = Backend::Auto)]
    backend: Backend,
    /// Only tests with this text in their name.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// No tests with this text in their name.
    #[arg(long, value_name = "TEXT")]
    without: Vec<String>,
    /// The seed of the random program; by default one from the clock.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How long the random program runs.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    random_seconds: u64,
    /// How long each of the tests of short-lived mounts runs.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    cycle_seconds: u64,
    /// How often something is mounted, or unmounted, and at once asked for.
    #[arg(long, value_name = "N", default_value_t = 400)]
    agent_writes: u32,
    /// How long many clients ask at once.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    agent_seconds: u64,
    /// How many connections only are there.
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    agent_connections: usize,
    /// How many containers are made one after another.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(5..))]
    container_loops: u32,
    /// The command to check.
    #[arg(long, value_name = "PATH", default_value = "mountwatch")]
    mountwatch: PathBuf,
    /// Probes in place of trampolines.
    #[arg(long)]
    no_fentry: bool,
    /// Replace a hook by what stands in for it.
    #[arg(long = "fallback-hook", value_name = "NAME")]
    fallback_hooks: Vec<String>,
    /// A file system that is missing is a failure, not a reason to skip.
    #[arg(long)]
    every_file_system: bool,
    /// The sizes of a large node for what is made in numbers: minutes for each.
    #[arg(long)]
    full_size: bool,
    /// The machine is there for the tests alone: settings of all of it may be changed.
    #[arg(long)]
    own_machine: bool,
    /// Only tests of this kind.
    #[arg(long, value_enum)]
    only: Option<Kind>,
    /// List the names of the tests and what they need.
    #[arg(long)]
    list: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Backend {
    Auto,
    Hooks,
    Notify,
    Poll,
    /// A simulated kernel, without root.
    Simulated,
}

impl Backend {
    fn choice(self) -> BackendChoice {
        match self {
            Self::Auto | Self::Simulated => BackendChoice::Auto,
            Self::Hooks => BackendChoice::Hooks,
            Self::Notify => BackendChoice::Notify,
            Self::Poll => BackendChoice::Poll,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Scenarios,
    Random,
    Faults,
    Lifetime,
    Cycles,
    Scale,
    Mapped,
    Cli,
    /// Containers, by runtimes that are not ours; only when asked for.
    Containers,
    /// The simulated kernel against the running one; only when asked for.
    Model,
}

/// What a process of its own does for a check: the first argument that it is started with, and the
/// program.
type Role = (&'static str, fn(&mut dyn Iterator<Item = OsString>) -> Result<()>);

const ROLES: &[Role] = &[
    (task::ARGUMENT, |_| task::serve_process()),
    (mapped_checks::ARGUMENT, |arguments| mapped_checks::read_as_told(texts(arguments))),
    (mapped_load::ARGUMENT, |arguments| mapped_load::read_as_told(texts(arguments))),
    (scale::ARGUMENT, |arguments| scale::mount_as_told(texts(arguments))),
    (flood_mounts::ARGUMENT, |arguments| flood_mounts::serve(arguments)),
];

fn texts(arguments: &mut dyn Iterator<Item = OsString>) -> impl Iterator<Item = String> {
    arguments.map(|argument| argument.to_string_lossy().into_owned())
}

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let first = arguments.next().unwrap_or_default();
    if let Some((_, role)) = ROLES.iter().find(|(argument, _)| first == *argument) {
        return exit_of(role(&mut arguments).map(|()| true));
    }
    // What the tracker has to say about losses belongs to a failure.
    env_logger::Builder::from_env(env_logger::Env::new().default_filter_or("warn")).init();
    exit_of(run(&Arguments::parse()))
}

fn exit_of(result: Result<bool>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("vm-tests: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    let scenarios = scenario::all()?;
    if arguments.list {
        list(&scenarios);
        return Ok(true);
    }
    if arguments.backend == Backend::Simulated {
        return Ok(run_simulated(arguments, scenarios));
    }
    let base = env::temp_dir().join(format!("mountwatch-tests-{}", process::id()));
    fs::create_dir_all(&base).with_context(|| format!("cannot make {}", base.display()))?;
    let all_passed = run_tests(arguments, scenarios, &base);
    fs::remove_dir(&base).with_context(|| format!("cannot remove {}", base.display()))?;
    all_passed
}

fn list(scenarios: &[Scenario]) {
    for scenario in scenarios {
        let needs: Vec<String> = scenario.needs.iter().map(|need| format!(" [{need}]")).collect();
        let about = scenario.about.lines().next().unwrap_or_default();
        println!("scenario {}: {about}{}", scenario.name, needs.concat());
    }
    for name in faults::names() {
        println!("fault {name}");
    }
    for name in lifetime::names() {
        println!("lifetime {name}");
    }
    for name in mapped_checks::names().chain(mapped_load::names()) {
        println!("mapped {name}");
    }
    for name in cycles::names().chain(flood::names()) {
        println!("cycles {name}");
    }
    for name in scale::names() {
        println!("scale {name}");
    }
    for name in cli_checks::names() {
        println!("cli {name}");
    }
}

/// The simulated world: no root, no mounts, nothing of the machine.
fn run_simulated(arguments: &Arguments, scenarios: Vec<Scenario>) -> bool {
    let wants = |kind| arguments.only.is_none_or(|only| only == kind);
    let is_wanted =
        |name: &str| arguments.filter.as_ref().is_none_or(|filter| name.contains(&**filter));
    let mut report = Report::new();
    if wants(Kind::Scenarios) {
        let wanted = scenarios.into_iter().filter(|scenario| is_wanted(&scenario.name));
        simulated::run_scenarios(&mut report, &wanted.collect::<Vec<_>>());
    }
    if wants(Kind::Random) && is_wanted("simulated") {
        let length = Duration::from_secs(arguments.random_seconds);
        simulated::run_random(&mut report, seed(arguments), length);
    }
    report.finish()
}

/// The seed that was asked for, or one from the clock.
fn seed(arguments: &Arguments) -> u64 {
    arguments.seed.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        now.as_secs() % 1_000_000
    })
}

fn run_tests(arguments: &Arguments, scenarios: Vec<Scenario>, base: &Path) -> Result<bool> {
    let kernel = Kernel::running()?;
    let programs_before = sys::bpf_ids(sys::BpfKind::Program).unwrap_or_default();
    let wants = |kind| arguments.only.is_none_or(|only| only == kind);
    let is_wanted = |name: &str| {
        arguments.filter.as_ref().is_none_or(|filter| name.contains(&**filter))
            && !arguments.without.iter().any(|without| name.contains(&**without))
    };
    let mut report = Report::new();
    let mut backend = match arguments.backend {
        Backend::Auto | Backend::Simulated => None,
        Backend::Hooks => Some("hooks"),
        Backend::Notify => Some("notify"),
        Backend::Poll => Some("poll"),
    };
    if arguments.only == Some(Kind::Model) {
        let length = Duration::from_secs(arguments.random_seconds);
        simulated::run_model(&mut report, kernel, base, (seed(arguments), length));
    }
    if wants(Kind::Scenarios) || wants(Kind::Random) {
        let oracle = start(arguments, kernel)?;
        backend = Some(oracle.backend);
        println!("kernel {kernel}, back end {}", oracle.backend);
        if wants(Kind::Scenarios) {
            for scenario in scenarios.into_iter().filter(|scenario| is_wanted(&scenario.name)) {
                run_scenario(&mut report, scenario, &oracle, base, arguments.every_file_system);
            }
        }
        if wants(Kind::Random) && is_wanted("random") {
            run_random(&mut report, arguments, &oracle, base);
        }
        let compared = oracle.compared();
        println!(
            "compared {} files, {} lines, {} files equal only after a while",
            compared.files, compared.lines, compared.late
        );
        print_counters(&oracle);
        drop(oracle);
        if is_wanted("restart") {
            run_restart(&mut report, arguments, kernel, base);
        }
        if is_wanted("nothing_stays_loaded") {
            let result = cli_checks::no_programs_but(&programs_before);
            let failures = result.err().map(|error| format!("{error:#}")).into_iter().collect();
            report.add("nothing_stays_loaded", Verdict::of(failures));
        }
    }
    if wants(Kind::Faults) {
        let backend = match backend {
            Some(backend) => backend,
            None => start(arguments, kernel)?.backend,
        };
        let rights = faults::Rights { backend, is_own_machine: arguments.own_machine };
        faults::run(&mut report, rights, base, &is_wanted);
    }
    if wants(Kind::Lifetime) {
        lifetime::run(&mut report, arguments.backend.choice(), kernel, base, &is_wanted);
    }
    if wants(Kind::Mapped) {
        mapped_checks::run(&mut report, arguments.backend.choice(), base, &is_wanted);
    }
    let mountwatch = arguments.mountwatch.clone();
    let agent = Lengths {
        writes: arguments.agent_writes,
        seconds: arguments.agent_seconds,
        connections: arguments.agent_connections,
    };
    let setting = Setting { mountwatch, backend, base: base.to_owned(), agent };
    if wants(Kind::Cycles) {
        let length = Duration::from_secs(arguments.cycle_seconds);
        cycles::run(&mut report, &setting, length, &is_wanted);
        flood::run(&mut report, &setting, length, &is_wanted);
    }
    if wants(Kind::Mapped) {
        mapped_load::run(&mut report, &setting, arguments.full_size, &is_wanted);
    }
    if wants(Kind::Scale) {
        scale::run(&mut report, &setting, arguments.full_size, &is_wanted);
    }
    if arguments.only == Some(Kind::Containers) {
        container_checks::run(&mut report, &setting, arguments.container_loops, &is_wanted);
    }
    if wants(Kind::Cli) {
        cli_checks::run(&mut report, &setting, &is_wanted);
    }
    Ok(report.finish())
}

/// What the kernel side counted, as far as it counted something.
fn print_counters(oracle: &Oracle) {
    let Ok(status) = oracle.tracker.status() else { return };
    let counted: Vec<String> = status
        .counters
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    println!(
        "{} losses, {} rescans, {} rereads; counted by the back end: {}",
        status.losses,
        status.rescans,
        status.rereads,
        counted.join(", ")
    );
}

fn start(arguments: &Arguments, kernel: Kernel) -> Result<SharedOracle> {
    let config = Config {
        backend: arguments.backend.choice(),
        no_fentry: arguments.no_fentry,
        fallback_hooks: arguments.fallback_hooks.clone(),
        ..Config::new()
    };
    let tracker = Tracker::start(&config).context("cannot start the tracker")?;
    Ok(Arc::new(Oracle::new(tracker, kernel)?))
}

fn run_scenario(
    report: &mut Report,
    scenario: Scenario,
    oracle: &SharedOracle,
    base: &Path,
    every_file_system: bool,
) {
    let name = scenario.name.clone();
    if let Some(need) = scenario.needs.iter().find(|need| !need.is_met(oracle.kernel)) {
        let verdict = match need {
            Need::FileSystem(_) if every_file_system => Verdict::Failed(vec![need.to_string()]),
            need => Verdict::Skipped(need.to_string()),
        };
        return report.add(&name, verdict);
    }
    if let Some(blind) = scenario.blind.iter().find(|blind| blind.backend == oracle.backend) {
        return report.add(&name, Verdict::NotClaimed(blind.reason.clone()));
    }
    let (oracle, base) = (Arc::clone(oracle), base.to_owned());
    let outcome =
        report::with_limit(SCENARIO_LIMIT, move |at| world::run(&scenario, &oracle, &base, at));
    match outcome {
        Ok(outcome) => {
            report.add(&name, Verdict::of(outcome.failures));
            for step in outcome.skipped {
                report.note(&name, &Verdict::Skipped(step));
            }
            for step in outcome.not_claimed {
                report.note(&name, &Verdict::NotClaimed(step));
            }
        }
        Err(why) => report.add(&name, Verdict::Failed(vec![why])),
    }
}

fn run_random(report: &mut Report, arguments: &Arguments, oracle: &SharedOracle, base: &Path) {
    let seed = seed(arguments);
    println!("random program: seed {seed}, {} seconds", arguments.random_seconds);
    for (name, why) in program::left_out(oracle.kernel) {
        println!("random program: without {name}: {why}");
    }
    let length = Duration::from_secs(arguments.random_seconds);
    let (oracle, base) = (Arc::clone(oracle), base.to_owned());
    let outcome = report::with_limit(RANDOM_LIMIT + length * 4, move |at| {
        random::run(&oracle, &base, seed, length, at)
    });
    match outcome {
        Ok(outcome) => {
            println!(
                "random program: {} rounds, {} operations, {} refused, up to {} mounts",
                outcome.rounds, outcome.operations.0, outcome.operations.1, outcome.mounts_max
            );
            for line in &outcome.log {
                println!("    {line}");
            }
            report.add("random", Verdict::of(outcome.failures));
        }
        Err(why) => report.add("random", Verdict::Failed(vec![why])),
    }
}

/// A second tracker, started while namespaces and groups are there already.
fn run_restart(report: &mut Report, arguments: &Arguments, kernel: Kernel, base: &Path) {
    let arguments = arguments.clone();
    let base = base.to_owned();
    let outcome = report::with_limit(SCENARIO_LIMIT, move |_| -> Result<Vec<String>> {
        let mut world = world::World::new(&base)?;
        for line in program::PREPARATION {
            world.line(scenario::MAIN, line)?;
        }
        world.namespace("A", scenario::MAIN, command::Unshare::Slave)?;
        let oracle = start(&arguments, kernel)?;
        let mut found = oracle.differences(&world.viewers(), &world.held());
        world.line(scenario::MAIN, "mount tmpfs /s/d0")?;
        world.line("A", "mount tmpfs /s/d1")?;
        found.extend(oracle.differences(&world.viewers(), &world.held()));
        world.tear_down();
        Ok(found)
    });
    report.add(
        "restart",
        match outcome {
            Ok(Ok(failures)) => Verdict::of(failures),
            Ok(Err(error)) => Verdict::Failed(vec![format!("{error:#}")]),
            Err(why) => Verdict::Failed(vec![why]),
        },
    );
}
