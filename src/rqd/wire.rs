//! Answers on their way in, bounded before anybody decodes them.
//!
//! Nothing that listens on a host is trusted to be an agent. An answer is one message of at most
//! [`ANSWER_BYTES_MAX`] and an end; whatever comes beyond that breaks the call off, and with it the
//! connection, since whoever sends it need not care that we stopped listening. Large answers are taken
//! few at a time: of the others no more than [`WINDOW_BYTES`] each has left its host.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::future::{BoxFuture, FutureExt as _, TryFutureExt as _};
use hyper::body::{Body, Frame};
use prost::bytes::{Buf as _, Bytes};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;
use tonic::client::{Grpc, GrpcService};
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::http::{HeaderMap, Request as HttpRequest, Response as HttpResponse};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use tonic_prost::ProstEncoder;

use super::error::{ANSWER_BYTES_MAX, ANSWER_PIECES_MAX, AnswerFault};
use super::proto::rqd::RqdStaticReportStatusRequest;
use super::proto::rqd::rqd_interface_client::RqdInterfaceClient;
use super::report::{self, AgentReport};

/// A larger answer waits for its turn.
const LARGE_BYTES: usize = 256 << 10;
/// And so many have theirs at once, of all hosts.
pub(super) const LARGE_ANSWERS_MAX: usize = 8;
/// What a host may send of an answer that nobody has read on; the least that HTTP/2 knows.
pub(super) const WINDOW_BYTES: u32 = 65_535;
/// Before each message: whether it is compressed, and its length.
const HEADER_BYTES: usize = 5;
/// What the client would trip over: it takes the one to be well-formed, and a compressed answer for a
/// refusal.
const HEADERS_DROPPED: [&str; 2] = ["grpc-status-details-bin", "grpc-encoding"];

type BoxError = Box<dyn Error + Send + Sync>;

/// A connection on which answers are bounded.
#[derive(Clone)]
pub(super) struct Wire {
    pub(super) channel: Channel,
    /// Of large answers.
    pub(super) turns: Arc<Semaphore>,
}

impl Wire {
    /// The calls whose answers say nothing but that they were taken.
    pub(super) fn client(self) -> RqdInterfaceClient<Self> {
        RqdInterfaceClient::new(self).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// ReportStatus; `None` when the answer has no report in it.
    pub(super) async fn report_status(
        self,
        request: Request<RqdStaticReportStatusRequest>,
    ) -> Result<Response<Option<AgentReport>>, Status> {
        let path = PathAndQuery::from_static("/rqd.RqdInterface/ReportStatus");
        Grpc::new(self).max_decoding_message_size(ANSWER_BYTES_MAX).unary(request, path, ReportCodec).await
    }
}

impl GrpcService<tonic::body::Body> for Wire {
    type ResponseBody = Answer;
    type Error = tonic::transport::Error;
    type Future = BoxFuture<'static, Result<HttpResponse<Answer>, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        GrpcService::poll_ready(&mut self.channel, context)
    }

    fn call(&mut self, request: HttpRequest<tonic::body::Body>) -> Self::Future {
        let turns = Arc::clone(&self.turns);
        let answered = move |mut response: HttpResponse<tonic::body::Body>| {
            drop_headers(response.headers_mut());
            response.map(|body| Answer::new(body, turns))
        };
        GrpcService::call(&mut self.channel, request).map_ok(answered).boxed()
    }
}

fn drop_headers(headers: &mut HeaderMap) {
    for name in HEADERS_DROPPED {
        headers.remove(name);
    }
}

/// One answer as it comes in.
pub(super) struct Answer {
    body: tonic::body::Body,
    gauge: Gauge,
    turns: PollSemaphore,
    turn: Option<OwnedSemaphorePermit>,
    /// Read already, and not handed on before its turn.
    held: Option<Frame<Bytes>>,
}

impl Answer {
    fn new(body: tonic::body::Body, turns: Arc<Semaphore>) -> Self {
        Self { body, gauge: Gauge::default(), turns: PollSemaphore::new(turns), turn: None, held: None }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let answer = self.get_mut();
        let frame = match answer.held.take() {
            Some(frame) => frame,
            None => match ready!(Pin::new(&mut answer.body).poll_frame(context)) {
                Some(Ok(mut frame)) => {
                    if let Some(trailers) = frame.trailers_mut() {
                        drop_headers(trailers);
                    } else if let Some(piece) = frame.data_ref() {
                        answer.gauge.take(piece)?;
                    }
                    frame
                }
                Some(Err(status)) => return Poll::Ready(Some(Err(status.into()))),
                None => return Poll::Ready(None),
            },
        };
        if answer.gauge.announced > LARGE_BYTES && answer.turn.is_none() {
            let Poll::Ready(turn) = answer.turns.poll_acquire(context) else {
                answer.held = Some(frame);
                return Poll::Pending;
            };
            answer.turn = turn;
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

/// How much has come of an answer, and how much may. Pure.
#[derive(Debug, Default)]
struct Gauge {
    pieces: usize,
    header: [u8; HEADER_BYTES],
    header_bytes: usize,
    /// Bytes that the message is said to have; 0 before the header is there.
    announced: usize,
    /// Of these, not there yet.
    left: usize,
}

impl Gauge {
    fn take(&mut self, piece: &[u8]) -> Result<(), AnswerFault> {
        self.pieces += 1;
        if self.pieces > ANSWER_PIECES_MAX {
            return Err(AnswerFault::TooManyPieces);
        }
        let (of_header, of_message) = piece.split_at(piece.len().min(HEADER_BYTES - self.header_bytes));
        self.header[self.header_bytes..][..of_header.len()].copy_from_slice(of_header);
        self.header_bytes += of_header.len();
        if !of_header.is_empty() && self.header_bytes == HEADER_BYTES {
            let [_, length @ ..] = self.header;
            let bytes = u32::from_be_bytes(length) as usize;
            if bytes > ANSWER_BYTES_MAX {
                return Err(AnswerFault::TooLarge { bytes });
            }
            (self.announced, self.left) = (bytes, bytes);
        }
        self.left = self.left.checked_sub(of_message.len()).ok_or(AnswerFault::Endless)?;
        Ok(())
    }
}

/// Reads of a report what is needed.
struct ReportCodec;

impl Codec for ReportCodec {
    type Encode = RqdStaticReportStatusRequest;
    type Decode = Option<AgentReport>;
    type Encoder = ProstEncoder<RqdStaticReportStatusRequest>;
    type Decoder = Self;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Decoder for ReportCodec {
    type Item = Option<AgentReport>;
    type Error = Status;

    fn decode(&mut self, answer: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        let answer = answer.copy_to_bytes(answer.remaining());
        report::parse(&answer).map(Some).map_err(|fault| Status::from_error(Box::new(fault)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use futures::task::noop_waker_ref;

    use super::*;

    /// A message's header, and so many bytes of it.
    fn message(announced: usize, there: usize) -> Vec<u8> {
        let length = u32::try_from(announced).unwrap().to_be_bytes();
        [&[0][..], &length, &vec![7; there]].concat()
    }

    fn taken(pieces: &[&[u8]]) -> Result<(), AnswerFault> {
        let mut gauge = Gauge::default();
        pieces.iter().try_for_each(|piece| gauge.take(piece))
    }

    #[test]
    fn one_message_is_an_answer_however_it_is_cut() {
        let whole = message(300, 300);
        for size in [1, 2, 3, 4, 5, 6, 7, 304, 305] {
            assert_eq!(taken(&whole.chunks(size).collect::<Vec<_>>()), Ok(()), "{size}");
        }
        assert_eq!(taken(&[&message(0, 0), &[], &[]]), Ok(()));
        assert_eq!(taken(&[&message(ANSWER_BYTES_MAX, ANSWER_BYTES_MAX)]), Ok(()));
    }

    #[test]
    fn more_than_one_message_is_none() {
        let (first, next) = (message(3, 3), message(0, 0));
        assert_eq!(taken(&[&first, &next]), Err(AnswerFault::Endless));
        assert_eq!(taken(&[&first, &[0]]), Err(AnswerFault::Endless));
        assert_eq!(taken(&[&[&first[..], &next[..]].concat()]), Err(AnswerFault::Endless));
        assert_eq!(taken(&[&message(3, 4)]), Err(AnswerFault::Endless));
    }

    #[test]
    fn too_large_an_answer_is_known_by_its_first_bytes() {
        let bytes = 5 << 20;
        assert_eq!(taken(&[&message(bytes, 0)]), Err(AnswerFault::TooLarge { bytes }));
        let bytes = u32::MAX as usize;
        assert_eq!(taken(&[&[0], &[255; 3], &[255]]), Err(AnswerFault::TooLarge { bytes }));
    }

    #[test]
    fn an_answer_in_crumbs_has_an_end() {
        let mut gauge = Gauge::default();
        gauge.take(&message(ANSWER_BYTES_MAX, 0)).unwrap();
        for _ in 1..ANSWER_PIECES_MAX {
            gauge.take(&[0]).unwrap();
        }
        assert_eq!(gauge.take(&[0]), Err(AnswerFault::TooManyPieces));
    }

    /// Pieces that are all there.
    struct Pieces(VecDeque<Vec<u8>>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece.into()))))
        }
    }

    fn answer(bytes: usize, turns: &Arc<Semaphore>) -> Answer {
        let pieces = [message(bytes, 0), vec![7; bytes]];
        Answer::new(tonic::body::Body::new(Pieces(pieces.into())), Arc::clone(turns))
    }

    /// Pieces that can be had now.
    fn read(answer: &mut Answer) -> Poll<usize> {
        let mut context = Context::from_waker(noop_waker_ref());
        let mut pieces = 0;
        while let Some(frame) = ready!(Pin::new(&mut *answer).poll_frame(&mut context)) {
            frame.unwrap();
            pieces += 1;
        }
        Poll::Ready(pieces)
    }

    #[test]
    fn large_answers_wait_for_each_other_and_small_ones_for_nobody() {
        let turns = Arc::new(Semaphore::new(LARGE_ANSWERS_MAX));
        let mut reading: Vec<Answer> = (0..LARGE_ANSWERS_MAX).map(|_| answer(LARGE_BYTES + 1, &turns)).collect();
        for answer in &mut reading {
            assert_eq!(read(answer), Poll::Ready(2));
        }
        let mut waiting = answer(LARGE_BYTES + 1, &turns);
        assert_eq!((read(&mut waiting), read(&mut waiting)), (Poll::Pending, Poll::Pending));
        assert_eq!(read(&mut answer(LARGE_BYTES, &turns)), Poll::Ready(2));
        reading.pop();
        assert_eq!(read(&mut waiting), Poll::Ready(2));
    }
}
