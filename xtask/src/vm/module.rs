//! Kernel modules for the guest, in the order in which they must be loaded.
//!
//! Debian makes `modules.dep` when a kernel is installed. Ours are only unpacked, so what a module
//! needs is read from the module itself.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// A module, ready for `insmod`.
#[derive(Debug)]
pub(crate) struct Module {
    /// Its name, with underscores.
    pub(crate) name: String,
    /// The ELF file, not compressed.
    pub(crate) bytes: Vec<u8>,
}

/// The modules of these names and all that they need, each after what it needs. What is built
/// into the kernel is left out.
pub(crate) fn load_order(directory: &Path, names: &[String]) -> Result<Vec<Module>> {
    let mut files = HashMap::new();
    if !names.is_empty() {
        index(directory, &mut files)?;
    }
    let builtin = fs::read_to_string(directory.join("modules.builtin")).unwrap_or_default();
    let builtin: Vec<String> = builtin.lines().map(|line| name_of(Path::new(line))).collect();
    let mut order = Vec::new();
    for name in names {
        visit(&name.replace('-', "_"), &files, &builtin, &mut order)?;
    }
    Ok(order)
}

fn visit(
    name: &str,
    files: &HashMap<String, PathBuf>,
    builtin: &[String],
    order: &mut Vec<Module>,
) -> Result<()> {
    if order.iter().any(|module| module.name == name) || builtin.iter().any(|known| known == name) {
        return Ok(());
    }
    let path = files.get(name).with_context(|| format!("this kernel has no module {name}"))?;
    let bytes = read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let needs = needs(&bytes).with_context(|| format!("{} is no module", path.display()))?;
    for need in &needs {
        visit(need, files, builtin, order)?;
    }
    order.push(Module { name: name.to_owned(), bytes });
    Ok(())
}

/// All modules below a directory by their names.
fn index(directory: &Path, files: &mut HashMap<String, PathBuf>) -> Result<()> {
    let entries = fs::read_dir(directory);
    for entry in entries.with_context(|| format!("cannot read {}", directory.display()))? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            index(&path, files)?;
        } else if entry.file_name().to_string_lossy().contains(".ko") {
            files.insert(name_of(&path), path);
        }
    }
    Ok(())
}

/// The kernel's name of a module's file: it does not tell `-` from `_`.
fn name_of(path: &Path) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    file.split(".ko").next().unwrap_or_default().replace('-', "_")
}

/// The module's ELF file.
fn read(path: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(path)?;
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => Ok(bytes),
        Some("xz") => {
            let mut module = Vec::new();
            let done = lzma_rs::xz_decompress(&mut bytes.as_slice(), &mut module);
            done.map_err(|error| anyhow::anyhow!("xz: {error:?}"))?;
            Ok(module)
        }
        other => bail!("modules that end with {other:?} are not known here"),
    }
}

/// The names in `depends=` of the section `.modinfo`, which holds strings that end with NUL.
fn needs(module: &[u8]) -> Option<Vec<String>> {
    let info = section(module, ".modinfo")?;
    let mut texts = info.split(|&byte| byte == 0).filter_map(|text| str::from_utf8(text).ok());
    let names = texts.find_map(|text| text.strip_prefix("depends="))?;
    let names = names.split(',').filter(|name| !name.is_empty());
    Some(names.map(|name| name.replace('-', "_")).collect())
}

/// The bytes of a section of a 64-bit little-endian ELF file.
fn section<'a>(elf: &'a [u8], wanted: &str) -> Option<&'a [u8]> {
    let number = |at: usize, size: usize| {
        let bytes = elf.get(at..at.checked_add(size)?)?;
        let value = bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte));
        usize::try_from(value).ok()
    };
    let (table, size) = (number(0x28, 8)?, number(0x3a, 2)?);
    let (count, names) = (number(0x3c, 2)?, number(0x3e, 2)?);
    let header = |index: usize| table.checked_add(index.checked_mul(size)?);
    let body = |index: usize| {
        let header = header(index)?;
        let start = number(header + 0x18, 8)?;
        elf.get(start..start.checked_add(number(header + 0x20, 8)?)?)
    };
    let strings = body(names)?;
    let has_name = |index: &usize| {
        let name = header(*index).and_then(|at| number(at, 4)).and_then(|at| strings.get(at..));
        name.and_then(|name| name.strip_prefix(wanted.as_bytes()))
            .is_some_and(|rest| rest.first() == Some(&0))
    };
    body((0..count).find(has_name)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file with the sections `.modinfo` and `.shstrtab`.
    fn elf(modinfo: &[u8]) -> Vec<u8> {
        let strings = b"\0.modinfo\0.shstrtab\0";
        let mut file = vec![0; 64];
        file.extend(modinfo);
        let names_at = file.len();
        file.extend(strings);
        let table = file.len();
        for (name, start, size) in [(1_u32, 64, modinfo.len()), (10, names_at, strings.len())] {
            let mut header = [0; 64];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[0x18..0x20].copy_from_slice(&(start as u64).to_le_bytes());
            header[0x20..0x28].copy_from_slice(&(size as u64).to_le_bytes());
            file.extend(header);
        }
        file[0x28..0x30].copy_from_slice(&(table as u64).to_le_bytes());
        file[0x3a..0x40].copy_from_slice(&[64, 0, 2, 0, 1, 0]);
        file
    }

    #[test]
    fn what_a_module_needs_is_in_its_modinfo() {
        let module = elf(b"license=GPL\0depends=a-b,c\0name=x\0");
        assert_eq!(needs(&module), Some(vec!["a_b".to_owned(), "c".to_owned()]));
        assert_eq!(needs(&elf(b"depends=\0")), Some(Vec::new()));
        assert_eq!(needs(&elf(b"license=GPL\0")), None);
        for length in 0..module.len() {
            let found = needs(&module[..length]);
            assert!(found.is_none() || found == needs(&module), "cut at {length}: {found:?}");
        }
    }

    #[test]
    fn a_file_name_gives_the_kernels_name() {
        assert_eq!(name_of(Path::new("kernel/fs/nls/nls-utf8.ko.xz")), "nls_utf8");
        assert_eq!(name_of(Path::new("fuse.ko")), "fuse");
    }
}
