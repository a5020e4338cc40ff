//! The driver's devices by their numbers: majors from `/proc/devices`, as the kernel gave them in this boot, and what a
//! number or a set of bits means.

use std::{fs, io, ops::RangeInclusive, path::Path};

use agent_ebpf::access::{Majors, held};

use crate::calls::Device;

/// No device has this major number.
const NONE: u32 = u32::MAX;
/// A file that is no device has the number 0, and there are 12 bits for a major.
const MAJORS: RangeInclusive<u32> = 1..=0xfff;

/// The driver's major numbers; `None` where the driver is not loaded.
pub fn read(proc_devices: &Path) -> io::Result<Option<Majors>> {
    Ok(parse(&fs::read_to_string(proc_devices)?))
}

fn parse(text: &str) -> Option<Majors> {
    let devices = text.lines().take_while(|line| !line.starts_with("Block devices"));
    let major = |names: &[&str]| {
        devices.clone().find_map(|line| {
            let (major, name) = line.trim().split_once(' ')?;
            let major = names.contains(&name.trim()).then(|| major.parse().ok())?;
            major.filter(|major| MAJORS.contains(major))
        })
    };
    // Its name was nvidia-frontend before driver 550, beside nvidia-nvswitch and others that nobody opens for work.
    let nvidia = major(&["nvidia", "nvidia-frontend"])?;
    let or_none = |names| major(names).unwrap_or(NONE);
    Some(Majors {
        nvidia,
        uvm: or_none(&["nvidia-uvm"]),
        caps: or_none(&["nvidia-caps"]),
        reserved: 0,
    })
}

/// What a device's number means.
#[must_use]
pub fn device(number: u32, majors: &Majors) -> Option<Device> {
    let (major, minor) = (number >> 20, number & 0x000f_ffff);
    match (major, minor) {
        (major, 255) if major == majors.nvidia => Some(Device::Control),
        (major, 254) if major == majors.nvidia => Some(Device::Modeset),
        (major, minor) if major == majors.nvidia => Some(Device::Gpu(minor)),
        (major, 0) if major == majors.uvm => Some(Device::Uvm),
        (major, _) if major == majors.uvm => Some(Device::UvmTools),
        (major, minor) if major == majors.caps => Some(Device::Capability(minor)),
        _ => None,
    }
}

/// The devices of a set of bits, see [`held`]. A bit that stands for several is none.
#[must_use]
pub fn devices(bits: u64) -> Vec<Device> {
    (0..held::LEN).filter(|bit| bits >> bit & 1 == 1).filter_map(of_bit).collect()
}

/// The device of a bit.
#[must_use]
pub fn of_bit(bit: u32) -> Option<Device> {
    match bit {
        0..held::GPUS => Some(Device::Gpu(bit)),
        held::CONTROL => Some(Device::Control),
        held::MODESET => Some(Device::Modeset),
        held::UVM => Some(Device::Uvm),
        held::UVM_TOOLS => Some(Device::UvmTools),
        _ => None,
    }
}

/// Whether a device is one of a set of bits, or one of several that a bit stands for.
#[must_use]
pub fn is_among(device: Device, bits: u64) -> bool {
    let bit = match device {
        Device::Gpu(minor) if minor < held::GPUS => minor,
        Device::Gpu(_) => held::OTHER,
        Device::Control => held::CONTROL,
        Device::Modeset => held::MODESET,
        Device::Uvm => held::UVM,
        Device::UvmTools => held::UVM_TOOLS,
        Device::Capability(_) => held::CAPABILITIES,
    };
    bits >> bit & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn majors_are_found_by_name_among_the_character_devices() {
        let all = |nvidia, uvm, caps| Some(Majors { nvidia, uvm, caps, reserved: 0 });
        for (text, expected) in [
            (
                "Character devices:\n  1 mem\n195 nvidia\n195 nvidiactl\n234 nvidia-nvlink\n235 nvidia-caps\n511 nvidia-uvm\n\nBlock devices:\n259 blkext\n",
                all(195, 511, 235),
            ),
            ("Character devices:\n195 nvidia-frontend\n510 nvidia-uvm\n", all(195, 510, NONE)),
            ("Character devices:\n  1 mem\n\nBlock devices:\n195 nvidia\n", None),
            ("Character devices:\n240 nvidia-uvm\n", None),
            ("Character devices:\n  0 nvidia\n4096 nvidia\n -1 nvidia\n", None),
            ("", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn numbers_and_bits_mean_devices() {
        let majors = Majors { nvidia: 195, uvm: 511, caps: 235, reserved: 0 };
        let of = |major: u32, minor| device(major << 20 | minor, &majors);
        assert_eq!(of(195, 7), Some(Device::Gpu(7)));
        assert_eq!(of(195, 255), Some(Device::Control));
        assert_eq!(of(195, 254), Some(Device::Modeset));
        assert_eq!(of(511, 0), Some(Device::Uvm));
        assert_eq!(of(511, 1), Some(Device::UvmTools));
        assert_eq!(of(235, 12), Some(Device::Capability(12)));
        assert_eq!(of(1, 3), None);
        let bits = 1 << 0 | 1 << 31 | 1 << held::CONTROL | 1 << held::CAPABILITIES;
        assert_eq!(devices(bits), [Device::Gpu(0), Device::Gpu(31), Device::Control]);
        assert!(
            (0..held::LEN)
                .filter_map(of_bit)
                .all(|device| is_among(device, bits) == devices(bits).contains(&device))
        );
        assert!(is_among(Device::Capability(12), bits) && !is_among(Device::Gpu(32), bits));
        assert!(is_among(Device::Gpu(40), 1 << held::OTHER));
    }
}
