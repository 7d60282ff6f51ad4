//! A request in the pipeline: what arrived, what hooks made of it, and what it cost so far.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use llm_codec::hub::{ChatError, ChatRequest, ErrorClass};
use llm_codec::{Format, estimate};
use tokio::sync::OnceCell;

use super::inner::{Budget, Caller};
use super::operation::Operation;
use super::switches::{SWITCH, Switches};
use super::{Context, Incoming, Trace, conversation_size};
use crate::extensions::bindings::exports::wasmgate::extension::dialect::GenerateHead;
use crate::extensions::bindings::wasmgate::extension::request::{CallInfo, Edit, Estimate, Target};
use crate::extensions::{Extension, Toggle};
use crate::gateway::Generation;

/// A request in the pipeline.
pub struct Exchange {
    /// Its id.
    pub id: String,
    /// The process, and the snapshot that it is pinned to.
    pub context: Context,
    /// As it arrived; for a request of an extension, the one in whose name it is made, without its body.
    pub incoming: Arc<Incoming>,
    /// The extension that speaks the client's format; none for a request of an extension.
    pub dialect: Option<Arc<Extension>>,
    /// What was read in it. Of an operation, `format` is its name and `model` is empty when it names none.
    pub head: GenerateHead,
    /// The operation, when it is no conversation.
    pub operation: Option<Operation>,
    /// 0 for a caller's request, 1 for one that an extension made for it, and so on.
    pub depth: u32,
    /// What extensions may still do for the caller.
    pub budget: Arc<Budget>,
    /// What it cost.
    pub trace: Trace,
    size: usize,
    switches: Switches,
    decoded: OnceCell<Result<Arc<ChatRequest>, ChatError>>,
    state: Mutex<State>,
}

/// What hooks changed.
#[derive(Default)]
struct State {
    /// What hooks are given, until something of it changes.
    info: Option<Arc<CallInfo>>,
    model: Option<String>,
    provider: Option<String>,
    edited: Option<Arc<ChatRequest>>,
    notes: BTreeMap<String, String>,
    response_headers: Vec<(String, String)>,
    buffer: bool,
    settled: Option<Settled>,
}

/// What virtual providers decided.
struct Settled {
    /// Where the request was to go before: provider and model.
    before: (Option<String>, Option<String>),
    /// Names and values, see [`Exchange::why`].
    why: Vec<(&'static str, String)>,
}

impl Exchange {
    /// A request that a dialect accepted.
    pub fn new(context: Context, id: String, incoming: Arc<Incoming>, dialect: Arc<Extension>, head: GenerateHead, trace: Trace) -> Self {
        let switches = Switches::of(&context.generation, &incoming, &head.format);
        let size = incoming.body().len();
        Self {
            id,
            context,
            incoming,
            dialect: Some(dialect),
            head,
            operation: None,
            depth: 0,
            budget: Arc::default(),
            trace,
            size,
            switches,
            decoded: OnceCell::new(),
            state: Mutex::default(),
        }
    }

    /// The same for a call that is no conversation.
    pub fn of_operation(self, operation: Operation) -> Self {
        Self { operation: Some(operation), ..self }
    }

    /// A request that an extension makes in a caller's name.
    pub fn inner(caller: &Caller, id: String, head: GenerateHead, chat: ChatRequest) -> Self {
        let context = caller.context().clone();
        let switches = Switches::read(&context.generation, &caller.head().headers);
        Self {
            id,
            context,
            incoming: Arc::new(Incoming::opaque(caller.head().clone(), Vec::new(), Instant::now(), Bytes::new())),
            dialect: None,
            head,
            operation: None,
            depth: caller.depth() + 1,
            budget: Arc::clone(caller.budget()),
            trace: caller.trace(),
            size: conversation_size(&chat),
            switches,
            decoded: OnceCell::new_with(Some(Ok(Arc::new(chat)))),
            state: Mutex::default(),
        }
    }

    /// The snapshot that it is pinned to.
    pub fn generation(&self) -> &Arc<Generation> {
        &self.context.generation
    }

    /// About how long the conversation is, in bytes: the body that arrived, or what an extension wrote instead of one.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether an extension takes part. It does unless it may be switched off, and is.
    pub fn runs(&self, extension: &Extension) -> bool {
        let Some(default) = extension.toggle else { return true };
        let noted = self.note(&format!("{SWITCH}{}", extension.name())).and_then(|n| n.parse().ok());
        noted.or_else(|| self.switches.find(extension.name())).unwrap_or(default == Toggle::On)
    }

    /// The scalars that hooks are given.
    pub fn call_info(&self) -> Arc<CallInfo> {
        let mut state = self.state();
        if let Some(info) = &state.info {
            return Arc::clone(info);
        }
        let info = CallInfo {
            request_id: self.id.clone(),
            requested_model: self.head.model.clone(),
            model: state.model.clone().unwrap_or_else(|| self.head.model.clone()),
            provider: state.provider.clone(),
            stream: self.head.stream,
            format: self.head.format.clone(),
            depth: self.depth,
        };
        Arc::clone(state.info.insert(Arc::new(info)))
    }

    /// A decoded request with what its format has in the path and not in the body, which the dialect's `accept` told.
    fn complete(&self, mut chat: ChatRequest) -> ChatRequest {
        if chat.model.is_empty() {
            chat.model.clone_from(&self.head.model);
        }
        chat.stream = self.head.stream;
        chat
    }

    /// The conversation as it stands. It is read the first time that somebody asks; what a hook edited wins.
    pub async fn chat(&self) -> Result<Arc<ChatRequest>, ChatError> {
        if let Some(edited) = self.edited() {
            return Ok(edited);
        }
        let decode = || async {
            // A request of an extension was never encoded.
            let Some(dialect) = &self.dialect else { return Err(ChatError::new(ErrorClass::Internal, "The request has no content.")) };
            if self.operation.is_some() && self.incoming.document().is_none() {
                return Ok(Arc::new(super::operation::nothing_to_read(&self.head)));
            }
            match dialect.decode(&self.trace, &self.head.format, self.incoming.body()).await {
                Ok(decoded) => decoded.map(|chat| Arc::new(self.complete(chat))),
                Err(e) => Err(e.into()),
            }
        };
        self.decoded.get_or_init(decode).await.clone()
    }

    /// The conversation, as far as it is known without asking an extension. Formats that the gateway knows it reads by itself: that takes a
    /// fraction of what it costs to bring a whole conversation out of a dialect.
    pub fn known_chat(&self) -> Option<Arc<ChatRequest>> {
        let known = self.edited().or_else(|| self.decoded.get()?.clone().ok());
        known.or_else(|| {
            let read = Format::from_name(&self.head.format)?.decode_request(self.incoming.body());
            Some(Arc::new(self.complete(read.ok()?)))
        })
    }

    /// About how many tokens the conversation has, as far as that is known without asking an extension. It is for when the request is over.
    pub fn estimated_tokens(&self) -> Option<u64> {
        self.known_chat().map(|chat| estimate::input_tokens(&chat))
    }

    /// What the request will take. What the gateway cannot read is for the dialect, which knows what to say of it.
    pub async fn estimate(&self) -> Result<Estimate, ChatError> {
        let chat = match self.known_chat() {
            Some(chat) => chat,
            None => self.chat().await?,
        };
        // How densely a model packs its tokens is the business of the one that is asked, not of the one that was asked for.
        let input_tokens = estimate::input_tokens_of(&self.target().1, &chat);
        let params = &chat.params;
        Ok(Estimate { input_tokens, max_tokens: params.max_tokens, choices: params.n.unwrap_or(1).max(1) })
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

    /// Sends it somewhere else.
    pub fn redirect(&self, target: Target) {
        let mut state = self.state();
        state.info = None;
        state.provider = Some(target.provider);
        state.model = Some(target.model);
    }

    /// Virtual providers decided that this target answers, for these reasons. Nothing of the request changes before they did.
    pub fn settle(&self, target: Target, why: Vec<(&'static str, String)>) {
        let mut state = self.state();
        state.info = None;
        let before = (state.provider.replace(target.provider), state.model.replace(target.model));
        state.settled = Some(Settled { before, why });
    }

    /// The answer is not wanted, and the request goes where it went before.
    pub fn unsettle(&self) {
        let mut state = self.state();
        if let Some(Settled { before, .. }) = state.settled.take() {
            state.info = None;
            (state.provider, state.model) = before;
        }
    }

    /// Why this target answers: what each virtual provider on the way decided, by names such as `racing-winner`. Where two of one kind did, the
    /// outer one comes first.
    pub fn why(&self) -> Vec<(&'static str, String)> {
        let state = self.state();
        let mut named: Vec<(&'static str, String)> = Vec::new();
        for (name, value) in state.settled.iter().flat_map(|s| &s.why) {
            match named.iter_mut().find(|(n, _)| n == name) {
                Some((_, values)) => *values = format!("{values}, {value}"),
                None => named.push((name, value.clone())),
            }
        }
        named
    }

    /// Header fields of the response: those of virtual providers, and those that hooks added. They are for the one response that there is.
    pub fn take_response_headers(&self) -> impl Iterator<Item = (String, String)> {
        let why = self.why().into_iter().map(|(name, value)| (format!("x-wasmgate-{name}"), value));
        why.chain(std::mem::take(&mut self.state().response_headers))
    }

    /// Adds a field to the response, whatever becomes of the request. Most of them count, so it is bounded like those that edits add.
    pub fn add_response_header(&self, name: String, value: String) {
        self.state().response_headers.push((name, value));
    }

    /// Notes a value.
    pub fn add_note(&self, key: String, value: String) {
        self.state().notes.insert(key, value);
    }

    /// Whether a hook asked to see a stream whole.
    pub fn buffered(&self) -> bool {
        self.state().buffer
    }

    /// Makes the changes that a hook returned.
    pub async fn apply(&self, edits: Vec<Edit>) -> Result<(), ChatError> {
        for edit in edits {
            if let Some(operation) = &self.operation
                && operation.leaves_out(&edit)?
            {
                continue;
            }
            match edit {
                Edit::Model(model) => {
                    let mut state = self.state();
                    state.info = None;
                    state.model = Some(model);
                }
                Edit::Target(target) => self.redirect(target),
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
