//! The admin listener: a unix socket or a loopback address, for the operator on this machine only.
//!
//! One action so far: `POST /admin/credentials/NAME/unban`. It needs no key, because who can open a 0600 socket owns
//! the process; over TCP it needs the master key.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use http::{header::CONTENT_TYPE, Method, Response};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;

use super::{admission, tell};
use crate::gateway::Gateway;
use crate::llm::error::ApiError;
use crate::observe::Recorder;

/// The application behind the admin listener.
pub struct Admin {
    /// What is administered.
    pub gateway: Arc<Gateway>,
    /// Where changes are told.
    pub recorder: Recorder,
    /// Whether callers must show the master key.
    pub needs_key: bool,
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        session.set_read_timeout(Some(Duration::from_secs(10)));
        let request = session.req_header();
        if self.needs_key && !admission::knows_key(&request.headers, &self.gateway.settings.server.master_key)
        {
            return reply(401, admission::unauthorized(&request.headers).error.body().to_vec());
        }
        let path = request.uri.path();
        let name = path.strip_prefix("/admin/credentials/").and_then(|rest| rest.strip_suffix("/unban"));
        match name {
            Some(_) if request.method != Method::POST => {
                reply(405, ApiError::wrong_method(request.method.as_str(), path, "POST").body().to_vec())
            }
            Some(name) => self.unban(&percent_decoded(name)),
            None => {
                reply(404, ApiError::wrong_path(path, Some("/admin/credentials/NAME/unban")).body().to_vec())
            }
        }
    }
}

impl Admin {
    fn unban(&self, name: &str) -> Response<Vec<u8>> {
        let Some(changes) = self.gateway.pool.unban(name, Instant::now()) else {
            return reply(
                404,
                ApiError::invalid(404, format!("No credential is called '{name}'.")).body().to_vec(),
            );
        };
        changes.iter().for_each(|change| tell(&self.recorder, change));
        let body = serde_json::json!({ "credential": name, "lifted": changes.len() });
        reply(200, body.to_string().into_bytes())
    }
}

fn reply(status: u16, body: Vec<u8>) -> Response<Vec<u8>> {
    let built = Response::builder().status(status).header(CONTENT_TYPE, "application/json").body(body);
    built.unwrap_or_default()
}

/// `%20` and the like.
fn percent_decoded(text: &str) -> String {
    url::form_urlencoded::parse(text.replace('+', "%2B").as_bytes())
        .map(|(name, _)| name.into_owned())
        .collect()
}
