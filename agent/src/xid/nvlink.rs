//! Xid 74: NVLink up to the fourth generation. The fifth has Xids 144 to 150: see
//! [`super::nvlink5`].

use super::catalogue::rows;
use super::reader::{Reader, find};

/// `NVLink: fatal error detected on link 14(0x0, 0x0, 0x10000, 0x0, 0x0, 0x0, 0x0)`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NvLinkError {
    /// The link's number on this GPU.
    pub link: u32,
    /// Whether the driver calls it fatal.
    pub fatal: bool,
    /// The seven error status registers in the order printed; `None` where the line was cut.
    pub registers: Option<[u32; 7]>,
}

/// One set bit of an Xid 74's registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterBit {
    /// Register, 1 to 7 in the order printed.
    pub register: u32,
    /// Bit, 0 is the lowest.
    pub bit: u32,
    /// What it stands for.
    pub class: BitClass,
}

macro_rules! bit_classes {
    ($($variant:ident = $name:literal, $plain:literal;)*) => {
        /// What a set bit stands for and asks for, by NVIDIA's WORKFLOW_NVLINK_ERR. Ordered by how
        /// much it asks for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum BitClass {
            $(#[doc = concat!("`", $name, "`: ", $plain)] $variant,)*
        }

        impl BitClass {
            /// Its name in the data file and in answers.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it means, in a sentence for the operator.
            #[must_use]
            pub fn plain(self) -> &'static str {
                match self { $(Self::$variant => $plain,)* }
            }

            pub(super) fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

bit_classes! {
    None = "none",
        "Needs nothing.";
    Threshold = "threshold",
        "Many corrected errors; work goes on.";
    Secondary = "secondary",
        "Follows another error: look for that, and report this one if there is none.";
    Repeated = "repeated",
        "Report it if it comes again.";
    RepeatedDiag = "repeated-diag",
        "Run field diagnostics and report it if it comes again.";
    Ecc = "ecc",
        "Likely hardware (ECC or parity): report it from the third time on the same link.";
    Signal = "signal",
        "Marginal signal: check the link's connections, then run field diagnostics.";
    Mechanical = "mechanical",
        "Possibly hardware: check the link's connections and seating, then run diagnostics.";
    Report = "report",
        "Not expected to be seen: report it.";
}

impl NvLinkError {
    /// The set bits and what they stand for. The table is Hopper's: on other architectures the bits
    /// mean other things.
    pub fn hopper_bits(&self) -> impl Iterator<Item = RegisterBit> {
        let registers = self.registers.unwrap_or([0; 7]);
        (1_u32..).zip(registers).flat_map(|(register, value)| {
            (0..32).filter(move |bit| value >> bit & 1 == 1).map(move |bit| RegisterBit {
                register,
                bit,
                class: class(register, bit),
            })
        })
    }
}

/// Read anew each time: a dozen short lines, and a link fails rarely.
fn class(register: u32, bit: u32) -> BitClass {
    rows(include_str!("../../data/nvlink.tsv"))
        .find_map(|mut fields| {
            let listed: u32 = fields.next()?.parse().ok()?;
            let has = fields.next()?.split(',').any(|number| number.parse() == Ok(bit));
            let class = BitClass::from_name(fields.next()?)?;
            (listed == register && has).then_some(class)
        })
        .unwrap_or(BitClass::Report)
}

pub(super) fn error(message: &[u8]) -> Option<NvLinkError> {
    let at = find(message, b"detected on link ")?;
    let mut reader = Reader::new(&message[at + 17..]);
    let link = reader.decimal()?;
    reader.spaces();
    let head = &message[..at];
    let fatal = find(head, b"fatal").is_some() && find(head, b"non").is_none();
    Some(NvLinkError { link, fatal, registers: registers(reader) })
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
