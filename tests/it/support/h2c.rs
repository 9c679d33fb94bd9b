//! HTTP/2 without TLS, by prior knowledge: a request whose body comes in pieces, with or without its length.

use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client;
use tokio::net::TcpStream;

use super::client::Answer;
use super::router::Router;

/// Posts `body` in DATA frames of at most `piece` bytes. Without `length` the end is an empty frame with END_STREAM.
#[track_caller]
pub fn post(router: &Router, path: &str, body: &[u8], piece: usize, length: bool) -> Answer {
    let length = length.then_some(body.len());
    run(exchange(router, path, Upload { body, piece, length, ends: true }))
}

/// Begins a body of `length` bytes with `body`, and sends nothing more.
#[track_caller]
pub fn begin(router: &Router, path: &str, body: &[u8], length: usize) -> Answer {
    run(exchange(router, path, Upload { body, piece: body.len(), length: Some(length), ends: false }))
}

/// Asks for the models on a connection that is there already, then does `meanwhile`. Whether the router says goodbye on
/// the connection and ends it soon after that.
#[track_caller]
pub fn is_dismissed(router: &Router, tcp: std::net::TcpStream, meanwhile: impl FnOnce()) -> bool {
    tcp.set_nonblocking(true).unwrap();
    runtime().block_on(async {
        let tcp = TcpStream::from_std(tcp).unwrap();
        let (send, connection) = client::handshake(tcp).await.expect("a handshake");
        let connection = tokio::spawn(connection);
        let mut send = send.ready().await.expect("a connection");
        let request = http::Request::get(format!("http://{}/v1/models", router.address()))
            .header("authorization", format!("Bearer {}", router.key()));
        let (answer, _) = send.send_request(request.body(()).unwrap(), true).unwrap();
        assert_eq!(answer.await.expect("an answer").status(), 200);
        meanwhile();
        let ended = tokio::time::timeout(Duration::from_secs(3), connection).await;
        ended.is_ok_and(|ended| ended.is_ok_and(|ended| ended.is_ok()))
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[track_caller]
fn run(exchange: impl std::future::Future<Output = Result<Answer, h2::Error>>) -> Answer {
    let answer = async { tokio::time::timeout(Duration::from_secs(60), exchange).await };
    runtime().block_on(answer).expect("an answer within a minute").expect("an HTTP/2 answer")
}

struct Upload<'b> {
    body: &'b [u8],
    piece: usize,
    length: Option<usize>,
    ends: bool,
}

async fn exchange(router: &Router, path: &str, sent: Upload<'_>) -> Result<Answer, h2::Error> {
    let start = Instant::now();
    let tcp = TcpStream::connect(router.address()).await.expect("the router takes connections");
    let (send, connection) = client::handshake(tcp).await?;
    tokio::spawn(async move {
        let _ = connection.await;
    });
    let mut send = send.ready().await?;
    let mut request = http::Request::post(format!("http://{}{path}", router.address()))
        .header("authorization", format!("Bearer {}", router.key()))
        .header("content-type", "application/json");
    if let Some(length) = sent.length {
        request = request.header("content-length", length);
    }
    let (response, mut upload) = send.send_request(request.body(()).expect("a request"), false)?;
    for part in sent.body.chunks(sent.piece) {
        upload.reserve_capacity(part.len());
        let mut left = Bytes::copy_from_slice(part);
        while !left.is_empty() {
            let Some(room) = std::future::poll_fn(|cx| upload.poll_capacity(cx)).await.transpose()? else {
                break;
            };
            let now = left.split_to(room.min(left.len()));
            upload.send_data(now, false)?;
        }
    }
    if sent.ends {
        upload.send_data(Bytes::new(), true)?;
    }
    let (head, mut incoming) = response.await?.into_parts();
    let mut answer = Vec::new();
    while let Some(data) = incoming.data().await {
        let data = data?;
        incoming.flow_control().release_capacity(data.len())?;
        answer.extend_from_slice(&data);
    }
    let header =
        |(n, v): (&http::HeaderName, &http::HeaderValue)| (n.to_string(), v.to_str().unwrap_or("").into());
    Ok(Answer {
        status: head.status.as_u16(),
        headers: head.headers.iter().map(header).collect(),
        body: answer,
        informational: Vec::new(),
        took: start.elapsed(),
        whole: true,
    })
}
