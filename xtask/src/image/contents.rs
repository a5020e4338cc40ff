//! What is in the archive of an image, read from the archive itself: what is shown is what is shipped.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{cmd, ui};

/// Prints digest, sizes and every file. `layout` is a directory to unpack the archive in.
pub(super) fn show(archive: &Path, layout: &Path) -> Result<()> {
    if layout.exists() {
        fs::remove_dir_all(layout)?;
    }
    fs::create_dir_all(layout)?;
    cmd::output(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(layout))?;
    let index = json(&layout.join("index.json"))?;
    let digest = index["manifests"][0]["digest"].as_str().context("the archive has no manifest")?;
    let manifest = json(&blob(layout, digest))?;
    let (mut compressed, mut files) = (0, Vec::new());
    for layer in manifest["layers"].as_array().into_iter().flatten() {
        compressed += layer["size"].as_u64().context("a layer without a size")?;
        let layer = blob(layout, layer["digest"].as_str().context("a layer without a digest")?);
        let mut list = Command::new("tar");
        list.args(["-tv", "--numeric-owner", "-f"]).arg(layer);
        files.extend(cmd::output(&mut list)?.lines().filter_map(entry));
    }
    fs::remove_dir_all(layout)?;
    let unpacked = files.iter().map(|(size, _)| size).sum();

    ui::line(format!("built {}", archive.display()));
    ui::item("digest", digest);
    ui::item("compressed", format!("{}; {} as an archive", mb(compressed), mb(size(archive)?)));
    ui::item("unpacked", mb(unpacked));
    for (size, name) in &files {
        ui::line(format!("  {size:>9}  {name}"));
    }
    Ok(())
}

/// Size and name in a line of `tar -tv`; directories are nothing to show.
fn entry(line: &str) -> Option<(u64, String)> {
    let mut words = line.split_whitespace();
    let mode = words.next()?;
    let size = words.nth(1)?.parse().ok()?;
    let name: Vec<&str> = words.skip(2).collect();
    (!mode.starts_with('d')).then(|| (size, name.join(" ")))
}

fn blob(layout: &Path, digest: &str) -> std::path::PathBuf {
    layout.join("blobs").join(digest.replace(':', "/"))
}

fn json(file: &Path) -> Result<Value> {
    let open = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_reader(open).with_context(|| format!("{} is not JSON", file.display()))
}

fn size(file: &Path) -> Result<u64> {
    Ok(fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?.len())
}

#[expect(clippy::cast_precision_loss, reason = "two decimals are shown")]
fn mb(bytes: u64) -> String {
    format!("{:.2} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_links_are_listed_and_directories_are_not() {
        let link = "lrwxrwxrwx 0/0               0 2026-01-01 00:00 lib -> usr/lib";
        assert_eq!(entry(link), Some((0, "lib -> usr/lib".to_owned())));
        let file = "-rwxr-xr-x 0/0         7136008 2026-01-01 00:00 agent";
        assert_eq!(entry(file), Some((7_136_008, "agent".to_owned())));
        assert_eq!(entry("drwxr-xr-x 0/0               0 2026-01-01 00:00 usr/"), None);
    }
}
