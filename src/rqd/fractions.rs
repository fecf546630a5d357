//! Learning that an agent takes whole cores only.

use tonic::Code;

use crate::units::Cores;

/// Whether a refusal may be for the fraction of a core in it. One kind of agent refuses every fraction
/// as an invalid argument; the other, with the code of all its refusals, only those of threadable
/// frames. Taking another refusal for this costs the rest of a core per frame, nothing else.
#[must_use]
pub const fn refuses_fractions(cores: Cores, is_threadable: bool, code: Code) -> bool {
    cores.is_fractional()
        && match code {
            Code::InvalidArgument => true,
            Code::Unknown => is_threadable,
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_for_the_fraction_counts() {
        assert!(refuses_fractions(Cores(50), false, Code::InvalidArgument));
        assert!(refuses_fractions(Cores(250), true, Code::Unknown));
        assert!(!refuses_fractions(Cores(50), false, Code::Unknown));
        assert!(!refuses_fractions(Cores(100), true, Code::InvalidArgument));
        assert!(!refuses_fractions(Cores(50), false, Code::Aborted));
    }
}
