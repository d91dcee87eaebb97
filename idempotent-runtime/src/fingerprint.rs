//! placeholder
/// 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 16]);
impl Fingerprint {
    /// from
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
    /// bytes
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Why.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct FingerprintError(String);
impl Fingerprint {
    /// of
    pub fn of(payload: &(impl serde::Serialize + ?Sized)) -> Result<Self, FingerprintError> {
        use sha2::Digest;
        let bytes =
            rmp_serde::to_vec_named(payload).map_err(|e| FingerprintError(e.to_string()))?;
        let hash = sha2::Sha256::digest(bytes);
        let mut half = [0; 16];
        half.copy_from_slice(&hash[..16]);
        Ok(Self(half))
    }
}
