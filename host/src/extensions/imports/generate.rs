//! `wasmgate:extension/generate`: requests that the extension makes itself.

use std::sync::Arc;

use llm_codec::hub::{ChatError, ChatRequest, ErrorClass, StreamEvent};
use wasmtime::component::Resource;

use crate::extensions::bindings::exports::wasmgate::extension::judge::Candidate;
use crate::extensions::bindings::wasmgate::extension::generate::{Entry, GenerateOptions, Generated, Host, HostAnswerStream, Job, Score};
use crate::extensions::bindings::wasmgate::extension::request::Target;
use crate::extensions::clock::CallClock;
use crate::extensions::services::Services;
use crate::extensions::state::StoreState;
use crate::extensions::tape::{Function, taped};
use crate::pipeline::{self, Asking, Caller, answer_size, batch_size};

/// An answer on its way to the guest.
pub struct AnswerStream {
    /// None in a replay: the recording answers.
    live: Option<pipeline::AnswerStream>,
    served_by: Option<Target>,
}

/// Whose call this is, taken out of the instance so that it may wait.
struct Asker {
    caller: Caller,
    services: Arc<Services>,
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
        Ok(Asker { caller, services: Arc::clone(&self.services), clock: self.clock() })
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
    async fn ask<'a, F: Future>(&'a self, ask: impl FnOnce(Asking<'a>) -> F) -> F::Output {
        let Services { name, limits, stats, .. } = &*self.services;
        let asking = Asking { caller: self.caller.clone(), name, limits, stats };
        self.clock.excuse(ask(asking)).await
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
        let handle = pushed.and_then(|handle| handle.map_err(|_| ChatError::new(ErrorClass::Internal, "Too many open handles.")));
        self.open_answers += usize::from(handle.is_ok());
        Ok(handle)
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
