//! Answers as text and JSON. Everything here is pure: bytes and strings come out, nothing is
//! printed, no clock and no file is read. Serialisation lives in this room alone.
//!
//! Names, sources and paths are bytes and need not be UTF-8. Each form says what it does with them:
//!
//! | form | what is not plain text |
//! |---|---|
//! | [`mountinfo()`] | octal escapes, as the kernel writes them |
//! | tables and event lines | `\x0a`, as findmnt(8) writes them: nothing reaches a terminal raw |
//! | JSON | U+FFFD in the field itself; only then a second field `…_hex` has the exact bytes |

mod column;
mod doctor;
mod event_json;
#[cfg(test)]
mod event_tests;
mod event_text;
mod facts;
mod grid;
mod info;
mod json;
mod junit;
mod leaks;
mod leaks_json;
mod list_json;
mod mountinfo;
mod namespaces;
mod operation;
mod options;
mod redact;
mod said;
#[cfg(test)]
mod sample;
mod status;
mod table;
mod text;
mod time;
mod tree;
mod verification;

use column::Side;
pub use column::{COLUMNS, COLUMNS_DEFAULT, Cell, Column, View};
pub use doctor::{Diagnosis, doctor_json, doctor_text};
pub use event_json::{event_json, said_json};
pub use event_text::{Colours, event_text, said_text};
pub(crate) use facts::mountpoint_in_parent;
pub use facts::{Facts, Happening, Scene, What};
pub use grid::{Form, Layout};
pub(crate) use info::of_file_system;
pub use info::{Source, info_json, info_text, is_mountpoint_json};
pub use junit::leaks_junit;
pub use leaks::{Exit, Judgement, leaks_text};
pub use leaks_json::leaks_json;
pub use list_json::list_json;
pub use mountinfo::{mountinfo, mountinfo_of};
pub use namespaces::{NAMESPACE_COLUMNS, NamespaceColumn, namespaces_json, namespaces_table};
pub(crate) use operation::redacted;
pub use operation::{operation_json, operation_text};
pub use redact::Secrets;
pub use said::{Said, SaidChange, SaidKind, SaidNamespace, SaidRename, Saying};
#[cfg(test)]
pub(crate) use status::sample as sample_status;
pub use status::{status_json, status_text};
pub use table::table;
pub use text::visible;
pub use time::{Clock, rfc3339};
pub use tree::{Shape, Symbols, in_tree_order};
pub use verification::{verification_json, verification_text};
