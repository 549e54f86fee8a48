//! TLS with an engine, as the docker command does it: `ca.pem` besides the authorities that the system knows, and `cert.pem` with
//! `key.pem` to say who we are.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Speaks TLS on `stream` with the engine at `address` (`host:port`); `folder` has the certificates.
pub(super) async fn connect(stream: TcpStream, address: &str, folder: &Path) -> io::Result<TlsStream<TcpStream>> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host).map_err(io::Error::other)?;
    TlsConnector::from(Arc::new(config(folder)?)).connect(name, stream).await
}

fn config(folder: &Path) -> io::Result<ClientConfig> {
    let bad = |name: &str, why: &dyn std::fmt::Display| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{}: {why}", folder.join(name).display()))
    };
    let certificates = |name: &str| -> io::Result<Option<Vec<CertificateDer<'static>>>> {
        let path = folder.join(name);
        if !path.exists() {
            return Ok(None);
        }
        let read = CertificateDer::pem_file_iter(&path).map_err(|error| bad(name, &error))?;
        read.collect::<Result<Vec<_>, _>>().map(Some).map_err(|error| bad(name, &error))
    };
    let mut known = RootCertStore::empty();
    known.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for certificate in certificates("ca.pem")?.unwrap_or_default() {
        known.add(certificate).map_err(|error| bad("ca.pem", &error))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(known);
    match certificates("cert.pem")? {
        Some(own) => {
            let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).map_err(|error| bad("key.pem", &error))?;
            builder.with_client_auth_cert(own, key).map_err(|error| bad("cert.pem", &error))
        }
        None => Ok(builder.with_no_client_auth()),
    }
}
