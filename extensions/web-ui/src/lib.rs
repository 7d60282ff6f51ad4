//! The console: files for a browser, which asks the operators' interface for everything that it shows.
//!
//! What is absent: no data. The files are for everybody and say nothing about this gateway; without the password nothing else is answered.

use serde::Deserialize;
use wasmgate_sdk::format;
use wasmgate_sdk::prelude::*;
use wasmgate_sdk::{Header, Http, HttpRequest};

/// A file of the console.
struct File {
    /// Its path below the console's.
    name: &'static str,
    /// Tells its versions apart.
    tag: &'static str,
    plain: &'static [u8],
    /// The same, for clients that take `gzip`.
    packed: &'static [u8],
}

/// All of them; the build makes the list.
static FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// Scripts and styles are the console's own files, and nothing else is asked than the gateway that it came from.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// Settings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it answers.
    #[serde(default = "path")]
    path: String,
    /// Whether it answers.
    #[serde(default = "yes")]
    enabled: bool,
}

fn path() -> String {
    "/ui".into()
}

fn yes() -> bool {
    true
}

/// The extension.
pub struct WebUi {
    path: String,
    enabled: bool,
}

impl Extension for WebUi {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, String> {
        let path = format::path_prefix(&config.path).map_err(|e| e.replace("path_prefix", "path"))?;
        if path.is_empty() {
            return Err("`path` is empty; write it like `/ui`".into());
        }
        Ok(Self { path, enabled: config.enabled })
    }

    fn routes(&self) -> Vec<Route> {
        if !self.enabled {
            return Vec::new();
        }
        vec![
            Route::http("GET", self.path.clone()),
            Route::http("GET", format!("{}/", self.path)),
            Route::http("GET", format!("{}/{{*file}}", self.path)),
        ]
    }
}

impl Http for WebUi {
    fn handle(&self, request: HttpRequest) -> Reply {
        let Some(name) = request.path.strip_prefix(&self.path).and_then(|rest| rest.strip_prefix('/')) else {
            // Relative, so that it holds behind a proxy that gives the console another folder.
            let to = format!("{}/", self.path.rsplit('/').next().unwrap_or_default());
            return reply(308, &[("location", &to)], b"");
        };
        let name = if name.is_empty() { "index.html" } else { name };
        let Some(file) = FILES.iter().find(|file| file.name == name) else {
            return reply(404, &[("content-type", "text/plain; charset=utf-8")], b"The console has no such file.\n");
        };
        let mut fields = vec![
            ("content-type", kind(name)),
            ("etag", file.tag),
            // Whether it is still the same is always asked: another version may have been swapped in.
            ("cache-control", "no-cache"),
            ("vary", "accept-encoding"),
            ("content-security-policy", POLICY),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
        ];
        if lists(&request, "if-none-match", |tag| tag.trim_start_matches("W/") == file.tag || tag == "*") {
            return reply(304, &fields, b"");
        }
        if lists(&request, "accept-encoding", takes_gzip) {
            fields.push(("content-encoding", "gzip"));
            return reply(200, &fields, file.packed);
        }
        reply(200, &fields, file.plain)
    }
}

fn reply(status: u16, fields: &[(&str, &str)], body: &[u8]) -> Reply {
    let headers = fields.iter().map(|(name, value)| Header { name: (*name).into(), value: (*value).into() }).collect();
    Reply { status, headers, body: body.to_vec() }
}

/// Whether one of the words of a header field's list is what is looked for.
fn lists(request: &HttpRequest, field: &str, is: impl Fn(&str) -> bool) -> bool {
    let values = request.headers.iter().filter(|(name, _)| name == field).filter_map(|(_, value)| str::from_utf8(value).ok());
    values.flat_map(|value| value.split(',')).any(|word| is(word.trim()))
}

/// A coding with a weight of 0 is one that is not wanted.
fn takes_gzip(coding: &str) -> bool {
    let mut parts = coding.split(';').map(str::trim);
    let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
    named && !parts.any(|weight| weight.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0_f32)))
}

fn kind(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

wasmgate_sdk::export!(WebUi: http);

#[cfg(test)]
mod tests {
    use super::*;

    fn ui(path: &str) -> WebUi {
        WebUi::configure(Config { path: path.into(), enabled: true }).unwrap()
    }

    fn get(path: &str, fields: &[(&str, &str)]) -> Reply {
        let headers = fields.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
        ui("/ui").handle(HttpRequest { method: "GET".into(), path: path.into(), query: None, headers, body: Vec::new() })
    }

    fn field<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
        reply.headers.iter().find(|h| h.name == name).map(|h| h.value.as_str())
    }

    #[test]
    fn the_path_is_checked() {
        let error = |path: &str| WebUi::configure(Config { path: path.into(), enabled: true }).err();
        assert!(error("ui").is_some_and(|e| e.starts_with("`path` is `ui`")));
        assert!(error("/").is_some_and(|e| e.contains("empty")));
        assert!(WebUi::configure(Config { path: path(), enabled: false }).unwrap().routes().is_empty());
        let moved = ui("/a/console").handle(HttpRequest {
            method: "GET".into(),
            path: "/a/console".into(),
            query: None,
            headers: Vec::new(),
            body: Vec::new(),
        });
        assert_eq!((moved.status, field(&moved, "location")), (308, Some("console/")));
    }

    #[test]
    fn files_are_found_and_nothing_else() {
        let page = get("/ui/", &[]);
        assert_eq!((page.status, field(&page, "content-type")), (200, Some("text/html; charset=utf-8")));
        assert_eq!(page.body, get("/ui/index.html", &[]).body);
        assert!(field(&page, "content-security-policy").is_some_and(|p| p.contains("default-src 'none'") && !p.contains("unsafe")));
        assert_eq!(field(&get("/ui/app.js", &[]), "content-type"), Some("text/javascript; charset=utf-8"));
        for path in ["/ui/../Cargo.toml", "/ui/nothing.js", "/ui/lib", "/ui//app.js", "/ui/APP.JS"] {
            assert_eq!(get(path, &[]).status, 404, "{path}");
        }
    }

    #[test]
    fn what_a_browser_has_is_not_sent_again() {
        let file = get("/ui/app.js", &[]);
        let tag = field(&file, "etag").unwrap().to_owned();
        let again = get("/ui/app.js", &[("if-none-match", &format!("\"other\", W/{tag}"))]);
        assert_eq!((again.status, again.body.len()), (304, 0));
        assert_eq!(get("/ui/app.js", &[("if-none-match", "\"other\"")]).status, 200);
    }

    #[test]
    fn files_are_packed_for_who_takes_it() {
        let plain = get("/ui/app.js", &[("accept-encoding", "br, gzip;q=0")]);
        let packed = get("/ui/app.js", &[("accept-encoding", "br;q=1, GZIP;q=0.5")]);
        assert_eq!((field(&plain, "content-encoding"), field(&packed, "content-encoding")), (None, Some("gzip")));
        assert!(packed.body.starts_with(&[0x1f, 0x8b]) && packed.body.len() < plain.body.len());
    }

    #[test]
    fn the_console_is_small() {
        let packed: usize = FILES.iter().map(|file| file.packed.len()).sum();
        assert!(packed < 300 << 10, "{packed} bytes");
    }
}
