//! Where in a call's parameters the command and the status stand, for who reads them beside the driver.
//!
//! An ioctl's third argument points at a struct in the caller's memory. The command in it is to be read when the call
//! begins; the status when it has come back and returned 0, as before that the driver need not have written it. Both are
//! a `u32`. A call that returned an error has its errno and no status: so a lost GPU, for which `nvidia0` answers EINVAL
//! without asking the resource manager.
//!
//! A request to `nvidia0` or `nvidiactl` has the struct's size in it, and the driver takes no other: `0xc020462a` is
//! escape 0x2a with 32 bytes. A table's key is such a request without the two bits that say which way is copied
//! ([`KEY`]). UVM's requests are plain numbers, from which nothing can be told of a struct that changed; so a row says from
//! which branch of the driver it holds, and [`of`] gives those that hold for a branch. 515 is the first that is public.
//! 550.40.07, a beta, still has UVM's structs of 545.
//!
//! # Through `NV_ESC_IOCTL_XFER_CMD`
//! Parameters for which a request has no room (its size has 14 bits) come in a wrapper of 16 bytes, key `0x001046d3`, which
//! the driver looks through: the escape is a `u32` at [`XFER_ESCAPE`], the size one at [`XFER_SIZE`], the address of the
//! struct a `u64` at [`XFER_POINTER`]. A reader does the same, once: with [`escape_key`] of the two it has the row, with the
//! pointer the struct. Any escape may come that way, whatever its size; a wrapper in a wrapper the driver refuses.
//!
//! All offsets are what a C compiler gives for NVIDIA's own headers of all 193 public releases from 515.43.04 to
//! 595.45.04, on a 64-bit machine: nvos.h, nv-ioctl.h, nv-unix-nvos-params-wrappers.h, nvi2c.h, uvm_ioctl.h.

/// The bits of a request that make a key.
pub const KEY: u32 = 0x3fff_ffff;

/// In `NV_ESC_IOCTL_XFER_CMD`: the escape.
pub const XFER_ESCAPE: u16 = 0;
/// In `NV_ESC_IOCTL_XFER_CMD`: the size of the parameters.
pub const XFER_SIZE: u16 = 4;
/// In `NV_ESC_IOCTL_XFER_CMD`: where they are.
pub const XFER_POINTER: u16 = 8;

/// Where a kind of request keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    /// The request, as [`KEY`] leaves it.
    pub key: u32,
    /// The first driver branch of which this holds (535), until a later row of the same key.
    pub since: u16,
    /// The byte at which the command begins: what [`Call::Ioctl`](super::Call::Ioctl) has as `command`.
    pub command: Option<u16>,
    /// The byte at which the status begins: an `NV_STATUS`.
    pub status: Option<u16>,
}

/// The rows that hold for a branch (the number before a release's first dot), one a key. Of a branch that is not known: the
/// rows that hold for all.
pub fn of(branch: Option<u16>) -> impl Iterator<Item = &'static Parameters> {
    PARAMETERS.iter().filter(move |row| {
        let mut rivals = PARAMETERS.iter().filter(|other| other.key == row.key && other != row);
        match branch {
            Some(branch) => {
                row.since <= branch
                    && !rivals.any(|other| row.since < other.since && other.since <= branch)
            }
            None => rivals.next().is_none(),
        }
    })
}

/// The key of an escape with so many bytes of parameters.
#[must_use]
pub const fn escape_key(nr: u8, size: u16) -> u32 {
    key(b'F', nr, size)
}

const fn key(kind: u8, nr: u8, size: u16) -> u32 {
    ((size as u32) << 16) | ((kind as u32) << 8) | (nr as u32)
}

/// An escape whose parameters end with a status and say nothing further.
const fn plain(nr: u8, size: u16, status: u16) -> Parameters {
    Parameters { key: escape_key(nr, size), since: 515, command: None, status: Some(status) }
}

/// An escape whose parameters say what it is about, too.
const fn said(nr: u8, size: u16, command: u16, status: u16) -> Parameters {
    Parameters { command: Some(command), ..plain(nr, size, status) }
}

/// A call of UVM's: its number, and its `rmStatus`.
const fn uvm(key: u32, status: u16) -> Parameters {
    Parameters { key, since: 515, command: None, status: Some(status) }
}

const fn since(branch: u16, row: Parameters) -> Parameters {
    Parameters { since: branch, ..row }
}

/// Every request whose parameters have something to read.
pub const PARAMETERS: &[Parameters] = &[
    // NV_ESC_RM_ALLOC_MEMORY: nv_ioctl_nvos02_parameters_with_fd
    said(0x27, 56, 12, 40),
    // NV_ESC_RM_ALLOC_OBJECT: NVOS05_PARAMETERS
    said(0x28, 20, 12, 16),
    // NV_ESC_RM_FREE: NVOS00_PARAMETERS
    plain(0x29, 16, 12),
    // NV_ESC_RM_CONTROL: NVOS54_PARAMETERS
    said(0x2a, 32, 8, 28),
    // NV_ESC_RM_ALLOC: NVOS21_PARAMETERS
    said(0x2b, 32, 12, 24),
    since(535, said(0x2b, 32, 12, 28)),
    // NV_ESC_RM_ALLOC: NVOS64_PARAMETERS
    said(0x2b, 40, 12, 32),
    since(525, said(0x2b, 40, 12, 36)),
    said(0x2b, 48, 12, 40),
    // NV_ESC_RM_DUP_OBJECT: NVOS55_PARAMETERS
    plain(0x34, 28, 24),
    // NV_ESC_RM_SHARE: NVOS57_PARAMETERS
    plain(0x35, 24, 20),
    // NV_ESC_RM_I2C_ACCESS: NVOS_I2C_ACCESS_PARAMS
    plain(0x39, 32, 24),
    // NV_ESC_RM_IDLE_CHANNELS: NVOS30_PARAMETERS
    plain(0x41, 56, 48),
    // NV_ESC_RM_VID_HEAP_CONTROL: NVOS32_PARAMETERS
    said(0x4a, 184, 8, 20),
    // NV_ESC_RM_ACCESS_REGISTRY: NVOS38_PARAMETERS
    plain(0x4d, 72, 64),
    // NV_ESC_RM_MAP_MEMORY: nv_ioctl_nvos33_parameters_with_fd
    plain(0x4e, 56, 40),
    // NV_ESC_RM_UNMAP_MEMORY: NVOS34_PARAMETERS
    plain(0x4f, 32, 24),
    // NV_ESC_RM_GET_EVENT_DATA: NVOS41_PARAMETERS
    plain(0x52, 16, 12),
    // NV_ESC_RM_ALLOC_CONTEXT_DMA2: NVOS39_PARAMETERS
    said(0x54, 56, 12, 48),
    // NV_ESC_RM_ADD_VBLANK_CALLBACK: NVOS61_PARAMETERS
    plain(0x56, 56, 52),
    // NV_ESC_RM_MAP_MEMORY_DMA: NVOS46_PARAMETERS
    plain(0x57, 56, 48),
    plain(0x57, 64, 56),
    // NV_ESC_RM_UNMAP_MEMORY_DMA: NVOS47_PARAMETERS
    plain(0x58, 40, 32),
    plain(0x58, 48, 40),
    // NV_ESC_RM_BIND_CONTEXT_DMA: NVOS49_PARAMETERS
    plain(0x59, 16, 12),
    // NV_ESC_RM_UPDATE_DEVICE_MAPPING_INFO: NVOS56_PARAMETERS
    plain(0x5e, 40, 32),
    // NV_ESC_RM_LOCKLESS_DIAGNOSTIC: NV_LOCKLESS_DIAGNOSTIC_PARAMS
    said(0x5f, 4024, 0, 4),
    said(0x5f, 15412, 0, 4),
    // NV_ESC_ALLOC_OS_EVENT: nv_ioctl_alloc_os_event_t
    plain(0xce, 16, 12),
    // NV_ESC_FREE_OS_EVENT: nv_ioctl_free_os_event_t
    plain(0xcf, 16, 12),
    // NV_ESC_STATUS_CODE: nv_ioctl_status_code_t
    plain(0xd1, 12, 8),
    // NV_ESC_QUERY_DEVICE_INTR: nv_ioctl_query_device_intr_t
    plain(0xd5, 8, 4),
    // NV_ESC_EXPORT_TO_DMABUF_FD: nv_ioctl_export_to_dma_buf_fd_t
    plain(0xd9, 2600, 2592),
    plain(0xd9, 2608, 2600),
    // NV_ESC_WAIT_OPEN_COMPLETE: nv_ioctl_wait_open_complete_t
    plain(0xda, 8, 4),
    // NV_ESC_IOCTL_XFER_CMD: nv_ioctl_xfer_t, for a reader that does not look through it
    Parameters { status: None, ..said(0xd3, 16, XFER_ESCAPE, 0) },
    // NVKMS_IOCTL_IOWR: NvKmsIoctlParams
    Parameters { key: key(b'm', 0, 16), since: 515, command: Some(0), status: None },
    uvm(23, 8),                // UVM_CREATE_RANGE_GROUP
    uvm(24, 8),                // UVM_DESTROY_RANGE_GROUP
    uvm(25, 28),               // UVM_REGISTER_GPU_VASPACE
    uvm(26, 16),               // UVM_UNREGISTER_GPU_VASPACE
    uvm(27, 48),               // UVM_REGISTER_CHANNEL
    uvm(28, 24),               // UVM_UNREGISTER_CHANNEL
    since(590, uvm(28, 8)),    // UVM_UNREGISTER_CHANNEL
    uvm(29, 32),               // UVM_ENABLE_PEER_ACCESS
    uvm(30, 32),               // UVM_DISABLE_PEER_ACCESS
    uvm(31, 24),               // UVM_SET_RANGE_GROUP
    uvm(33, 1196),             // UVM_MAP_EXTERNAL_ALLOCATION
    since(550, uvm(33, 9260)), // UVM_MAP_EXTERNAL_ALLOCATION
    uvm(34, 16),               // UVM_FREE
    since(590, uvm(34, 8)),    // UVM_FREE
    uvm(37, 36),               // UVM_REGISTER_GPU
    uvm(38, 16),               // UVM_UNREGISTER_GPU
    uvm(39, 4),                // UVM_PAGEABLE_MEM_ACCESS
    uvm(40, 264),              // UVM_PREVENT_MIGRATION_RANGE_GROUPS
    uvm(41, 264),              // UVM_ALLOW_MIGRATION_RANGE_GROUPS
    uvm(42, 32),               // UVM_SET_PREFERRED_LOCATION
    since(550, uvm(42, 36)),   // UVM_SET_PREFERRED_LOCATION
    uvm(43, 16),               // UVM_UNSET_PREFERRED_LOCATION
    uvm(44, 16),               // UVM_ENABLE_READ_DUPLICATION
    uvm(45, 16),               // UVM_DISABLE_READ_DUPLICATION
    uvm(46, 32),               // UVM_SET_ACCESSED_BY
    uvm(47, 32),               // UVM_UNSET_ACCESSED_BY
    uvm(51, 72),               // UVM_MIGRATE
    uvm(53, 24),               // UVM_MIGRATE_RANGE_GROUP
    uvm(54, 16),               // UVM_ENABLE_SYSTEM_WIDE_ATOMICS
    uvm(55, 16),               // UVM_DISABLE_SYSTEM_WIDE_ATOMICS
    uvm(56, 48),               // UVM_TOOLS_INIT_EVENT_TRACKER
    since(560, uvm(56, 52)),   // UVM_TOOLS_INIT_EVENT_TRACKER
    since(565, uvm(56, 48)),   // UVM_TOOLS_INIT_EVENT_TRACKER
    uvm(57, 4),                // UVM_TOOLS_SET_NOTIFICATION_THRESHOLD
    uvm(58, 8),                // UVM_TOOLS_EVENT_QUEUE_ENABLE_EVENTS
    uvm(59, 8),                // UVM_TOOLS_EVENT_QUEUE_DISABLE_EVENTS
    uvm(60, 8),                // UVM_TOOLS_ENABLE_COUNTERS
    uvm(61, 8),                // UVM_TOOLS_DISABLE_COUNTERS
    uvm(62, 32),               // UVM_TOOLS_READ_PROCESS_MEMORY
    uvm(63, 32),               // UVM_TOOLS_WRITE_PROCESS_MEMORY
    uvm(64, 12),               // UVM_TOOLS_GET_PROCESSOR_UUID_TABLE
    since(565, uvm(64, 8)),    // UVM_TOOLS_GET_PROCESSOR_UUID_TABLE
    uvm(65, 32),               // UVM_MAP_DYNAMIC_PARALLELISM_REGION
    uvm(66, 32),               // UVM_UNMAP_EXTERNAL
    uvm(67, 0),                // UVM_TOOLS_FLUSH_EVENTS
    uvm(68, 1176),             // UVM_ALLOC_SEMAPHORE_POOL
    since(550, uvm(68, 9240)), // UVM_ALLOC_SEMAPHORE_POOL
    uvm(69, 0),                // UVM_CLEAN_UP_ZOMBIE_RESOURCES
    uvm(70, 20),               // UVM_PAGEABLE_MEM_ACCESS_ON_GPU
    uvm(71, 20),               // UVM_POPULATE_PAGEABLE
    uvm(72, 16),               // UVM_VALIDATE_VA_RANGE
    uvm(73, 16),               // UVM_CREATE_EXTERNAL_RANGE
    uvm(74, 32),               // UVM_MAP_EXTERNAL_SPARSE
    uvm(75, 4),                // UVM_MM_INITIALIZE
    uvm(76, 48),               // UVM_TOOLS_INIT_EVENT_TRACKER_V2
    uvm(77, 8),                // UVM_TOOLS_GET_PROCESSOR_UUID_TABLE_V2
    uvm(78, 52),               // UVM_ALLOC_DEVICE_P2P
    uvm(79, 0),                // UVM_CLEAR_ALL_ACCESS_COUNTERS
    uvm(80, 24),               // UVM_DISCARD
    uvm(0x3000_0001, 8),       // UVM_INITIALIZE
];
