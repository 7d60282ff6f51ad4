//! `wasmgate:extension/secrets`: secrets of the extension's configuration, used and never read.

use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use wasmtime::component::Resource;

use crate::extensions::bindings::wasmgate::extension::secrets::{Host, HostSecret};
use crate::extensions::services::Entrusted;
use crate::extensions::state::StoreState;
use crate::extensions::tape::{Content, Function, taped};

/// What the guest holds. In a replay there may be nothing behind it.
pub struct SecretHandle(Option<Arc<Entrusted>>);

impl StoreState {
    fn secret(&self, handle: &Resource<SecretHandle>) -> wasmtime::Result<&Entrusted> {
        self.table.get(handle)?.0.as_deref().ok_or_else(|| wasmtime::Error::msg("there is no such secret"))
    }
}

impl Host for &mut StoreState {
    fn find(&mut self, name: String) -> wasmtime::Result<Option<Resource<SecretHandle>>> {
        let found = taped!(self, Function::fact("secrets.find"), (&name,), self.services.secrets.contains_key(&name));
        if !found {
            return Ok(None);
        }
        let secret = self.services.secrets.get(&name).cloned();
        // Without a free handle there is no secret either: an extension that holds that many does something wrong.
        Ok(self.table.push(SecretHandle(secret)).ok())
    }
}

impl HostSecret for &mut StoreState {
    fn placeholder(&mut self, secret: Resource<SecretHandle>) -> wasmtime::Result<String> {
        Ok(taped!(self, Function::fact("secret.placeholder"), (), self.secret(&secret)?.placeholder.clone()))
    }

    fn matches(&mut self, secret: Resource<SecretHandle>, text: String) -> wasmtime::Result<bool> {
        Ok(taped!(self, Function::fact("secret.matches"), (&text,), {
            let key = &self.secret(&secret)?.secret;
            // Of two tags under the same key, so that not even the length shows.
            tag(key.expose(), text.as_bytes()).ct_eq(&tag(key.expose(), key.expose().as_bytes())).into()
        }))
    }

    fn sign(&mut self, secret: Resource<SecretHandle>, data: Vec<u8>) -> wasmtime::Result<Vec<u8>> {
        let signed =
            taped!(self, Function::fact("secret.sign"), (Content(&data),), Content(tag(self.secret(&secret)?.secret.expose(), &data)));
        Ok(signed.0)
    }

    fn drop(&mut self, secret: Resource<SecretHandle>) -> wasmtime::Result<()> {
        self.table.delete(secret)?;
        Ok(())
    }
}

/// HMAC-SHA256.
fn tag(key: &str, data: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::tag;

    /// Test case 2 of RFC 4231.
    #[test]
    fn the_tag_is_hmac_sha256() {
        let hex: String = tag("Jefe", b"what do ya want for nothing?").iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
