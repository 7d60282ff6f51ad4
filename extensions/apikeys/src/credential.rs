//! Where clients put their key. OpenAI's send `authorization`, Anthropic's `x-api-key` (or `authorization`), Google's `x-goog-api-key` or the
//! query's `key`, Azure's `api-key`.

use wasmgate_sdk::format;

/// Header fields that hold nothing but a key.
const FIELDS: [&str; 3] = ["x-api-key", "x-goog-api-key", "api-key"];

/// The key of a request: of the first of its places that is filled.
pub fn find(header: impl Fn(&str) -> Option<String>, query: impl FnOnce() -> Option<String>) -> Option<String> {
    let filled = |text: &String| !text.trim().is_empty();
    let bearer = header("authorization").and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim().to_owned())
    });
    let named = || FIELDS.iter().find_map(|field| header(field).filter(filled)).map(|v| v.trim().to_owned());
    let parameter = || {
        let query = query()?;
        let value = query.split('&').find_map(|pair| pair.strip_prefix("key="))?;
        Some(format::percent_decoded(value))
    };
    bearer.filter(filled).or_else(named).or_else(|| parameter().filter(filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_that_clients_use() {
        for (fields, query, expect) in [
            (&[("authorization", "Bearer a")][..], None, Some("a")),
            (&[("authorization", "bearer  a ")], None, Some("a")),
            (&[("authorization", "Basic a")], None, None),
            (&[("authorization", "Bearer ")], None, None),
            (&[("x-api-key", "b"), ("authorization", "Bearer a")], None, Some("a")),
            (&[("x-api-key", "b")], None, Some("b")),
            (&[("x-api-key", ""), ("x-goog-api-key", "c")], None, Some("c")),
            (&[("api-key", "d")], None, Some("d")),
            (&[], Some("alt=sse&key=e%2Df"), Some("e-f")),
            (&[], Some("monkey=e"), None),
            (&[], None, None),
        ] {
            let header = |name: &str| fields.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
            assert_eq!(find(header, || query.map(str::to_owned)).as_deref(), expect, "{fields:?} {query:?}");
        }
    }
}
