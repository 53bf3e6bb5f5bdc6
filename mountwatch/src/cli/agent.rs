//! `mountwatch agent`.

use super::{Global, start};
use crate::serve::{SOCKET_MODE, ServeConfig, serve};
use anyhow::{Context, bail};
use clap::Args;
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
        secrets: global.secrets(),
    };
    serve(&config).context("run the agent")?;
    Ok(ExitCode::SUCCESS)
}
