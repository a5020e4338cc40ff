//! What GPUs are to each other: NVLinks, nearness, P2P.

use nvml_wrapper::enum_wrappers::nv_link::ErrorCounter;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper_sys::bindings as sys;

use super::support::{field, handle, nvml, raw, with_scenario};

#[test]
fn links_are_read_by_call_and_by_field() {
    let scenario = "profile = 'h100'
        [[gpu]]
        index = 6
        nvlink.links.17 = { state = 'inactive', crc_flit_errors = 120 }
        nvlink.links.2 = { replay_errors = 5 }";
    with_scenario(scenario, || {
        use sys::field_id as id;
        let nvml = nvml().unwrap();
        let gpu = nvml.device_by_index(6).unwrap();
        assert!(!gpu.link_wrapper_for(17).is_active().unwrap());
        assert!(gpu.link_wrapper_for(16).is_active().unwrap());
        assert_eq!(gpu.link_wrapper_for(17).error_counter(ErrorCounter::DlCrcFlit).unwrap(), 120);
        assert!(matches!(gpu.link_wrapper_for(18).is_active(), Err(NvmlError::InvalidArg)));
        assert_eq!(gpu.link_wrapper_for(17).remote_pci_info().unwrap().bus_id, "00000000:08:00.0");
        let library = raw();
        let device = handle(&library, 6);
        let read = |number, scope| field(&library, device, number, scope);
        assert_eq!(read(id::NVML_FI_DEV_NVLINK_LINK_COUNT, 0), Ok(18));
        assert_eq!(read(id::NVML_FI_DEV_NVSWITCH_CONNECTED_LINK_COUNT, 0), Ok(17));
        assert_eq!(read(id::NVML_FI_DEV_NVLINK_GET_SPEED, 2), Ok(26_562));
        assert_eq!(read(id::NVML_FI_DEV_NVLINK_GET_SPEED, 17), Ok(0));
        assert_eq!(read(id::NVML_FI_DEV_NVLINK_ERROR_DL_CRC, 17), Ok(120));
        assert_eq!(read(id::NVML_FI_DEV_NVLINK_ERROR_DL_REPLAY, u32::MAX), Ok(5));
        assert_eq!(read(id::NVML_FI_DEV_NVLINK_ERROR_DL_REPLAY, 18), Err(2));
        assert_eq!(read(id::NVML_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_L2, 0), Ok(5));
        assert_eq!(read(id::NVML_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_L7, 0), Ok(0));
        assert_eq!(read(id::NVML_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL, 0), Ok(120));
    });
}

#[test]
fn two_gpus_are_as_near_as_their_paths_agree() {
    let scenario = "profile = 'h100'
        gpus = 5
        [[gpu]]
        index = 1
        topology = { path = ['0', '15', 'a', 'b'], p2p.read = 'topology_not_supported' }
        [[gpu]]
        index = 2
        topology.path = ['0', '15', 'a', 'c']
        [[gpu]]
        index = 3
        topology.path = ['0', '15', 'a', 'b']
        nvlink.links.5.counts = { symbol = 9, recoveries = 3, failed_recoveries = 1 }
        topology.c2c = { links = 2, max_bandwidth_mb_s = 44712 }";
    with_scenario(scenario, || {
        use sys::field_id as id;
        let library = raw();
        let gpu = |index| handle(&library, index);
        let level = |one, another| {
            let mut level = 99;
            // SAFETY: Handles of this library and a pointer to a live local.
            let status = unsafe {
                library.nvmlDeviceGetTopologyCommonAncestor(one, another, &raw mut level)
            };
            (status, level)
        };
        let levels: Vec<_> = (0..5).map(|other| level(gpu(1), gpu(other)).1).collect();
        assert_eq!(levels, [30, 10, 20, 10, 50]);
        assert_eq!(level(gpu(1), std::ptr::null_mut()).0, 2);
        let read = |one, another| {
            let mut status = 99;
            // SAFETY: As above.
            unsafe { library.nvmlDeviceGetP2PStatus(gpu(one), gpu(another), 0, &raw mut status) };
            status
        };
        assert_eq!((read(1, 2), read(2, 1), read(2, 3)), (3, 3, 0));
        let mut cpus = [9; 4];
        // SAFETY: As many words as the call is told of.
        assert_eq!(unsafe { library.nvmlDeviceGetCpuAffinity(gpu(4), 4, cpus.as_mut_ptr()) }, 0);
        assert_eq!(cpus, [0xff << 56, (1 << 48) - 1, 0xff_ffff << 40, 0xffff_ffff]);
        // SAFETY: As above.
        assert_eq!(unsafe { library.nvmlDeviceGetCpuAffinity(gpu(4), 1, cpus.as_mut_ptr()) }, 7);
        let of = |index, number, scope| field(&library, gpu(index), number, scope);
        assert_eq!(of(3, id::NVML_FI_DEV_NVLINK_COUNT_SYMBOL_ERRORS, 5), Ok(9));
        assert_eq!(of(3, id::NVML_FI_DEV_NVLINK_COUNT_LINK_RECOVERY_SUCCESSFUL_EVENTS, 5), Ok(2));
        assert_eq!(of(3, id::NVML_FI_DEV_NVLINK_COUNT_SYMBOL_ERRORS, 4), Err(3));
        assert_eq!(of(3, id::NVML_FI_DEV_C2C_LINK_GET_MAX_BW, 1), Ok(44_712));
        assert_eq!(of(3, id::NVML_FI_DEV_C2C_LINK_GET_MAX_BW, 2), Err(2));
        assert_eq!(of(4, id::NVML_FI_DEV_C2C_LINK_COUNT, 0), Err(3));
    });
}
