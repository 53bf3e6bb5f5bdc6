//! BTF: the kernel's description of its own types, from `/sys/kernel/btf/vmlinux`.
//!
//! rustc emits no relocations against BTF, so the offsets of structure members are looked up here.
//! The loader's own parser keeps these queries private, and the one other crate for it is under
//! the LGPL; what we need of the format is small.
//!
//! Any bytes are fine as input: an error, never a panic, and no more memory than a few times the
//! input's size.

use hashbrown::{HashMap, HashSet};

const MAGIC: u16 = 0xeb9f;
const HEADER_BYTES: usize = 24;
const TYPE_BYTES: usize = 12;
const MEMBER_BYTES: usize = 12;
/// Anonymous structures inside one another. The kernel has three levels at most.
const DEPTH_MAX: u32 = 8;

const KIND_INT: u32 = 1;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_ENUM64: u32 = 19;
/// The last kind whose size is known here.
const KIND_LAST: u32 = KIND_ENUM64;

/// Why a blob of BTF cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BtfError {
    /// Shorter than its own header says.
    #[error("it ends in the middle of {0}")]
    Truncated(&'static str),
    /// The first two bytes are not those of BTF in this machine's byte order.
    #[error("it does not start with the magic number of BTF")]
    Magic,
    /// A kind of type that this parser does not know, so that the next one cannot be found.
    #[error("type {index} is of the unknown kind {kind}")]
    Kind {
        /// Which type, from 1.
        index: u32,
        /// Its kind.
        kind: u32,
    },
}

/// One entry of the type section.
#[derive(Debug, Clone, Copy)]
struct Type {
    name: u32,
    kind: u32,
    /// The bit 31 of `info`: members of a structure carry a bit-field size.
    has_bit_fields: bool,
    /// Number of members.
    members: u32,
    /// Bytes of the type, or the type it refers to.
    size_or_target: u32,
    /// Where what follows the entry starts in the type section.
    rest: usize,
}

/// A parsed blob. Keeps a copy of the bytes.
#[derive(Debug, Clone)]
pub struct Btf {
    types: Vec<Type>,
    type_bytes: Vec<u8>,
    strings: Vec<u8>,
    /// Structures and unions by the offset of their name; several may have one name.
    structures: HashMap<Vec<u8>, Vec<u32>>,
    functions: HashSet<Vec<u8>>,
}

impl Btf {
    /// Parses a blob.
    pub fn parse(bytes: &[u8]) -> Result<Self, BtfError> {
        let magic = bytes.get(..2).ok_or(BtfError::Truncated("the header"))?;
        if magic != MAGIC.to_ne_bytes() {
            return Err(BtfError::Magic);
        }
        if bytes.len() < HEADER_BYTES {
            return Err(BtfError::Truncated("the header"));
        }
        let word = |at| u32_at(bytes, at).ok_or(BtfError::Truncated("the header"));
        let header = word(4)?;
        let type_bytes = section(bytes, header, word(8)?, word(12)?)
            .ok_or(BtfError::Truncated("the types"))?
            .to_vec();
        let strings = section(bytes, header, word(16)?, word(20)?)
            .ok_or(BtfError::Truncated("the strings"))?
            .to_vec();
        let types = parse_types(&type_bytes)?;
        let mut btf = Self {
            types,
            type_bytes,
            strings,
            structures: HashMap::new(),
            functions: HashSet::new(),
        };
        btf.index();
        Ok(btf)
    }

    fn index(&mut self) {
        for (index, entry) in (1u32..).zip(&self.types) {
            let name = string(&self.strings, entry.name);
            if name.is_empty() {
                continue;
            }
            match entry.kind {
                KIND_STRUCT | KIND_UNION => {
                    self.structures.entry(name.to_vec()).or_default().push(index);
                }
                KIND_FUNC => {
                    self.functions.insert(name.to_vec());
                }
                _ => {}
            }
        }
    }

    /// The offset in bytes of a member of a structure or union; members of anonymous structures
    /// and unions inside it count as its own, as in C. `None` if there is no such structure or
    /// member, or if the member is a bit field.
    pub fn member(&self, structure: &str, member: &str) -> Option<u32> {
        let candidates = self.structures.get(structure.as_bytes())?;
        candidates.iter().find_map(|index| self.find(*index, member.as_bytes(), DEPTH_MAX))
    }

    /// Bytes of a structure or union.
    pub fn size(&self, structure: &str) -> Option<u32> {
        let first = self.structures.get(structure.as_bytes())?.first()?;
        Some(self.entry(*first)?.size_or_target)
    }

    /// Whether the kernel has a function of this very name (a name with a suffix such as
    /// `.isra.0` is another one).
    pub fn has_function(&self, name: &str) -> bool {
        self.functions.contains(name.as_bytes())
    }

    /// The value of an enumerator, of any enumeration.
    pub fn enumerator(&self, name: &str) -> Option<u64> {
        self.types.iter().filter(|entry| matches!(entry.kind, KIND_ENUM | KIND_ENUM64)).find_map(
            |entry| {
                let stride = if entry.kind == KIND_ENUM { 8 } else { 12 };
                (0..entry.members as usize).find_map(|index| {
                    let at = entry.rest + index * stride;
                    if string(&self.strings, u32_at(&self.type_bytes, at)?) != name.as_bytes() {
                        return None;
                    }
                    let low = u64::from(u32_at(&self.type_bytes, at + 4)?);
                    let high = if stride == 12 { u32_at(&self.type_bytes, at + 8)? } else { 0 };
                    Some(u64::from(high) << 32 | low)
                })
            },
        )
    }

    fn entry(&self, index: u32) -> Option<&Type> {
        self.types.get(usize::try_from(index.checked_sub(1)?).ok()?)
    }

    /// Looks for a member in one structure, in bytes from its start.
    fn find(&self, index: u32, member: &[u8], depth: u32) -> Option<u32> {
        let entry = self.entry(index)?;
        if !matches!(entry.kind, KIND_STRUCT | KIND_UNION) || depth == 0 {
            return None;
        }
        for number in 0..entry.members as usize {
            let at = entry.rest + number * MEMBER_BYTES;
            let name = string(&self.strings, u32_at(&self.type_bytes, at)?);
            let kind = u32_at(&self.type_bytes, at + 4)?;
            let position = u32_at(&self.type_bytes, at + 8)?;
            let (bit_field, bits) = if entry.has_bit_fields {
                (position >> 24, position & 0x00ff_ffff)
            } else {
                (0, position)
            };
            if name == member {
                let whole = bit_field == 0 && bits % 8 == 0 && !self.is_bit_field(kind);
                return whole.then_some(bits / 8);
            }
            if name.is_empty()
                && bits % 8 == 0
                && let Some(inner) = self.find(kind, member, depth - 1)
            {
                return inner.checked_add(bits / 8);
            }
        }
        None
    }

    /// The older form of a bit field: an integer type with fewer bits than its bytes have.
    fn is_bit_field(&self, index: u32) -> bool {
        self.entry(index).is_some_and(|entry| {
            entry.kind == KIND_INT
                && u32_at(&self.type_bytes, entry.rest)
                    .is_some_and(|encoding| encoding & 0xff != entry.size_or_target.wrapping_mul(8))
        })
    }
}

fn parse_types(bytes: &[u8]) -> Result<Vec<Type>, BtfError> {
    const CUT: BtfError = BtfError::Truncated("a type");
    let mut types = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let name = u32_at(bytes, at).ok_or(CUT)?;
        let info = u32_at(bytes, at + 4).ok_or(CUT)?;
        let size_or_target = u32_at(bytes, at + 8).ok_or(CUT)?;
        let kind = info >> 24 & 0x1f;
        let members = info & 0xffff;
        let index = u32::try_from(types.len()).unwrap_or(u32::MAX).saturating_add(1);
        if kind == 0 || kind > KIND_LAST {
            return Err(BtfError::Kind { index, kind });
        }
        let rest = at + TYPE_BYTES;
        let (fixed, each) = match kind {
            KIND_INT | KIND_VAR | KIND_DECL_TAG => (4, 0),
            KIND_ARRAY => (12, 0),
            KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => (0, 12),
            KIND_ENUM | KIND_FUNC_PROTO => (0, 8),
            _ => (0, 0),
        };
        at = rest + fixed + each * members as usize;
        if at > bytes.len() {
            return Err(CUT);
        }
        let has_bit_fields = info >> 31 == 1;
        types.push(Type { name, kind, has_bit_fields, members, size_or_target, rest });
    }
    Ok(types)
}

/// A section of the blob, by offsets that count from the end of the header.
fn section(bytes: &[u8], header: u32, offset: u32, length: u32) -> Option<&[u8]> {
    let start = usize::try_from(header.checked_add(offset)?).ok()?;
    bytes.get(start..start.checked_add(usize::try_from(length).ok()?)?)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(four.try_into().ok()?))
}

/// A string up to its zero; empty for an offset outside.
fn string(strings: &[u8], offset: u32) -> &[u8] {
    let tail = usize::try_from(offset).ok().and_then(|at| strings.get(at..)).unwrap_or_default();
    tail.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Puts a blob together: types as words, strings as they are.
    fn blob(types: &[u32], strings: &[u8]) -> Vec<u8> {
        let type_bytes = u32::try_from(types.len() * 4).unwrap();
        let string_bytes = u32::try_from(strings.len()).unwrap();
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        for word in [24, 0, type_bytes, type_bytes, string_bytes] {
            bytes.extend(u32::to_ne_bytes(word));
        }
        bytes.extend(types.iter().flat_map(|word| word.to_ne_bytes()));
        bytes.extend(strings);
        bytes
    }

    const fn info(kind: u32, members: u32) -> u32 {
        kind << 24 | members
    }

    /// `int`; an anonymous union of `c`; a structure of `a`, the union, a bit field and `d`;
    /// function `f`; an enumeration.
    #[expect(clippy::many_single_char_names, reason = "the names in the sample")]
    fn sample() -> Vec<u8> {
        let strings = b"\0s\0a\0c\0bits\0d\0f\0E\0";
        let [s, a, c, bits, d, f, e] = [1, 3, 5, 7, 12, 14, 16];
        let int = [0, info(KIND_INT, 0), 4, 32];
        let union = [0, info(KIND_UNION, 1), 4, c, 1, 0];
        let structure = [
            s,
            info(KIND_STRUCT, 4) | 1 << 31,
            16,
            a,
            1,
            0,
            0,
            2,
            32,
            bits,
            1,
            3 << 24 | 64,
            d,
            1,
            96,
        ];
        let function = [f, info(KIND_FUNC, 0), 1];
        let enumeration = [0, info(KIND_ENUM, 1), 4, e, 0x8000];
        let types = [&int[..], &union, &structure, &function, &enumeration].concat();
        blob(&types, strings)
    }

    #[test]
    fn members_functions_and_enumerators_are_found() {
        let btf = Btf::parse(&sample()).unwrap();
        assert_eq!(btf.member("s", "a"), Some(0));
        assert_eq!(btf.member("s", "c"), Some(4), "inside the anonymous union");
        assert_eq!(btf.member("s", "d"), Some(12));
        assert_eq!(btf.member("s", "bits"), None, "a bit field");
        assert_eq!(btf.member("s", "e"), None);
        assert_eq!(btf.member("t", "a"), None);
        assert_eq!(btf.size("s"), Some(16));
        assert!(btf.has_function("f"));
        assert!(!btf.has_function("s"));
        assert_eq!(btf.enumerator("E"), Some(0x8000));
        assert_eq!(btf.enumerator("f"), None);
    }

    #[test]
    fn a_structure_inside_itself_ends() {
        let types = [1, info(KIND_STRUCT, 1), 4, 0, 1, 0];
        let btf = Btf::parse(&blob(&types, b"\0s\0")).unwrap();
        assert_eq!(btf.member("s", "a"), None);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let whole = sample();
        assert_eq!(Btf::parse(b"").unwrap_err(), BtfError::Truncated("the header"));
        assert_eq!(Btf::parse(b"\0\0\0").unwrap_err(), BtfError::Magic);
        let cut = whole.get(..whole.len() - 1).unwrap();
        assert_eq!(Btf::parse(cut).unwrap_err(), BtfError::Truncated("the strings"));
        let unknown = blob(&[0, info(25, 0), 0], b"\0");
        assert_eq!(Btf::parse(&unknown).unwrap_err(), BtfError::Kind { index: 1, kind: 25 });
        let many = blob(&[0, info(KIND_STRUCT, 9), 0], b"\0");
        assert_eq!(Btf::parse(&many).unwrap_err(), BtfError::Truncated("a type"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_fine(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Btf::parse(&bytes);
        }

        #[test]
        fn any_change_of_a_good_blob_is_fine(at in 0usize..200, byte in any::<u8>()) {
            let mut bytes = sample();
            if let Some(cell) = bytes.get_mut(at) {
                *cell = byte;
            }
            if let Ok(btf) = Btf::parse(&bytes) {
                let _ = (btf.member("s", "c"), btf.size("s"), btf.enumerator("E"));
            }
        }

        #[test]
        fn any_types_are_fine(words in proptest::collection::vec(any::<u32>(), 0..60)) {
            if let Ok(btf) = Btf::parse(&blob(&words, b"\0s\0a\0")) {
                let _ = (btf.member("s", "a"), btf.enumerator("a"));
            }
        }
    }
}
