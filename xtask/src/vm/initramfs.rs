//! The machine's whole file system, as the archive that the kernel unpacks at its start: the guest, the agent, the
//! simulator, the libraries they load, the stand-in.
//!
//! The format is cpio's "newc" (the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`), written here
//! because a device node in it needs no right, and no program that makes one has to be installed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::cmd;
use crate::setup::Cross;

/// What is put in: where it comes from, and where it goes.
#[derive(Debug)]
pub(crate) struct Contents<'a> {
    pub(crate) programs: &'a [(&'a Path, &'a str)],
    pub(crate) files: &'a [(&'a Path, &'a str)],
}

/// The archive.
pub(crate) fn build(contents: &Contents<'_>, cross: Option<&Cross>) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for dir in ["dev", "proc", "sys", "tmp", "run"] {
        archive.directory(dir);
    }
    // Before devtmpfs is mounted the kernel opens it for the first process.
    archive.entry("dev/console", 0o020_600, (5, 1), &[]);
    let mut libraries = BTreeSet::new();
    for (from, to) in contents.programs {
        libraries.extend(libraries_of(from, cross)?);
        archive.file(from, to, 0o755)?;
    }
    let root = cross.map_or(Path::new("/"), |cross| &cross.root);
    for library in &libraries {
        // The emulator's loader names some as if that root were the machine's.
        let to = library.strip_prefix(root).or_else(|_| library.strip_prefix("/"))?;
        archive.file(&root.join(to), &to.to_string_lossy(), 0o755)?;
    }
    for (from, to) in contents.files {
        archive.file(from, to, 0o644)?;
    }
    Ok(archive.finish())
}

/// What a program or a library is linked with, at the places where the loader will look.
fn libraries_of(program: &Path, cross: Option<&Cross>) -> Result<Vec<PathBuf>> {
    let Some(cross) = cross else {
        return Ok(paths_in(&cmd::output(Command::new("ldd").arg(program))?));
    };
    // What ldd does, for a program that does not run here by itself.
    let loader = cross.root.join(format!("lib/ld-linux-{}.so.1", cross.arch.rust()));
    let mut list = Command::new(&cross.emulator);
    list.arg("-L").arg(&cross.root).arg(loader).arg("--list").arg(program);
    Ok(paths_in(&cmd::output(&mut list)?))
}

/// The paths that ldd names: `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`, `/lib64/ld-linux-x86-64.so.2 (0x…)`.
fn paths_in(said: &str) -> Vec<PathBuf> {
    let paths =
        said.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    paths.map(PathBuf::from).collect()
}

#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    directories: BTreeSet<String>,
    entries: u32,
}

impl Archive {
    fn file(&mut self, from: &Path, to: &str, permissions: u32) -> Result<()> {
        let data = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        let to = to.trim_start_matches('/');
        if let Some((dir, _)) = to.rsplit_once('/') {
            self.directory(dir);
        }
        self.entry(to, 0o100_000 | permissions, (0, 0), &data);
        Ok(())
    }

    /// With those above it, each once.
    fn directory(&mut self, path: &str) {
        if !self.directories.insert(path.to_owned()) {
            return;
        }
        if let Some((above, _)) = path.rsplit_once('/') {
            self.directory(above);
        }
        self.entry(path, 0o040_755, (0, 0), &[]);
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), data: &[u8]) {
        self.entries += 1;
        let size = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let name_size = u32::try_from(name.len() + 1).unwrap_or(u32::MAX);
        // Inode, mode, owner, group, links, time, size, its own device, the node's device, length of the name, no sum.
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name_size, 0];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ldd_says_becomes_paths() {
        let said = "\tlinux-vdso.so.1 (0x1)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x2)\n\t/lib64/ld.so.2 (0x3)\n";
        assert_eq!(paths_in(said), [PathBuf::from("/lib/x/libc.so.6"), "/lib64/ld.so.2".into()]);
        assert_eq!(paths_in("\tstatically linked\n"), [] as [PathBuf; 0]);
    }

    #[test]
    fn a_directory_stands_once_and_above_what_it_holds() {
        let mut archive = Archive::default();
        archive.directory("a");
        archive.file(Path::new("/dev/null"), "/a/b/c", 0o644).unwrap();
        let bytes = archive.finish();
        let names = ["a\0", "a/b\0", "a/b/c\0", "TRAILER!!!\0"];
        let at = names.map(|name| {
            // A header has 110 bytes, the name follows.
            bytes.windows(name.len()).position(|bytes| bytes == name.as_bytes()).unwrap()
        });
        assert!(at.is_sorted() && bytes.len().is_multiple_of(4), "{at:?}");
    }
}
