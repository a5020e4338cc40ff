//! Names against what public traces of real programs have, and the tables against themselves.

use super::{
    name::{CLASSES, CONTROLS, ESCAPES, UVM},
    parameters::{KEY, PARAMETERS, Parameters, escape_key, of},
    status::STATUSES,
    table::{entry, find},
    *,
};

#[track_caller]
fn check(device: Device, request: u32, command: u32, want: &str) {
    assert_eq!(Call::Ioctl { request, command }.name(device).to_string(), want);
}

/// Requests that CUDA, NCCL and nvidia-smi make: those in traces that others published (google/gvisor#9846,
/// NVIDIA/cuda-checkpoint#10, influxdata/telegraf#4388, dankamongmen/libcudest), and such as gVisor's driver proxy lets
/// through for them.
#[test]
fn requests_that_programs_make_have_names() {
    use Device::{Control, Gpu, Uvm};

    for (device, request, want) in [
        (Control, 0xc048_46d2, "NV_ESC_CHECK_VERSION_STR"),
        (Control, 0xc008_46d6, "NV_ESC_SYS_PARAMS"),
        (Control, 0xca00_46c8, "NV_ESC_CARD_INFO"),
        (Control, 0xc900_46c8, "NV_ESC_CARD_INFO"),
        (Control, 0xc004_46d4, "NV_ESC_ATTACH_GPUS_TO_FD"),
        (Control, 0xc020_462a, "NV_ESC_RM_CONTROL"),
        (Control, 0xc020_462b, "NV_ESC_RM_ALLOC"),
        (Control, 0xc030_462b, "NV_ESC_RM_ALLOC"),
        (Control, 0xc010_4629, "NV_ESC_RM_FREE"),
        (Control, 0xc048_464d, "NV_ESC_RM_ACCESS_REGISTRY"),
        (Control, 0xc038_464e, "NV_ESC_RM_MAP_MEMORY"),
        (Control, 0xc020_464f, "NV_ESC_RM_UNMAP_MEMORY"),
        (Control, 0xc028_465e, "NV_ESC_RM_UPDATE_DEVICE_MAPPING_INFO"),
        (Gpu(0), 0xc004_46c9, "NV_ESC_REGISTER_FD"),
        (Gpu(0), 0xc010_46ce, "NV_ESC_ALLOC_OS_EVENT"),
        (Gpu(0), 0xc010_46cf, "NV_ESC_FREE_OS_EVENT"),
        (Gpu(0), 0xc230_46d7, "NV_ESC_NUMA_INFO"),
        (Gpu(0), 0xc038_4627, "NV_ESC_RM_ALLOC_MEMORY"),
        (Uvm, 0x3000_0001, "UVM_INITIALIZE"),
        (Uvm, 0x3000_0002, "UVM_DEINITIALIZE"),
        (Uvm, 0x4b, "UVM_MM_INITIALIZE"),
        (Uvm, 0x25, "UVM_REGISTER_GPU"),
        (Uvm, 0x19, "UVM_REGISTER_GPU_VASPACE"),
        (Uvm, 0x1b, "UVM_REGISTER_CHANNEL"),
        (Uvm, 0x17, "UVM_CREATE_RANGE_GROUP"),
        (Uvm, 0x49, "UVM_CREATE_EXTERNAL_RANGE"),
        (Uvm, 0x21, "UVM_MAP_EXTERNAL_ALLOCATION"),
        (Uvm, 0x41, "UVM_MAP_DYNAMIC_PARALLELISM_REGION"),
        (Uvm, 0x44, "UVM_ALLOC_SEMAPHORE_POOL"),
        (Uvm, 0x27, "UVM_PAGEABLE_MEM_ACCESS"),
    ] {
        check(device, request, 0, want);
    }
}

#[test]
fn what_the_parameters_say_stands_behind_the_escape() {
    for (request, command, want) in [
        (0xc020_462a, 0x2080_0102, "NV_ESC_RM_CONTROL NV2080_CTRL_CMD_GPU_GET_INFO_V2"),
        (0xc020_462a, 0x2080_012f, "NV_ESC_RM_CONTROL NV2080_CTRL_CMD_GPU_QUERY_ECC_STATUS"),
        (0xc020_462a, 0x2080_122b, "NV_ESC_RM_CONTROL NV2080_CTRL_CMD_GR_GET_TPC_MASK"),
        (
            0xc020_462a,
            0x2080_0145,
            "NV_ESC_RM_CONTROL NV2080_CTRL_CMD_GPU_ACQUIRE_COMPUTE_MODE_RESERVATION",
        ),
        (0xc020_462a, 0x0000_0101, "NV_ESC_RM_CONTROL NV0000_CTRL_CMD_SYSTEM_GET_BUILD_VERSION"),
        (
            0xc020_462a,
            0xcb33_0101,
            "NV_ESC_RM_CONTROL NV_CONF_COMPUTE_CTRL_CMD_SYSTEM_GET_CAPABILITIES",
        ),
        (0xc020_462a, 0x906f_0101, "NV_ESC_RM_CONTROL NV906F_CTRL_GET_CLASS_ENGINEID"),
        (0xc020_462b, 0x41, "NV_ESC_RM_ALLOC NV01_ROOT_CLIENT"),
        (0xc030_462b, 0x2080, "NV_ESC_RM_ALLOC NV20_SUBDEVICE_0"),
        (0xc030_462b, 0xc7c0, "NV_ESC_RM_ALLOC AMPERE_COMPUTE_B"),
        (0xc030_462b, 0xc3c0, "NV_ESC_RM_ALLOC VOLTA_COMPUTE_A"),
        (0xc038_4627, 0x3e, "NV_ESC_RM_ALLOC_MEMORY NV01_MEMORY_SYSTEM"),
        (0xc0b8_464a, 2, "NV_ESC_RM_VID_HEAP_CONTROL NVOS32_FUNCTION_ALLOC_SIZE"),
        (0xc010_46d3, 0x2a, "NV_ESC_IOCTL_XFER_CMD NV_ESC_RM_CONTROL"),
        // An escape that says nothing further.
        (0xc010_4629, 7, "NV_ESC_RM_FREE"),
    ] {
        check(Device::Control, request, command, want);
    }
    check(Device::UvmTools, 0x38, 0, "UVM_TOOLS_INIT_EVENT_TRACKER");
    for (command, want) in [
        (0, "NVKMS_IOCTL_CMD"),
        (9, "NVKMS_IOCTL_SET_MODE"),
        (13, "NVKMS_IOCTL_CMD 13 (differs between releases)"),
        (u32::MAX, "NVKMS_IOCTL_CMD 4294967295 (differs between releases)"),
    ] {
        check(Device::Modeset, 0xc010_6d00, command, want);
    }
}

#[test]
fn what_is_in_no_table_is_a_number() {
    use Device::{Capability, Control, Modeset, Uvm, UvmTools};

    for (device, request, command, want) in [
        (Control, 0xc020_462a, 0x2080_ffee, "NV_ESC_RM_CONTROL 0x2080ffee (NV2080, in no table)"),
        (Control, 0xc020_462a, 7, "NV_ESC_RM_CONTROL 0x00000007 (NV0000, in no table)"),
        (Control, 0xc020_462a, u32::MAX, "NV_ESC_RM_CONTROL 0xffffffff (NVFFFF, in no table)"),
        (Control, 0xc030_462b, 0x1234, "NV_ESC_RM_ALLOC 0x1234 (in no table)"),
        (Control, 0xc0b8_464a, 99, "NV_ESC_RM_VID_HEAP_CONTROL 0x63 (in no table)"),
        (Control, 0xc010_46d3, 0, "NV_ESC_IOCTL_XFER_CMD"),
        (Control, 0xc010_46d3, 1, "NV_ESC_IOCTL_XFER_CMD 0x1 (in no table)"),
        // From a driver of 2010.
        (Control, 0xc00c_4622, 0, "ioctl 0xc00c4622"),
        // Another driver's, and one of a terminal.
        (Control, 0xc020_642a, 0, "ioctl 0xc020642a"),
        (Device::Gpu(0), 0x5401, 0, "ioctl 0x00005401"),
        (Uvm, 0xc020_462a, 0, "ioctl 0xc020462a"),
        (Uvm, 0, 0, "ioctl 0x00000000"),
        (UvmTools, u32::MAX, 0, "ioctl 0xffffffff"),
        (Modeset, 0xc010_6d01, 9, "ioctl 0xc0106d01"),
        (Capability(1), 0xc020_462a, 0, "ioctl 0xc020462a"),
    ] {
        check(device, request, command, want);
    }
}

#[test]
fn devices_and_files_have_names() {
    for (device, want) in [
        (Device::Gpu(7), "nvidia7"),
        (Device::Control, "nvidiactl"),
        (Device::Modeset, "nvidia-modeset"),
        (Device::Uvm, "nvidia-uvm"),
        (Device::UvmTools, "nvidia-uvm-tools"),
        (Device::Capability(12), "nvidia-caps/nvidia-cap12"),
    ] {
        assert_eq!(device.to_string(), want);
        assert_eq!(Call::Open.name(device).to_string(), "open");
        assert_eq!(Call::Close.name(device).to_string(), "close");
    }
}

/// The search relies on it: comments first, then lines of one form, by number, each found again.
#[test]
fn tables_are_sorted_and_every_line_is_found() {
    for (table, least) in
        [(CONTROLS, 1500), (CLASSES, 250), (ESCAPES, 40), (UVM, 70), (STATUSES, 150)]
    {
        assert!(table.is_ascii() && table.ends_with('\n'));
        let lines: Vec<_> = table.lines().skip_while(|line| line.starts_with('#')).collect();
        assert!(lines.len() >= least, "{}", lines.len());
        let mut last = None;
        for line in lines {
            let (number, name) = entry(line).unwrap_or_else(|| panic!("{line:?}"));
            assert_eq!(line, format!("{number:08x}\t{name}"));
            assert!(last < Some(number), "{line:?}");
            assert_eq!(find(table, number), Some(name));
            last = Some(number);
        }
        assert_eq!(find(table, u32::MAX), None);
    }
}

#[test]
fn statuses_have_names_and_a_weight() {
    for (code, want, serious) in [
        (0x00, Some("NV_OK"), false),
        (0x0b, Some("NV_ERR_ECC_ERROR"), true),
        (0x0f, Some("NV_ERR_GPU_IS_LOST"), true),
        (0x11, Some("NV_ERR_GPU_NOT_FULL_POWER"), false),
        (0x1b, Some("NV_ERR_INSUFFICIENT_PERMISSIONS"), false),
        (0x1f, Some("NV_ERR_INVALID_ARGUMENT"), false),
        (0x51, Some("NV_ERR_NO_MEMORY"), false),
        (0x56, Some("NV_ERR_NOT_SUPPORTED"), false),
        (0x57, Some("NV_ERR_OBJECT_NOT_FOUND"), false),
        (0x60, Some("NV_ERR_RC_ERROR"), true),
        (0x62, Some("NV_ERR_RESET_REQUIRED"), true),
        (0x65, Some("NV_ERR_TIMEOUT"), true),
        (0x66, Some("NV_ERR_TIMEOUT_RETRY"), false),
        (0x82, Some("NV_ERR_NVLINK_FABRIC_FAILURE"), true),
        (0xffff, Some("NV_ERR_GENERIC"), false),
        (0x1_0005, Some("NV_WARN_MORE_PROCESSING_REQUIRED"), false),
        (0xdead, None, false),
    ] {
        assert_eq!((status(code), is_serious(code)), (want, serious), "{code:#x}");
    }
}

/// Each name that stands behind a serious status in the source is the status's own.
#[test]
fn the_names_beside_serious_statuses_are_theirs() {
    let source = include_str!("status.rs");
    let mut seen = 0;
    for line in source.lines() {
        let Some((number, rest)) = line.split_once(" // ") else { continue };
        let digits = number.trim_start_matches([' ', '|']).trim_start_matches("0x");
        let Ok(code) = u32::from_str_radix(digits, 16) else { continue };
        let name = rest.split(':').next().unwrap_or_default();
        assert_eq!(status(code), Some(format!("NV_ERR_{name}")).as_deref(), "{line}");
        assert!(is_serious(code), "{line}");
        seen += 1;
    }
    assert_eq!(seen, (0..0x2_0000).filter(|&code| is_serious(code)).count());
}

#[test]
fn calls_that_wait_are_known() {
    for (call, want) in [
        (Call::Open, false),
        (Call::Ioctl { request: 51, command: 0 }, true),
        (Call::Ioctl { request: 37, command: 0 }, false),
        (Call::Ioctl { request: 0xc038_4641, command: 0 }, true),
        (Call::Ioctl { request: 0xc008_46da, command: 0 }, true),
        (Call::Ioctl { request: 0xc020_462a, command: 0x0080_1714 }, true),
        (Call::Ioctl { request: 0xc020_462a, command: 0x2080_0102 }, false),
        // A class with the number of such a command.
        (Call::Ioctl { request: 0xc030_462b, command: 0x0290 }, false),
    ] {
        assert_eq!(call.is_usually_long(), want, "{call:?}");
    }
}

/// What a reader finds for a request, by branch.
#[track_caller]
fn check_parameters(branch: Option<u16>, request: u32, want: Option<(Option<u16>, Option<u16>)>) {
    let found: Vec<_> = of(branch)
        .filter(|row| row.key == request & KEY)
        .map(|row| (row.command, row.status))
        .collect();
    assert_eq!(found, Vec::from_iter(want), "{request:#x} of {branch:?}");
}

#[test]
fn parameters_are_found_by_request_and_branch() {
    for (branch, request, want) in [
        (Some(595), 0xc020_462a, Some((Some(8), Some(28)))),
        (None, 0xc020_462a, Some((Some(8), Some(28)))),
        (Some(470), 0xc020_462a, None),
        (Some(595), 0xc020_462b, Some((Some(12), Some(28)))),
        (Some(535), 0xc020_462b, Some((Some(12), Some(28)))),
        (Some(530), 0xc020_462b, Some((Some(12), Some(24)))),
        (None, 0xc020_462b, None),
        (None, 0xc030_462b, Some((Some(12), Some(40)))),
        // A size that no driver takes.
        (Some(595), 0xc021_462a, None),
        (Some(580), 34, Some((None, Some(16)))),
        (Some(590), 34, Some((None, Some(8)))),
        (None, 34, None),
        (Some(555), 56, Some((None, Some(48)))),
        (Some(560), 56, Some((None, Some(52)))),
        (Some(570), 56, Some((None, Some(48)))),
        (None, 0x3000_0001, Some((None, Some(8)))),
        (None, 0xc010_6d00, Some((Some(0), None))),
        (None, 0xc010_46d3, Some((Some(0), None))),
    ] {
        check_parameters(branch, request, want);
    }
    assert_eq!(escape_key(0x2a, 32), 0xc020_462a & KEY);
}

/// A row tells of something that has a name, from within its struct, and once a branch.
#[test]
fn parameters_fit() {
    for &Parameters { key, since, command, status } in PARAMETERS {
        let name = |device| Call::Ioctl { request: key, command: 0 }.name(device).to_string();
        let size = key >> 16 & 0x3fff;
        let (device, room) = match key >> 8 & 0xff {
            0x46 => (Device::Control, size),
            0x6d => (Device::Modeset, size),
            _ => (Device::Uvm, 0x4000),
        };
        assert!(!name(device).starts_with("ioctl"), "{key:#x}");
        assert!(command.is_some() || status.is_some(), "{key:#x}");
        for at in [command, status].into_iter().flatten() {
            assert!(at % 4 == 0 && u32::from(at) + 4 <= room, "{key:#x}: {at}");
        }
        let rows = |branch| of(Some(branch)).filter(|row| row.key == key).count();
        assert_eq!((rows(since), rows(u16::MAX)), (1, 1), "{key:#x}");
    }
}
