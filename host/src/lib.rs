//! The gateway's host. `docs/architecture.md` says what is where; the folders follow a request's way.
#![deny(unsafe_code)]

pub mod cli;
pub mod config;
pub mod deploy;
mod digest;
pub mod extensions;
pub mod gateway;
mod ingress;
pub mod pipeline;
pub mod providers;
pub mod storage;
mod telemetry;
pub mod virtual_providers;

#[cfg(test)]
mod lints {
    /// Clippy refuses a lock that is held across an `await`. Were the lint not there, what is expected here would not come, and clippy says so.
    /// That guards of tokio's are refused too, the exception for `deploy` proves in the same way.
    #[tokio::test]
    #[expect(clippy::await_holding_lock, reason = "it is what the lint is about")]
    async fn a_lock_across_an_await_is_refused() {
        let lock = std::sync::Mutex::new(());
        let held = lock.lock();
        tokio::task::yield_now().await;
        drop(held);
        assert!(lock.try_lock().is_ok());
    }
}
