//! Encrypted connections: the certificate and its key, read again when a file changes.
//!
//! A connection keeps what it began with. What cannot be used (half of a renewal, a key that does not fit) is told in the log, and the one
//! before goes on.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::Tls;
use crate::gateway::Gateway;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What is wrong, and with which setting of `server.tls`.
#[derive(Debug, PartialEq, Eq)]
pub struct Unusable {
    /// `cert` or `key`.
    pub setting: &'static str,
    /// What is wrong with its file.
    pub message: String,
}

/// What connections are encrypted with from now on.
pub struct Certificates(ArcSwap<ServerConfig>);

impl Certificates {
    /// Reads the files for the first time.
    pub fn open(settings: &Tls) -> Result<Arc<Self>, Unusable> {
        Ok(Arc::new(Self(ArcSwap::new(load(settings)?))))
    }

    /// For the next connection.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.0.load_full()
    }

    /// Looks at the files for as long as it is polled, also at others when the configuration names others.
    pub async fn follow(self: Arc<Self>, gateway: Arc<Gateway>) {
        let mut seen: Option<(Tls, Stamp)> = None;
        loop {
            if let Some(settings) = gateway.deploy.live().stable.config.server.tls.clone() {
                let look = tokio::task::spawn_blocking(move || {
                    let now = (settings.clone(), Stamp::of(&settings));
                    let loaded = (seen.as_ref() != Some(&now)).then(|| load(&settings));
                    (now, loaded, seen.is_none())
                });
                let Ok((now, loaded, is_first)) = look.await else { return };
                match loaded {
                    Some(Ok(config)) => {
                        self.0.store(config);
                        if !is_first {
                            tracing::info!(cert = %now.0.cert.display(), "the certificate was read again");
                        }
                    }
                    Some(Err(e)) => {
                        tracing::warn!(
                            setting = format!("server.tls.{}", e.setting),
                            reason = e.message,
                            "the certificate cannot be used; the one before goes on"
                        );
                    }
                    None => {}
                }
                seen = Some(now);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// What tells a file that was changed from one that was not: length and time of each.
#[derive(PartialEq, Eq)]
struct Stamp([Option<(u64, SystemTime)>; 2]);

impl Stamp {
    fn of(settings: &Tls) -> Self {
        Self([&settings.cert, &settings.key].map(|file| {
            let found = std::fs::metadata(file).ok()?;
            Some((found.len(), found.modified().ok()?))
        }))
    }
}

/// Reads certificate and key, and makes sure that they fit.
pub fn load(settings: &Tls) -> Result<Arc<ServerConfig>, Unusable> {
    let wrong = |setting, file: &Path, what: String| Unusable { setting, message: format!("the file `{}` {what}.", file.display()) };
    let (cert, key) = (&settings.cert, &settings.key);
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(|e| wrong("cert", cert, unread(&e, "certificate (`-----BEGIN CERTIFICATE-----`)")))?;
    if chain.is_empty() {
        return Err(wrong("cert", cert, "holds no certificate (`-----BEGIN CERTIFICATE-----`)".into()));
    }
    let private =
        PrivateKeyDer::from_pem_file(key).map_err(|e| wrong("key", key, unread(&e, "private key (`-----BEGIN PRIVATE KEY-----`)")))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = builder.and_then(|b| b.with_no_client_auth().with_single_cert(chain, private)).map_err(|e| match e {
        rustls::Error::InconsistentKeys(_) => wrong("key", key, format!("is not the key of the certificate in `{}`", cert.display())),
        rustls::Error::InvalidCertificate(e) => wrong("cert", cert, format!("holds a certificate that cannot be used: {e:?}")),
        e => wrong("key", key, format!("holds a key that cannot be used: {e}")),
    })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Why nothing could be read.
fn unread(error: &pem::Error, what: &str) -> String {
    match error {
        pem::Error::Io(e) => format!("cannot be read: {e}"),
        pem::Error::NoItemsFound => format!("holds no {what}"),
        _ => "is not in PEM format".into(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn check(cert: Option<&str>, key: Option<&str>, expect: Option<(&str, &str)>) {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: Option<&str>| -> PathBuf {
            let path = folder.path().join(name);
            if let Some(text) = text {
                std::fs::write(&path, text).unwrap();
            }
            path
        };
        let loaded = load(&Tls { cert: file("cert.pem", cert), key: file("key.pem", key) });
        match (loaded, expect) {
            (Ok(config), None) => assert_eq!(config.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]),
            (Err(e), Some((setting, message))) => {
                assert_eq!(e.setting, setting, "{}", e.message);
                assert!(e.message.contains(message) && e.message.contains(".pem"), "{}", e.message);
                assert!(!e.message.contains("BEGIN PRIVATE KEY-----\n"), "{}", e.message);
            }
            (loaded, expect) => panic!("expected {expect:?}, found {:?}", loaded.err()),
        }
    }

    #[test]
    fn what_is_wrong_with_the_files_is_told() {
        let ((cert, key), (_, other)) = (pair(), pair());
        let (cert, key) = (Some(cert.as_str()), Some(key.as_str()));
        check(cert, key, None);
        check(None, key, Some(("cert", "cannot be read")));
        check(cert, None, Some(("key", "cannot be read")));
        check(Some(""), key, Some(("cert", "holds no certificate")));
        check(key, key, Some(("cert", "holds no certificate")));
        check(cert, cert, Some(("key", "holds no private key")));
        check(cert, Some(&other), Some(("key", "is not the key of the certificate")));
        check(Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), key, Some(("cert", "cannot be used")));
        check(Some("-----BEGIN CERTIFICATE-----\nAAAA\n"), key, Some(("cert", "")));
    }
}
