//! Authorities and certificates for tests, in files, and a client that speaks TLS.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio_rustls::rustls::crypto::{ring::default_provider, CryptoProvider};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::secs;

/// The cryptography of all tests.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}

/// An authority, whose certificate lies in a directory.
pub struct Authority {
    directory: PathBuf,
    name: String,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, in files.
pub struct Issued {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Issued {
    /// As keys of a configuration.
    pub fn yaml(&self) -> String {
        format!("certificate: {}\nkey: {}", self.certificate.display(), self.key.display())
    }

    /// What is in the files.
    pub fn read(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = CertificateDer::pem_file_iter(&self.certificate).unwrap().map(Result::unwrap).collect();
        (chain, PrivateKeyDer::from_pem_file(&self.key).unwrap())
    }
}

impl Authority {
    /// A new one, with its certificate in `NAME.pem`.
    pub fn new(directory: PathBuf, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { directory, name: name.to_owned(), issuer };
        std::fs::write(authority.file(), authority.issuer.pem()).unwrap();
        authority
    }

    /// The file of its certificate.
    pub fn file(&self) -> PathBuf {
        self.directory.join(format!("{}.pem", self.name))
    }

    /// A certificate for a host, in `NAME-cert.pem` and `NAME-key.pem`.
    pub fn issue(&self, name: &str, host: &str) -> Issued {
        let key = KeyPair::generate().unwrap();
        let own =
            CertificateParams::new(vec![host.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let at = |what: &str| self.directory.join(format!("{name}-{what}.pem"));
        let issued = Issued { certificate: at("cert"), key: at("key") };
        std::fs::write(&issued.certificate, own.pem()).unwrap();
        std::fs::write(&issued.key, key.serialize_pem()).unwrap();
        issued
    }

    /// A client's configuration that trusts this authority alone, and presents a certificate if it has one.
    pub fn client(&self, own: Option<&Issued>, protocols: &[&str]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let builder =
            ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        let mut config = match own.map(Issued::read) {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config
    }
}

/// A connection with TLS, over which HTTP/1 is spoken.
pub struct Secure(pub StreamOwned<ClientConnection, TcpStream>);

impl Secure {
    /// Connects and asks for `host`. The handshake is made by the first write or read.
    pub fn open(address: SocketAddr, host: &str, config: ClientConfig) -> Self {
        let tcp = TcpStream::connect(address).expect("the router takes connections");
        tcp.set_read_timeout(Some(secs(10))).unwrap();
        let name = ServerName::try_from(host.to_owned()).unwrap();
        Self(StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), tcp))
    }

    /// Sends a request and reads its answer's head, and a body of known length; or why that cannot be.
    pub fn ask(&mut self, request: &[u8]) -> std::io::Result<String> {
        self.0.write_all(request)?;
        let mut answer = Vec::new();
        let mut byte = [0];
        while !answer.ends_with(b"\r\n\r\n") {
            self.0.read_exact(&mut byte)?;
            answer.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&answer).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        self.0.read_exact(&mut body)?;
        Ok(head + &String::from_utf8_lossy(&body))
    }
}
