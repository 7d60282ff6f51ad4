//! SHA-256 as text: how components, and the keys of callers, are told apart.

use sha2::{Digest as _, Sha256};

/// The digest in hex.
pub fn hex(bytes: impl AsRef<[u8]>) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// The digest as operators see it: `sha256:` and hex.
pub fn named(bytes: impl AsRef<[u8]>) -> String {
    format!("sha256:{}", hex(bytes))
}

#[cfg(test)]
mod tests {
    /// The digest of nothing, of FIPS 180-4.
    #[test]
    fn digests() {
        let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!((super::hex(""), super::named("")), (nothing.to_owned(), format!("sha256:{nothing}")));
    }
}
