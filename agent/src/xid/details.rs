//! What a message says, decoded.

use super::{
    Aer, Containment, ContextSwitchTimeout, DoubleBit, EccResidual, GraphicsException,
    GspException, GspNotice, GspTimeout, InitFailure, NvLink5, NvLinkError, PageFault, PciAddress,
    RecoveryChange, Repair, SingleBit, Sxid, Text, Uncorrectable,
};

/// What the message of a fault says, as far as its wording is known. A message in words that are
/// not known has none, and stays readable in [`super::Fault::message`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Details<'a> {
    /// Nothing beyond the fault's own fields.
    None,
    /// Xid 13 and 69.
    Graphics(GraphicsException<'a>),
    /// Xid 31.
    PageFault(PageFault<'a>),
    /// Xid 48.
    DoubleBit(DoubleBit<'a>),
    /// Xid 63, 64, 156, 157, 160, 161, 177.
    Repair(Repair<'a>),
    /// Xid 74.
    NvLink(NvLinkError),
    /// Xid 92.
    SingleBit(SingleBit),
    /// Xid 94 and 95.
    Containment(Containment<'a>),
    /// Xid 109.
    ContextSwitchTimeout(ContextSwitchTimeout),
    /// Xid 119.
    GspTimeout(GspTimeout<'a>),
    /// Xid 120.
    GspException(GspException<'a>),
    /// Xid 140.
    EccResidual(EccResidual),
    /// Xid 144 to 150.
    NvLink5(NvLink5<'a>),
    /// Xid 154.
    Recovery(RecoveryChange<'a>),
    /// Xid 171 and 172.
    Uncorrectable(Uncorrectable<'a>),
    /// Of [`super::Kind::Sxid`].
    Sxid(Sxid),
    /// Of [`super::Kind::InitFailure`].
    Init(InitFailure),
    /// Of [`super::Kind::Gsp`].
    Gsp(GspNotice),
    /// Of [`super::Kind::Aer`].
    Aer(Aer<'a>),
}

/// One value of [`Details::fields`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A count or an index, which people read in decimal.
    Number(i64),
    /// A register, an address or an identifier, which people read in hexadecimal.
    Hex(u64),
    /// Yes or no.
    Flag(bool),
    /// A word of this project's.
    Word(&'static str),
    /// Words of the driver's.
    Text(Text<'a>),
    /// A device.
    Pci(PciAddress),
    /// Several registers, in the order printed.
    Words(Vec<u64>),
}
