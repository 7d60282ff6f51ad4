//! `GET /api/openapi.json`: the table of paths as an OpenAPI 3.1 document.

use serde_json::{Map, Value, json};

use super::paths::{Answer, Operation, PATHS, Path};
use super::schemas;

/// What is said to those who may not, or who ask with another method.
const ALWAYS: [(u16, &str); 3] = [
    (401, "The password or key of `auth` is missing or wrong."),
    (403, "The interface is closed: no password is set and others can connect."),
    (429, "Too many wrong passwords came from this address."),
];

/// The document.
pub fn document() -> Value {
    let paths: Map<String, Value> = PATHS.iter().map(|path| (path.pattern.to_owned(), at(path))).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "wasmgate",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The operators' interface. Conversations are on the paths of the extensions that speak OpenAI's, Anthropic's and Gemini's APIs.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"password": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "password": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A password or key of `auth`. It is taken from `x-api-key` and `x-wasmgate-password` too. Without any in the \
                     configuration programs of the same machine may ask, if nobody else can connect.",
                },
            },
            "schemas": {"Error": schemas::error()},
        },
    })
}

fn at(path: &Path) -> Value {
    path.operations.iter().map(|o| (o.method.as_str().to_ascii_lowercase(), operation(path, o))).collect::<Map<_, _>>().into()
}

fn operation(path: &Path, operation: &Operation) -> Value {
    let in_path =
        path.parameter().map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "minLength": 1}}));
    let in_query = operation
        .query
        .iter()
        .map(|(name, schema, means)| json!({"name": name, "in": "query", "required": false, "description": means, "schema": schema()}));
    let mut document = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "parameters": in_path.into_iter().chain(in_query).collect::<Vec<_>>(),
        "responses": responses(path, operation),
    });
    if path.is_open() {
        document["security"] = json!([]);
    }
    if !operation.body.is_empty() {
        let content = operation.body.iter().map(|kind| ((*kind).to_owned(), json!({"schema": {"type": "string", "format": "binary"}})));
        document["requestBody"] = json!({"required": true, "content": content.collect::<Map<_, _>>()});
    }
    if let Some(schema) = operation.document {
        document["requestBody"] = json!({"required": true, "content": {"application/json": {"schema": schema()}}});
    }
    document
}

fn responses(path: &Path, operation: &Operation) -> Value {
    let content = match &operation.answer {
        Answer::Open(schema) => json!({"application/json": {"schema": schema()}}),
        Answer::Data(schema) => json!({"application/json": {"schema": schemas::wrapper(schema())}}),
        Answer::Steps(schema) => {
            json!({"application/json": {"schema": schemas::wrapper(schema())}, "application/x-ndjson": {"schema": {"type": "string"}}})
        }
        Answer::Page => html(),
        Answer::Texts(kinds) => {
            kinds.iter().map(|kind| ((*kind).to_owned(), json!({"schema": {"type": "string"}}))).collect::<Map<_, _>>().into()
        }
        Answer::Document => json!({"application/json": {"schema": {"type": "object", "required": ["openapi", "paths"]}}}),
    };
    let mut responses = Map::new();
    responses.insert("200".into(), json!({"description": "It is so.", "content": content}));
    let described = |means: &str, schema: Value| json!({"description": means, "content": {"application/json": {"schema": schema}}});
    let error = || json!({"$ref": "#/components/schemas/Error"});
    for (status, means) in operation.errors {
        if matches!(operation.answer, Answer::Page) {
            responses.insert(status.to_string(), json!({"description": means, "content": html()}));
            continue;
        }
        let schema = if let Answer::Open(schema) = &operation.answer { schema() } else { error() };
        responses.insert(status.to_string(), described(means, schema));
    }
    if !path.is_open() {
        responses.extend(ALWAYS.map(|(status, means)| (status.to_string(), described(means, error()))));
    }
    responses.into()
}

fn html() -> Value {
    json!({"text/html": {"schema": {"type": "string"}}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_described() {
        let document = document();
        for path in PATHS {
            for operation in path.operations {
                let described = &document["paths"][path.pattern][operation.method.as_str().to_ascii_lowercase()];
                assert_eq!(described["operationId"], operation.id, "{}", path.pattern);
                assert!(described["responses"]["200"]["content"].is_object(), "{}", operation.id);
                assert_eq!(described["security"] == json!([]), path.is_open(), "{}", operation.id);
                assert_eq!(described["responses"].get("401").is_some(), !path.is_open(), "{}", operation.id);
            }
        }
        assert_eq!(document["paths"]["/api/requests/{id}"]["get"]["parameters"][0]["name"], "id");
        let sent = &document["paths"]["/api/providers/{name}"]["put"]["requestBody"]["content"]["application/json"]["schema"];
        assert_eq!(sent["properties"]["base_url"]["anyOf"][1]["type"], "null");
        assert_eq!(
            document["paths"]["/api/extensions/{name}"]["put"]["requestBody"]["content"]["application/wasm"]["schema"]["type"],
            "string"
        );
    }
}
