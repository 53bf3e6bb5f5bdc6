//! Metrics as a file for node_exporter's textfile collector.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why there is no such file.
#[derive(Debug, Error)]
pub enum TextfileError {
    /// The collector reads no other files.
    #[error("{0} does not end with .prom, and node_exporter reads no other files")]
    Name(PathBuf),
    /// It cannot be written.
    #[error("cannot write {0}: {1}")]
    Write(PathBuf, #[source] io::Error),
}

/// Replaces the file as a whole: whoever reads it meanwhile reads the one before.
pub fn write_textfile(path: &Path, text: &str) -> Result<(), TextfileError> {
    if path.extension().is_none_or(|extension| extension != "prom") {
        return Err(TextfileError::Name(path.to_owned()));
    }
    let mut beside = OsString::from(path);
    // The collector takes no notice of it.
    beside.push(".new");
    fs::write(&beside, text)
        .and_then(|()| fs::rename(&beside, path))
        .map_err(|error| TextfileError::Write(path.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_replaced_as_a_whole() {
        let directory =
            std::env::temp_dir().join(format!("mountwatch-textfile-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("mountwatch.prom");
        for text in ["first\n", "second\n"] {
            write_textfile(&path, text).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        let error = write_textfile(&directory.join("metrics"), "").unwrap_err().to_string();
        assert!(error.contains(".prom"), "{error}");
        let error = write_textfile(&directory.join("no/x.prom"), "").unwrap_err().to_string();
        assert!(error.starts_with("cannot write "), "{error}");
        fs::remove_dir_all(&directory).unwrap();
    }
}
