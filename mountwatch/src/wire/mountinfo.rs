//! A line of `/proc/PID/mountinfo`, see mountinfo(5), and the kernel's escapes in it.

use crate::model::{Device, Dialect, MountAttributes, SuperFlags};
use std::fmt;
use thiserror::Error;

/// Characters that the kernel escapes in a root and in a mountpoint: `show_mountinfo` in
/// `fs/proc_namespace.c`.
const ESCAPED_IN_PATHS: &[u8] = b" \t\n\\";
/// Characters that it escapes in a type and in a source: `mangle` there.
const ESCAPED_IN_WORDS: &[u8] = b" \t\n\\#";
/// The same, before [`Dialect::escapes_hash`].
const ESCAPED_IN_WORDS_BEFORE: &[u8] = b" \t\n\\";

/// The words for attributes of a mount in field 6, in the kernel's order and after `rw` or `ro`:
/// `show_mnt_opts` there.
pub const MOUNT_WORDS: &[(MountAttributes, &str)] = &[
    (MountAttributes::NOSUID, "nosuid"),
    (MountAttributes::NODEV, "nodev"),
    (MountAttributes::NOEXEC, "noexec"),
    (MountAttributes::NOATIME, "noatime"),
    (MountAttributes::NODIRATIME, "nodiratime"),
    (MountAttributes::RELATIME, "relatime"),
    (MountAttributes::NOSYMFOLLOW, "nosymfollow"),
    (MountAttributes::IDMAPPED, "idmapped"),
];

/// The words for flags of a super block in field 11, likewise: `show_sb_opts` there.
pub const SUPER_WORDS: &[(SuperFlags, &str)] = &[
    (SuperFlags::SYNCHRONOUS, "sync"),
    (SuperFlags::DIRSYNC, "dirsync"),
    (SuperFlags::MANDLOCK, "mand"),
    (SuperFlags::LAZYTIME, "lazytime"),
];

/// Why a line is not one of mountinfo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MountinfoError {
    /// It ends too early.
    #[error("a line of mountinfo ends before its {0}")]
    Missing(&'static str),
    /// A number that is none.
    #[error("a line of mountinfo has no number for its {0}")]
    Number(&'static str),
}

/// A line of mountinfo. Bytes, because names need not be UTF-8; escapes are undone in names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Field 1.
    pub id: u32,
    /// Field 2.
    pub parent_id: u32,
    /// Field 3.
    pub device: Device,
    /// Field 4.
    pub root: Vec<u8>,
    /// Field 5, as seen from the reader's root.
    pub mountpoint: Vec<u8>,
    /// Field 6, as it stands.
    pub options: Vec<u8>,
    /// `shared:N`.
    pub peer_group: Option<u32>,
    /// `master:N`.
    pub master: Option<u32>,
    /// `propagate_from:N`.
    pub propagate_from: Option<u32>,
    /// `unbindable`.
    pub is_unbindable: bool,
    /// Field 9, with its subtype.
    pub fs_type: Vec<u8>,
    /// Field 10.
    pub source: Vec<u8>,
    /// Field 11, as it stands: flags and options of the super block.
    pub super_options: Vec<u8>,
}

impl Line {
    /// Options of the super block without its flags, as the file system wrote them.
    pub fn file_system_options(&self) -> &[u8] {
        file_system_options(&self.super_options)
    }

    /// The attributes of the mount, out of field 6. A word that this version does not know is
    /// passed over.
    pub fn attributes(&self) -> MountAttributes {
        let words = self.options.split(|byte| *byte == b',');
        words.fold(MountAttributes::empty(), |attributes, word| {
            if word == b"ro" {
                return attributes | MountAttributes::READONLY;
            }
            let known = MOUNT_WORDS.iter().find(|(_, known)| known.as_bytes() == word);
            attributes | known.map_or(MountAttributes::empty(), |(attribute, _)| *attribute)
        })
    }

    /// The flags of the super block, out of field 11: those before the file system's own options.
    pub fn super_flags(&self) -> SuperFlags {
        let own = self.super_options.len() - self.file_system_options().len();
        let words = self.super_options.get(..own).unwrap_or_default().split(|byte| *byte == b',');
        words.fold(SuperFlags::empty(), |flags, word| {
            if word == b"ro" {
                return flags | SuperFlags::RDONLY;
            }
            let known = SUPER_WORDS.iter().find(|(_, known)| known.as_bytes() == word);
            flags | known.map_or(SuperFlags::empty(), |(flag, _)| *flag)
        })
    }
}

/// The last field of a line without `rw` or `ro` and without the flags that the kernel puts before
/// the file system's own options (`show_sb_opts` in `fs/proc_namespace.c`).
pub fn file_system_options(field: &[u8]) -> &[u8] {
    let mut rest = field;
    for flags in [&[&b"rw"[..], b"ro"][..], &[b"sync"], &[b"dirsync"], &[b"mand"], &[b"lazytime"]] {
        let end = rest.iter().position(|byte| *byte == b',').unwrap_or(rest.len());
        if let Some((word, tail)) = rest.split_at_checked(end)
            && flags.contains(&word)
        {
            rest = tail.strip_prefix(b",").unwrap_or(tail);
        }
    }
    rest
}

/// Understands a line, with or without the final newline.
pub fn parse(line: &[u8]) -> Result<Line, MountinfoError> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let mut fields = line.split(|byte| *byte == b' ');
    let mut next = |name| fields.next().ok_or(MountinfoError::Missing(name));
    let id = number(next("mount ID")?, "mount ID")?;
    let parent_id = number(next("parent's mount ID")?, "parent's mount ID")?;
    let device = device(next("device")?)?;
    let root = unescape(next("root")?);
    let mountpoint = unescape(next("mountpoint")?);
    let options = next("mount options")?.to_vec();
    let mut parsed = Line { id, parent_id, device, root, mountpoint, options, ..Line::default() };
    loop {
        let field = next("separator")?;
        if field == b"-" {
            break;
        }
        parsed.optional(field)?;
    }
    parsed.fs_type = unescape(next("file system type")?);
    parsed.source = unescape(next("source")?);
    parsed.super_options = next("super block options")?.to_vec();
    // A file system may write a space into its options: they are all that is left.
    for rest in fields {
        parsed.super_options.push(b' ');
        parsed.super_options.extend_from_slice(rest);
    }
    Ok(parsed)
}

impl Line {
    /// A field that this version does not know is passed over, as mountinfo(5) asks for.
    fn optional(&mut self, field: &[u8]) -> Result<(), MountinfoError> {
        if let Some(group) = field.strip_prefix(b"shared:") {
            self.peer_group = Some(number(group, "peer group")?);
        } else if let Some(master) = field.strip_prefix(b"master:") {
            self.master = Some(number(master, "master")?);
        } else if let Some(from) = field.strip_prefix(b"propagate_from:") {
            self.propagate_from = Some(number(from, "propagate_from")?);
        } else if field == b"unbindable" {
            self.is_unbindable = true;
        }
        Ok(())
    }
}

fn number(digits: &[u8], name: &'static str) -> Result<u32, MountinfoError> {
    std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .ok_or(MountinfoError::Number(name))
}

fn device(field: &[u8]) -> Result<Device, MountinfoError> {
    let colon = field.iter().position(|byte| *byte == b':').unwrap_or(field.len());
    let (major, minor) = field.split_at(colon);
    let minor = minor.strip_prefix(b":").ok_or(MountinfoError::Number("device"))?;
    let (major, minor) = (number(major, "device")?, number(minor, "device")?);
    // The kernel has 12 and 20 bits for them.
    if major >= 1 << 12 || minor >= 1 << 20 {
        return Err(MountinfoError::Number("device"));
    }
    Ok(Device::new(major, minor))
}

/// A root or a mountpoint as mountinfo(5) shows it.
pub fn escape_path(path: &[u8]) -> Vec<u8> {
    escape(path, ESCAPED_IN_PATHS)
}

/// A type or a source as mountinfo(5) shows it.
pub fn escape_word(word: &[u8], dialect: Dialect) -> Vec<u8> {
    escape(word, if dialect.escapes_hash { ESCAPED_IN_WORDS } else { ESCAPED_IN_WORDS_BEFORE })
}

/// What a kernel's mountinfo(5) says about its escapes, if it has a line of this type whose source
/// is one `#`.
pub fn dialect_in(text: &[u8], fs_type: &[u8]) -> Option<Dialect> {
    text.split(|byte| *byte == b'\n').find_map(|line| {
        let at = line.windows(3).position(|three| three == b" - ")?;
        let mut words = line.get(at + 3..)?.split(|byte| *byte == b' ');
        if words.next()? != fs_type {
            return None;
        }
        match words.next()? {
            b"#" => Some(Dialect { escapes_hash: false }),
            b"\\043" => Some(Dialect { escapes_hash: true }),
            _ => None,
        }
    })
}

fn escape(bytes: &[u8], escaped: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for byte in bytes {
        if escaped.contains(byte) {
            let digit = |shift: u8| b'0' + ((byte >> shift) & 7);
            out.extend_from_slice(&[b'\\', digit(6), digit(3), digit(0)]);
        } else {
            out.push(*byte);
        }
    }
    out
}

/// Undoes the kernel's octal escapes; what is not one stays as it is.
pub fn unescape(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((byte, tail)) = rest.split_first() {
        if let (b'\\', Some((value, tail))) = (byte, octal(tail)) {
            out.push(value);
            rest = tail;
        } else {
            out.push(*byte);
            rest = tail;
        }
    }
    out
}

/// Three octal digits, at most 0377.
fn octal(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, tail) = bytes.split_first_chunk::<3>()?;
    let mut value = 0_u16;
    for digit in digits {
        if !(b'0'..=b'7').contains(digit) {
            return None;
        }
        value = value * 8 + u16::from(digit - b'0');
    }
    Some((u8::try_from(value).ok()?, tail))
}

/// Field 6 of mountinfo(5): `rw` or `ro`, then a word for each attribute.
impl fmt::Display for MountAttributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.contains(Self::READONLY) { "ro" } else { "rw" })?;
        let mut words = MOUNT_WORDS.iter().filter(|(attribute, _)| self.contains(*attribute));
        words.try_for_each(|(_, word)| write!(f, ",{word}"))
    }
}

/// What mountinfo(5) has in field 11 before the file system's own options: `rw` or `ro`, then a word
/// for each flag.
impl fmt::Display for SuperFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.contains(Self::RDONLY) { "ro" } else { "rw" })?;
        let mut words = SUPER_WORDS.iter().filter(|(flag, _)| self.contains(*flag));
        words.try_for_each(|(_, word)| write!(f, ",{word}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_is_understood() {
        let line = parse(
            b"36 35 98:0 /mnt1 /mnt\\0402 rw,noatime shared:7 master:1 propagate_from:5 \
              unbindable - ext3 /dev/r\\043oot ro,sync,errors=continue\n",
        )
        .unwrap();
        assert_eq!((line.id, line.parent_id), (36, 35));
        assert_eq!(line.device, Device::new(98, 0));
        assert_eq!(line.mountpoint, b"/mnt 2");
        assert_eq!(
            (line.peer_group, line.master, line.propagate_from),
            (Some(7), Some(1), Some(5))
        );
        assert!(line.is_unbindable);
        assert_eq!(line.source, b"/dev/r#oot");
        assert_eq!(line.file_system_options(), b"errors=continue");
    }

    #[test]
    fn an_empty_source_is_a_source() {
        let line = parse(b"91 85 0:41 / /dd rw - tmpfs  rw").unwrap();
        assert_eq!((&line.source[..], line.file_system_options()), (&b""[..], &b""[..]));
    }

    #[test]
    fn options_may_look_like_flags_and_have_spaces() {
        assert_eq!(file_system_options(b"rw,lazytime,sync"), b"sync");
        assert_eq!(file_system_options(b"rwx,a"), b"rwx,a");
        let line = parse(b"1 2 0:1 / /a rw - x y rw,a=b c").unwrap();
        assert_eq!(line.file_system_options(), b"a=b c");
    }

    #[test]
    fn words_are_flags_where_the_kernel_writes_them() {
        let line =
            parse(b"1 2 0:1 / /a ro,nosuid,relatime,strange - x y ro,sync,a=b,lazytime").unwrap();
        let attributes = MountAttributes::READONLY | MountAttributes::NOSUID;
        assert_eq!(line.attributes(), attributes | MountAttributes::RELATIME);
        // The last word is one of the file system.
        assert_eq!(line.super_flags(), SuperFlags::RDONLY | SuperFlags::SYNCHRONOUS);
        let line = parse(b"1 2 0:1 / /a rw - x y rw").unwrap();
        assert!(line.attributes().is_empty() && line.super_flags().is_empty());
    }

    #[test]
    fn a_line_tells_whether_hashes_are_escaped() {
        let line = |source: &str| {
            format!("1 2 0:1 / /a#b rw - x # rw\n3 2 0:2 / /b rw - tmpfs {source} rw\n")
        };
        let told = |source: &str| dialect_in(line(source).as_bytes(), b"tmpfs");
        assert_eq!(told("#"), Some(Dialect { escapes_hash: false }));
        assert_eq!(told("\\043"), Some(Dialect { escapes_hash: true }));
        assert_eq!(told("a#"), None);
        assert_eq!(dialect_in(b"1 2 0:1 / /a rw - tmpfs", b"tmpfs"), None);
    }

    #[test]
    fn a_cut_line_is_refused() {
        let error = parse(b"36 35 98:0 / /mnt rw shared:7").unwrap_err();
        assert_eq!(error, MountinfoError::Missing("separator"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_understood_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            if let Ok(line) = parse(&bytes) {
                let _ = (line.attributes(), line.super_flags());
            }
            let _ = file_system_options(&bytes);
        }

        #[test]
        fn escapes_are_undone(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(unescape(&escape_path(&bytes)), &bytes[..]);
            for escapes_hash in [true, false] {
                let word = escape_word(&bytes, Dialect { escapes_hash });
                prop_assert_eq!(unescape(&word), &bytes[..]);
            }
        }
    }
}
