//! The admin listener: a unix socket or a loopback address, for the operator on this machine only.
//!
//! `POST /admin/credentials/NAME/unban`, `POST /admin/reload`, `POST /admin/upgrade`, `GET /admin/status`, `GET /admin/view`. It needs no
//! key, because who can open a 0600 socket owns the process; over TCP it needs the master key, and cannot name a program
//! to start. An upgrade is answered line by line while it goes on, the others at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::Method;
use pingora::apps::{HttpServerApp, ReusedHttpStream};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;
use serde_json::{json, Value};
use tokio::sync::mpsc::unbounded_channel;

use super::admission;
use crate::config::Change;
use crate::llm::error::ApiError;
use crate::observe::query::Query;
use crate::observe::sheet;
use crate::operator::{Operator, Reloaded};

/// What can be asked for, for those who ask for something else.
const PATHS: &str = "/admin/credentials/NAME/unban";

/// The application behind the admin listener.
pub struct Admin {
    /// Whose hands it lends.
    pub operator: Arc<Operator>,
    /// Whether callers must show the master key.
    pub needs_key: bool,
}

/// What is asked for.
enum Act {
    Unban(String),
    Reload,
    Upgrade(Option<PathBuf>),
    Status,
    Ready,
    View(Query),
}

#[async_trait]
impl HttpServerApp for Admin {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        _: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        session.set_read_timeout(Some(Duration::from_secs(10)));
        if !session.read_request().await.ok()? {
            return None;
        }
        session.set_keepalive(None);
        let answered = match self.act(&session) {
            Ok(Act::Unban(name)) => whole(&mut session, self.unban(&name)).await,
            Ok(Act::Reload) if self.operator.is_replaced() => self.upgrade(&mut session, None).await,
            Ok(Act::Reload) => self.reload(&mut session).await,
            Ok(Act::Upgrade(binary)) => self.upgrade(&mut session, binary).await,
            Ok(Act::Status) => {
                let (level, status) = self.operator.health();
                let (pid, version) = (std::process::id(), crate::VERSION);
                let told = json!({ "status": status, "level": level, "pid": pid, "version": version });
                whole(&mut session, (200, text(&told))).await
            }
            Ok(Act::Ready) => {
                let ready = !self.operator.running.drain.is_draining();
                let status = if ready { 200 } else { 503 };
                whole(&mut session, (status, text(&json!({ "ready": ready })))).await
            }
            Ok(Act::View(query)) => self.view(&mut session, query).await,
            Err(refused) => whole(&mut session, refused).await,
        };
        answered.ok()?;
        session.finish().await.ok();
        None
    }
}

impl Admin {
    fn act(&self, session: &ServerSession) -> Result<Act, (u16, Bytes)> {
        let request = session.req_header();
        if self.needs_key {
            let edge = self.operator.running.live.edge();
            let asks = admission::master(&edge.gateway.roster, &request.headers);
            asks.map_err(|refusal| (refusal.error.status, refusal.error.body()))?;
        }
        let path = request.uri.path();
        let unban = path.strip_prefix("/admin/credentials/").and_then(|rest| rest.strip_suffix("/unban"));
        let (act, method) = match (path, unban) {
            ("/admin/view", _) => {
                (Act::View(Query::read(request.uri.query(), "application/json")), Method::GET)
            }
            ("/admin/status", _) => (Act::Status, Method::GET),
            ("/admin/ready", _) => (Act::Ready, Method::GET),
            ("/admin/reload", _) => (Act::Reload, Method::POST),
            ("/admin/upgrade", _) => (Act::Upgrade(self.binary(request.uri.query())?), Method::POST),
            (_, Some(name)) => (Act::Unban(percent_decoded(name)), Method::POST),
            _ => return Err((404, ApiError::wrong_path(path, Some(PATHS)).body())),
        };
        if request.method != method {
            let error = ApiError::wrong_method(request.method.as_str(), path, method.as_str());
            return Err((405, error.body()));
        }
        Ok(act)
    }

    /// The program that is to take over, if one is named.
    fn binary(&self, query: Option<&str>) -> Result<Option<PathBuf>, (u16, Bytes)> {
        let mut members = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let named = members.find(|(name, _)| name == "binary").map(|(_, value)| PathBuf::from(&*value));
        match named {
            Some(_) if self.needs_key => {
                let why = "A program can be named over the unix socket only.";
                Err((403, ApiError::invalid(403, why).body()))
            }
            Some(named) if !named.is_absolute() => {
                Err((400, ApiError::invalid(400, "'binary' must be an absolute path.").body()))
            }
            named => Ok(named),
        }
    }

    fn unban(&self, name: &str) -> (u16, Bytes) {
        let edge = self.operator.running.live.edge();
        let Some(changes) = edge.gateway.pool.unban(name, Instant::now()) else {
            return (404, ApiError::invalid(404, format!("No credential is called '{name}'.")).body());
        };
        let lifted = changes.len();
        edge.tell(changes);
        if let Some(fleet) = &edge.gateway.fleet {
            fleet.lifted(name);
        }
        (200, text(&json!({ "credential": name, "lifted": lifted })))
    }

    /// The page as figures.
    async fn view(&self, session: &mut ServerSession, query: Query) -> pingora::Result<()> {
        let edge = self.operator.running.live.edge();
        match tokio::task::spawn_blocking(move || sheet::json(&edge.whole_view(&query.text), &query)).await {
            Ok(sheet) => whole(session, (200, sheet.into())).await,
            Err(_) => whole(session, (500, Bytes::new())).await,
        }
    }

    async fn reload(&self, session: &mut ServerSession) -> pingora::Result<()> {
        let operator = self.operator.clone();
        match tokio::task::spawn_blocking(move || operator.reload()).await {
            Ok(Reloaded::Outgrown) => self.upgrade(session, None).await,
            Ok(Reloaded::Applied(changes)) => whole(session, (200, applied(changes))).await,
            Ok(Reloaded::Refused(report)) => {
                whole(session, (422, text(&json!({ "reloaded": false, "report": report })))).await
            }
            Err(_) => whole(session, (500, Bytes::new())).await,
        }
    }

    /// Lets another process take over, and tells each step as it is done: a JSON object a line.
    async fn upgrade(&self, session: &mut ServerSession, binary: Option<PathBuf>) -> pingora::Result<()> {
        // The process does not leave before it has told the last step.
        let _told = self.operator.running.drain.connected();
        let (steps, mut told) = unbounded_channel::<Value>();
        let operator = self.operator.clone();
        std::thread::spawn(move || {
            let say = |step: &str| {
                let _ = steps.send(json!({ "step": step }));
            };
            let last = match operator.upgrade(binary.as_deref().map(Path::new), &say) {
                Ok(()) => json!({ "upgraded": true }),
                Err(why) => json!({ "upgraded": false, "why": why }),
            };
            let _ = steps.send(last);
        });
        let mut head = ResponseHeader::build(200, Some(2))?;
        head.insert_header(CONTENT_TYPE, "application/jsonl")?;
        session.write_response_header(Box::new(head)).await?;
        while let Some(step) = told.recv().await {
            session.write_response_body(Bytes::from(format!("{step}\n")), false).await?;
        }
        session.write_response_body(Bytes::new(), true).await
    }
}

fn applied(changes: Vec<Change>) -> Bytes {
    let changes: Vec<Value> = changes
        .into_iter()
        .map(|change| json!({ "change": change.text, "needs_start": change.needs_start }))
        .collect();
    text(&json!({ "reloaded": true, "changes": changes }))
}

fn text(value: &Value) -> Bytes {
    format!("{value}\n").into()
}

async fn whole(session: &mut ServerSession, (status, body): (u16, Bytes)) -> pingora::Result<()> {
    let mut head = ResponseHeader::build(status, Some(2))?;
    head.insert_header(CONTENT_TYPE, "application/json")?;
    head.insert_header(CONTENT_LENGTH, body.len())?;
    session.write_response_header(Box::new(head)).await?;
    session.write_response_body(body, true).await
}

/// `%20` and the like.
fn percent_decoded(text: &str) -> String {
    url::form_urlencoded::parse(text.replace('+', "%2B").as_bytes())
        .map(|(name, _)| name.into_owned())
        .collect()
}
