//! How the running kernel writes, where kernels differ.

/// Facts about the text of mountinfo(5) that are the same for every line of one kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// `#` in a type and in a source is written as `\043`. Kernels before did not do it (5.10 of
    /// Debian 11 is one); others got it backported, so it is asked and not derived from a version.
    pub escapes_hash: bool,
}

impl Default for Dialect {
    fn default() -> Self {
        Self { escapes_hash: true }
    }
}
