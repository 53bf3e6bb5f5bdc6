//! Puts the scenario files into the binary: it runs in virtual machines that have no other files.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs};

fn main() {
    let directory = PathBuf::from(env::var("CARGO_MANIFEST_DIR").unwrap()).join("scenarios");
    println!("cargo::rerun-if-changed={}", directory.display());
    let mut files: Vec<PathBuf> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "mnt"))
        .collect();
    files.sort();
    let mut table = String::from("&[\n");
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        writeln!(table, "({name:?}, include_bytes!({:?})),", file.display().to_string()).unwrap();
    }
    table.push(']');
    fs::write(PathBuf::from(env::var("OUT_DIR").unwrap()).join("scenarios.rs"), table).unwrap();
}
