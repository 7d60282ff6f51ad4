//! What is compared of a result: its `Debug` text, with bytes as text and without what only an instance knows.

use std::fmt::Debug;

use llm_codec::hub::{ChatError, ChatRequest};
use wasmtime::component::ResourceAny;

use super::bindings::exports::wasmgate::extension::after_generate::Verdict;
use super::bindings::exports::wasmgate::extension::before_generate::Decision;
use super::bindings::exports::wasmgate::extension::dialect::Accepted;
use super::bindings::exports::wasmgate::extension::judge::Score;
use super::bindings::exports::wasmgate::extension::operations::OperationHead;
use super::bindings::exports::wasmgate::extension::provider_events::Reaction;
use super::bindings::exports::wasmgate::extension::stream_filter::BatchEdit;
use super::bindings::wasmgate::extension::http::Reply;
use super::stats::Hook;
use super::tape::Content;

/// The result of a hook.
pub trait Shown {
    /// As it is recorded and compared.
    fn shown(&self) -> Box<dyn Debug + '_>;
}

macro_rules! as_it_is {
    ($($result:ty),*) => {$(
        impl Shown for $result {
            fn shown(&self) -> Box<dyn Debug + '_> {
                Box::new(self)
            }
        }
    )*};
}
as_it_is!(
    (),
    Decision,
    Verdict,
    Reaction,
    Vec<BatchEdit>,
    Result<Vec<Score>, ChatError>,
    Result<ChatRequest, ChatError>,
    Result<OperationHead, ChatError>
);

impl Shown for Vec<u8> {
    fn shown(&self) -> Box<dyn Debug + '_> {
        Box::new(Content(self))
    }
}

impl Shown for Reply {
    fn shown(&self) -> Box<dyn Debug + '_> {
        Box::new((self.status, &self.headers, Content(&self.body)))
    }
}

impl Shown for Result<Accepted, ChatError> {
    fn shown(&self) -> Box<dyn Debug + '_> {
        match self {
            Ok(Accepted::Reply(reply)) => reply.shown(),
            other => Box::new(other),
        }
    }
}

impl Shown for Result<Option<Reply>, ChatError> {
    fn shown(&self) -> Box<dyn Debug + '_> {
        match self {
            Ok(Some(reply)) => reply.shown(),
            other => Box::new(other),
        }
    }
}

/// An encoder that was opened.
impl Shown for ResourceAny {
    fn shown(&self) -> Box<dyn Debug + '_> {
        Box::new(true)
    }
}

/// A filter that was opened or not.
impl Shown for Option<ResourceAny> {
    fn shown(&self) -> Box<dyn Debug + '_> {
        Box::new(self.is_some())
    }
}

/// What the result of a hook is called; `step` is 0 for the call itself, and counts the batches of a stream.
pub fn noun(hook: Hook, step: usize) -> String {
    let noun = match hook {
        Hook::Accept | Hook::AcceptOperation => "accepted",
        Hook::Decode => "request",
        Hook::EncodeAnswer => "bytes",
        Hook::EncodeError | Hook::AnswerOperation => "reply",
        Hook::BeforeGenerate => "decision",
        Hook::AfterGenerate => "verdict",
        Hook::ProviderEvents => "reaction",
        Hook::Judge => "scores",
        Hook::Encoder | Hook::StreamFilter if step == 0 => "opened",
        Hook::Encoder => return format!("bytes of batch {step}"),
        Hook::StreamFilter => return format!("edits of batch {step}"),
        Hook::Configure | Hook::Attempts | Hook::OnComplete | Hook::Http => "result",
    };
    noun.to_owned()
}
