//! What hooks give, as JSON. The two sides have types of the same shape from two generators, so one text makes the functions of both.
//! Hub types are the same on both sides and are shown as they are.

macro_rules! side {
    ($name:ident { $($import:item)* }) => {
        /// What this side gives.
        pub mod $name {
            use llm_codec::hub::ChatError;
            use serde_json::{Value, json};

            $($import)*

            /// What becomes of a request.
            pub fn decision(decision: &Decision) -> Value {
                match decision {
                    Decision::Continue => json!("continue"),
                    Decision::Edit(edits) => json!({"edit": edits.iter().map(edit).collect::<Vec<_>>()}),
                    Decision::Respond(answer) => json!({"respond": format!("{answer:?}")}),
                    Decision::Reject(reason) => json!({"reject": error(reason)}),
                }
            }

            fn edit(edit: &Edit) -> Value {
                match edit {
                    Edit::Model(model) => json!({"model": model}),
                    Edit::Target(target) => json!({"target": [target.provider, target.model]}),
                    Edit::Messages(messages) => json!({"messages": format!("{messages:?}")}),
                    Edit::Tools(tools) => json!({"tools": format!("{tools:?}")}),
                    Edit::Params(params) => json!({"params": format!("{params:?}")}),
                    Edit::Note(note) => json!({"note": [note.key, note.value]}),
                    Edit::ResponseHeader(header) => json!({"header": [header.name, header.value]}),
                    Edit::Buffer => json!("buffer"),
                }
            }

            /// What becomes of an answer.
            pub fn verdict(verdict: &Verdict) -> Value {
                match verdict {
                    Verdict::Keep => json!("keep"),
                    Verdict::Replace(answer) => json!({"replace": format!("{answer:?}")}),
                    Verdict::Retry(edits) => json!({"retry": edits.iter().map(edit).collect::<Vec<_>>()}),
                    Verdict::Reject(reason) => json!({"reject": error(reason)}),
                }
            }

            /// What becomes of a batch.
            pub fn batch(edits: &[BatchEdit]) -> Value {
                let one = |edit: &BatchEdit| match edit {
                    BatchEdit::Drop(at) => json!({"drop": at}),
                    BatchEdit::Replace(placed) => json!({"replace": placed.index, "events": format!("{:?}", placed.events)}),
                    BatchEdit::Insert(placed) => json!({"insert": placed.index, "events": format!("{:?}", placed.events)}),
                    BatchEdit::Hold(at) => json!({"hold": at}),
                    BatchEdit::Stop(reason) => json!({"stop": reason.as_ref().map(error)}),
                };
                edits.iter().map(one).collect()
            }

            /// How a dialect takes a request.
            pub fn accepted(accepted: &Result<Accepted, ChatError>) -> Value {
                match accepted {
                    Ok(Accepted::Generate(head)) => {
                        json!({"format": head.format, "model": head.model, "stream": head.stream, "usage": head.include_usage})
                    }
                    Ok(Accepted::Reply(written)) => reply(written),
                    Err(reason) => json!({"reject": error(reason)}),
                }
            }

            /// How a dialect takes a call that holds no conversation.
            pub fn operation(accepted: &Result<OperationHead, ChatError>) -> Value {
                match accepted {
                    Ok(h) => json!({
                        "format": [h.family, h.operation], "model": h.model, "path": h.path, "stream": h.stream, "usage": h.include_usage,
                        "generates": h.generates,
                    }),
                    Err(reason) => json!({"reject": error(reason)}),
                }
            }

            /// What a dialect answers to such a call itself.
            pub fn instead(answered: &Result<Option<Reply>, ChatError>) -> Value {
                match answered {
                    Ok(written) => written.as_ref().map_or(Value::Null, reply),
                    Err(reason) => json!({"reject": error(reason)}),
                }
            }

            /// A complete response.
            pub fn reply(reply: &Reply) -> Value {
                let headers: Vec<_> = reply.headers.iter().map(|h| json!([h.name, h.value])).collect();
                json!({"status": reply.status, "headers": headers, "body": String::from_utf8_lossy(&reply.body)})
            }

            /// An error. How long to wait depends on the clock, which only one side has: whether to wait is compared.
            fn error(error: &ChatError) -> Value {
                let without = ChatError { retry_after_ms: None, ..error.clone() };
                json!({"error": format!("{without:?}"), "waits": error.retry_after_ms.is_some()})
            }
        }
    };
}

side!(native {
    use wasmgate_sdk::{Accepted, BatchEdit, Decision, Edit, OperationHead, Reply, Verdict};
});

side!(component {
    use wasmgate::extensions::bindings::exports::wasmgate::extension::after_generate::Verdict;
    use wasmgate::extensions::bindings::exports::wasmgate::extension::before_generate::Decision;
    use wasmgate::extensions::bindings::exports::wasmgate::extension::dialect::Accepted;
    use wasmgate::extensions::bindings::exports::wasmgate::extension::operations::OperationHead;
    use wasmgate::extensions::bindings::exports::wasmgate::extension::stream_filter::BatchEdit;
    use wasmgate::extensions::bindings::wasmgate::extension::http::Reply;
    use wasmgate::extensions::bindings::wasmgate::extension::request::Edit;
});
