//! Learning that an agent takes whole cores only.

use tonic::Code;

use crate::model::Fractions;
use crate::units::Cores;

/// What a refusal may say of the fractions that the agent takes; `None`: it is about something else. One
/// kind of agent refuses every fraction as an invalid argument; the other, with the code of all its
/// refusals, only those of threadable frames. Taking another refusal for this costs the rest of a core per
/// frame on that host, nothing else.
pub(crate) const fn refused_fractions(cores: Cores, is_threadable: bool, code: Code) -> Option<Fractions> {
    if !cores.is_fractional() {
        return None;
    }
    match code {
        Code::InvalidArgument => Some(Fractions::None),
        Code::Unknown if is_threadable => Some(Fractions::SingleThreaded),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_for_the_fraction_counts() {
        let cases = [
            (50, false, Code::InvalidArgument, Some(Fractions::None)),
            (250, true, Code::InvalidArgument, Some(Fractions::None)),
            (250, true, Code::Unknown, Some(Fractions::SingleThreaded)),
            (50, false, Code::Unknown, None),
            (100, true, Code::InvalidArgument, None),
            (50, false, Code::Aborted, None),
        ];
        for (cores, is_threadable, code, expected) in cases {
            assert_eq!(
                refused_fractions(Cores(cores), is_threadable, code),
                expected,
                "{cores} {is_threadable} {code:?}"
            );
        }
    }
}
