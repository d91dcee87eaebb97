//! Certificates for servers on loopback.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// A certificate authority made for one server, and the server's certificate for `127.0.0.1` and
/// `localhost`.
#[derive(Debug)]
pub struct Certificates {
    folder: PathBuf,
    ca_pem: String,
}

impl Certificates {
    pub(crate) fn make(folder: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        // Unlike the server's, or OpenSSL takes the server's certificate for one that signed
        // itself.
        params
            .distinguished_name
            .push(DnType::CommonName, "test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key can be made");
        let ca = CertifiedIssuer::self_signed(params, key).expect("the CA signs itself");

        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let key = KeyPair::generate().expect("a key can be made");
        let params = CertificateParams::new(names).expect("valid names");
        let server = params
            .signed_by(&key, &ca)
            .expect("the CA signs the server");

        let certificates = Self {
            folder: folder.to_owned(),
            ca_pem: ca.pem(),
        };
        for (path, pem) in [
            (certificates.ca_path(), certificates.ca_pem.clone()),
            (certificates.certificate_path(), server.pem()),
            (certificates.key_path(), key.serialize_pem()),
        ] {
            fs::write(path, pem).expect("the temporary folder is writable");
        }
        certificates
    }

    /// The authority's certificate, which a client has to trust.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The file with [`ca_pem`](Self::ca_pem).
    #[must_use]
    pub fn ca_path(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// The server's certificate.
    #[must_use]
    pub fn certificate_path(&self) -> PathBuf {
        self.folder.join("server.pem")
    }

    /// The server's private key.
    #[must_use]
    pub fn key_path(&self) -> PathBuf {
        self.folder.join("server.key")
    }
}
