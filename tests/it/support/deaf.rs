//! A host that does not answer its door.

use std::net::TcpStream;

use super::ms;

/// A place that takes no more connections and refuses none: its queue is full, so the kernel drops who knocks.
pub struct Deaf {
    pub url: String,
    _waiting: Vec<TcpStream>,
    _listener: tokio::net::TcpListener,
    _runtime: tokio::runtime::Runtime,
}

impl Deaf {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
            socket.listen(1).unwrap()
        });
        let address = listener.local_addr().unwrap();
        let waiting =
            std::iter::from_fn(|| TcpStream::connect_timeout(&address, ms(300)).ok()).take(50).collect();
        Self { url: format!("http://{address}"), _waiting: waiting, _listener: listener, _runtime: runtime }
    }
}
