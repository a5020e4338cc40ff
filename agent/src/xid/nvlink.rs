//! Xid 74: NVLink up to the fourth generation. The fifth has Xids 144 to 150: see `nvlink5`.

use super::text::{Reader, find};

/// `NVLink: fatal error detected on link 14(0x0, 0x0, 0x10000, 0x0, 0x0, 0x0, 0x0)`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NvLinkError {
    /// The link's number on this GPU.
    pub link: u32,
    /// Whether the driver calls it fatal.
    pub fatal: bool,
    /// The seven error status registers in the order printed (NVIDIA's WORKFLOW_NVLINK_ERR reads their bits); `None`
    /// where the line was cut.
    pub registers: Option<[u32; 7]>,
}

pub(super) fn error(message: &[u8]) -> Option<NvLinkError> {
    let at = find(message, b"detected on link ")?;
    let mut reader = Reader::new(&message[at + 17..]);
    let link = reader.decimal()?;
    reader.spaces();
    Some(NvLinkError {
        link,
        fatal: find(&message[..at], b"fatal").is_some(),
        registers: registers(reader),
    })
}

fn registers(mut reader: Reader<'_>) -> Option<[u32; 7]> {
    reader.expect(b"(")?;
    let mut registers = [0; 7];
    for (index, register) in registers.iter_mut().enumerate() {
        if index > 0 {
            reader.expect(b",")?;
        }
        reader.spaces();
        *register = reader.hex32()?;
    }
    Some(registers)
}
