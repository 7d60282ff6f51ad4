//! A panic is a fault in the gateway. It must cost one request, not the process, nor a connection with other streams on it.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use llm_codec::hub::{ChatError, ErrorClass};

/// What a piece of work came to, or the error for the client when it panicked. What the panic said is in the log and nowhere else.
pub async fn caught<T>(id: &str, work: impl Future<Output = T>) -> Result<T, ChatError> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|_| {
        tracing::error!(request_id = id, "a request panicked");
        let message = format!("The gateway failed. Its log has the details under the request id `{id}`.");
        ChatError::new(ErrorClass::Internal, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_with_the_requests_id_and_without_its_reason() {
        let error = caught("req-7", async { panic!("with a secret") }).await.map(|(): ()| ()).unwrap_err();
        assert_eq!((error.class, error.http_status()), (ErrorClass::Internal, 500));
        assert!(error.message.contains("req-7") && !error.message.contains("secret"), "{}", error.message);
        assert_eq!(caught("req-8", async { 1 }).await.ok(), Some(1));
    }

    #[tokio::test]
    async fn it_is_caught_after_waiting_too() {
        let late = async {
            tokio::task::yield_now().await;
            panic!("late")
        };
        assert!(caught("req-9", late).await.map(|(): ()| ()).is_err());
    }
}
