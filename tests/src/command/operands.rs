//! The words of a command, taken one after the other.

use super::{Attributes, Bytes, Command, Place, propagation, text};
use anyhow::{Context as _, Result, bail, ensure};

/// The words after a command's name: options first, then operands.
pub(super) struct Words {
    options: Vec<String>,
    values: Vec<(String, Bytes)>,
    attributes: Attributes,
    operands: std::vec::IntoIter<Bytes>,
}

impl Words {
    /// `valued` are the options that take the next word; `with_attributes` allows `+ro -nodev`.
    pub(super) fn new(words: &[Bytes], valued: &[&str], with_attributes: bool) -> Result<Self> {
        let mut found = Self {
            options: Vec::new(),
            values: Vec::new(),
            attributes: Attributes::default(),
            operands: Vec::new().into_iter(),
        };
        let mut operands = Vec::new();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.split_first() {
                Some((b'+', name)) if with_attributes => found.attributes.set.push(text(name)?),
                Some((b'-', name)) if with_attributes && name.len() > 1 => {
                    found.attributes.clear.push(text(name)?);
                }
                Some((b'-', name)) if !name.is_empty() => {
                    let name = text(name)?;
                    if valued.contains(&&*name) {
                        let value =
                            words.next().with_context(|| format!("-{name} needs a value"))?;
                        found.values.push((name, value.clone()));
                    } else {
                        found.options.push(name);
                    }
                }
                _ => operands.push(word.clone()),
            }
        }
        found.operands = operands.into_iter();
        Ok(found)
    }

    pub(super) fn has(&mut self, option: &str) -> bool {
        let before = self.options.len();
        self.options.retain(|found| found != option);
        self.options.len() != before
    }

    pub(super) fn value(&mut self, option: &str) -> Option<Bytes> {
        let at = self.values.iter().position(|(name, _)| name == option)?;
        Some(self.values.remove(at).1)
    }

    pub(super) fn bytes(&mut self) -> Result<Bytes> {
        self.operands.next().context("a word is missing")
    }

    pub(super) fn name(&mut self) -> Result<String> {
        text(&self.bytes()?)
    }

    /// `@NAME`.
    pub(super) fn held_name(&mut self) -> Result<String> {
        let name = self.name()?;
        Ok(name.strip_prefix('@').context("a descriptor is @NAME")?.to_owned())
    }

    pub(super) fn place(&mut self) -> Result<Place> {
        let word = self.operands.next().context("a path is missing")?;
        Ok(match &word[..] {
            [b'@', name @ ..] => Place::Descriptor(text(name)?),
            [b'/', ..] => Place::Path(word),
            [b'r', b'o', b'o', b't', b':', path @ ..] => Place::Root(path.to_vec()),
            word => bail!("{} is no path: /PATH, root:/PATH, @NAME", String::from_utf8_lossy(word)),
        })
    }

    /// `KEYWORD NAME`, if the keyword is next.
    pub(super) fn after(&mut self, keyword: &str) -> Result<Option<String>> {
        if self.operands.as_slice().first().is_none_or(|word| word != keyword.as_bytes()) {
            return Ok(None);
        }
        self.operands.next();
        self.name().map(Some)
    }

    pub(super) fn as_name(&mut self) -> Result<String> {
        self.after("as")?.context("`as NAME` is missing")
    }

    pub(super) fn attributes(&mut self) -> Result<Attributes> {
        let mut attributes = std::mem::take(&mut self.attributes);
        if let Some(word) = self.value("p") {
            attributes.propagation = Some(propagation(&text(&word)?)?);
        }
        attributes.idmap_of = self.value("i").map(|word| text(&word)).transpose()?;
        Ok(attributes)
    }

    pub(super) fn rest(&mut self) -> Vec<Bytes> {
        self.operands.by_ref().collect()
    }

    pub(super) fn finish(mut self, command: Command) -> Result<Command> {
        ensure!(self.options.is_empty(), "unknown options {:?}", self.options);
        ensure!(self.values.is_empty(), "unknown options {:?}", self.values);
        ensure!(self.operands.next().is_none(), "too many words");
        Ok(command)
    }
}
