//! `GET /api/config`: what the file says now, and what a reload would say to it.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use crate::config::{self, Severity};
use crate::deploy::Deploy;
use crate::ingress::wrapped::Wrapped;

/// The document. Files are read, so this waits for a disk.
pub async fn show(deploy: &Arc<Deploy>) -> Wrapped {
    match deploy.file_now().await {
        Ok(now) => Wrapped::data(&json!({
            "file": now.file,
            "text": config::print(&now.reading.config, &now.reading.source, false),
            "valid": !now.problems.iter().any(|p| p.severity == Severity::Error),
            "changed": now.changed,
            "after_restart": now.after_restart,
            "problems": now.problems.iter().map(problem).collect::<Vec<_>>(),
        })),
        Err(reason) => Wrapped::error(StatusCode::INTERNAL_SERVER_ERROR, "not_read", &reason),
    }
}

fn problem(problem: &config::Problem) -> Value {
    let severity = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    json!({"severity": severity, "place": problem.place, "path": problem.path, "message": problem.message})
}
