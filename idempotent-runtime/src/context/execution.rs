//! What a body can ask about its own execution.

use std::{fmt, sync::Arc};

use sha2::{Digest, Sha256};

use super::RunningBody;
use crate::{OperationId, key::KeyDigest};

/// The running execution of an annotated function, seen from inside its body.
///
/// ```
/// use idempotent_fn::{Error, current, idempotent};
///
/// #[idempotent(scope = "payments.charge", key = order)]
/// async fn charge(order: u64) -> Result<String, Error> {
///     let execution = current();
///     println!("{} {}: attempt {}", execution.scope(), execution.key_digest(), execution.attempt());
///     // For a service that knows a repeated request by its key, and one that refuses older tokens:
///     let (bank_key, token) = (execution.derive_key("bank"), execution.fencing_token());
///     Ok(format!("{bank_key} {token}"))
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// # let store = idempotent_fn::store::MemoryStore::new();
/// # idempotent_fn::with_store(store, charge(42)).await.map(|_| ())
/// # }
/// ```
#[derive(Clone)]
pub struct Execution {
    running: Arc<dyn RunningBody>,
}

impl Execution {
    pub(super) fn of(running: Arc<dyn RunningBody>) -> Self {
        Self { running }
    }

    /// Whether this is the run of a key. `false` if the optional key is `None`: then there is no
    /// record, and the body runs in every such call, each an execution of its own.
    #[must_use]
    pub fn is_protected(&self) -> bool {
        self.running.is_protected()
    }

    /// The fencing token of this attempt: larger than that of every earlier attempt with this key,
    /// and below 2^53. Pass it to services that refuse smaller tokens than they have seen. Then a
    /// silent owner that comes back does no harm.
    ///
    /// Without [protection](Self::is_protected) it is the time of the call, in microseconds since
    /// 1970 by this machine's clock. It is below 2^53 too, but two calls may have the same.
    #[must_use]
    pub fn fencing_token(&self) -> u64 {
        self.running.fencing_token()
    }

    /// The number of this attempt with the key, from 1. It is more than 1 after an `Err` that may
    /// be retried, after a takeover, and shortly after the `ttl` of an earlier result. Always 1
    /// without [protection](Self::is_protected).
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.running.attempt()
    }

    /// The operation's scope.
    #[must_use]
    pub fn scope(&self) -> &'static str {
        self.running.scope()
    }

    /// A digest of the key for logs, which does not show the key. Without
    /// [protection](Self::is_protected) it is random.
    #[must_use]
    pub fn key_digest(&self) -> KeyDigest {
        self.running.key().digest()
    }

    /// An idempotency key for a service this body calls: 32 hex characters, the same on every
    /// attempt with this key, and different for every `label`, key, scope and namespace. Use one
    /// label per effect (`"stripe"`, `"mail"`). It stays the same after the `ttl` is over and after a
    /// [`forget`](crate::Operation::forget): a service that still knows it answers with what it did
    /// then. Without [protection](Self::is_protected) it is
    /// different in every call: the service takes each for a new one.
    ///
    /// The format is frozen: the first 16 bytes of SHA-256 over `idempotent-fn derived key v1`, the
    /// record key's length (8 bytes, big-endian), the record key and the label.
    #[must_use]
    pub fn derive_key(&self, label: &str) -> String {
        let key = self.running.key().as_str();
        let hash = Sha256::new()
            .chain_update("idempotent-fn derived key v1")
            .chain_update((key.len() as u64).to_be_bytes())
            .chain_update(key)
            .chain_update(label)
            .finalize();
        let mut half = [0; 16];
        half.copy_from_slice(&hash[..16]);
        format!("{:032x}", u128::from_be_bytes(half))
    }
}

impl fmt::Debug for Execution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Execution")
            .field(
                "operation",
                &OperationId::of(self.running.scope(), self.running.key()),
            )
            .field("is_protected", &self.is_protected())
            .field("fencing_token", &self.fencing_token())
            .field("attempt", &self.attempt())
            .finish()
    }
}
