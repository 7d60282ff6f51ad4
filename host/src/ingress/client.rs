//! Who asks: the address of the other end of the connection, or what a trusted proxy says about it.

use std::net::IpAddr;

use http::HeaderMap;
use ipnet::IpNet;

/// The client of a request, kept among its extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client(pub IpAddr);

/// The client's address. Of `x-forwarded-for` only what trusted proxies added is believed: each adds whom it was asked by at the end, so
/// the list is read from there, up to the first address that is no trusted proxy. What is before it may be the client's invention.
pub fn of(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Client {
    let mut client = peer.to_canonical();
    let fields: Vec<&str> = headers.get_all("x-forwarded-for").iter().filter_map(|v| v.to_str().ok()).collect();
    let mut named = fields.iter().flat_map(|f| f.split(',')).rev();
    while trusted.iter().any(|network| network.contains(&client)) {
        match named.next().and_then(address) {
            Some(before) => client = before,
            None => break,
        }
    }
    Client(client)
}

/// Some proxies write the port too.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.parse().ok().or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|s| s.ip()));
    bare.or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()).map(|ip: IpAddr| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn check(peer: &str, forwarded: &[&'static str], trusted: &[&str], expect: &str) {
        let headers: HeaderMap = forwarded
            .iter()
            .map(|v| (http::HeaderName::from_static("x-forwarded-for"), HeaderValue::from_static(v)))
            .fold(HeaderMap::new(), |mut all, (name, value)| {
                all.append(name, value);
                all
            });
        let trusted: Vec<IpNet> = trusted.iter().map(|t| t.parse().unwrap()).collect();
        assert_eq!(of(peer.parse().unwrap(), &headers, &trusted), Client(expect.parse().unwrap()), "{peer} {forwarded:?}");
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        check("192.0.2.1", &["198.51.100.7"], &[], "192.0.2.1");
        check("10.0.0.1", &["198.51.100.7"], &["10.0.0.0/8"], "198.51.100.7");
        check("10.0.0.1", &["6.6.6.6, 198.51.100.7, 10.0.0.2"], &["10.0.0.0/8"], "198.51.100.7");
        check("10.0.0.1", &["6.6.6.6", "198.51.100.7:4711"], &["10.0.0.0/8"], "198.51.100.7");
        check("10.0.0.1", &["198.51.100.7, unknown"], &["10.0.0.0/8"], "10.0.0.1");
        check("10.0.0.1", &[], &["10.0.0.0/8"], "10.0.0.1");
        check("::ffff:10.0.0.1", &["[2001:db8::1]:443"], &["10.0.0.0/8"], "2001:db8::1");
    }
}
