//! TLS with a configuration of its own. It neither uses nor sets the process-wide default crypto
//! provider.

use std::sync::Arc;

#[cfg(feature = "redis-tls")]
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::{StoreError, StoreErrorKind};

/// Trusted roots and the client's certificate, in PEM.
#[derive(Clone, Default)]
pub(crate) struct Certificates {
    /// Used instead of the operating system's roots.
    pub(crate) roots: Option<Vec<u8>>,
    /// A certificate and its key.
    pub(crate) identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Certificates {
    #[cfg(feature = "redis-tls")]
    pub(crate) fn connector(&self) -> Result<TlsConnector, StoreError> {
        Ok(TlsConnector::from(Arc::new(self.config()?)))
    }

    pub(crate) fn config(&self) -> Result<ClientConfig, StoreError> {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_root_certificates(self.trusted()?);
        match &self.identity {
            Some((certificate, key)) => {
                let key = PrivateKeyDer::from_pem_slice(key).map_err(unusable)?;
                builder.with_client_auth_cert(certificates(certificate)?, key)
            }
            None => Ok(builder.with_no_client_auth()),
        }
        .map_err(unusable)
    }

    fn trusted(&self) -> Result<RootCertStore, StoreError> {
        let mut trusted = RootCertStore::empty();
        if let Some(roots) = &self.roots {
            for certificate in certificates(roots)? {
                trusted.add(certificate).map_err(unusable)?;
            }
        } else {
            // Some systems have old roots that cannot be parsed.
            trusted.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        if trusted.is_empty() {
            return Err(unusable(
                "the operating system has no certificate authorities; name yours with `with_tls_root`",
            ));
        }
        Ok(trusted)
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, StoreError> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(unusable)?;
    if all.is_empty() {
        return Err(unusable("there is no certificate in the PEM text"));
    }
    Ok(all)
}

#[allow(
    clippy::needless_pass_by_value,
    reason = "it is what `map_err` hands over"
)]
fn unusable(reason: impl ToString) -> StoreError {
    let reason = reason.to_string();
    StoreError::new(
        StoreErrorKind::Config,
        format!("the TLS certificates cannot be used: {reason}"),
    )
}
