//! Debian's archive, asked by an apt of our own: all suites at once, and nothing installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::kernels::{KERNELS, Wanted};
use crate::arch::Arch;
use crate::{cmd, ui};

/// Debian's flavour for virtual machines: few drivers, the same core.
const FLAVOUR: &str = "cloud";

/// Signs Debian's archive; of the package debian-archive-keyring.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// An apt that knows all of Debian's suites and has nothing installed.
#[derive(Debug)]
pub(crate) struct Apt {
    options: Vec<String>,
    /// The kernels'; the tools that build for them are this machine's.
    arch: Arch,
}

impl Apt {
    /// One that knows the suites of all kernels.
    pub(crate) fn new(dir: &Path, arch: Arch) -> Result<Self> {
        let mut suites: Vec<_> = KERNELS.iter().flat_map(|kernel| kernel.suites).collect();
        suites.sort_unstable();
        suites.dedup();
        Self::of(dir, "deb", suites.into_iter().copied(), arch)
    }

    /// One that knows packages (`deb`) or their sources (`deb-src`) of these suites, and keeps what it knows in `dir`.
    pub(crate) fn of(
        dir: &Path,
        kind: &str,
        suites: impl Iterator<Item = &'static str>,
        arch: Arch,
    ) -> Result<Self> {
        let here = Arch::here()?;
        let configured = configured()?;
        let mirror = mirror(&configured).context(
            "this machine's apt has no mirror of Debian's (an address that ends in /debian) to get them from",
        )?;
        for place in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(dir.join(place))?;
        }
        let signed = if Path::new(KEYRING).is_file() { "[signed-by=KEYRING] " } else { "" };
        let signed = signed.replace("KEYRING", KEYRING);
        let sources = suites.map(|suite| format!("{kind} {signed}{mirror} {suite} main\n"));
        fs::write(dir.join("sources.list"), sources.collect::<Vec<_>>().concat())?;
        // Images want something that makes an initramfs, which would be half an operating system.
        let mut status = installed("none-needed", "all") + "Provides: linux-initramfs-tool\n\n";
        if arch != here {
            // And headers want a compiler that runs where the kernel does.
            for version in 10..20 {
                for name in [format!("gcc-{version}"), format!("gcc-{version}-for-host")] {
                    status += &installed(&name, arch.debian());
                    status.push('\n');
                }
            }
        }
        fs::write(dir.join("status"), status)?;
        let dir = dir.to_str().context("the path of the tools is not UTF-8")?;
        let options = [
            format!("Dir::Etc::SourceList={dir}/sources.list"),
            "Dir::Etc::SourceParts=-".to_owned(),
            format!("Dir::State={dir}"),
            format!("Dir::State::status={dir}/status"),
            format!("Dir::Cache={dir}/cache"),
            // Container images turn these off, and then each command reads all lists anew.
            "Dir::Cache::pkgcache=pkgcache.bin".to_owned(),
            "Dir::Cache::srcpkgcache=srcpkgcache.bin".to_owned(),
            "Acquire::GzipIndexes=false".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false".to_owned(),
            "Acquire::Retries=3".to_owned(),
            format!("APT::Architecture={}", here.debian()),
            format!("APT::Architectures::={}", here.debian()),
            format!("APT::Architectures::={}", arch.debian()),
            "APT::Install-Recommends=false".to_owned(),
            "APT::Keep-Downloaded-Packages=true".to_owned(),
            // Its user may not be able to reach our directory, and nothing here needs another.
            "APT::Sandbox::User=".to_owned(),
        ];
        let apt = Self { options: options.into(), arch };
        // A suite that is gone costs its kernel and no other.
        if let Err(error) =
            cmd::quiet(apt.command("apt-get").arg("update"), "reading Debian's package lists")
        {
            ui::line(format!("  going on with what was read: {error}"));
        }
        Ok(apt)
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        let mut cmd = Command::new(program);
        cmd.env("DEBIAN_FRONTEND", "noninteractive");
        cmd.args(self.options.iter().flat_map(|option| ["-o", option]));
        cmd
    }

    /// Downloads the newest release in the wanted suites, with what its headers need, and says which it is.
    pub(crate) fn get(&self, wanted: &Wanted) -> Result<String> {
        let release = self.find(wanted)?;
        self.download(&release)?;
        Ok(release)
    }

    fn find(&self, wanted: &Wanted) -> Result<String> {
        let package = format!("linux-headers-{FLAVOUR}-{0}:{0}", self.arch.debian());
        let table = cmd::output(self.command("apt-cache").args(["madison", &package]))?;
        let version = newest(&table, wanted.suites)
            .with_context(|| format!("no {package} in {}", wanted.suites.join(", ")))?;
        let about = self.about(&format!("{package}={version}"))?;
        release(&about).with_context(|| format!("{package} {version} names no release"))
    }

    fn about(&self, package: &str) -> Result<String> {
        cmd::output(self.command("apt-cache").args(["show", package]))
    }

    fn download(&self, release: &str) -> Result<()> {
        // Newer ones have the image itself in a package of its own, without the modules.
        let arch = self.arch.debian();
        let apart = format!("linux-binary-{release}:{arch}");
        let is_apart = cmd::succeeds(self.command("apt-cache").args(["show", &apart]));
        let image = if is_apart { apart } else { format!("linux-image-{release}:{arch}") };
        let mut get = self.command("apt-get");
        get.args([
            "install",
            "--yes",
            "--download-only",
            &image,
            &format!("linux-headers-{release}:{arch}"),
        ]);
        if self.arch != Arch::here()? {
            let about = self.about(&format!("linux-headers-{release}:{arch}"))?;
            let compiler =
                compiler(&about).with_context(|| format!("Linux {release} names no gcc"))?;
            get.arg(format!("{compiler}-{}", self.arch.gnu().replace('_', "-")));
        }
        get.args(["make", "busybox-static"]);
        cmd::quiet(&mut get, &format!("downloading Linux {release}"))
    }
}

/// A package as dpkg notes one that is installed, without an end.
fn installed(name: &str, arch: &str) -> String {
    format!(
        "Package: {name}\nStatus: install ok installed\nVersion: 99\nArchitecture: {arch}\nMulti-Arch: foreign\n\
         Maintainer: nobody\nDescription: not needed\n"
    )
}

/// The machine's own configuration of apt, in both of its formats.
fn configured() -> Result<String> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(parts) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(parts.flatten().map(|part| part.path()));
    }
    files.sort_unstable();
    let texts: Vec<_> = files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect();
    if texts.is_empty() {
        bail!("this machine has no apt, and what is needed of Debian's comes by it");
    }
    Ok(texts.join("\n"))
}

/// The first address of Debian's own archive.
fn mirror(configured: &str) -> Option<&str> {
    let lines = configured.lines().filter(|line| !line.trim_start().starts_with('#'));
    let mut words = lines.flat_map(str::split_whitespace);
    words.find(|word| word.contains("://") && word.trim_end_matches('/').ends_with("/debian"))
}

/// The highest version that `apt-cache madison`, which has the highest first, lists for one of the suites.
fn newest<'a>(table: &'a str, suites: &[&str]) -> Option<&'a str> {
    table.lines().find_map(|line| {
        let mut columns = line.split('|').map(str::trim).skip(1);
        let (version, source) = (columns.next()?, columns.next()?);
        let suite = source.split_whitespace().nth(1)?.strip_suffix("/main")?;
        suites.contains(&suite).then_some(version)
    })
}

/// The release that the package without a version depends on.
fn release(about: &str) -> Option<String> {
    let depends = about.lines().find_map(|line| line.strip_prefix("Depends: "))?;
    let mut packages = depends.split(',').filter_map(|one| one.split_whitespace().next());
    packages.find_map(|package| package.strip_prefix("linux-headers-").map(str::to_owned))
}

/// The compiler that a kernel's headers depend on: `gcc-12`, or `gcc-14-for-host`.
fn compiler(about: &str) -> Option<&str> {
    let depends = about.lines().find_map(|line| line.strip_prefix("Depends: "))?;
    let mut packages = depends.split(',').filter_map(|one| one.split_whitespace().next());
    let compiler = packages.find(|package| package.starts_with("gcc-"))?;
    Some(compiler.strip_suffix("-for-host").unwrap_or(compiler))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_archives_and_not_the_security_updates() {
        let both = "# http://old.example/debian\nURIs: http://a.example/debian-security\n\
                    deb [arch=amd64] https://b.example/pub/debian/ bookworm main\n";
        assert_eq!(mirror(both), Some("https://b.example/pub/debian/"));
        assert_eq!(mirror("deb http://a.example/ubuntu noble main"), None);
    }

    #[test]
    fn the_newest_of_the_wanted_suites_is_taken() {
        let table = "pkg | 7.3.4-1~bpo13+1 | http://m/debian trixie-backports/main amd64 Packages\n\
                     pkg | 7.2.13-1 | http://m/debian sid/main amd64 Packages\n\
                     pkg | 5.10.223-1 | http://m/debian bullseye/main amd64 Packages\n";
        assert_eq!(newest(table, &["sid", "trixie-backports"]), Some("7.3.4-1~bpo13+1"));
        assert_eq!(newest(table, &["bullseye"]), Some("5.10.223-1"));
        assert_eq!(newest(table, &["bookworm"]), None);
    }

    #[test]
    fn the_release_is_what_the_metapackage_depends_on() {
        let about = "Package: linux-headers-cloud-amd64\nDepends: linux-base-cloud-amd64 (= 7.3), \
                     linux-headers-7.3.4+deb13-cloud-amd64 (= 7.3)\n";
        assert_eq!(release(about).as_deref(), Some("7.3.4+deb13-cloud-amd64"));
    }

    #[test]
    fn the_compiler_is_what_the_headers_depend_on() {
        for (depends, wanted) in [
            ("linux-headers-6.1.0-50-common (= 6.1), gcc-12", Some("gcc-12")),
            ("gcc-14-for-host, linux-base (>= 4.12~)", Some("gcc-14")),
            ("linux-base", None),
        ] {
            assert_eq!(compiler(&format!("Package: a\nDepends: {depends}\n")), wanted);
        }
    }
}
