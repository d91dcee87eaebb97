//! placeholder
/// 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 16]);
impl Fingerprint {
    /// from
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self { Self(bytes) }
    /// bytes
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] { &self.0 }
}
