//! JSON lines into a file that is rotated, or to stdout.
//!
//! Rotation is our own, in a few lines, since its bound is a promise: with a file of `bytes_max` and
//! `files_max` files no more than their product is ever on the disk, and a disk that is full costs
//! lines, which are counted, and nothing else.

use super::limit::{Rate, Urgency};
use crate::metrics::Dropped;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Lines hold paths and names of users' mounts.
const MODE: u32 = 0o600;

/// Where lines go, and how many of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonLinesConfig {
    /// The file; `None` for stdout.
    pub path: Option<PathBuf>,
    /// Bytes of one file at most; the next line begins a new one.
    pub bytes_max: u64,
    /// Files at most: the one that is written, and older ones named `.1`, `.2`, ….
    pub files_max: u32,
    /// Lines in a second at most; 0 for any number.
    pub rate: u64,
}

/// Why lines cannot be written.
#[derive(Debug, Error)]
pub enum JsonLinesError {
    /// The file cannot be opened.
    #[error("cannot write {0}: {1}")]
    Open(PathBuf, #[source] io::Error),
}

/// A writer of JSON lines.
#[derive(Debug)]
pub struct JsonLines {
    config: JsonLinesConfig,
    file: Option<File>,
    bytes: u64,
    rate: Rate,
    dropped: Dropped,
    /// Of those, how many a line has told of.
    told: Dropped,
}

impl JsonLines {
    /// Opens the file; what is in it stays.
    pub fn open(config: JsonLinesConfig) -> Result<Self, JsonLinesError> {
        let (mut file, mut bytes) = (None, 0);
        if let Some(path) = &config.path {
            let failed = |error| JsonLinesError::Open(path.clone(), error);
            let opened = open(path).map_err(failed)?;
            bytes = opened.metadata().map_err(failed)?.len();
            file = Some(opened);
        }
        let (rate, dropped) = (Rate::new(config.rate), Dropped::default());
        Ok(Self { config, file, bytes, rate, dropped, told: dropped })
    }

    /// Writes a line, which ends with a newline, or counts it as dropped. `now_ns`: any clock that
    /// does not go back.
    pub fn write(&mut self, line: &str, now_ns: u64, urgency: Urgency) {
        if !self.rate.lets(urgency, now_ns) {
            self.dropped.rate += 1;
            return;
        }
        let untold = self.dropped.sum() - self.told.sum();
        if untold > 0 {
            let told = format!(
                "{{\"event\":\"dropped\",\"lines\":{untold},\"lines_total\":{},\"by_rate\":{},\"failed\":{}}}\n",
                self.dropped.sum(),
                self.dropped.rate,
                self.dropped.failed
            );
            if self.put(told.as_bytes()).is_ok() {
                self.told = self.dropped;
            }
        }
        if let Err(error) = self.put(line.as_bytes()) {
            // Once for each row of failures: the log is perhaps on the same disk.
            if self.dropped.failed == self.told.failed {
                log::error!("an event could not be written, and counts as dropped: {error}");
            }
            self.dropped.failed += 1;
        }
    }

    /// What did not get through so far.
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    fn put(&mut self, line: &[u8]) -> io::Result<()> {
        let Some(path) = &self.config.path else {
            let mut stdout = io::stdout().lock();
            return stdout.write_all(line).and_then(|()| stdout.flush());
        };
        let length = line.len() as u64;
        if length > self.config.bytes_max {
            return Err(io::Error::other("it is longer than a file may be"));
        }
        if self.bytes + length > self.config.bytes_max {
            self.file = None;
            rotate(path, self.config.files_max)?;
        }
        if self.file.is_none() {
            let file = open(path)?;
            self.bytes = file.metadata()?.len();
            self.file = Some(file);
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        let before = self.bytes;
        let written = file.write_all(line);
        match written {
            Ok(()) => self.bytes += length,
            // Half a line is worse than none.
            Err(_) => file.set_len(before)?,
        }
        written
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(MODE).open(path)
}

/// Makes room: each file takes the next one's name, the oldest goes.
fn rotate(path: &Path, files_max: u32) -> io::Result<()> {
    for number in (0..files_max.saturating_sub(1)).rev() {
        match fs::rename(numbered(path, number), numbered(path, number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    if files_max <= 1 { fs::remove_file(path) } else { Ok(()) }
}

/// The name of an older file; of the one that is written for 0.
fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(path);
    if number > 0 {
        name.push(format!(".{number}"));
    }
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("mountwatch-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn lines(&self, bytes_max: u64, files_max: u32, rate: u64) -> JsonLines {
            let path = Some(self.0.join("events.json"));
            JsonLines::open(JsonLinesConfig { path, bytes_max, files_max, rate }).unwrap()
        }

        fn text(&self, name: &str) -> String {
            fs::read_to_string(self.0.join(name)).unwrap()
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_disk_holds_no_more_than_was_allowed() {
        let directory = Directory::new("rotate");
        let mut lines = directory.lines(100, 3, 0);
        for number in 0..1_000 {
            lines.write(&format!("{{\"n\":{number:04}}}\n"), 0, Urgency::Line);
        }
        let names: Vec<_> = fs::read_dir(&directory.0).unwrap().flatten().collect();
        assert_eq!(names.len(), 3);
        let bytes: u64 = names.iter().map(|name| name.metadata().unwrap().len()).sum();
        assert!(bytes <= 300, "{bytes}");
        let all = directory.text("events.json.2")
            + &directory.text("events.json.1")
            + &directory.text("events.json");
        let first = 1_000 - all.lines().count();
        let expected: Vec<_> =
            (first..1_000).map(|number| format!("{{\"n\":{number:04}}}\n")).collect();
        assert_eq!(all, expected.concat(), "the newest, in order, none cut");
        assert_eq!(lines.dropped(), Dropped::default());
    }

    #[test]
    fn what_is_in_the_file_stays() {
        let directory = Directory::new("append");
        directory.lines(1_000, 2, 0).write("{\"n\":1}\n", 0, Urgency::Line);
        directory.lines(1_000, 2, 0).write("{\"n\":2}\n", 0, Urgency::Line);
        assert_eq!(directory.text("events.json"), "{\"n\":1}\n{\"n\":2}\n");
    }

    #[test]
    fn what_is_dropped_is_said_in_the_stream() {
        let directory = Directory::new("rate");
        let mut lines = directory.lines(100_000, 1, 10);
        for _ in 0..50 {
            lines.write("{}\n", 5, Urgency::Line);
        }
        lines.write("{\"last\":1}\n", 3_000_000_000, Urgency::Line);
        let text = directory.text("events.json");
        assert_eq!(lines.dropped().rate, 40);
        assert_eq!(text.lines().count(), 12);
        let told: serde_json::Value = serde_json::from_str(text.lines().nth(10).unwrap()).unwrap();
        assert_eq!(told["event"], "dropped");
        assert_eq!(told["lines"], 40);
        assert_eq!(text.lines().nth(11), Some("{\"last\":1}"));
    }

    #[test]
    fn a_line_that_cannot_be_written_is_counted() {
        let directory = Directory::new("failed");
        let mut lines = directory.lines(30, 1, 0);
        lines.write(&format!("{}\n", "x".repeat(40)), 0, Urgency::Line);
        assert_eq!(lines.dropped().failed, 1);
        let path = Some(directory.0.join("no/events.json"));
        let config = JsonLinesConfig { path, bytes_max: 1, files_max: 1, rate: 0 };
        assert!(JsonLines::open(config).unwrap_err().to_string().starts_with("cannot write "));
        let full = JsonLinesConfig {
            path: Some("/dev/full".into()),
            bytes_max: 1_000,
            files_max: 1,
            rate: 0,
        };
        let mut lines = JsonLines::open(full).unwrap();
        lines.write("{}\n", 0, Urgency::Line);
        assert_eq!(lines.dropped().failed, 1);
    }
}
