//! `wasmgate:extension/generate`: requests that the extension makes itself.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use llm_codec::hub::{ChatError, ChatRequest, ErrorClass, StreamEvent};
use wasmtime::component::{Resource, ResourceTableError};

use crate::extensions::bindings::exports::wasmgate::extension::judge::Candidate;
use crate::extensions::bindings::wasmgate::extension::generate::{
    Entry, GenerateOptions, Generated, Host, HostAnswerStream, HostBatch, Job, News, Score, Settled,
};
use crate::extensions::bindings::wasmgate::extension::request::Target;
use crate::extensions::clock::CallClock;
use crate::extensions::state::StoreState;
use crate::extensions::tape::{Function, taped};
use crate::pipeline::{self, Asking, answer_size, batch_size};

/// An answer on its way to the guest.
pub struct AnswerStream {
    /// None in a replay: the recording answers.
    live: Option<pipeline::AnswerStream>,
    served_by: Option<Target>,
}

/// Many answers on their way to the guest.
pub struct Batch {
    /// None in a replay: the recording answers.
    live: Option<BoxStream<'static, (usize, Result<pipeline::Generated, ChatError>)>>,
}

/// Whose call this is, taken out of the instance so that it may wait.
struct Asker {
    asking: Asking,
    clock: Arc<CallClock>,
}

impl StoreState {
    fn asker(&self) -> Result<Asker, ChatError> {
        if let Err(line) = &self.services.generates {
            tracing::warn!(extension = self.services.name, "requests of this extension are refused; to allow them, set `{line}`");
            let message = format!("The operator did not grant the extension `{}` to make requests.", self.services.name);
            return Err(ChatError { code: Some("not_granted".into()), ..ChatError::new(ErrorClass::Permission, message) });
        }
        let Some(caller) = self.caller.clone() else {
            let message =
                "There is no request in whose name this extension could make one: that is possible in hooks, not while it is configured.";
            return Err(ChatError::new(ErrorClass::InvalidRequest, message));
        };
        Ok(Asker { asking: Asking { caller, services: Arc::clone(&self.services) }, clock: self.clock() })
    }

    /// The handle of what holds a request until the guest lets go of it.
    fn held<T>(&mut self, pushed: Result<Result<Resource<T>, ResourceTableError>, ChatError>) -> Result<Resource<T>, ChatError> {
        let handle = pushed.and_then(|handle| handle.map_err(|_| ChatError::new(ErrorClass::Internal, "Too many open handles.")));
        self.open_answers += usize::from(handle.is_ok());
        handle
    }

    fn generated(&mut self, generated: pipeline::Generated) -> Generated {
        self.given_more(answer_size(&generated.answer));
        Generated {
            answer: Arc::unwrap_or_clone(generated.answer),
            served_by: generated.served_by,
            request_id: generated.id,
            duration_us: generated.took.as_micros() as u64,
        }
    }
}

impl Asker {
    /// What is asked takes as long as its own limit allows; the call's clock stands still.
    async fn ask<'a, F: Future>(&'a self, ask: impl FnOnce(&'a Asking) -> F) -> F::Output {
        self.clock.excuse(ask(&self.asking)).await
    }
}

impl Host for &mut StoreState {
    async fn unary(&mut self, request: ChatRequest, options: GenerateOptions) -> wasmtime::Result<Result<Generated, ChatError>> {
        Ok(taped!(self, Function::generation("generate.unary"), (&request, &options), {
            match self.asker() {
                Ok(asker) => {
                    let answer = asker.ask(async |asking| asking.unary(request, options).await).await;
                    answer.map(|g| self.generated(g))
                }
                Err(e) => Err(e),
            }
        }))
    }

    async fn many(&mut self, jobs: Vec<Job>) -> wasmtime::Result<Vec<Result<Generated, ChatError>>> {
        Ok(taped!(self, Function::generation("generate.many"), (&jobs,), {
            match self.asker() {
                Ok(asker) => {
                    let jobs = jobs.into_iter().map(|job| (job.request, job.options)).collect();
                    let answers = asker.ask(async |asking| asking.many(jobs).await).await;
                    answers.into_iter().map(|answer| answer.map(|g| self.generated(g))).collect()
                }
                Err(e) => jobs.iter().map(|_| Err(e.clone())).collect(),
            }
        }))
    }

    fn begin(&mut self, jobs: Vec<Job>) -> wasmtime::Result<Result<Resource<Batch>, ChatError>> {
        let mut live = None;
        let begun = taped!(self, Function::generation("generate.begin"), (&jobs,), {
            self.asker().map(|asker| {
                let jobs = jobs.into_iter().map(|job| (job.request, job.options)).collect();
                live = Some(asker.asking.each(jobs).boxed());
            })
        });
        let pushed = begun.map(|()| self.table.push(Batch { live }));
        Ok(self.held(pushed))
    }

    async fn open(
        &mut self,
        request: ChatRequest,
        options: GenerateOptions,
    ) -> wasmtime::Result<Result<Resource<AnswerStream>, ChatError>> {
        let mut live = None;
        let opened = taped!(self, Function::generation("generate.open"), (&request, &options), {
            match self.asker() {
                Ok(asker) => asker.ask(async |asking| asking.open(request, options).await).await.map(|stream| {
                    let served_by = stream.served_by().cloned();
                    live = Some(stream);
                    served_by
                }),
                Err(e) => Err(e),
            }
        });
        let pushed = opened.map(|served_by| self.table.push(AnswerStream { live, served_by }));
        Ok(self.held(pushed))
    }

    async fn judge(&mut self, request: ChatRequest, entries: Vec<Entry>) -> wasmtime::Result<Result<Vec<Score>, ChatError>> {
        Ok(taped!(self, Function::generation("generate.judge"), (&request, &entries), {
            match self.asker() {
                Ok(asker) => {
                    let candidate = |e: Entry| Candidate { answer: e.answer, served_by: e.served_by, duration_us: e.duration_us };
                    let candidates: Vec<Candidate> = entries.into_iter().map(candidate).collect();
                    let scores = asker.ask(async |asking| asking.judge(request, &candidates).await).await;
                    scores.map(|scores| scores.into_iter().map(|s| Score { value: s.value, reason: s.reason }).collect())
                }
                Err(e) => Err(e),
            }
        }))
    }
}

impl HostBatch for &mut StoreState {
    async fn next(&mut self, batch: Resource<Batch>, within_ms: Option<u64>) -> wasmtime::Result<News> {
        Ok(taped!(self, Function::content("batch.next"), (&within_ms,), {
            let clock = self.clock();
            let live = self.table.get_mut(&batch)?.live.as_mut();
            let live = live.ok_or_else(|| wasmtime::Error::msg("the recording answers for this batch"))?;
            let patience = within_ms.map_or(Duration::MAX, Duration::from_millis);
            match clock.excuse(tokio::time::timeout(patience, live.next())).await {
                Ok(Some((number, outcome))) => {
                    News::Settled(Settled { number: number as u32, outcome: outcome.map(|g| self.generated(g)) })
                }
                Ok(None) => News::Done,
                Err(_) => News::Waiting,
            }
        }))
    }

    fn drop(&mut self, batch: Resource<Batch>) -> wasmtime::Result<()> {
        self.table.delete(batch)?;
        self.open_answers -= 1;
        Ok(())
    }
}

impl HostAnswerStream for &mut StoreState {
    async fn next(&mut self, stream: Resource<AnswerStream>) -> wasmtime::Result<Result<Vec<StreamEvent>, ChatError>> {
        let events = taped!(self, Function::content("answer-stream.next"), (), {
            let clock = self.clock();
            let live = self.table.get_mut(&stream)?.live.as_mut();
            let live = live.ok_or_else(|| wasmtime::Error::msg("the recording answers for this stream"))?;
            clock.excuse(live.next()).await
        });
        self.given_more(events.as_ref().map_or(0, |e| batch_size(e)));
        Ok(events)
    }

    fn served_by(&mut self, stream: Resource<AnswerStream>) -> wasmtime::Result<Option<Target>> {
        Ok(self.table.get(&stream)?.served_by.clone())
    }

    fn drop(&mut self, stream: Resource<AnswerStream>) -> wasmtime::Result<()> {
        self.table.delete(stream)?;
        self.open_answers -= 1;
        Ok(())
    }
}
