//! Pictures for upstreams that fetch none: a request that names them by address becomes one that has them in it.
//!
//! It is made when the first such upstream is about to be asked, and kept for all others of the request. What comes out
//! is a body in the client's own dialect, so that everything behind it, native or translated, stays as it is. A picture
//! that cannot be had becomes a note to the model in its place; the request itself never fails for one. The same address
//! is fetched once, however often it stands there, and what is held counts in the budget of request bodies.

mod fetch;
mod network;

use std::sync::OnceLock;
use std::time::Instant;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use futures::FutureExt;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use tokio::sync::OnceCell;

use self::fetch::{fetch, Missing};
use super::admission::Held;
use super::content::Content;
use super::lifecycle::patience;
use super::phrase::Spoken;
use super::Edge;
use crate::config::Images;
use crate::dialect::pictures::{self, Fetched, Picture};
use crate::llm::body::{Body, Edit};
use crate::llm::endpoint::Endpoint;
use crate::observe::metrics;

/// Fetched at one time for one request.
const AT_ONCE: usize = 4;

/// A request with its pictures in it, once it was needed; none where it names no picture.
#[derive(Default)]
pub struct Pictures(OnceCell<Option<Box<Illustrated>>>);

/// A request with its pictures in it.
struct Illustrated {
    body: Bytes,
    content: Content,
    prepared: OnceLock<Option<String>>,
    _held: Vec<Held>,
}

impl Pictures {
    /// Whether `credential` is not to fetch the pictures that the request may name.
    pub fn wanted(edge: &Edge, plain: &Spoken<'_>, credential: usize) -> bool {
        edge.gateway.upstream(credential).inlines_images && matches!(plain.content, Content::Json(_))
    }

    /// The request with its pictures in it; none where it names none.
    pub async fn spoken<'a>(
        &'a self,
        edge: &Edge,
        plain: &Spoken<'a>,
        deadline: Option<Instant>,
    ) -> Option<Spoken<'a>> {
        // Boxed, so that a request has no room for it where there is no such upstream.
        let making = || Box::pin(illustrated(edge, plain.endpoint, plain.body, deadline));
        let made = self.0.get_or_init(making).await;
        let Illustrated { body, content, prepared, .. } = made.as_deref()?;
        Some(Spoken::new(plain.endpoint, content, body, prepared).echoing(plain.echo().is_some()))
    }
}

async fn illustrated(
    edge: &Edge,
    endpoint: &Endpoint,
    body: &Bytes,
    deadline: Option<Instant>,
) -> Option<Box<Illustrated>> {
    let found = pictures::find(endpoint.wire(), body);
    if found.is_empty() {
        return None;
    }
    let settings = &edge.gateway.settings.images;
    let timeout = patience(Some(settings.timeout), deadline).unwrap_or(settings.timeout);
    let images = Images { timeout, ..settings.clone() };
    let mut asked: Vec<&Picture> = Vec::new();
    let same = |one: &Picture, other: &Picture| one.url == other.url && one.headers == other.headers;
    for picture in &found {
        if !asked.iter().any(|other| same(other, picture)) && asked.len() < images.max_images {
            asked.push(picture);
        }
    }
    let fetching: Vec<_> = asked.iter().map(|picture| one(edge, &images, picture).boxed()).collect();
    let fetched: Vec<_> = stream::iter(fetching).buffered(AT_ONCE).collect().await;
    let edits = found.iter().zip(1..).map(|(picture, number)| {
        let at = asked.iter().position(|other| same(other, picture));
        let fetched = at.and_then(|at| fetched.get(at)).map(|(fetched, _)| fetched.as_ref());
        edit(picture, fetched, number, found.len())
    });
    let body = Body::spliced(body, edits.collect()).contiguous();
    let json = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    let content = Content::read(endpoint, &json, &body).ok()?;
    let held = fetched.into_iter().map(|(_, held)| held).collect();
    Some(Box::new(Illustrated { body, content, prepared: OnceLock::new(), _held: held }))
}

async fn one(edge: &Edge, images: &Images, picture: &Picture) -> (Result<Fetched, Missing>, Held) {
    let mut held = edge.budget.hold();
    let fetched = fetch(&edge.dialer, images, &picture.url, &picture.headers, &mut held).await;
    metrics::picture(fetched.as_ref().map_or_else(|missing| missing.as_str(), |_| "fetched"));
    (fetched, held)
}

/// The picture, or a note in its place. None: it was one too many.
fn edit(picture: &Picture, fetched: Option<Result<&Fetched, &Missing>>, number: usize, of: usize) -> Edit {
    let why = match fetched {
        Some(Ok(fetched)) => return picture.put(fetched),
        Some(Err(missing)) => missing.because(),
        None => "there are too many pictures in this conversation",
    };
    picture.note(&format!(
        "[Picture {number} of {of} could not be loaded: {why}. Tell the user so, and do not guess what is in it.]"
    ))
}
