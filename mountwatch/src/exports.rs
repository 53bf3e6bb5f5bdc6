//! What leaves the agent by itself: metrics for whoever scrapes them, or as a file.
//!
//! Nothing here holds the agent up: a client that is slow, or a disk that is full, costs that
//! export and nothing else.

mod http;
mod process;
mod textfile;

pub use http::{HttpError, serve_metrics};
pub use process::own_process;
pub use textfile::{TextfileError, write_textfile};
