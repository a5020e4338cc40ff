//! Error numbers of system calls, as a driver returns them.

pub const EIO: i32 = 5;
pub const ENXIO: i32 = 6;
pub const ENODEV: i32 = 19;

/// By number, in the order of the numbers: what the kernel's file layer and drivers return (`errno-base.h`, `errno.h`; the
/// same on x86-64 and arm64).
const NAMES: [(i32, &str); 33] = [
    (1, "EPERM"),
    (2, "ENOENT"),
    (4, "EINTR"),
    (EIO, "EIO"),
    (ENXIO, "ENXIO"),
    (7, "E2BIG"),
    (9, "EBADF"),
    (11, "EAGAIN"),
    (12, "ENOMEM"),
    (13, "EACCES"),
    (14, "EFAULT"),
    (16, "EBUSY"),
    (17, "EEXIST"),
    (ENODEV, "ENODEV"),
    (22, "EINVAL"),
    (23, "ENFILE"),
    (24, "EMFILE"),
    (25, "ENOTTY"),
    (27, "EFBIG"),
    (28, "ENOSPC"),
    (32, "EPIPE"),
    (34, "ERANGE"),
    (35, "EDEADLK"),
    (38, "ENOSYS"),
    (61, "ENODATA"),
    (62, "ETIME"),
    (71, "EPROTO"),
    (75, "EOVERFLOW"),
    (95, "EOPNOTSUPP"),
    (105, "ENOBUFS"),
    (110, "ETIMEDOUT"),
    (121, "EREMOTEIO"),
    (125, "ECANCELED"),
];

#[must_use]
pub fn name(errno: i32) -> Option<&'static str> {
    let at = NAMES.binary_search_by_key(&errno, |(number, _)| *number).ok()?;
    Some(NAMES[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_kernel() {
        assert!(NAMES.is_sorted_by_key(|(number, _)| *number));
        for (number, is) in [
            (libc::EIO, "EIO"),
            (libc::ENXIO, "ENXIO"),
            (libc::ENODEV, "ENODEV"),
            (libc::ENOTTY, "ENOTTY"),
            (libc::EOPNOTSUPP, "EOPNOTSUPP"),
            (libc::ETIMEDOUT, "ETIMEDOUT"),
            (libc::ECANCELED, "ECANCELED"),
        ] {
            assert_eq!(name(number), Some(is));
        }
        assert_eq!((name(0), name(512), name(-5)), (None, None, None));
    }
}
