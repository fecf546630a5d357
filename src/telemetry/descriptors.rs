//! Telling a shortage of file descriptors from other trouble.

use std::error::Error;
use std::io;

use nix::errno::Errno;

use super::causes;

macro_rules! with_remedy {
    ($what:literal) => {
        concat!(
            $what,
            "raise the limit of open files (ulimit -n; in a systemd unit LimitNOFILE), or see what holds them"
        )
    };
}

/// What to do about it.
pub(crate) const DESCRIPTORS_REMEDY: &str = with_remedy!("");
pub(crate) const NO_CONNECTIONS: &str =
    with_remedy!("no file descriptor is left for connections to database or hosts; ");
pub(super) const NO_PAGES: &str = with_remedy!("no file descriptor is left for these pages; ");

/// Whether an error says, or was caused by, that this process or this machine has no file descriptor left.
pub(crate) fn is_out_of_descriptors(error: &(dyn Error + 'static)) -> bool {
    let errnos = causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>()?.raw_os_error());
    errnos.map(Errno::from_raw).any(|errno| matches!(errno, Errno::EMFILE | Errno::ENFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] io::Error);

    #[test]
    fn a_shortage_is_found_however_deep_it_is() {
        for (errno, expected) in [(Errno::EMFILE, true), (Errno::ENFILE, true), (Errno::ECONNREFUSED, false)] {
            let error = io::Error::from_raw_os_error(errno as i32);
            assert_eq!(is_out_of_descriptors(&error), expected);
            assert_eq!(is_out_of_descriptors(&Outer(error)), expected);
        }
        assert!(!is_out_of_descriptors(&Outer(io::Error::other("no number"))));
    }
}
