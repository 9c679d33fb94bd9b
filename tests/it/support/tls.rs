//! A provider behind TLS: a certificate of its own authority, HTTP/2 and HTTP/1.1 by ALPN, one answer for everything.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;
use tokio_rustls::TlsAcceptor;

use super::authority::{provider, Authority};
use super::reply::chat_body;

/// A request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub protocol: &'static str,
    /// Or Host, over HTTP/1.1.
    pub authority: String,
    pub path: String,
    /// Number of its connection, from 0.
    pub connection: usize,
    pub body: Vec<u8>,
}

/// The provider. It answers every POST with a chat.
pub struct TlsUpstream {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    authority: TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl TlsUpstream {
    /// One whose certificate is for `localhost`, offering these protocols.
    pub fn offering(protocols: &[&str]) -> Self {
        let authority = TempDir::new().unwrap();
        let config = Arc::new(certified(&authority, protocols));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        runtime.spawn(accept(listener, TlsAcceptor::from(config), seen.clone()));
        Self { address, seen, authority, _runtime: runtime }
    }

    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    /// The file that holds the authority's certificate.
    pub fn authority(&self) -> PathBuf {
        self.authority.path().join("ca.pem")
    }

    /// What was asked, discovery left out.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().iter().filter(|seen| seen.path != "/v1/models").cloned().collect()
    }
}

/// The configuration of a server whose certificate is of a new authority.
fn certified(directory: &TempDir, protocols: &[&str]) -> ServerConfig {
    let authority = Authority::new(directory.path().to_owned(), "ca");
    let (chain, key) = authority.issue("own", "localhost").read();
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    config
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, seen: Arc<Mutex<Vec<Seen>>>) {
    let mut connection = 0;
    while let Ok((tcp, _)) = listener.accept().await {
        let (tls, seen, number) = (tls.clone(), seen.clone(), connection);
        connection += 1;
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(tcp).await else { return };
            match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => http2(stream, number, &seen).await,
                _ => http1(stream, number, &seen).await,
            }
        });
    }
}

type Line = TlsStream<tokio::net::TcpStream>;

fn answer() -> Bytes {
    chat_body("m", "Hello over TLS", 7, 5).to_string().into()
}

async fn http2(stream: Line, connection: usize, seen: &Arc<Mutex<Vec<Seen>>>) {
    let Ok(mut line) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, mut respond))) = line.accept().await {
        let seen = seen.clone();
        tokio::spawn(async move {
            let (head, mut incoming) = request.into_parts();
            let mut body = Vec::new();
            while let Some(Ok(data)) = incoming.data().await {
                let _ = incoming.flow_control().release_capacity(data.len());
                body.extend_from_slice(&data);
            }
            assert!(!head.headers.contains_key("host"), "HTTP/2 has an authority instead");
            let authority = head.uri.authority().map(ToString::to_string).unwrap_or_default();
            let path = head.uri.path().to_owned();
            seen.lock().unwrap().push(Seen { protocol: "h2", authority, path, connection, body });
            let head = http::Response::builder().header("content-type", "application/json");
            if let Ok(mut send) = respond.send_response(head.body(()).unwrap(), false) {
                let _ = send.send_data(answer(), true);
            }
        });
    }
}

async fn http1(mut stream: Line, connection: usize, seen: &Arc<Mutex<Vec<Seen>>>) {
    let mut unread = Vec::new();
    loop {
        let head = loop {
            if let Some(head) = super::wire::Head::take(&mut unread) {
                break head;
            }
            if !stream.read_buf(&mut unread).await.is_ok_and(|read| read > 0) {
                return;
            }
        };
        let length = head.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        while unread.len() < length {
            if !stream.read_buf(&mut unread).await.is_ok_and(|read| read > 0) {
                return;
            }
        }
        let rest = unread.split_off(length);
        let body = std::mem::replace(&mut unread, rest);
        let authority = head.header("host").unwrap_or_default().to_owned();
        let path = head.start.split(' ').nth(1).unwrap_or_default().to_owned();
        seen.lock().unwrap().push(Seen { protocol: "http/1.1", authority, path, connection, body });
        let body = answer();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        if stream.write_all(head.as_bytes()).await.is_err() || stream.write_all(&body).await.is_err() {
            return;
        }
    }
}
