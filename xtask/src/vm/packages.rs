//! Debian's kernels: the image to boot, and the headers and the compiler that the stand-in is built with.
//!
//! All suites are looked through by an apt of our own: its lists, its cache and its idea of what is installed (nothing)
//! lie in [`paths::tools`], so the machine's own apt is neither asked nor changed, and no right is needed. What it
//! downloads is unpacked there into one tree, in which the headers find everything at the places they name. That tree
//! is kept: a kernel that was had once is had without the network; `--refresh` throws it away.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, anyhow, bail};

use super::debian::Apt;
use super::kernels::Wanted;
use crate::arch::Arch;
use crate::{paths, ui};

/// A kernel that is here.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// `6.1.0-50-cloud-amd64`
    pub(crate) release: String,
    pub(crate) image: PathBuf,
}

/// What is no use here and takes most of the room.
const LEFT_OUT: &[&str] = &[
    "./usr/share/doc",
    "./usr/share/info",
    "./usr/share/locale",
    "./usr/share/man",
    "*/lib*san.a",
    "*/lto1",
    "*/lto-dump-*",
    "*.ko",
    "*.ko.xz",
];

/// The place of all this.
#[derive(Debug)]
pub(crate) struct Store {
    dir: PathBuf,
    pub(crate) arch: Arch,
}

impl Store {
    pub(crate) fn open(arch: Arch, refresh: bool) -> Result<Self> {
        let dir = paths::tools()?.join(match arch {
            Arch::Amd64 => "vm",
            Arch::Arm64 => "vm-arm64",
        });
        if refresh && dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
        }
        Ok(Self { dir, arch })
    }

    /// The tree with the compilers and the headers, in which the stand-in is built.
    pub(crate) fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// Sees to all of them; of each, where it is or why it is not had.
    pub(crate) fn ensure(&self, wanted: &[&Wanted]) -> Result<Vec<Result<Kernel>>> {
        let missing: Vec<_> = wanted.iter().filter(|wanted| self.had(wanted).is_none()).collect();
        let mut refused = BTreeMap::new();
        if !missing.is_empty() {
            let apt = Apt::new(&self.dir, self.arch).map_err(|why| format!("{why:#}"));
            let mut found = Vec::new();
            for wanted in missing {
                match apt.as_ref().map_err(|why| anyhow!("{why}")).and_then(|apt| apt.get(wanted)) {
                    Ok(release) => found.push((self.note(wanted), release)),
                    Err(why) => drop(refused.insert(wanted.name, why)),
                }
            }
            if !found.is_empty() {
                self.unpack_all()?;
            }
            // Only now: a run that was broken off in between starts over.
            for (note, release) in found {
                fs::write(note, release)?;
            }
        }
        let kernel = |wanted: &&Wanted| match refused.remove(wanted.name) {
            Some(why) => Err(why),
            None => self.had(wanted).context("its packages have no image where it should be"),
        };
        Ok(wanted.iter().map(kernel).collect())
    }

    /// A kernel that was unpacked before.
    fn had(&self, wanted: &Wanted) -> Option<Kernel> {
        let release = fs::read_to_string(self.note(wanted)).ok()?;
        let root = self.root();
        // Until Linux 6.16 of Debian's, and after.
        let places =
            [format!("boot/vmlinuz-{release}"), format!("usr/lib/modules/{release}/vmlinuz")];
        let image = places.iter().map(|place| root.join(place)).find(|image| image.is_file())?;
        Some(Kernel { release, image })
    }

    /// Where it is noted which release was had of a kernel.
    fn note(&self, wanted: &Wanted) -> PathBuf {
        self.dir.join(format!("had-{}", wanted.name))
    }

    /// Unpacks what was downloaded, and throws the packages away.
    fn unpack_all(&self) -> Result<()> {
        let root = self.root();
        // As base-files lays it out today. Where older packages name /lib, they mean the same.
        for dir in ["bin", "sbin", "lib", "lib64"] {
            fs::create_dir_all(root.join("usr").join(dir))?;
            link(&format!("usr/{dir}"), &root.join(dir))?;
        }
        for dir in ["dev", "proc", "tmp", "module", "usr/local/bin"] {
            fs::create_dir_all(root.join(dir))?;
        }
        link("busybox", &root.join("usr/bin/sh"))?;
        let archives = self.dir.join("cache/archives");
        let mut progress = ui::Progress::start("unpacking kernels, headers and compilers");
        for package in fs::read_dir(&archives)? {
            let package = package?.path();
            if package.extension().is_some_and(|extension| extension == "deb") {
                unpack(&package, &root)?;
                fs::remove_file(&package)?;
            }
            progress.tick();
        }
        progress.finish("done");
        // They are read again only where something is missing.
        fs::remove_dir_all(self.dir.join("lists"))?;
        fs::remove_dir_all(self.dir.join("cache"))?;
        Ok(())
    }
}

fn link(to: &str, at: &Path) -> Result<()> {
    if !at.is_symlink() {
        std::os::unix::fs::symlink(to, at)
            .with_context(|| format!("cannot make {}", at.display()))?;
    }
    Ok(())
}

fn unpack(package: &Path, root: &Path) -> Result<()> {
    let mut dpkg = Command::new("dpkg-deb");
    let mut dpkg = dpkg
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start dpkg-deb")?;
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--keep-directory-symlink", "--no-same-owner", "--directory"]).arg(root);
    tar.args(LEFT_OUT.iter().map(|pattern| format!("--exclude={pattern}")));
    tar.stdin(dpkg.stdout.take().context("dpkg-deb has no stdout")?);
    let unpacked = tar.status().context("cannot start tar")?;
    if !unpacked.success() || !dpkg.wait()?.success() {
        bail!("cannot unpack {}", package.display());
    }
    Ok(())
}
