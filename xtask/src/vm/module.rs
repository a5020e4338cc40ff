//! Builds the stand-in for the driver (`tests/vm/module/`) for a kernel, with the compiler that the kernel was built with.
//!
//! Headers name absolute paths, their tools want their distribution's libc, and each kernel its own gcc: all of that is
//! in the store's tree, which therefore is the root of the build.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::packages::{Kernel, Store};
use crate::arch::Arch;
use crate::setup::is_root;
use crate::{cmd, paths};

/// $0 is the tree, $1 the release, $2 Debian's name of its architecture, $3 the prefix of a compiler for that, if it is another
/// than this machine's. Each kernel's headers name the version of the compiler. Only this process and its children see the mounts.
const BUILD: &str = r#"
set -eu
mount --rbind /dev "$0/dev"
mount --rbind /proc "$0/proc"
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin chroot "$0" /usr/bin/busybox sh -euc '
    /usr/bin/busybox --install -s /usr/local/bin
    # Else the old ones ask dpkg, which is not there, whether they are being cross-compiled.
    exec make -C "/lib/modules/$0/build" M="/module/$0" \
        DEB_BUILD_ARCH=amd64 DEB_HOST_ARCH="$1" DEB_HOST_GNU_TYPE="${2%-}" CROSS_COMPILE="$2" modules
' "$1" "$2" "$3"
"#;

/// The built module. It is built again only where its sources have changed.
pub(crate) fn build(store: &Store, kernel: &Kernel) -> Result<PathBuf> {
    let root = store.root();
    let release = &kernel.release;
    let place = root.join("module").join(release);
    let module = place.join("nvidia.ko");
    let mut sources = Vec::new();
    for source in fs::read_dir(paths::root().join("tests/vm/module"))? {
        let source = source?;
        sources.push((source.file_name(), fs::read(source.path())?));
    }
    sources.sort_unstable();
    let same =
        |(name, text): &(_, Vec<u8>)| fs::read(place.join(name)).is_ok_and(|old| old == *text);
    if module.is_file() && sources.iter().all(same) {
        return Ok(module);
    }
    if place.exists() {
        fs::remove_dir_all(&place)?;
    }
    fs::create_dir_all(&place)?;
    for (name, text) in &sources {
        fs::write(place.join(name), text)?;
    }
    let prefix = match store.arch {
        Arch::Amd64 => String::new(),
        Arch::Arm64 => format!("{}-", store.arch.gnu()),
    };
    let mut unshare = Command::new("unshare");
    unshare.arg("--mount");
    if !is_root() {
        unshare.arg("--map-root-user");
    }
    unshare.args(["sh", "-c", BUILD]).arg(root).args([release, store.arch.debian(), &prefix]);
    cmd::quiet(&mut unshare, &format!("building the stand-in for {release}"))
        .with_context(|| format!("the stand-in does not build for {release}"))?;
    Ok(module)
}
