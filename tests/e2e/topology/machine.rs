//! Machines as the kernel lists their PCI devices, by `tests/topologies/` or by lines of its kind.

use std::{fs, os::unix::fs::symlink, path::Path};

use anyhow::{Context as _, Result};
use e2e::{Agent, repository, simulated};
use serde_json::Value;

use super::entry;

/// A machine of `tests/topologies/`: its devices as lines, and what the matrix has to be.
pub struct Machine {
    pub devices: String,
    heads: Vec<String>,
    rows: Vec<(String, Vec<String>)>,
}

impl Machine {
    pub fn named(name: &str) -> Result<Self> {
        let path = repository().join("tests/topologies").join(name).with_extension("txt");
        let text = fs::read_to_string(&path)?;
        let (devices, matrix) = text.split_once("---\n").context("no matrix")?;
        let words = |line: &str| line.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>();
        let mut lines = matrix.lines().map(words);
        let heads = lines.next().context("no heads")?.split_off(1);
        let rows = lines.map(|mut row| {
            let cells = row.split_off(1);
            (row.concat(), cells)
        });
        Ok(Self { devices: devices.to_owned(), heads, rows: rows.collect() })
    }

    /// The matrix of the answer is this machine's.
    pub fn check(&self, answer: &Value) -> Result<()> {
        let nics = answer["nics"].as_array().context("nics")?;
        assert_eq!(nics.len(), self.heads.iter().filter(|head| head.starts_with("NIC")).count());
        for (of, cells) in &self.rows {
            for (to, cell) in self.heads.iter().zip(cells).filter(|(to, _)| *to != of) {
                let entry = entry(answer, of, to)?;
                let told = entry["relation"].as_str().unwrap_or("?");
                assert_eq!(told, cell, "{of} to {to}: {entry}");
                assert_eq!(told == "?", entry["reason"].is_string(), "{entry}");
            }
        }
        Ok(())
    }
}

/// A session on a machine whose kernel lists these devices, with GPUs as the scenario says.
pub fn machine(devices: &str, scenario: &str) -> Result<(tempfile::TempDir, Agent)> {
    let dir = tempfile::tempdir()?;
    sysfs(dir.path(), devices)?;
    let path = dir.path().join("scenario.toml");
    fs::write(&path, scenario)?;
    let mut agent = Agent::spawn(
        simulated()
            .args(["--ebpf", "off"])
            .env("NVML_SIM_SCENARIO", &path)
            .env("AGENT_HOST_ROOT", dir.path()),
    )?;
    agent.initialize()?;
    Ok((dir, agent))
}

/// Makes below `root` what the kernel has in `/sys` of devices such as `tests/topologies/dgx-h100.txt` describes.
fn sysfs(root: &Path, devices: &str) -> Result<()> {
    let list = root.join("sys/bus/pci/devices");
    fs::create_dir_all(&list)?;
    for line in devices.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let mut word = || words.next();
        let (way, kind) = (word().context("way")?, word().context("kind")?);
        let numa = word().context("NUMA node")?;
        let whole = |name: &str| match name.len() {
            7 => format!("0000:{name}"),
            _ => name.to_owned(),
        };
        let mut names: Vec<String> = way.split('/').map(whole).collect();
        if names[0].contains('.') {
            names.insert(0, format!("pci{}", &names[0][..7]));
        }
        let mut at = "sys/devices".to_owned();
        for name in &names {
            at = format!("{at}/{name}");
            let folder = root.join(&at);
            if folder.exists() {
                continue;
            }
            fs::create_dir_all(&folder)?;
            if name.contains('.') {
                symlink(Path::new("../../../..").join(&at), list.join(name))?;
                for (file, text) in
                    [("class", "0x060400"), ("vendor", "0x1000"), ("numa_node", numa)]
                {
                    fs::write(folder.join(file), format!("{text}\n"))?;
                }
            }
        }
        let folder = root.join(&at);
        let (class, vendor) = match kind {
            "gpu" => ("0x030200", "0x10de"),
            "nvswitch" => ("0x068000", "0x10de"),
            "nic" | "vf" => ("0x020700", "0x15b3"),
            _ => ("0x010802", "0x144d"),
        };
        for (file, text) in [
            ("class", class),
            ("vendor", vendor),
            ("current_link_speed", "2.5 GT/s PCIe"),
            ("current_link_width", "16"),
            ("max_link_speed", "32.0 GT/s PCIe"),
            ("max_link_width", "16"),
        ] {
            fs::write(folder.join(file), format!("{text}\n"))?;
        }
        if kind == "vf" {
            symlink("../0000:18:00.0", folder.join("physfn"))?;
        }
        for (class, name) in [("infiniband", word()), ("net", word())] {
            if let Some(name) = name.filter(|name| *name != "-") {
                fs::create_dir_all(folder.join(class).join(name))?;
            }
        }
    }
    Ok(())
}
