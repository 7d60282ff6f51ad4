//! Which hosts an extension may reach, as the operator wrote it.

use reqwest::Url;

/// One entry: a scheme, a host or all names under one, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRule {
    scheme: &'static str,
    /// Normalised as in a URL; for names under a host, with the dot before it.
    host: String,
    under: bool,
    port: u16,
}

impl HostRule {
    /// Reads `api.example.com`, `*.example.com`, `api.example.com:8443`, `http://127.0.0.1:8080`. The text of an error is for the operator.
    pub fn parse(entry: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("`{entry}` {why}; write it like `api.example.com`, `*.example.com` or `http://127.0.0.1:8080`.");
        let (scheme, rest) = match entry.split_once("://") {
            None | Some(("https", _)) => ("https", entry.trim_start_matches("https://")),
            Some(("http", rest)) => ("http", rest),
            Some(_) => return Err(wrong("has a scheme other than `http` and `https`")),
        };
        let (under, rest) = rest.strip_prefix("*.").map_or((false, rest), |rest| (true, rest));
        if rest.contains('*') {
            return Err(wrong("may have `*` only as its first label"));
        }
        if rest.contains(['/', '\\', '@', '?', '#']) || rest.chars().any(char::is_whitespace) {
            return Err(wrong("must be a host and nothing else"));
        }
        let url = Url::parse(&format!("{scheme}://{rest}")).map_err(|e| wrong(&format!("is not a host ({e})")))?;
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return Err(wrong("has no host")) };
        if under && super::literal(&url).is_some() {
            return Err(wrong("is an address, which has no names under it"));
        }
        let host = if under { format!(".{host}") } else { host.to_owned() };
        Ok(Self { scheme, host, under, port })
    }

    /// Whether a URL is on the host.
    pub fn allows(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let is_host = if self.under { host.len() > self.host.len() && host.ends_with(&self.host) } else { host == self.host };
        is_host && url.scheme() == self.scheme && url.port_or_known_default() == Some(self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_are_granted() {
        let table = [
            ("api.example.com", "https://api.example.com/v1?x", true),
            ("api.example.com", "https://API.example.com:443/", true),
            ("API.Example.com", "https://api.example.com/", true),
            ("https://api.example.com", "https://api.example.com/", true),
            ("api.example.com", "http://api.example.com/", false),
            ("api.example.com", "https://api.example.com:8443/", false),
            ("api.example.com", "https://api.example.com./", false),
            ("api.example.com", "https://api.example.com.evil.com/", false),
            ("api.example.com", "https://evil.com/api.example.com", false),
            ("api.example.com", "https://xapi.example.com/", false),
            ("api.example.com:8443", "https://api.example.com:8443/", true),
            ("api.example.com:8443", "https://api.example.com/", false),
            ("*.example.com", "https://a.example.com/", true),
            ("*.example.com", "https://a.b.example.com/", true),
            ("*.example.com", "https://example.com/", false),
            ("*.example.com", "https://.example.com/", false),
            ("*.example.com", "https://evilexample.com/", false),
            ("http://example.com", "http://example.com/", true),
            ("http://example.com", "https://example.com/", false),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/", true),
            ("http://127.0.0.1", "http://0x7f000001/", true),
            ("http://127.0.0.1", "http://127.1/", true),
            ("[::1]:8443", "https://[0:0::1]:8443/", true),
            ("bücher.example", "https://xn--bcher-kva.example/", true),
        ];
        for (entry, url, expected) in table {
            assert_eq!(HostRule::parse(entry).unwrap().allows(&Url::parse(url).unwrap()), expected, "{entry} {url}");
        }
    }

    #[test]
    fn entries_that_are_wrong() {
        for entry in
            ["", "*", "*.", "a.*.com", "*.*.com", "ftp://a", "a/b", "a b", "u@a", "a:99999", "*.127.0.0.1", "https://", "a?b", "a#b"]
        {
            assert!(HostRule::parse(entry).is_err(), "{entry}");
        }
    }
}
