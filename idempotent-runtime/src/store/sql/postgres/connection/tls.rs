//! TLS by rustls. It binds passwords to the channel (`SCRAM-SHA-256-PLUS`), for which it needs the hash that the server's
//! certificate was signed with.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use sha2::{Digest, Sha256, Sha384, Sha512};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::{
    TlsConnector, client,
    rustls::{ClientConfig, pki_types::ServerName},
};

/// Makes TLS connections with one configuration.
#[derive(Clone)]
pub(in crate::store::sql::postgres) struct Tls(Arc<ClientConfig>);

impl Tls {
    pub(in crate::store::sql::postgres) fn new(config: ClientConfig) -> Self {
        Self(Arc::new(config))
    }
}

impl<S> MakeTlsConnect<S> for Tls
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Encrypted<S>;
    type TlsConnect = Handshake;
    type Error = io::Error;

    /// A unix socket has no name, and no TLS.
    fn make_tls_connect(&mut self, name: &str) -> Result<Handshake, io::Error> {
        Ok(Handshake {
            config: self.0.clone(),
            name: ServerName::try_from(name.to_owned()).ok(),
        })
    }
}

/// One handshake to come.
pub(in crate::store::sql::postgres) struct Handshake {
    config: Arc<ClientConfig>,
    name: Option<ServerName<'static>>,
}

impl<S> TlsConnect<S> for Handshake
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Encrypted<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let name = self.name.ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "the host's name is no name of a certificate",
                )
            })?;
            let connecting = TlsConnector::from(self.config).connect(name, stream);
            Ok(Encrypted(connecting.await?))
        })
    }
}

/// A connection after its handshake.
pub(in crate::store::sql::postgres) struct Encrypted<S>(client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Encrypted<S> {
    fn channel_binding(&self) -> ChannelBinding {
        let (_, session) = self.0.get_ref();
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        let hash = certificate.and_then(|certificate| fingerprint(certificate));
        hash.map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Encrypted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Encrypted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// The hash that binds to a certificate, by RFC 5929: the one it was signed with, or SHA-256 where that is weaker. `None` for
/// signatures that the RFC says nothing of.
fn fingerprint(certificate: &[u8]) -> Option<Vec<u8>> {
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04];
    let algorithm = signature_algorithm(certificate)?;
    let kind = algorithm
        .strip_prefix(RSA)
        .map(|kind| (RSA, kind))
        .or_else(|| Some((ECDSA, algorithm.strip_prefix(ECDSA)?)))?;
    match kind {
        // With MD5, SHA-1 and SHA-256; with SHA-1 and SHA-256.
        (RSA, [4 | 5 | 11]) | (ECDSA, [1] | [3, 2]) => Some(Sha256::digest(certificate).to_vec()),
        (RSA, [12]) | (ECDSA, [3, 3]) => Some(Sha384::digest(certificate).to_vec()),
        (RSA, [13]) | (ECDSA, [3, 4]) => Some(Sha512::digest(certificate).to_vec()),
        _ => None,
    }
}

/// The OID of a certificate's signature: `SEQUENCE { what is signed, SEQUENCE { OID, … }, … }`.
fn signature_algorithm(certificate: &[u8]) -> Option<&[u8]> {
    const SEQUENCE: u8 = 0x30;
    const OID: u8 = 0x06;
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (_signed, rest) = element(certificate, SEQUENCE)?;
    let (algorithm, _) = element(rest, SEQUENCE)?;
    let (oid, _) = element(algorithm, OID)?;
    Some(oid)
}

/// The contents of the DER element at the beginning, if it has this tag; and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, length], mut rest) = bytes.split_first_chunk()?;
    let length = match length {
        short @ 0..0x80 => usize::from(short),
        // So many bytes of a length follow.
        long => {
            let (digits, behind) = rest.split_at_checked(usize::from(long & 0x7f))?;
            rest = behind;
            let digits = digits.iter().try_fold(0_usize, |length, digit| {
                Some(length.checked_mul(256)? + usize::from(*digit))
            });
            digits?
        }
    };
    (found == tag).then(|| rest.split_at_checked(length))?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `SEQUENCE { SEQUENCE { 200 bytes }, SEQUENCE { OID } }`.
    fn certificate(oid: &[u8]) -> Vec<u8> {
        let mut signed = vec![0x30, 0x81, 200];
        signed.extend([7; 200]);
        let mut algorithm = vec![0x30, u8::try_from(oid.len() + 2).expect("short")];
        algorithm.extend([0x06, u8::try_from(oid.len()).expect("short")]);
        algorithm.extend(oid);
        let inner = [signed, algorithm].concat();
        let mut whole = vec![0x30, 0x82];
        whole.extend(u16::try_from(inner.len()).expect("short").to_be_bytes());
        whole.extend(inner);
        whole
    }

    #[test]
    fn a_certificate_is_hashed_as_it_was_signed() {
        let rsa = |kind| certificate(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, kind]);
        let ecdsa = |kind| certificate(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, kind]);
        for (certificate, length) in [
            (rsa(5), Some(32)),
            (rsa(11), Some(32)),
            (rsa(12), Some(48)),
            (rsa(13), Some(64)),
            (rsa(10), None),
            (ecdsa(2), Some(32)),
            (ecdsa(3), Some(48)),
            (ecdsa(4), Some(64)),
            (certificate(&[0x2b, 0x65, 0x70]), None),
        ] {
            let hash = fingerprint(&certificate);
            assert_eq!(hash.map(|hash| hash.len()), length);
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_hash() {
        let whole = certificate(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]);
        assert!(fingerprint(&whole).is_some());
        for end in 0..whole.len() {
            assert_eq!(fingerprint(&whole[..end]), None, "{end}");
        }
        assert_eq!(fingerprint(&[0x30, 0xff, 1, 2, 3]), None);
        assert_eq!(
            fingerprint(&[0x30, 0x89, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0]),
            None
        );
    }
}
