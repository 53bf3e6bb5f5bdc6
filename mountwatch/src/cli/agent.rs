//! `mountwatch agent`.

use super::{Global, start};
use crate::exports::{JsonLinesConfig, OtlpConfig};
use crate::model::ChangeKind;
use crate::serve::{Exports, SOCKET_MODE, ServeConfig, serve};
use anyhow::{Context, bail};
use clap::Args;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `agent`.
#[derive(Clone, Debug, Args)]
pub struct AgentArgs {
    /// The socket's group, by name or number: its members may ask about everything.
    #[arg(long, value_name = "GROUP")]
    pub socket_group: Option<String>,
    /// The socket's mode, octal. With 666 everybody may ask about the own mount namespace.
    #[arg(long, value_name = "MODE", default_value_t = Mode(SOCKET_MODE), value_parser = mode)]
    pub socket_mode: Mode,
    /// Where other processes get the index of their mount namespace in shared memory; by default
    /// mapped.sock in the socket's directory. Empty for nowhere.
    #[arg(long, value_name = "PATH")]
    pub mapped_socket: Option<PathBuf>,
    /// What leaves the agent by itself.
    #[command(flatten)]
    pub exports: ExportArgs,
}

const EXPORTS: &str = "Metrics and telemetry";

/// Arguments about what leaves the agent by itself.
#[derive(Clone, Debug, Args)]
pub struct ExportArgs {
    /// Serve metrics for Prometheus on this address.
    #[arg(long, help_heading = EXPORTS, value_name = "ADDRESS:PORT")]
    pub metrics: Option<SocketAddr>,
    /// Write metrics into this file, for node_exporter; it ends with .prom.
    #[arg(long, help_heading = EXPORTS, value_name = "FILE")]
    pub metrics_textfile: Option<PathBuf>,
    /// Write changes and operations as JSON lines into this file; `-` for stdout.
    #[arg(long, help_heading = EXPORTS, value_name = "FILE")]
    pub export_file: Option<PathBuf>,
    /// Bytes of that file at most; then another one is begun.
    #[arg(long, help_heading = EXPORTS, value_name = "N", default_value_t = 64 << 20, value_parser = clap::value_parser!(u64).range(4096..))]
    pub export_file_bytes: u64,
    /// Files at most, the older ones being FILE.1, FILE.2, ….
    #[arg(long, help_heading = EXPORTS, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub export_files: u32,
    /// Send changes, operations and metrics to an OpenTelemetry collector, over gRPC:
    /// `http://HOST:4317`. OTEL_EXPORTER_OTLP_HEADERS, OTEL_RESOURCE_ATTRIBUTES, OTEL_SERVICE_NAME and
    /// OTEL_METRIC_EXPORT_INTERVAL say the rest.
    #[arg(long, help_heading = EXPORTS, value_name = "URL")]
    pub otlp: Option<String>,
    /// Lines and records in a second at most, of each export; 0 for any number. What is more is counted,
    /// and told in the stream.
    #[arg(long, help_heading = EXPORTS, value_name = "N", default_value_t = 5_000)]
    pub export_rate: u64,
    /// Only these events, in the words of `watch`: attach,detach,operation,….
    #[arg(long, help_heading = EXPORTS, value_name = "NAME", value_delimiter = ',', value_parser = event)]
    pub export_events: Vec<String>,
}

impl ExportArgs {
    fn exports(&self) -> Exports {
        let rate = self.export_rate;
        let lines = self.export_file.as_ref().map(|path| JsonLinesConfig {
            path: Some(path.clone()).filter(|path| path.as_os_str() != "-"),
            bytes_max: self.export_file_bytes,
            files_max: self.export_files,
            rate,
        });
        let variable = |name: &str| std::env::var(name).ok();
        let otlp = self.otlp.clone().map(|endpoint| OtlpConfig::new(endpoint, rate, variable));
        Exports {
            metrics: self.metrics,
            textfile: self.metrics_textfile.clone(),
            lines,
            otlp,
            events: self.export_events.clone(),
        }
    }
}

fn event(text: &str) -> Result<String, String> {
    let others = ["operation", "coverage"];
    let known: Vec<_> = ChangeKind::WORDS.into_iter().chain(others).collect();
    if known.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(format!("the events are {}", known.join(", ")))
}

impl AgentArgs {
    fn mapped_socket(&self, socket: &Path) -> Option<PathBuf> {
        match &self.mapped_socket {
            Some(path) => (!path.as_os_str().is_empty()).then(|| path.clone()),
            None => Some(socket.with_file_name("mapped.sock")),
        }
    }
}

/// Permissions of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode(pub u32);

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:o}", self.0)
    }
}

fn mode(text: &str) -> Result<Mode, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(Mode(mode)),
        _ => Err(String::from("an octal number up to 777 is needed")),
    }
}

pub(super) fn run(global: &Global, args: &AgentArgs) -> anyhow::Result<ExitCode> {
    if global.socket.as_os_str().is_empty() {
        bail!("serve: the agent needs a socket: give one as --socket");
    }
    let config = ServeConfig {
        tracker: start::config(global)?,
        socket: global.socket.clone(),
        socket_mode: args.socket_mode.0,
        socket_group: args.socket_group.clone(),
        mapped_socket: args.mapped_socket(&global.socket),
        secrets: global.secrets(),
        exports: args.exports.exports(),
    };
    serve(&config).context("run the agent")?;
    Ok(ExitCode::SUCCESS)
}
