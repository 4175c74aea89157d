//! Secrets of others that must be read again, and so cannot be hashed: sealed before they are stored.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use thiserror::Error;

use crate::platform::tokens::{CredentialError, Secret, random};

/// Why something could not be sealed or opened.
#[derive(Debug, Error)]
pub(super) enum SealError {
    /// There was no randomness for a nonce.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// What is stored was not sealed with this service's secret for this purpose, or has been changed.
    #[error("a sealed value cannot be opened")]
    Broken,
}

/// Seals with AES-256-GCM, with a key derived from the service's secret (HKDF-SHA256, RFC 5869).
///
/// Nonces are random: a service would have to seal 2^32 values before two that are equal were worth a thought (NIST SP
/// 800-38D section 8.3).
pub(super) struct Seal(LessSafeKey);

impl Seal {
    pub(super) fn new(secret: &Secret) -> Self {
        let pseudorandom = Salt::new(HKDF_SHA256, b"trueline xentree").extract(secret.reveal().as_bytes());
        let key = pseudorandom.expand(&[b"seal of stored secrets"], &AES_256_GCM).map(UnboundKey::from);
        // The length asked for is the algorithm's own, which is always to be had.
        Self(LessSafeKey::new(key.expect("HKDF gives as many bytes as a key has")))
    }

    /// `purpose` is bound to the value, so that nothing sealed for one purpose opens for another.
    pub(super) fn close(&self, purpose: &str, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let nonce = random::<NONCE_LEN>()?;
        let mut sealed = plain.to_vec();
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(purpose), &mut sealed)
            .map_err(|_| SealError::Broken)?;
        sealed.splice(..0, nonce);
        Ok(sealed)
    }

    pub(super) fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN).ok_or(SealError::Broken)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Broken)?;
        let mut plain = sealed.to_vec();
        let length = self.0.open_in_place(nonce, Aad::from(purpose), &mut plain).map_err(|_| SealError::Broken)?.len();
        plain.truncate(length);
        Ok(plain)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_for_its_purpose_and_service_only() {
        let seal = Seal::new(&Secret::new("a"));
        let sealed = seal.close("token", b"refresh me").unwrap();
        assert!(!sealed.windows(7).any(|window| window == b"refresh"));
        assert_ne!(sealed, seal.close("token", b"refresh me").unwrap());
        assert_eq!(seal.open("token", &sealed).unwrap(), b"refresh me");
        assert!(seal.open("key", &sealed).is_err());
        assert!(Seal::new(&Secret::new("b")).open("token", &sealed).is_err());
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(seal.open("token", &changed).is_err());
        }
        assert!(seal.open("token", b"short").is_err());
    }
}
