//! A request in the pipeline: what arrived, what hooks made of it, and what it cost so far.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use llm_codec::hub::{ChatError, ChatRequest};
use tokio::sync::OnceCell;

use super::{Incoming, Trace};
use crate::extensions::Extension;
use crate::extensions::bindings::exports::wasmgate::extension::dialect::GenerateHead;
use crate::extensions::bindings::wasmgate::extension::request::{CallInfo, Edit, Target};

/// A request in the pipeline.
pub struct Exchange {
    /// Its id.
    pub id: String,
    /// As it arrived.
    pub incoming: Arc<Incoming>,
    /// The extension that speaks the client's format.
    pub dialect: Arc<Extension>,
    /// What the dialect read in it.
    pub head: GenerateHead,
    /// What it cost.
    pub trace: Trace,
    decoded: OnceCell<Result<Arc<ChatRequest>, ChatError>>,
    state: Mutex<State>,
}

/// What hooks changed.
#[derive(Default)]
struct State {
    model: Option<String>,
    provider: Option<String>,
    edited: Option<Arc<ChatRequest>>,
    notes: BTreeMap<String, String>,
    response_headers: Vec<(String, String)>,
    buffer: bool,
}

impl Exchange {
    /// A request that a dialect accepted.
    pub fn new(id: String, incoming: Arc<Incoming>, dialect: Arc<Extension>, head: GenerateHead, trace: Trace) -> Self {
        Self { id, incoming, dialect, head, trace, decoded: OnceCell::new(), state: Mutex::default() }
    }

    /// The scalars that hooks are given.
    pub fn call_info(&self) -> CallInfo {
        let state = self.state();
        CallInfo {
            request_id: self.id.clone(),
            requested_model: self.head.model.clone(),
            model: state.model.clone().unwrap_or_else(|| self.head.model.clone()),
            provider: state.provider.clone(),
            stream: self.head.stream,
            format: self.head.format.clone(),
            depth: 0,
        }
    }

    /// The conversation as it stands. It is read the first time that somebody asks; what a hook edited wins.
    pub async fn chat(&self) -> Result<Arc<ChatRequest>, ChatError> {
        if let Some(edited) = self.edited() {
            return Ok(edited);
        }
        let decode = || async {
            match self.dialect.decode(&self.trace, self.incoming.body()).await {
                Ok(decoded) => decoded.map(Arc::new),
                Err(e) => Err(e.into()),
            }
        };
        self.decoded.get_or_init(decode).await.clone()
    }

    /// The conversation, if a hook changed it.
    pub fn edited(&self) -> Option<Arc<ChatRequest>> {
        self.state().edited.clone()
    }

    /// What was noted under a key.
    pub fn note(&self, key: &str) -> Option<String> {
        self.state().notes.get(key).cloned()
    }

    /// Where it shall go: the provider that a hook chose, and the model to ask for.
    pub fn target(&self) -> (Option<String>, String) {
        let state = self.state();
        (state.provider.clone(), state.model.clone().unwrap_or_else(|| self.head.model.clone()))
    }

    /// Header fields that hooks added to the response.
    pub fn response_headers(&self) -> Vec<(String, String)> {
        self.state().response_headers.clone()
    }

    /// Whether a hook asked to see a stream whole.
    pub fn buffered(&self) -> bool {
        self.state().buffer
    }

    /// Makes the changes that a hook returned.
    pub async fn apply(&self, edits: Vec<Edit>) -> Result<(), ChatError> {
        for edit in edits {
            match edit {
                Edit::Model(model) => self.state().model = Some(model),
                Edit::Target(Target { provider, model }) => {
                    let mut state = self.state();
                    state.provider = Some(provider);
                    state.model = Some(model);
                }
                Edit::Messages(messages) => self.change(|chat| chat.messages = messages).await?,
                Edit::Tools(tools) => self.change(|chat| chat.tools = tools).await?,
                Edit::Params(params) => self.change(|chat| chat.params = params).await?,
                Edit::Note(note) => drop(self.state().notes.insert(note.key, note.value)),
                Edit::ResponseHeader(header) => self.state().response_headers.push((header.name, header.value)),
                Edit::Buffer => self.state().buffer = true,
            }
        }
        Ok(())
    }

    async fn change(&self, change: impl FnOnce(&mut ChatRequest)) -> Result<(), ChatError> {
        let mut chat = self.chat().await?;
        change(Arc::make_mut(&mut chat));
        self.state().edited = Some(chat);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
