//! The `mountwatch` command.

use clap::Parser;
use mountwatch::cli::{Cli, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let default = if cli.global.kernel_log { "info" } else { "warn" };
    let filter = env_logger::Env::new().filter_or("MOUNTWATCH_LOG", default);
    env_logger::Builder::from_env(filter).init();
    match run(&cli) {
        Ok(code) => code,
        Err(error) => {
            // One line, whatever is in it.
            let text = format!("{error:#}").replace('\n', " ");
            eprintln!("mountwatch: cannot {text}");
            ExitCode::from(1)
        }
    }
}
