//! Secrets at rest: values of the key-value store that only `storage.token_key` opens.
//!
//! Each is sealed with XChaCha20-Poly1305 and a nonce of its own, which is random: 24 bytes do not repeat. Whose it is is sealed with it, so
//! that one value cannot stand in the place of another. What is here is never in the file, a log or an error as it is.
//!
//! A store that several gateways share may be away when this one begins. A vault that could not be read is closed, not empty: nothing is read of it,
//! and nothing written, before it is known what is there and whether the key is the right one.

use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, bail};
use chacha20poly1305::aead::{Aead as _, Generate as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

use super::{Key, Kv};
use crate::config::oauth::token_key;
use crate::config::{KeysStore, Secret, Storage};

/// Where the host keeps its own in the store. No extension has this name.
const NAMESPACE: &str = "@host";

/// Where the sealed values are.
const BUCKET: &str = "tokens";

/// Where it is that says whether a key is the right one.
const PROOF: &str = "token-key";

/// What the values look like. Another layout is another number.
const VERSION: u8 = 1;

/// Length of a nonce.
const NONCE: usize = 24;

/// Most values of one owner that are looked at.
const MOST: usize = 1024;

/// The sealed part of a store.
pub struct Vault {
    kv: Arc<dyn Kv>,
    cipher: XChaCha20Poly1305,
    /// What came of looking whether the key is the right one, once there was something to look at.
    opened: OnceLock<Result<(), Closed>>,
}

/// A value with its number; none in the place of one that is damaged.
type Numbered = (u32, Option<Vec<u8>>);

/// Why nothing can be said of what is kept. Each completes "what is kept of logins …".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// The store did not answer yet.
    #[error("is not known yet: its store has not answered since the gateway began; it is asked again and again")]
    Unread,
    /// The store is there, but with another key, or it takes nothing.
    #[error("cannot be used; the log says why")]
    Unusable,
}

impl Vault {
    /// Opens it, if the configuration has a key. With another key than the one before it is an error: nothing is changed then. Where the store does
    /// not answer that is found out later ([`Vault::opened`]).
    pub fn open(config: &Storage, kv: &Arc<dyn Kv>) -> anyhow::Result<Option<Self>> {
        let Some(key) = &config.token_key else { return Ok(None) };
        let place = match (config.keys.r#type, &config.path) {
            (KeysStore::Postgres, _) => "the database of `storage.keys`".to_owned(),
            (KeysStore::Local, Some(path)) => format!("`{}`", path.display()),
            (KeysStore::Local, None) => "memory".to_owned(),
        };
        let vault = Self::with_key(key, Arc::clone(kv)).with_context(|| format!("the tokens in {place} cannot be read"))?;
        if vault.opened() == Err(Closed::Unread) {
            tracing::warn!(
                "{place} does not answer, so it is not known who is logged in to providers; requests that need a login are refused until it does"
            );
        }
        Ok(Some(vault))
    }

    fn with_key(key: &Secret, kv: Arc<dyn Kv>) -> anyhow::Result<Self> {
        let key = token_key(key).map_err(|reason| anyhow::anyhow!("`storage.token_key`: {reason}"))?;
        let vault = Self { kv, cipher: XChaCha20Poly1305::new(&key.into()), opened: OnceLock::new() };
        if vault.kv.is_read() {
            vault.prove()?;
            let _ = vault.opened.set(Ok(()));
        }
        Ok(vault)
    }

    /// Whether the key is the one that values were sealed with. Where there is none yet it is this one from now on.
    fn prove(&self) -> anyhow::Result<()> {
        match self.kv.value(&proof()) {
            Some(sealed) if self.unseal("", &sealed).is_none() => bail!(
                "`storage.token_key` is not the key that they were encrypted with. Set the key from before. If it is lost nobody can read \
                 them: `wasmgate oauth forget --config FILE` removes them, and somebody has to log in again"
            ),
            Some(_) => Ok(()),
            None => Ok(self.kv.set(proof(), self.seal("", b"wasmgate")?)?),
        }
    }

    /// Whether it is known what is in it. It costs next to nothing to ask again.
    pub fn opened(&self) -> Result<(), Closed> {
        if let Some(opened) = self.opened.get() {
            return *opened;
        }
        if !self.kv.is_read() {
            return Err(Closed::Unread);
        }
        *self.opened.get_or_init(|| {
            self.prove().map_err(|e| {
                let error = format!("{e:#}");
                tracing::error!(
                    error,
                    "the tokens of logins cannot be used, now that their store has answered; requests that need one are refused"
                );
                Closed::Unusable
            })
        })
    }

    /// Keeps a value.
    pub fn put(&self, owner: &str, number: u32, value: &[u8]) -> anyhow::Result<()> {
        self.opened().map_err(|closed| anyhow::anyhow!("what is kept of logins {closed}"))?;
        let name = name(owner, number);
        let sealed = self.seal(&name, value)?;
        Ok(self.kv.set(key(name), sealed)?)
    }

    /// Removes a value. Nothing, as long as it is not known what there is.
    pub fn remove(&self, owner: &str, number: u32) {
        if self.opened().is_ok() {
            self.kv.delete(&key(name(owner, number)));
        }
    }

    /// The values of an owner by number; none in the place of one that is damaged.
    pub fn all(&self, owner: &str) -> Result<Vec<Numbered>, Closed> {
        self.opened()?;
        let prefix = format!("{owner}/");
        let numbers = self.kv.keys(NAMESPACE, BUCKET, Some(&prefix), MOST).into_iter();
        let numbers = numbers.map_while(|k| k.strip_prefix(&prefix).map(str::to_owned)).filter_map(|n| n.parse().ok());
        let all = numbers.map(|number: u32| {
            let name = name(owner, number);
            let value = self.kv.value(&key(name.clone())).and_then(|sealed| self.unseal(&name, &sealed));
            (number, value)
        });
        Ok(all.collect())
    }

    /// Waits until everything is where it lasts.
    pub fn flush(&self) {
        self.kv.flush();
    }

    fn seal(&self, name: &str, value: &[u8]) -> anyhow::Result<Vec<u8>> {
        let nonce = XNonce::try_generate().map_err(|e| anyhow::anyhow!("the system has no random numbers: {e}"))?;
        let sealed = self.cipher.encrypt(&nonce, Payload { msg: value, aad: &associated(name) });
        let sealed = sealed.map_err(|_| anyhow::anyhow!("the value is too long to be encrypted"))?;
        Ok([&[VERSION], nonce.as_slice(), &sealed].concat())
    }

    fn unseal(&self, name: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.strip_prefix(&[VERSION])?.split_at_checked(NONCE)?;
        self.cipher.decrypt(&XNonce::try_from(nonce).ok()?, Payload { msg: sealed, aad: &associated(name) }).ok()
    }
}

/// Removes all sealed values of a store, and the proof of their key; how many there were.
pub fn forget(kv: &dyn Kv) -> usize {
    let mut removed = 0;
    loop {
        let names = kv.keys(NAMESPACE, BUCKET, None, MOST);
        if names.is_empty() {
            break;
        }
        removed += names.len();
        names.into_iter().for_each(|name| kv.delete(&key(name)));
    }
    kv.delete(&proof());
    kv.flush();
    removed
}

fn name(owner: &str, number: u32) -> String {
    format!("{owner}/{number:010}")
}

fn key(name: String) -> Key {
    Key { namespace: NAMESPACE.into(), bucket: BUCKET.into(), key: name }
}

fn proof() -> Key {
    Key { namespace: NAMESPACE.into(), bucket: PROOF.into(), key: "proof".into() }
}

fn associated(name: &str) -> Vec<u8> {
    format!("wasmgate tokens {VERSION} {name}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Late;
    use crate::storage::MemoryKv;

    fn secret(byte: u8) -> Secret {
        Secret::new(format!("{byte:02x}").repeat(32))
    }

    fn vault(kv: &Arc<dyn Kv>, byte: u8) -> anyhow::Result<Vault> {
        Vault::with_key(&secret(byte), Arc::clone(kv))
    }

    #[test]
    fn what_is_kept_comes_back_and_cannot_be_read_or_moved() {
        let kv: Arc<dyn Kv> = Arc::new(MemoryKv::default());
        let first = vault(&kv, 1).expect("it is new");
        first.put("a", 2, b"token-two").unwrap();
        first.put("a", 1, b"token-one").unwrap();
        first.put("a", 10, b"token-ten").unwrap();
        first.put("ab", 1, b"another").unwrap();
        let again = vault(&kv, 1).expect("the key is the same");
        let all: Vec<_> = again.all("a").unwrap().into_iter().map(|(n, v)| (n, String::from_utf8(v.unwrap()).unwrap())).collect();
        assert_eq!(all, [(1, "token-one".into()), (2, "token-two".into()), (10, "token-ten".into())]);

        let sealed = |n| kv.value(&key(name("a", n))).unwrap();
        assert!(!sealed(1).windows(5).any(|w| w == b"token"), "it is readable");
        let before = sealed(1);
        first.put("a", 1, b"token-one").unwrap();
        assert_ne!(before, sealed(1), "the nonce is the same");
        kv.set(key(name("a", 2)), sealed(1)).unwrap();
        assert_eq!(again.all("a").unwrap()[1], (2, None), "one value stands in the place of another");
        let mut damaged = sealed(10);
        *damaged.last_mut().unwrap() ^= 1;
        kv.set(key(name("a", 10)), damaged).unwrap();
        kv.set(key(name("a", 11)), vec![VERSION, 1, 2]).unwrap();
        assert_eq!(again.all("a").unwrap()[2..], [(10, None), (11, None)]);
        again.remove("a", 2);
        assert_eq!(again.all("a").unwrap().len(), 3);
    }

    #[test]
    fn another_key_is_told_and_changes_nothing() {
        let kv: Arc<dyn Kv> = Arc::new(MemoryKv::default());
        vault(&kv, 1).unwrap().put("a", 1, b"token").unwrap();
        let error = format!("{:#}", vault(&kv, 2).err().expect("the key is another one"));
        assert!(error.contains("storage.token_key") && !error.contains("0202"), "{error}");
        assert_eq!(vault(&kv, 1).unwrap().all("a"), Ok(vec![(1, Some(b"token".to_vec()))]));
        assert_eq!(forget(&*kv), 1);
        assert_eq!(vault(&kv, 2).unwrap().all("a"), Ok(vec![]));
    }

    #[test]
    fn a_store_that_does_not_answer_is_no_empty_one() {
        let late = Arc::new(Late::default());
        let kv: Arc<dyn Kv> = Arc::clone(&late) as _;
        late.answers();
        vault(&kv, 1).unwrap().put("a", 1, b"token").unwrap();
        late.is_away();
        let (right, wrong) = (vault(&kv, 1).expect("nobody can know yet"), vault(&kv, 2).expect("nor here"));
        for vault in [&right, &wrong] {
            assert_eq!((vault.opened(), vault.all("a")), (Err(Closed::Unread), Err(Closed::Unread)));
            assert!(vault.put("a", 1, b"another").is_err());
            vault.remove("a", 1);
        }
        late.answers();
        assert_eq!(wrong.all("a"), Err(Closed::Unusable));
        assert!(wrong.put("a", 1, b"another").is_err());
        assert_eq!(right.all("a"), Ok(vec![(1, Some(b"token".to_vec()))]), "it is what it was");
    }
}
