//! Bodies of outbound requests and answers, with what bounds them.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

use super::Refusal;

/// The body of an answer.
pub type ResponseBody = UnsyncBoxBody<Bytes, Refusal>;

/// An error of any kind.
type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a guest's request. When its length was announced, it keeps to it: more or less would be read as another request.
pub struct Upload<B> {
    /// The client wants a body that threads may share, which a guest's is not. Nobody ever waits for the lock.
    inner: Mutex<B>,
    /// Bytes that must come yet.
    left: Option<u64>,
}

impl<B> Upload<B> {
    /// A body, of this length if it is known.
    pub fn new(body: B, length: Option<u64>) -> Self {
        Self { inner: Mutex::new(body), left: length }
    }
}

impl<B> Body for Upload<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<AnyError>,
{
    type Data = Bytes;
    type Error = AnyError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnyError>>> {
        let inner = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
        let data = match ready!(Pin::new(inner).poll_frame(context)) {
            Some(Err(e)) => return Poll::Ready(Some(Err(e.into()))),
            // Trailers end the body; they are not sent.
            Some(Ok(frame)) => frame.into_data().ok(),
            None => None,
        };
        let Some(left) = &mut self.left else { return Poll::Ready(data.map(|data| Ok(Frame::data(data)))) };
        match data {
            Some(data) => match left.checked_sub(data.len() as u64) {
                Some(rest) => {
                    *left = rest;
                    Poll::Ready(Some(Ok(Frame::data(data))))
                }
                None => Poll::Ready(Some(Err(Refusal::RequestLength.into()))),
            },
            None if *left > 0 => Poll::Ready(Some(Err(Refusal::RequestLength.into()))),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self.left {
            Some(left) => left == 0,
            None => self.inner.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.left {
            Some(left) => SizeHint::with_exact(left),
            None => self.inner.lock().unwrap_or_else(PoisonError::into_inner).size_hint(),
        }
    }
}

/// An answer's body of at most so many bytes, with no longer silence. The request counts as running until the body is dropped.
pub fn bounded(body: reqwest::Body, most: usize, idle: Duration, permit: OwnedSemaphorePermit) -> ResponseBody {
    let start = Some((body.into_data_stream(), permit, 0usize));
    let frames = stream::unfold(start, move |state| async move {
        let (mut data, permit, read) = state?;
        let refusal = match tokio::time::timeout(idle, data.next()).await {
            Ok(None) => return None,
            Ok(Some(Ok(bytes))) if read.saturating_add(bytes.len()) <= most => {
                let read = read + bytes.len();
                return Some((Ok(Frame::data(bytes)), Some((data, permit, read))));
            }
            Ok(Some(Ok(_))) => Refusal::TooLarge(most),
            Ok(Some(Err(e))) => super::refusal_of(&e),
            Err(_) => Refusal::Silent(idle),
        };
        Some((Err(refusal), None))
    });
    StreamBody::new(frames).boxed_unsync()
}
