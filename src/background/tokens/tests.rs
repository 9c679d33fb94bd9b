//! Accounts exchanged over real sockets with a token endpoint that does what the test says.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::*;

/// A key that opens nothing; its token address is to be filled in.
const ACCOUNT: &str = include_str!("../../../tests/it/support/service-account.json");

/// A token endpoint. Answers the n-th exchange, from 0, as `script` says: status, body, and whether the body ends.
struct Endpoint {
    uri: String,
    asked: Arc<AtomicUsize>,
}

type Answer = (u16, String, bool);

impl Endpoint {
    async fn start(script: impl Fn(usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/token", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        tokio::spawn(async move {
            let script = Arc::new(script);
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, count.clone(), script.clone()));
            }
        });
        Self { uri, asked }
    }

    fn exchanges(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn token(&self) -> Arc<Token> {
        Token::new("v".into(), Secret::new(ACCOUNT.replace("TOKEN_URI", &self.uri)))
    }
}

async fn serve<S>(mut stream: TcpStream, count: Arc<AtomicUsize>, script: Arc<S>)
where
    S: Fn(usize) -> Answer + Send + Sync + 'static,
{
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    // An assertion has three parts, and the last is the end of the form.
    while !(request.windows(4).any(|w| w == b"\r\n\r\n") && form(&request).matches('.').count() == 2) {
        match stream.read(&mut piece).await {
            Ok(n) if n > 0 => request.extend_from_slice(&piece[..n]),
            _ => return,
        }
    }
    assert!(form(&request).starts_with("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&"));
    let (status, body, whole) = script(count.fetch_add(1, Ordering::SeqCst));
    let length = body.len() + usize::from(!whole);
    let head =
        format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n");
    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
    let _ = stream.read(&mut piece).await;
}

fn form(request: &[u8]) -> String {
    let text = String::from_utf8_lossy(request).into_owned();
    text.split_once("\r\n\r\n").map(|(_, form)| form.to_owned()).unwrap_or_default()
}

fn good(name: impl std::fmt::Display, life: u32) -> Answer {
    let body = format!(r#"{{"access_token":"{name}","expires_in":{life},"token_type":"Bearer"}}"#);
    (200, body, true)
}

/// Keeps the token fresh until the sender is dropped or says so.
fn kept(token: &Arc<Token>, patience: Duration) -> (watch::Sender<bool>, JoinHandle<()>) {
    let (stop, shutdown) = watch::channel(false);
    let token = token.clone();
    let keeping = tokio::spawn(async move { keep_one(&token, patience, shutdown, str::to_owned).await });
    (stop, keeping)
}

async fn seconds(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

async fn fifty<T: Send + 'static, F>(ask: impl Fn() -> F) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
{
    let asking: Vec<_> = (0..50).map(|_| tokio::spawn(ask())).collect();
    join_all(asking).await.into_iter().map(Result::unwrap).collect()
}

#[tokio::test]
async fn fifty_requests_before_the_first_token_make_one_exchange() {
    let endpoint = Endpoint::start(|n| good(format!("token-{n}"), 3600)).await;
    let token = endpoint.token();
    let (_stop, _keeping) = kept(&token, PATIENCE);
    let got = fifty(|| {
        let token = token.clone();
        async move { token.get().await }
    });
    for value in got.await {
        assert_eq!(value.unwrap(), "Bearer token-0");
    }
    assert_eq!(endpoint.exchanges(), 1);
    assert!(token.known().unwrap().is_sensitive());
}

#[tokio::test]
async fn an_error_of_the_server_is_no_token_and_is_not_kept_for_one() {
    let endpoint = Endpoint::start(|n| match n {
        0 => (500, r#"{"error":{"code":500,"message":"m","status":"INTERNAL"}}"#.into(), true),
        _ => good("second", 3600),
    });
    let (endpoint, begun) = (endpoint.await, Instant::now());
    let token = endpoint.token();
    let (_stop, _keeping) = kept(&token, PATIENCE);
    assert_eq!(token.get().await, None);
    assert!(begun.elapsed() < Duration::from_secs(1), "a failed exchange is not waited for");
    seconds(1.5).await;
    assert_eq!(token.get().await.unwrap(), "Bearer second");
}

#[tokio::test]
async fn a_token_without_an_end_or_past_it_is_none() {
    for body in [r#"{"access_token":"x"}"#, r#"{"access_token":"x","expires_in":0}"#, "<html>", "[]", "{}"] {
        let endpoint = Endpoint::start(move |_| (200, body.to_owned(), true)).await;
        let failed = exchange(&endpoint.token().account, PATIENCE).await;
        assert!(failed.is_err(), "{body}");
    }
}

#[tokio::test]
async fn a_body_that_stalls_is_given_up() {
    let endpoint = Endpoint::start(|_| (200, "{".to_owned(), false)).await;
    let failed = exchange(&endpoint.token().account, Duration::from_millis(200)).await;
    assert_eq!(failed.unwrap_err(), "no answer in time");
}

#[tokio::test]
async fn a_refused_account_is_tried_ever_more_rarely() {
    let body = r#"{"error":"invalid_grant","error_description":"Invalid JWT Signature."}"#;
    let endpoint = Endpoint::start(move |_| (400, body.to_owned(), true)).await;
    let token = endpoint.token();
    let (_stop, _keeping) = kept(&token, PATIENCE);
    seconds(2.5).await;
    // At the start, and about one second later; the third would be after about three.
    assert_eq!(endpoint.exchanges(), 2);
    fifty(|| {
        let token = token.clone();
        async move { assert_eq!(token.get().await, None) }
    })
    .await;
    assert_eq!(endpoint.exchanges(), 2);
    assert_eq!(back_off(3), Duration::from_secs(4));
    assert_eq!(back_off(60), MOST_AGAIN);
}

#[tokio::test]
async fn a_token_is_exchanged_before_it_ends_and_nobody_is_ever_without() {
    let endpoint = Endpoint::start(|n| good(n, 3)).await;
    let token = endpoint.token();
    let (_stop, _keeping) = kept(&token, PATIENCE);
    assert!(token.get().await.is_some());
    for _ in 0..40 {
        seconds(0.1).await;
        assert!(token.known().is_some());
    }
    // In four seconds; times of life are whole seconds, and the moment of the exchange is a tenth more or less.
    assert!((2..=4).contains(&endpoint.exchanges()), "{}", endpoint.exchanges());
}

#[tokio::test]
async fn fifty_refusals_of_one_token_make_one_more_exchange() {
    let endpoint = Endpoint::start(|n| good(n, 3600)).await;
    let token = endpoint.token();
    let (_stop, _keeping) = kept(&token, PATIENCE);
    let refused = token.get().await.unwrap();
    let renewed = fifty(|| {
        let (token, refused) = (token.clone(), refused.clone());
        async move { token.renewed(&refused).await }
    });
    for value in renewed.await {
        assert_eq!(value.unwrap(), "Bearer 1");
    }
    assert_eq!(endpoint.exchanges(), 2);
    // The new one is refused as well: it is not the token, and asking again so soon will not help.
    let second = token.known().unwrap();
    assert_eq!(token.renewed(&second).await, None);
    assert_eq!(endpoint.exchanges(), 2);
}

#[tokio::test]
async fn a_token_that_ends_while_nobody_exchanges_is_not_used() {
    let endpoint = Endpoint::start(|n| if n == 0 { good(n, 2) } else { (503, String::new(), true) }).await;
    let token = endpoint.token();
    let (_stop, _keeping) = kept(&token, PATIENCE);
    assert!(token.get().await.is_some());
    seconds(2.1).await;
    assert_eq!(token.get().await, None);
}

#[tokio::test]
async fn an_account_that_the_library_would_panic_on_is_a_failure_like_others() {
    let account = ACCOUNT.replace("TOKEN_URI", "no address");
    let token = Token::new("v".into(), Secret::new(account));
    let (stop, keeping) = kept(&token, PATIENCE);
    assert_eq!(token.get().await, None);
    stop.send(true).unwrap();
    keeping.await.unwrap();
}
