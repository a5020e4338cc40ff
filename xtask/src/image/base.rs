//! A root filesystem of this machine's own distribution, from its own package sources: what glibc is taken from where no
//! registry has a base image. It is the distribution that the agent was linked on, so the agent finds the glibc it needs.
//!
//! It is kept in [`paths::tools`] under the version of the machine's glibc: made again when that has its next security fix.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::Buildah;
use crate::{cmd, paths, setup};

/// What the image is made of, and what the Containerfile does that with. All of them are in every base image of Debian's.
const PACKAGES: &str = "base-files,libc6,libgcc-s1,coreutils,dash,findutils";

/// Of Debian and of Ubuntu, in their two formats. Other files are other people's archives.
const SOURCES: [&str; 3] = [
    "/etc/apt/sources.list",
    "/etc/apt/sources.list.d/debian.sources",
    "/etc/apt/sources.list.d/ubuntu.sources",
];

/// The name of an image of it in the store of this buildah.
pub(super) fn image(buildah: &Buildah) -> Result<String> {
    const NAME: &str = "localhost/k8s-gpu-mcp-server-base";
    let root = root_filesystem()?;
    let dir = root.parent().context("a file is in a directory")?;
    let recipe = dir.join("Containerfile");
    let file = root.file_name().context("it has a name")?.display();
    fs::write(&recipe, format!("FROM scratch\nADD {file} /\n"))?;
    let mut build = buildah.command();
    build.args(["build", "--tag", NAME, "--file"]).arg(&recipe).arg(dir);
    cmd::quiet(&mut build, "importing the base of the image")?;
    Ok(NAME.to_owned())
}

fn root_filesystem() -> Result<PathBuf> {
    const NEEDS: &str = "the image's glibc comes from Debian's or Ubuntu's packages, and this machine has none: name an \
                         image to take it from (`--runtime-image`)";
    let release = fs::read_to_string("/etc/os-release").context(NEEDS)?;
    let suite =
        release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).context(NEEDS)?;
    let mut glibc = Command::new("dpkg-query");
    glibc.args(["--show", "--showformat=${Architecture}-${Version}", "libc6"]);
    let glibc = cmd::output(&mut glibc).context(NEEDS)?;
    let dir = paths::tools()?.join("image");
    let kept = dir.join(format!("{suite}-{glibc}.tar").replace(':', "_"));
    if kept.is_file() {
        return Ok(kept);
    }
    setup::mmdebstrap()?;
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let new = dir.join("new.tar");
    let mut make = Command::new("mmdebstrap");
    // Nothing of it is installed or run: the files are all.
    make.args(["--variant=extract", &format!("--include={PACKAGES}"), suite]).arg(&new);
    make.args(SOURCES.into_iter().filter(|file| names_an_archive(Path::new(file))));
    cmd::quiet(&mut make, "making the base of the image from the distribution's packages")?;
    fs::rename(&new, &kept)?;
    Ok(kept)
}

fn names_an_archive(file: &Path) -> bool {
    fs::read_to_string(file).is_ok_and(|text| {
        text.lines().any(|line| line.starts_with("deb ") || line.starts_with("URIs:"))
    })
}
