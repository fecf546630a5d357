//! What can go wrong between us and an agent.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tonic::{Code, Status};

use crate::telemetry::{DESCRIPTORS_REMEDY, causes};

/// A report lists every process of every frame; of a big host that is some hundred KiB.
pub(super) const ANSWER_BYTES_MAX: usize = 4 << 20;
/// What is sent piece by piece costs time per piece. A network's smallest usual packets make some 3,000 of
/// the largest answer.
pub(super) const ANSWER_PIECES_MAX: usize = 8_192;
/// No host runs so many frames: a frame takes cores and memory.
pub(super) const REPORTED_FRAMES_MAX: usize = 10_000;

/// Cheap to clone, since calls that wait for one connection share its failure.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AgentError {
    #[error(
        "host name {host:?} does not resolve; give the host a name in DNS or in /etc/hosts, or correct host.str_name"
    )]
    NameUnknown { host: String, source: Arc<io::Error> },
    #[error("cannot connect to the agent of {host} at {address}")]
    Connect {
        host: String,
        /// Address and port that were dialled.
        address: String,
        source: Arc<io::Error>,
    },
    #[error("no connection to the agent of {host} within {limit:?}")]
    ConnectTimeout { host: String, limit: Duration },
    /// Our own lack, which says nothing about the host.
    #[error("no file descriptor left to connect to the agent of {host}; {DESCRIPTORS_REMEDY}")]
    OutOfSockets { host: String, source: Arc<io::Error> },
    /// Its frames would run on the wrong machine.
    #[error(
        "the agent that answers under the name of {host} is that of {reported}; look at the addresses of both names"
    )]
    AnotherHost { host: String, reported: String },
    /// Our own lack, as above.
    #[error("the agent of {host} reports as {reported}, and whether that is another host cannot be looked up now")]
    NotIdentified { host: String, reported: String },
    #[error("no answer from the agent of {host} within {limit:?}")]
    NoAnswer { host: String, limit: Duration },
    #[error("the connection to the agent of {host} broke before it answered")]
    Broken { host: String, source: Arc<Status> },
    #[error("the agent of {host} answers {code:?}: {message}")]
    Answered { host: String, code: Code, message: String },
    #[error("the agent of {host} answers with an empty report")]
    EmptyReport { host: String },
    /// Answered, as no agent does. What became of the call is not known.
    #[error("what answers as the agent of {host} is none, or out of order; look what listens there")]
    Unfit {
        host: String,
        #[source]
        fault: AnswerFault,
    },
}

/// What is wrong with an answer that is not read to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerFault {
    #[error("its answer has {bytes} bytes, and {ANSWER_BYTES_MAX} at most are read")]
    TooLarge { bytes: usize },
    #[error("it goes on sending after its answer")]
    Endless,
    #[error("its answer comes in more than {ANSWER_PIECES_MAX} pieces")]
    TooManyPieces,
    #[error("it says that it runs {frames} frames, and {REPORTED_FRAMES_MAX} at most are believed")]
    TooManyFrames { frames: usize },
    #[error("its report cannot be read")]
    Unreadable(#[from] prost::DecodeError),
}

impl AgentError {
    /// Whether the host, its name or its network is at fault, as far as can be told from here.
    pub const fn blames_host(&self) -> bool {
        !matches!(self, Self::OutOfSockets { .. } | Self::NotIdentified { .. })
    }

    /// Whether something answered that is no sound agent: asked again at once it would do the same.
    pub const fn is_unfit(&self) -> bool {
        matches!(self, Self::Unfit { .. })
    }
}

/// How a call ended that brought no message back. What was not answered may have been received,
/// so only the first kind and an answer allow to act as if nothing had happened on the host.
#[derive(Debug)]
pub(super) enum CallError {
    /// Not a byte of the call was written.
    NotSent(AgentError),
    /// Written, perhaps in part, and no answer came back, or none that can be believed.
    Unanswered(AgentError),
    /// The agent itself answered with a status other than OK.
    Answered { code: Code, message: String },
}

impl CallError {
    /// Tells what the agent said from what our own end of the connection made up: the former comes
    /// out of the answer's headers and has no cause, the latter always carries one. The codes do not
    /// tell: a broken connection can come out as UNKNOWN, which is also how agents refuse.
    pub(super) fn of(host: &str, status: Status) -> Self {
        if status.source().is_none() {
            return Self::Answered { code: status.code(), message: status.message().to_owned() };
        }
        if let Some(fault) = causes(&status).find_map(|cause| cause.downcast_ref::<AnswerFault>()) {
            return Self::Unanswered(AgentError::Unfit { host: host.to_owned(), fault: fault.clone() });
        }
        let was_connected = !causes(&status).any(<dyn Error>::is::<tonic::ConnectError>);
        let error = AgentError::Broken { host: host.to_owned(), source: Arc::new(status) };
        if was_connected { Self::Unanswered(error) } else { Self::NotSent(error) }
    }

    pub(super) fn into_error(self, host: &str) -> AgentError {
        match self {
            Self::NotSent(error) | Self::Unanswered(error) => error,
            Self::Answered { code, message } => AgentError::Answered { host: host.to_owned(), code, message },
        }
    }
}
