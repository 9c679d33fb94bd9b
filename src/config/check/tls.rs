//! Certificates and keys: that the files hold what they should, that a key belongs to its certificate, and which of
//! several certificates a caller is shown.
//!
//! They are read here, once for each time that the configuration is read, so that a reload takes up renewed files and a
//! broken one leaves the running process as it was. TLS itself is rustls with ring, as in the rest of the program:
//! TLS 1.2 and 1.3, nothing older. The certificate for a name is found by the rules that a client would check it by
//! (RFC 9525), wildcards included.

use std::sync::Arc;

use ring::digest::{Context, SHA256};
use rustls::client::verify_server_name;
use rustls::crypto::{ring::default_provider, CryptoProvider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};

use x509_parser::parse_x509_certificate;

use super::Check;
use crate::config::file;
use crate::config::problem::Fault;
use crate::config::settings::{Presented, ServerTls, UpstreamTls};
use crate::secret::Secret;

/// The file of a certificate chain, and that of its key.
type Pair<'f> = (Option<&'f String>, Option<&'f String>);

/// A chain as DER, its key as PEM, and both ready to sign.
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: Secret,
    certified: CertifiedKey,
}

impl Check<'_, '_> {
    /// TLS for callers; none if the file has no certificate, or none that can be used, which has then been reported.
    pub(super) fn server_tls(&mut self, file: &file::ServerTls) -> Option<ServerTls> {
        if file.certificate.is_none() && file.key.is_none() {
            self.useless_without_a_certificate(file);
            return None;
        }
        let mut seen = Context::new(&SHA256);
        let first = ("server.tls".to_owned(), (file.certificate.as_ref(), file.key.as_ref()));
        let others = file.others.iter().enumerate().map(|(at, pair)| {
            (format!("server.tls.others[{at}]"), (pair.certificate.as_ref(), pair.key.as_ref()))
        });
        let mut certificates = Vec::new();
        for (path, pair) in std::iter::once(first).chain(others) {
            let Identity { chain, key, certified } = self.identity(&path, pair)?;
            chain.iter().for_each(|certificate| seen.update(certificate));
            seen.update(key.expose().as_bytes());
            certificates.push(Arc::new(certified));
        }
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone());
        let builder = builder.with_protocol_versions(&[&TLS12, &TLS13]).ok()?;
        let resolver = Arc::new(ByName(certificates));
        let mut config = match &file.client_ca {
            None => builder.with_no_client_auth().with_cert_resolver(resolver),
            Some(name) => {
                let authorities = self.authorities("server.tls.client_ca", name)?;
                authorities.iter().for_each(|authority| seen.update(authority));
                seen.update(&[file.client_certificate as u8]);
                let verifier = self.verifier(authorities, file.client_certificate, provider)?;
                builder.with_client_cert_verifier(verifier).with_cert_resolver(resolver)
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Some(ServerTls { config: Arc::new(config), fingerprint: finished(seen) })
    }

    fn useless_without_a_certificate(&mut self, file: &file::ServerTls) {
        for (key, given) in [("others", !file.others.is_empty()), ("client_ca", file.client_ca.is_some())] {
            if given {
                let fault = Fault::new(format!("`{key}` means nothing without `server.tls.certificate`"));
                self.error(&format!("server.tls.{key}"), fault.help("name the router's own certificate"));
            }
        }
    }

    fn verifier(
        &mut self,
        authorities: Vec<CertificateDer<'static>>,
        presented: Presented,
        provider: Arc<CryptoProvider>,
    ) -> Option<Arc<dyn rustls::server::danger::ClientCertVerifier>> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(authorities);
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = match presented {
            Presented::Required => verifier,
            Presented::Optional => verifier.allow_unauthenticated(),
        };
        let built = verifier.build();
        if built.is_err() {
            let fault = Fault::new("`client_ca` holds no certificate that can be an authority");
            self.error("server.tls.client_ca", fault);
        }
        built.ok()
    }

    /// TLS to an upstream; none where it is that of all the world.
    pub(super) fn upstream_tls(&mut self, path: &str, file: &file::UpstreamTls) -> Option<UpstreamTls> {
        let mut seen = Context::new(&SHA256);
        let at = |key: &str| format!("{path}.tls.{key}");
        let ca = match &file.ca {
            None => Vec::new(),
            Some(name) => self.authorities(&at("ca"), name)?,
        };
        let identity = match (&file.certificate, &file.key) {
            (None, None) => None,
            pair => Some(self.identity(&format!("{path}.tls"), (pair.0.as_ref(), pair.1.as_ref()))?),
        };
        let server_name = file.server_name.clone();
        if server_name.as_ref().is_some_and(|name| ServerName::try_from(name.as_str()).is_err()) {
            let fault = Fault::new("`server_name` is no name of a host and no address");
            self.error(&at("server_name"), fault.help("write it as `api.example.com`"));
        }
        if ca.is_empty() && identity.is_none() && server_name.is_none() {
            return None;
        }
        ca.iter().for_each(|authority| seen.update(authority));
        seen.update(server_name.as_deref().unwrap_or_default().as_bytes());
        let identity = identity.map(|Identity { chain, key, .. }| {
            chain.iter().for_each(|certificate| seen.update(certificate));
            seen.update(key.expose().as_bytes());
            (chain.iter().map(|certificate| certificate.to_vec()).collect(), key)
        });
        let ca = ca.iter().map(|authority| authority.to_vec()).collect();
        Some(UpstreamTls { ca, identity, server_name, fingerprint: finished(seen) })
    }

    /// A certificate chain with its key; none if they are not whole, which has then been reported.
    fn identity(&mut self, path: &str, pair: Pair) -> Option<Identity> {
        let (chain_at, key_at) = (format!("{path}.certificate"), format!("{path}.key"));
        let (certificate, key) = match pair {
            (Some(certificate), Some(key)) => (certificate, key),
            (given, _) => {
                let (lacks, at) = if given.is_some() { ("key", chain_at) } else { ("certificate", key_at) };
                if !self.places.has(&format!("{path}.{lacks}")) {
                    let fault = Fault::new(format!("`{lacks}` is missing beside it"));
                    self.error(
                        &at,
                        fault.help("a certificate and its key are two files, or one named twice"),
                    );
                }
                return None;
            }
        };
        let chain = self.certificates(&chain_at, certificate)?;
        let text = self.pem(&key_at, key)?;
        let Ok(parsed) = PrivateKeyDer::from_pem_slice(text.expose().as_bytes()) else {
            let fault = Fault::new("`key` holds no private key that is not encrypted (PEM)");
            self.error(&key_at, fault.help("it begins with `-----BEGIN PRIVATE KEY-----`"));
            return None;
        };
        let Ok(signing) = default_provider().key_provider.load_private_key(parsed) else {
            let fault = Fault::new("`key` is of a kind that is not known here");
            self.error(
                &key_at,
                fault.help("use ECDSA on P-256 or P-384, Ed25519, or RSA of 2048 bits and more"),
            );
            return None;
        };
        let certified = CertifiedKey::new(chain.clone(), signing);
        if certified.keys_match().is_err() {
            self.error(&key_at, Fault::new("`key` is not the key of `certificate`, or that one is broken"));
            return None;
        }
        Some(Identity { chain, key: text, certified })
    }

    fn authorities(&mut self, path: &str, name: &str) -> Option<Vec<CertificateDer<'static>>> {
        let found = self.certificates(path, name)?;
        let mut roots = RootCertStore::empty();
        if found.iter().any(|authority| roots.add(authority.clone()).is_err()) {
            let fault = Fault::new(format!("the file `{name}` holds a certificate that cannot be read"));
            self.error(path, fault.help("look at it by `openssl x509 -text -in FILE`"));
            return None;
        }
        Some(found)
    }

    fn certificates(&mut self, path: &str, name: &str) -> Option<Vec<CertificateDer<'static>>> {
        let text = self.pem(path, name)?;
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.expose().as_bytes()).collect();
        let whole = |found: &Vec<CertificateDer>| found.iter().all(|one| parse_x509_certificate(one).is_ok());
        let found = found.ok().filter(|found| !found.is_empty() && whole(found));
        if found.is_none() {
            let fault = Fault::new(format!("the file `{name}` holds no certificate (PEM) that can be read"));
            self.error(path, fault.help("it begins with `-----BEGIN CERTIFICATE-----`"));
        }
        found
    }

    fn pem(&mut self, path: &str, name: &str) -> Option<Secret> {
        let key = path.rsplit('.').next().unwrap_or(path).to_owned();
        let read = self.outside.file(name).map(Secret::new);
        read.map_err(|unresolved| self.error(path, Fault::new(format!("`{key}`: {unresolved}")))).ok()
    }
}

fn finished(seen: Context) -> [u8; 32] {
    seen.finish().as_ref().try_into().unwrap_or_default()
}

/// Shows the first certificate that is good for the name asked for, else the first of all.
#[derive(Debug)]
struct ByName(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let named = name.filter(|_| self.0.len() > 1).and_then(|name| {
            let good = |certified: &&Arc<CertifiedKey>| {
                let own = certified.cert.first().and_then(|own| ParsedCertificate::try_from(own).ok());
                own.is_some_and(|own| verify_server_name(&own, &name).is_ok())
            };
            self.0.iter().find(good)
        });
        named.or_else(|| self.0.first()).cloned()
    }
}
