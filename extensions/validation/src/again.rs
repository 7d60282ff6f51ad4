//! What the model is told when it is asked again.

use wasmgate_sdk::Answer;
use wasmgate_sdk::hub::{Message, Role};

use crate::report::Report;

/// Its answer, as far as it was text, and what is wrong with it. Calls are left out: behind a call stands its result, and there is none.
pub fn messages(answer: &Answer, report: &Report) -> Vec<Message> {
    let said = answer.text();
    let mut messages = Vec::new();
    if !said.trim().is_empty() {
        messages.push(Message::text(Role::Assistant, said));
    }
    let problems = report.problems();
    let ask = format!(
        "The code in your answer does not parse:\n\n{problems}\nGive the whole answer again with these problems corrected. \
         Change nothing else, and do not mention the correction."
    );
    messages.push(Message::text(Role::User, ask));
    messages
}
