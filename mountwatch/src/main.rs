//! The `mountwatch` command.

use clap::Parser;
use mountwatch::cli::{Cli, run};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let default = if cli.global.kernel_log { "info" } else { "warn" };
    let filter = env_logger::Env::new().filter_or("MOUNTWATCH_LOG", default);
    env_logger::Builder::from_env(filter).init();
    match run(&cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("mountwatch: cannot {}", one_line(&error));
            ExitCode::from(1)
        }
    }
}

/// The whole chain of causes in one line. A cause that its parent's sentence quotes is not repeated.
fn one_line(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !text.contains(&cause) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause);
        }
    }
    text.replace('\n', " ")
}
