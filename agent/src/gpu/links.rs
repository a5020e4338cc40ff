//! Which NVLinks a GPU has: the one walk over their numbers.
//!
//! Numbers may have holes: a link that a board has switched off for good is refused, and those behind it are there.

use nvml_wrapper::{Device, error::NvmlError};
use nvml_wrapper_sys::bindings::field_id::NVML_FI_DEV_NVLINK_LINK_COUNT;

use super::{
    raw::fields::{Field, field_value},
    reading::is_by_design,
    worker::Progress,
};

/// NVML's function that tells whether a link is up, which every driver has.
pub const STATE: &str = "nvmlDeviceGetNvLinkState";
/// NVML's way to the number of links, which drivers before 455 do not have.
pub const COUNT: &str = "nvmlDeviceGetFieldValues(91)";
/// More links than any board has.
pub const MOST: u32 = 128;

/// How many links the board has, those included that it has switched off.
pub fn count(d: &Device<'_>) -> Result<u32, NvmlError> {
    let field = Field { id: NVML_FI_DEV_NVLINK_LINK_COUNT, scope: 0 };
    let count = field_value(d, field)?.unsigned().unwrap_or(0);
    Ok(u32::try_from(count).unwrap_or(u32::MAX).min(MOST))
}

/// The links by number, and whether each is up. The error is that of the first that failed, or of the first at all where the
/// board answers for none.
pub fn states(
    d: &Device<'_>,
    progress: &Progress,
    count: Option<u32>,
) -> Result<Vec<(u32, bool)>, NvmlError> {
    walk(count, |link| progress.during(STATE, || d.link_wrapper_for(link).is_active()))
}

fn walk(
    count: Option<u32>,
    mut is_up: impl FnMut(u32) -> Result<bool, NvmlError>,
) -> Result<Vec<(u32, bool)>, NvmlError> {
    let (mut links, mut refused) = (Vec::new(), None);
    for link in 0..count.unwrap_or(MOST) {
        match is_up(link) {
            Ok(up) => links.push((link, up)),
            // Behind the last number that this NVML knows, unless it was told that there are more.
            Err(NvmlError::InvalidArg) if count.is_none() && link > 0 => break,
            Err(error) if is_by_design(&error) || matches!(error, NvmlError::InvalidArg) => {
                refused.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    match refused {
        Some(error) if links.is_empty() => Err(error),
        _ => Ok(links),
    }
}

/// `NVML_NVLINK_VERSION_*`, as `4.0`; the number where NVML has a newer one than is known here.
#[must_use]
pub fn version_name(number: u32) -> String {
    let known = ["1.0", "2.0", "2.2", "3.0", "3.1", "4.0", "5.0"];
    let at = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
    at.and_then(|at| known.get(at))
        .map_or_else(|| format!("NVML_NVLINK_VERSION {number}"), |name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A board's links: `+` is up, `-` down, `.` refused by design, `!` a failure; behind the last the number is invalid.
    fn walked(board: &str, count: Option<u32>) -> Result<Vec<(u32, bool)>, String> {
        let walked = walk(count, |link| match board.as_bytes().get(link as usize) {
            Some(b'+') => Ok(true),
            Some(b'-') => Ok(false),
            Some(b'.') => Err(NvmlError::NotSupported),
            Some(_) => Err(NvmlError::Unknown),
            None => Err(NvmlError::InvalidArg),
        });
        walked.map_err(|error| format!("{error:?}"))
    }

    #[test]
    fn a_hole_ends_no_walk() {
        let holes = vec![(1, true), (2, false), (4, true)];
        for count in [None, Some(5), Some(7), Some(u32::MAX >> 20)] {
            assert_eq!(walked(".+-.+", count), Ok(holes.clone()), "{count:?}");
        }
        assert_eq!(walked("++++", Some(2)), Ok(vec![(0, true), (1, true)]));
        assert_eq!(walked("", Some(0)), Ok(vec![]));
        assert_eq!(walked(&"+".repeat(300), None).map(|links| links.len()), Ok(MOST as usize));
        for count in [None, Some(4)] {
            assert_eq!(walked("....", count), Err("NotSupported".to_owned()), "{count:?}");
            assert_eq!(walked("+.!+", count), Err("Unknown".to_owned()), "{count:?}");
        }
    }

    #[test]
    fn a_version_that_is_not_known_is_told_by_its_number() {
        for (number, name) in [(1, "1.0"), (6, "4.0"), (7, "5.0"), (0, "NVML_NVLINK_VERSION 0")] {
            assert_eq!(version_name(number), name);
        }
        assert_eq!(version_name(8), "NVML_NVLINK_VERSION 8");
    }
}
