//! The shell around the core: the only room that knows Pingora's sessions.
//!
//! Start reading in `lifecycle`: the life of a request from top to bottom. `entrance` lets connections in, `front` stands before
//! Pingora's parser, `door`
//! lets requests in, `proxy` is the `ProxyHttp`, `phrase` puts a request in an upstream's words, `attempt` and
//! `exchange` talk to an upstream, `relay` brings its answer to the client and `socket` both sides of a WebSocket to each
//! other, `refusals` and `reply` say no.
#![doc = include_str!("../LIFECYCLE.md")]

pub mod addresses;
pub mod admin;
pub mod admission;
pub mod attempt;
pub mod content;
pub mod context;
pub mod cors;
pub mod course;
pub mod crowd;
pub mod dashboard;
pub mod desk;
pub mod door;
pub mod drain;
pub mod entrance;
pub mod exchange;
pub mod explain;
pub mod failure;
pub mod forward;
pub mod frames;
pub mod framing;
pub mod front;
pub mod grammar;
pub mod http1;
pub mod idle;
pub mod images;
pub mod inflate;
pub mod lifecycle;
mod linger;
pub mod listening;
pub mod local;
pub mod manual;
pub mod origin;
pub mod passage;
pub mod passthrough;
pub mod phrase;
pub mod pins;
pub mod proxy;
pub mod proxy_protocol;
pub mod random;
pub mod refusals;
pub mod relay;
pub mod reply;
pub mod socket;
pub mod token;
pub mod unopened;
pub mod view;
pub mod visitors;
pub mod wish;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use admission::{Bounds, Budget};
use context::RequestContext;
use course::Courses;
use desk::Reload;
use drain::Drain;
use exchange::Dialer;
use failure::Failure;
use http::header::{HeaderName, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use manual::Manual;
use pingora::http::ResponseHeader;
use reply::Refusal;
use visitors::Visitors;

use crate::clients::Seat;
use crate::config::{Credential, Settings};
use crate::gateway::Gateway;
use crate::observe::metrics::{self, BanEvent, Meters};
use crate::observe::Recorder;
use crate::providers::chained::{LEAVING, MOST_PATH, SERVED_BY};
use crate::providers::headers::upstream_request_id;
use crate::routing::{Lease, Plan, Step, Transition};
use crate::shared::{Approval, Leave};

/// Names the model that has served, where that is another than was asked for.
const MODEL: HeaderName = HeaderName::from_static("x-model");

/// What every request works with: one configuration at work, and what outlasts it.
pub struct Edge {
    /// The configuration, assembled.
    pub gateway: Arc<Gateway>,
    /// Upstream connections.
    pub dialer: Arc<Dialer>,
    /// Bytes of request bodies held at once.
    pub budget: Arc<Budget>,
    /// The way out.
    pub drain: Arc<Drain>,
    /// Where outcomes are told.
    pub recorder: Arc<Recorder>,
    /// How the configuration is read again.
    pub reload: Arc<Reload>,
    /// Where requests are admitted: here, as long as this is the edge of the newest configuration.
    pub courses: Courses,
    /// Who looks at the page.
    pub visitors: Visitors,
    /// What it says of itself.
    pub manual: Manual,
}

impl Edge {
    /// The edge of another configuration in the same process: what was bought at start is shared.
    pub fn renewed(&self, settings: Settings) -> Self {
        let meters = Meters::for_credentials(settings.credentials.iter().map(Credential::counted));
        let names = settings.credentials.iter().map(|credential| credential.name.as_str());
        let recent = self.recorder.recent.for_credentials(names);
        let (access, traces) = (self.recorder.access.clone(), settings.otlp.is_some());
        Self {
            gateway: self.gateway.reassemble(settings),
            dialer: self.dialer.clone(),
            budget: self.budget.clone(),
            drain: self.drain.clone(),
            reload: self.reload.clone(),
            recorder: Arc::new(Recorder { meters, access, recent, traces }),
            courses: Courses::default(),
            visitors: self.visitors.renewed(),
            manual: Manual::default(),
        }
    }

    /// The context of a request whose head is about to be looked at.
    pub fn begin(&self) -> RequestContext {
        RequestContext::begin(self.recorder.clone(), self.drain.enter())
    }

    /// How much body, in what time.
    pub fn bounds(&self) -> Bounds {
        let server = &self.gateway.settings.server;
        Bounds { size: server.max_body_size, time: server.body_timeout }
    }

    /// In what time an upload that is not held must come: a slow line may be slow, and who drips is ended.
    pub fn upload_time(&self, length: usize) -> Duration {
        let mebibytes = u32::try_from(length.div_ceil(1 << 20)).unwrap_or(u32::MAX);
        self.gateway.settings.server.body_timeout.saturating_mul(mebibytes)
    }

    /// Seconds for which an idle client connection is kept; none while draining.
    pub fn keepalive(&self) -> Option<u64> {
        let idle = self.gateway.settings.server.keepalive_timeout.as_secs().max(1);
        (!self.drain.is_leaving()).then_some(idle)
    }

    /// The upstream's own id of a request, for log and client.
    pub fn upstream_id<'h>(&self, headers: &'h HeaderMap) -> Option<&'h HeaderValue> {
        upstream_request_id(headers).filter(|id| !self.gateway.is_told_by(id.as_bytes()))
    }

    /// The last look at the head of an upstream's answer: headers with one of our secrets in them are dropped, and
    /// who has served is named to another router, and to anybody where the operator wants that (`server.expose_route`):
    /// the credential and, where that is a router, what it has named itself. Another router is also told that this one
    /// is about to leave.
    pub fn seal(&self, ctx: &RequestContext, credential: usize, head: &mut ResponseHeader) {
        let told = |(name, value): (&HeaderName, &HeaderValue)| {
            (name != CONTENT_TYPE && self.gateway.is_told_by(value.as_bytes())).then(|| name.clone())
        };
        let telling: Vec<HeaderName> = head.headers.iter().filter_map(told).collect();
        for name in telling {
            head.remove_header(&name);
        }
        let behind = head.remove_header(SERVED_BY);
        if self.gateway.settings.server.expose_route || ctx.from_router {
            let upstream = self.gateway.upstream(credential);
            let mut path = upstream.name.escape_default().to_string();
            let behind = behind.filter(|path| upstream.provider.is_router && path.len() <= MOST_PATH);
            if let Some(behind) = behind.as_ref().and_then(|path| path.to_str().ok()) {
                path = format!("{path}/{behind}");
            }
            let _ = head.insert_header(SERVED_BY, path);
        }
        name_model(ctx, head);
        if ctx.from_router && self.drain.is_draining() {
            let _ = head.insert_header(LEAVING, "true");
        }
    }

    /// Confirms a lease with the other routers, if there are any; none if it was given back and the plan goes on.
    ///
    /// # Errors
    /// Nobody can say, and the policy is to refuse.
    pub async fn confirm(
        &self,
        plan: &mut Plan,
        lease: Lease,
        last: &mut Option<Failure>,
    ) -> Result<Option<Lease>, Box<Refusal>> {
        let Some(fleet) = &self.gateway.fleet else { return Ok(Some(lease)) };
        // Boxed, so that a request has no room for it where there are no others.
        match Box::pin(fleet.confirm(&self.gateway.pool, plan, lease)).await {
            Leave::Granted(lease) => Ok(Some(lease)),
            Leave::Again => Ok(None),
            Leave::Rejected => Err(refusals::unshared(self, last.take())),
        }
    }

    /// By how much each limit is divided at this moment.
    pub fn among(&self) -> u32 {
        self.gateway.fleet.as_ref().map_or(1, |fleet| fleet.among())
    }

    /// Asks the other routers, if there are any, about a request that its key's limits leave room for here.
    ///
    /// # Errors
    /// There is none with all of them, or nobody can say and the policy is to refuse.
    pub async fn approve(&self, seat: &mut Seat) -> Result<(), Box<Refusal>> {
        let Some(fleet) = &self.gateway.fleet else { return Ok(()) };
        match Box::pin(fleet.approve(seat)).await {
            Approval::Granted => Ok(()),
            Approval::Denied(full) => Err(refusals::client_limited(full)),
            Approval::Rejected => Err(refusals::unshared(self, None)),
        }
    }

    /// The next step of a plan. What it has waited in the queue is counted.
    pub fn next(&self, plan: &mut Plan, now: Instant) -> Step {
        let step = self.gateway.pool.next(plan, now);
        let outcome = match (&step, plan.attempts()) {
            (Step::Try(_), 1) => "served",
            (Step::Stop(_), 0) => "given_up",
            _ => return step,
        };
        if let Some(waited) = plan.queued(now) {
            metrics::queued(outcome, waited);
        }
        step
    }

    /// Logs and counts what changed among the candidates, and lets the other routers know.
    pub fn tell(&self, changes: Vec<Transition>) {
        self.gateway.spread(&changes);
        for change in changes {
            tell(&self.recorder, &change);
        }
    }
}

/// Names the model that has served, where that is another than was asked for.
fn name_model(ctx: &RequestContext, head: &mut ResponseHeader) {
    let asked = ctx.outcome.model.as_deref();
    let served =
        ctx.outcome.model_served.as_deref().filter(|served| asked.is_some_and(|asked| asked != *served));
    if let Some(served) = served.and_then(|served| HeaderValue::from_str(served).ok()) {
        let _ = head.insert_header(MODEL, served);
    }
}

/// Logs and counts one change. Bans are for the operator to look at; recoveries are news.
pub fn tell(recorder: &Recorder, change: &Transition) {
    let event = match change {
        Transition::Banned { .. } => BanEvent::Banned,
        Transition::Expired { .. } => BanEvent::Expired,
        Transition::Unbanned { .. } => BanEvent::Unbanned,
        Transition::CooledDown { .. } => BanEvent::CoolDown,
    };
    match event {
        BanEvent::Banned => log::warn!("{change}"),
        _ => log::info!("{change}"),
    }
    recorder.meters.ban(change.credential(), event);
    recorder.recent.changed(change.credential(), SystemTime::now());
}
