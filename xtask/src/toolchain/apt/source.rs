//! The machine's apt sources: both formats are read, one is written.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Debian signs every suite with keys of this ring.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Names that a Debian release goes by: what tells Debian's archive from all others.
const RELEASES: &[&str] = &[
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "sid",
    "oldoldstable",
    "oldstable",
    "stable",
    "testing",
    "unstable",
];

/// One of Debian's two archives; mirrors serve them at different addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Archive {
    /// The releases and their backports.
    Main,
    /// The security fixes.
    Security,
}

/// What we need to know of the machine.
#[derive(Debug)]
pub(crate) struct Machine {
    main: Option<String>,
    security: Option<String>,
}

impl Machine {
    /// Reads apt's sources.
    pub(crate) fn read() -> Result<Self> {
        let mut entries = Vec::new();
        for path in source_files() {
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let deb822 = path.extension().is_some_and(|extension| extension == "sources");
            entries.extend(if deb822 { stanzas(&text) } else { lines(&text) });
        }
        let find = |archive| entries.iter().find(|entry| entry.serves(archive));
        let main = find(Archive::Main).map(|entry| entry.uri.clone());
        let security = find(Archive::Security).map(|entry| entry.uri.clone());
        Ok(Self { main, security })
    }

    fn uri(&self, archive: Archive) -> Result<&str> {
        let (uri, name) = match archive {
            Archive::Main => (&self.main, "archive"),
            Archive::Security => (&self.security, "security archive"),
        };
        uri.as_deref().with_context(|| format!("apt's sources do not name Debian's {name}"))
    }
}

/// One address with its suites.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    uri: String,
    suites: Vec<String>,
}

impl Entry {
    fn serves(&self, archive: Archive) -> bool {
        self.suites.iter().any(|suite| match archive {
            Archive::Main => RELEASES.contains(&suite.as_str()),
            Archive::Security => {
                suite.strip_suffix("-security").is_some_and(|name| RELEASES.contains(&name))
            }
        })
    }
}

/// apt's source files, in apt's order.
fn source_files() -> Vec<PathBuf> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    let parts = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten();
    let mut parts: Vec<PathBuf> = parts.map(|part| part.path()).collect();
    parts.sort();
    files.extend(parts);
    let known = |path: &Path| {
        path.extension().is_some_and(|extension| extension == "list" || extension == "sources")
    };
    files.retain(|path| known(path) && path.is_file());
    files
}

/// The one-line format: `deb [options] URI suite components…`.
fn lines(text: &str) -> Vec<Entry> {
    text.lines().filter_map(line).collect()
}

fn line(line: &str) -> Option<Entry> {
    let line = line.split('#').next()?.trim();
    let mut rest = line.strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
    if let Some(options) = rest.strip_prefix('[') {
        rest = options.split_once(']')?.1;
    }
    let mut words = rest.split_whitespace();
    Some(Entry { uri: words.next()?.into(), suites: vec![words.next()?.into()] })
}

/// The deb822 format: stanzas of `Field: value`, continued on lines that begin with a space.
fn stanzas(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')).chain([""]) {
        if line.trim().is_empty() {
            entries.extend(stanza(&fields));
            fields.clear();
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    entries
}

fn stanza(fields: &[(String, String)]) -> Vec<Entry> {
    let field = |name: &str| {
        let found = fields.iter().find(|(field, _)| field == name);
        found.map_or("", |(_, value)| value.as_str())
    };
    let off = matches!(field("enabled"), "no" | "false" | "off" | "0");
    if off || !field("types").split_whitespace().any(|kind| kind == "deb") {
        return Vec::new();
    }
    let suites: Vec<String> = field("suites").split_whitespace().map(Into::into).collect();
    let uris = field("uris").split_whitespace();
    uris.map(|uri| Entry { uri: uri.into(), suites: suites.clone() }).collect()
}

/// A deb822 file that names these suites at the machine's addresses.
pub(crate) fn render(machine: &Machine, suites: &[(Archive, &str)]) -> Result<String> {
    let stanza = |archive| -> Result<String> {
        let of_archive = suites.iter().filter(|(of, _)| *of == archive);
        let names: Vec<&str> = of_archive.map(|(_, name)| *name).collect();
        Ok(format!(
            "Types: deb\nURIs: {}\nSuites: {}\nComponents: main\nSigned-By: {KEYRING}\n\n",
            machine.uri(archive)?,
            names.join(" "),
        ))
    };
    Ok(stanza(Archive::Main)? + &stanza(Archive::Security)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(uri: &str, suites: &[&str]) -> Entry {
        Entry { uri: uri.into(), suites: suites.iter().map(|&suite| suite.into()).collect() }
    }

    #[test]
    fn one_line_sources_are_read() {
        let text = "# deb http://no/debian sid main\n\
                    deb-src http://src/debian sid main\n\
                    deb [arch=amd64 signed-by=/k.gpg] mirror+file:/m.list bookworm main # here\n\
                    deb http://sec/debian-security bookworm-security main\n";
        let found = lines(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0], entry("mirror+file:/m.list", &["bookworm"]));
        assert!(found[0].serves(Archive::Main) && !found[0].serves(Archive::Security));
        assert!(found[1].serves(Archive::Security) && !found[1].serves(Archive::Main));
    }

    #[test]
    fn deb822_sources_are_read() {
        let text = "Types: deb deb-src\n# a comment\nURIs: http://a/debian\n http://b/debian\n\
                    Suites: trixie\n trixie-updates\nComponents: main\n\n\n\
                    Enabled: no\nTypes: deb\nURIs: http://off\nSuites: trixie\n\n\
                    Types: deb\nURIs: http://node\nSuites: nodistro\n";
        let found = stanzas(text);
        assert_eq!(found[0], entry("http://a/debian", &["trixie", "trixie-updates"]));
        assert_eq!(found[1].uri, "http://b/debian");
        assert_eq!(found.len(), 3);
        assert!(!found[2].serves(Archive::Main));
    }

    #[test]
    fn suites_are_written_at_the_machines_addresses() {
        let machine =
            Machine { main: Some("http://m/debian".into()), security: Some("http://s/sec".into()) };
        let suites = [(Archive::Main, "trixie"), (Archive::Security, "bookworm-security")];
        let text = render(&machine, &suites).unwrap();
        assert!(text.contains("URIs: http://m/debian\nSuites: trixie\n"), "{text}");
        assert!(text.contains("URIs: http://s/sec\nSuites: bookworm-security\n"), "{text}");
    }
}
