//! Secrets at rest: values of the key-value store that only `storage.token_key` opens.
//!
//! Each is sealed with XChaCha20-Poly1305 and a nonce of its own, which is random: 24 bytes do not repeat. Whose it is is sealed with it, so
//! that one value cannot stand in the place of another. What is here is never in the file, a log or an error as it is.

use std::sync::Arc;

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
}

impl Vault {
    /// Opens it, if the configuration has a key. With another key than the one before it is an error: nothing is changed then.
    pub fn open(config: &Storage, kv: &Arc<dyn Kv>) -> anyhow::Result<Option<Self>> {
        let Some(key) = &config.token_key else { return Ok(None) };
        let place = match (config.keys.r#type, &config.path) {
            (KeysStore::Postgres, _) => "the database of `storage.keys`".to_owned(),
            (KeysStore::Local, Some(path)) => format!("`{}`", path.display()),
            (KeysStore::Local, None) => "memory".to_owned(),
        };
        Self::with_key(key, Arc::clone(kv)).with_context(|| format!("the tokens in {place} cannot be read")).map(Some)
    }

    fn with_key(key: &Secret, kv: Arc<dyn Kv>) -> anyhow::Result<Self> {
        let key = token_key(key).map_err(|reason| anyhow::anyhow!("`storage.token_key`: {reason}"))?;
        let vault = Self { kv, cipher: XChaCha20Poly1305::new(&key.into()) };
        match vault.kv.value(&proof()) {
            Some(sealed) if vault.unseal("", &sealed).is_none() => bail!(
                "`storage.token_key` is not the key that they were encrypted with. Set the key from before. If it is lost nobody can read \
                 them: `wasmgate oauth forget --config FILE` removes them, and somebody has to log in again"
            ),
            Some(_) => {}
            None => vault.kv.set(proof(), vault.seal("", b"wasmgate")?)?,
        }
        Ok(vault)
    }

    /// Keeps a value.
    pub fn put(&self, owner: &str, number: u32, value: &[u8]) -> anyhow::Result<()> {
        let name = name(owner, number);
        let sealed = self.seal(&name, value)?;
        Ok(self.kv.set(key(name), sealed)?)
    }

    /// Removes a value.
    pub fn remove(&self, owner: &str, number: u32) {
        self.kv.delete(&key(name(owner, number)));
    }

    /// The values of an owner by number; none in the place of one that is damaged.
    pub fn all(&self, owner: &str) -> Vec<(u32, Option<Vec<u8>>)> {
        let prefix = format!("{owner}/");
        let numbers = self.kv.keys(NAMESPACE, BUCKET, Some(&prefix), MOST).into_iter();
        let numbers = numbers.map_while(|k| k.strip_prefix(&prefix).map(str::to_owned)).filter_map(|n| n.parse().ok());
        numbers
            .map(|number: u32| {
                let name = name(owner, number);
                let value = self.kv.value(&key(name.clone())).and_then(|sealed| self.unseal(&name, &sealed));
                (number, value)
            })
            .collect()
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
        let all: Vec<_> = again.all("a").into_iter().map(|(n, v)| (n, String::from_utf8(v.unwrap()).unwrap())).collect();
        assert_eq!(all, [(1, "token-one".into()), (2, "token-two".into()), (10, "token-ten".into())]);

        let sealed = |n| kv.value(&key(name("a", n))).unwrap();
        assert!(!sealed(1).windows(5).any(|w| w == b"token"), "it is readable");
        let before = sealed(1);
        first.put("a", 1, b"token-one").unwrap();
        assert_ne!(before, sealed(1), "the nonce is the same");
        kv.set(key(name("a", 2)), sealed(1)).unwrap();
        assert_eq!(again.all("a")[1], (2, None), "one value stands in the place of another");
        let mut damaged = sealed(10);
        *damaged.last_mut().unwrap() ^= 1;
        kv.set(key(name("a", 10)), damaged).unwrap();
        kv.set(key(name("a", 11)), vec![VERSION, 1, 2]).unwrap();
        assert_eq!(again.all("a")[2..], [(10, None), (11, None)]);
        again.remove("a", 2);
        assert_eq!(again.all("a").len(), 3);
    }

    #[test]
    fn another_key_is_told_and_changes_nothing() {
        let kv: Arc<dyn Kv> = Arc::new(MemoryKv::default());
        vault(&kv, 1).unwrap().put("a", 1, b"token").unwrap();
        let error = format!("{:#}", vault(&kv, 2).err().expect("the key is another one"));
        assert!(error.contains("storage.token_key") && !error.contains("0202"), "{error}");
        assert_eq!(vault(&kv, 1).unwrap().all("a"), [(1, Some(b"token".to_vec()))]);
        assert_eq!(forget(&*kv), 1);
        assert_eq!(vault(&kv, 2).unwrap().all("a"), []);
    }
}
