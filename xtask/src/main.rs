//! The chores of the project. A developer and the CI type the same words: `cargo xtask VERB`.

mod agent;
mod agent_python;
mod api;
mod bench;
mod check;
mod containers;
mod docs;
mod ebpf;
mod kernels;
mod otlp_python;
mod process;
mod proto;
mod python;
mod scrape;
mod stress;
mod systemd;
mod tally;
mod telemetry;
mod test;
mod tidy;
mod toolchain;
mod vm;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

/// The chores of the project
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Verb {
    /// Prepare and print everything that building and testing need beyond a Rust compiler
    Toolchain(toolchain::Arguments),
    /// Build the eBPF object, or check the committed one
    Ebpf(ebpf::Arguments),
    /// Write what differs between kernels (KERNELS.md and the plans), or check it
    Kernels(kernels::Arguments),
    /// Write the list of public items (mountwatch/public-api.txt), or check it
    Api(api::Arguments),
    /// Write the completions and man pages (contrib/), or check them
    Docs(docs::Arguments),
    /// Write the code of the gRPC interface (mountwatch/proto/generated/), or check it
    Proto(proto::Arguments),
    /// Check format, lints and the rules of the house, run the tests that need no root
    Check,
    /// Check the rules of the house alone
    Tidy,
    /// Check metrics, alert rules and the dashboard with Prometheus' own tools
    Telemetry,
    /// Have a Prometheus server scrape an agent on this machine (root)
    Scrape,
    /// Run everything, virtual machines too
    Test(test::Arguments),
    /// Ask an agent on this machine with a client in Python (root)
    AgentPython(agent_python::Arguments),
    /// Receive what an agent on this machine sends over OTLP, in Python (root)
    OtlpPython(otlp_python::Arguments),
    /// Run containers with runc and crun, and look who made their mounts and what is left of them
    Containers(containers::Arguments),
    /// Run random mount programs against the index for as long as wanted
    Stress(stress::Arguments),
    /// Run the agent as a systemd service, in a virtual machine
    Systemd(systemd::Arguments),
    /// Measure mountwatch and its peers side by side
    Bench(bench::Arguments),
    /// Boot a kernel, run a command in it as root, pass its output and exit status on
    Vm(vm::Arguments),
}

fn main() -> ExitCode {
    match run(Verb::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<ExitCode> {
    let success = |()| ExitCode::SUCCESS;
    match verb {
        Verb::Toolchain(arguments) => toolchain::run(&arguments).map(success),
        Verb::Ebpf(arguments) => ebpf::run(&arguments).map(success),
        Verb::Kernels(arguments) => kernels::run(&arguments).map(success),
        Verb::Api(arguments) => api::run(&arguments).map(success),
        Verb::Docs(arguments) => docs::run(&arguments).map(success),
        Verb::Proto(arguments) => proto::run(&arguments).map(success),
        Verb::Check => check::run().map(success),
        Verb::Tidy => tidy::run().map(success),
        Verb::Telemetry => telemetry::run().map(success),
        Verb::Scrape => scrape::run().map(success),
        Verb::Test(arguments) => {
            test::run(&arguments).map(|all_passed| u8::from(!all_passed).into())
        }
        Verb::AgentPython(arguments) => agent_python::run(&arguments).map(success),
        Verb::OtlpPython(arguments) => otlp_python::run(&arguments).map(success),
        Verb::Containers(arguments) => containers::run(&arguments),
        Verb::Stress(arguments) => stress::run(&arguments),
        Verb::Systemd(arguments) => systemd::run(&arguments),
        Verb::Bench(arguments) => bench::run(&arguments),
        Verb::Vm(arguments) => vm::run(&arguments),
    }
}
