//! What the boards say of themselves: healthy, sick, divided.

use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{
    Brand, EccCounter, MemoryError, TemperatureSensor, TemperatureThreshold,
};
use nvml_wrapper::enums::device::{DeviceArchitecture, UsedGpuMemory};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper_sys::bindings as sys;

use super::support::{field, handle, nvml, raw, shipped, with_file};

#[test]
fn a_healthy_node_is_inventoried() {
    with_file(&shipped("healthy.toml"), || {
        let nvml = nvml().unwrap();
        assert_eq!(nvml.sys_driver_version().unwrap(), "580.95.05");
        assert_eq!(nvml.sys_cuda_driver_version().unwrap(), 13_000);
        assert_eq!(nvml.device_count().unwrap(), 8);
        let buses = [0x1b, 0x43, 0x52, 0x61, 0x9d, 0xc3, 0xd1, 0xdf];
        for (index, bus) in (0..).zip(buses) {
            let gpu = nvml.device_by_index(index).unwrap();
            assert_eq!(gpu.index().unwrap(), index);
            assert_eq!(gpu.name().unwrap(), "NVIDIA H100 80GB HBM3");
            let uuid = gpu.uuid().unwrap();
            assert_eq!(uuid, format!("GPU-233010de-0000-4000-8000-{index:012x}"));
            assert_eq!(nvml.device_by_uuid(uuid).unwrap().index().unwrap(), index);
            let pci = gpu.pci_info().unwrap();
            assert_eq!((pci.bus, pci.device, pci.domain), (bus, 0, 0));
            assert_eq!(pci.bus_id, format!("00000000:{bus:02X}:00.0"));
            assert_eq!(
                (pci.pci_device_id, pci.pci_sub_system_id),
                (0x2330_10DE, Some(0x16C1_10DE))
            );
            assert_eq!(nvml.device_by_pci_bus_id(pci.bus_id).unwrap().index().unwrap(), index);
            assert_eq!(gpu.minor_number().unwrap(), index);
            assert_eq!(gpu.brand().unwrap(), Brand::Nvidia);
            assert_eq!(gpu.architecture().unwrap(), DeviceArchitecture::Hopper);
            let compute = gpu.cuda_compute_capability().unwrap();
            assert_eq!((compute.major, compute.minor), (9, 0));
            let memory = gpu.memory_info().unwrap();
            assert_eq!((memory.total >> 20, memory.used), (81_559, 0));
            assert_eq!(memory.free + memory.reserved, memory.total);
            assert_eq!(gpu.temperature(TemperatureSensor::Gpu).unwrap(), 29);
            assert_eq!(gpu.power_usage().unwrap(), 68_570);
            assert_eq!(gpu.enforced_power_limit().unwrap(), 700_000);
            assert_eq!(gpu.current_throttle_reasons().unwrap(), ThrottleReasons::GPU_IDLE);
            assert_eq!(
                (gpu.current_pcie_link_gen().unwrap(), gpu.current_pcie_link_width().unwrap()),
                (5, 16)
            );
            assert!(gpu.is_ecc_enabled().unwrap().currently_enabled);
            assert_eq!(gpu.running_compute_processes_count().unwrap(), 0);
            let links = (0..18).filter(|link| gpu.link_wrapper_for(*link).is_active().unwrap());
            assert_eq!(links.count(), 18);
        }
        assert!(matches!(nvml.device_by_index(8), Err(NvmlError::InvalidArg)));
    });
}

#[test]
fn what_this_board_has_not_is_not_supported() {
    with_file(&shipped("healthy.toml"), || {
        let nvml = nvml().unwrap();
        let gpu = nvml.device_by_index(0).unwrap();
        let slowdown = gpu.temperature_threshold(TemperatureThreshold::Slowdown);
        assert!(matches!(slowdown, Err(NvmlError::NotSupported)), "{slowdown:?}");
        let pages = gpu.are_pages_pending_retired();
        assert!(matches!(pages, Err(NvmlError::NotSupported)), "{pages:?}");
        assert!(matches!(gpu.numa_node_id(), Err(NvmlError::NotSupported)));
        assert!(matches!(gpu.fan_speed(0), Err(NvmlError::NotSupported)));
        let library = raw();
        let device = handle(&library, 0);
        let slowdown =
            field(&library, device, sys::field_id::NVML_FI_DEV_TEMPERATURE_SLOWDOWN_TLIMIT, 0);
        assert_eq!(slowdown, Ok(u64::from((-2_i32).cast_unsigned())));
    });
}

#[test]
fn of_eight_gpus_one_is_sick() {
    with_file(&shipped("one-sick-gpu.toml"), || {
        let nvml = nvml().unwrap();
        let library = raw();
        for index in 0..8 {
            let sick = index == 3;
            let gpu = nvml.device_by_index(index).unwrap();
            let errors =
                gpu.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile).unwrap();
            assert_eq!(errors, u64::from(sick), "GPU {index}");
            let device = handle(&library, index);
            let (mut correctable, mut uncorrectable, mut pending, mut failure) = (9, 9, 9, 9);
            // SAFETY: Four pointers to live locals.
            let status = unsafe {
                library.nvmlDeviceGetRemappedRows(
                    device,
                    &raw mut correctable,
                    &raw mut uncorrectable,
                    &raw mut pending,
                    &raw mut failure,
                )
            };
            assert_eq!(status, 0);
            let sick_number = u32::from(sick);
            assert_eq!(
                (correctable, uncorrectable, pending, failure),
                (0, sick_number, sick_number, 0)
            );
            let action =
                field(&library, device, sys::field_id::NVML_FI_DEV_GET_GPU_RECOVERY_ACTION, 0);
            assert_eq!(action, Ok(u64::from(sick)), "GPU {index}");
            // What all eight do is normal.
            assert_eq!(gpu.current_throttle_reasons().unwrap(), ThrottleReasons::SW_POWER_CAP);
            assert_eq!(gpu.utilization_rates().unwrap().gpu, 100);
            let processes = gpu.running_compute_processes().unwrap();
            assert_eq!(processes.len(), 1);
            assert_eq!(
                processes[0].used_gpu_memory,
                UsedGpuMemory::Used(gpu.memory_info().unwrap().used)
            );
            assert_eq!(nvml.sys_process_name(processes[0].pid, 64).unwrap(), "/usr/bin/python3");
        }
    });
}

#[test]
fn a_divided_gpu_has_a_list_of_its_own_for_each_instance() {
    with_file(&shipped("busy-node.toml"), || {
        let nvml = nvml().unwrap();
        let gpu = nvml.device_by_index(3).unwrap();
        assert!(gpu.mig_mode().unwrap().current == 1 && !gpu.mig_is_mig_device_handle().unwrap());
        let part = gpu.mig_device_by_index(1).unwrap();
        assert!(part.mig_is_mig_device_handle().unwrap());
        assert_eq!(part.uuid().unwrap(), "MIG-9c2d7e44-1b0f-5c8a-8f3e-6a7b8c9d0e1f");
        assert_eq!(part.mig_parent_device().unwrap().index().unwrap(), 3);
        assert_eq!(part.name().unwrap(), "NVIDIA H100 80GB HBM3 MIG 2g.20gb");
        assert!(matches!(part.serial(), Err(NvmlError::InvalidArg)));
        let attributes = part.attributes().unwrap();
        assert_eq!((attributes.multiprocessor_count, attributes.memory_size_mb), (32, 20096));
        assert!(matches!(gpu.attributes(), Err(NvmlError::NotSupported)));
        assert_eq!(gpu.mig_device_by_index(0).unwrap().memory_info().unwrap().used, 10 << 30);
        assert!(matches!(gpu.utilization_rates(), Err(NvmlError::NotSupported)));
        assert!(matches!(gpu.mig_device_by_index(2), Err(NvmlError::NotFound)));
        let listed = part.running_compute_processes().unwrap();
        assert_eq!((listed.len(), listed[0].pid), (1, 6301));
        assert_eq!((listed[0].gpu_instance_id, listed[0].compute_instance_id), (Some(2), Some(0)));
        assert_eq!(listed[0].used_gpu_memory, UsedGpuMemory::Unavailable);
        assert_eq!(gpu.running_compute_processes_count().unwrap(), 2);
        assert!(matches!(gpu.process_utilization_stats(None), Err(NvmlError::NotSupported)));
        let whole = nvml.device_by_index(0).unwrap();
        assert!(matches!(whole.mig_device_by_index(0), Err(NvmlError::NotFound)));
    });
}
