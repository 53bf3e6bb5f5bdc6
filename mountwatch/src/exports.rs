//! What leaves the agent by itself: metrics for whoever scrapes them, or as a file; changes and
//! operations as JSON lines or to an OpenTelemetry collector.
//!
//! Nothing here holds the agent up: a client that is slow, or a disk that is full, costs that
//! export and nothing else.

mod http;
mod jsonl;
mod limit;
mod otlp;
mod process;
mod textfile;

pub use http::{HttpError, serve_metrics};
pub use jsonl::{JsonLines, JsonLinesConfig, JsonLinesError};
pub use limit::{Rate, Urgency};
pub use otlp::{Otlp, OtlpConfig, OtlpError, OtlpSender};
pub use process::own_process;
pub use textfile::{TextfileError, write_textfile};
