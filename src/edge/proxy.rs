//! The `ProxyHttp` of this product: the door for HTTP/2, and the upstream phases for requests whose bytes we do not open.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType};

use super::context::RequestContext;
use super::course::Live;
use super::door::{self, Served, Way};
use super::{passthrough, Edge};

/// Pingora's view of the edge.
pub struct EdgeProxy(pub Arc<Live>);

/// A request, and the edge that it began with or was moved to.
pub struct Carried {
    edge: Arc<Edge>,
    ctx: RequestContext,
}

#[async_trait]
impl ProxyHttp for EdgeProxy {
    type CTX = Carried;

    fn new_ctx(&self) -> Carried {
        let edge = self.0.edge();
        let ctx = edge.begin();
        Carried { edge, ctx }
    }

    /// None: no answer is compressed here.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn request_filter(
        &self,
        client: &mut Session,
        Carried { edge, ctx }: &mut Carried,
    ) -> pingora::Result<bool> {
        let end = match door::admit(edge, client.as_downstream_mut(), ctx) {
            Way::On(endpoint) => match passthrough::admit(edge, client, ctx, endpoint).await {
                Ok(()) => return Ok(false),
                Err(end) => end,
            },
            Way::In(endpoint, door) => {
                let client = client.as_downstream_mut();
                return answer(door::serve(edge, endpoint, door, client, ctx).await);
            }
            Way::Out(end) => end,
        };
        answer(door::close(end, client.as_downstream_mut(), ctx).await)
    }

    async fn upstream_peer(
        &self,
        client: &mut Session,
        Carried { edge, ctx }: &mut Carried,
    ) -> pingora::Result<Box<HttpPeer>> {
        passthrough::peer(edge, client, ctx).await
    }

    async fn connected_to_upstream(
        &self,
        client: &mut Session,
        _reused: bool,
        _: &HttpPeer,
        _: std::os::unix::io::RawFd,
        _: Option<&Digest>,
        Carried { edge, ctx }: &mut Carried,
    ) -> pingora::Result<()> {
        passthrough::invite(edge, client, ctx).await
    }

    async fn upstream_request_filter(
        &self,
        client: &mut Session,
        request: &mut RequestHeader,
        Carried { edge, ctx }: &mut Carried,
    ) -> pingora::Result<()> {
        passthrough::dress(edge, client.req_header(), request, ctx)
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        _: &mut Option<Bytes>,
        end: bool,
        Carried { ctx, .. }: &mut Carried,
    ) -> pingora::Result<()> {
        passthrough::came(ctx, end)
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        Carried { edge, ctx }: &mut Carried,
        error: Box<Error>,
    ) -> Box<Error> {
        passthrough::unreachable(edge, ctx, error)
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        client: &mut Session,
        mut error: Box<Error>,
        Carried { edge, ctx }: &mut Carried,
        reused: bool,
    ) -> Box<Error> {
        if *error.esource() == ErrorSource::Downstream || door::answered(client) {
            error.set_retry(false);
            return error;
        }
        match error.etype() {
            // An answer that has its verdict already.
            ErrorType::HTTPStatus(_) => error,
            _ => passthrough::broken(edge, client, ctx, error, reused),
        }
    }

    async fn upstream_response_filter(
        &self,
        client: &mut Session,
        head: &mut ResponseHeader,
        Carried { edge, ctx }: &mut Carried,
    ) -> pingora::Result<()> {
        passthrough::hear(edge, client, head, ctx)
    }

    fn response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        Carried { edge, ctx }: &mut Carried,
    ) -> pingora::Result<Option<Duration>> {
        passthrough::pass(edge, body, end, ctx)?;
        Ok(None)
    }

    async fn fail_to_proxy(
        &self,
        client: &mut Session,
        error: &Error,
        Carried { edge, ctx }: &mut Carried,
    ) -> FailToProxy {
        let by_client = *error.esource() == ErrorSource::Downstream;
        if ctx.passage.is_none() {
            // The door has said all there is to say.
        } else if door::answered(client) {
            passthrough::cut(edge, ctx, by_client);
        } else {
            let end = passthrough::end(edge, ctx, error, by_client);
            // Pingora closes the connection whatever the head says.
            client.set_keepalive(None);
            door::close(end, client.as_downstream_mut(), ctx).await;
        }
        FailToProxy { error_code: ctx.outcome.status, can_reuse_downstream: false }
    }

    /// What happened is told by the outcome of the request.
    fn suppress_error_log(&self, _: &Session, _: &Carried, _: &Error) -> bool {
        true
    }
}

/// Whether Pingora is to keep the connection or to close it.
fn answer(served: Served) -> pingora::Result<bool> {
    match served {
        Served::Answered => Ok(true),
        Served::Close => Err(Error::new_down(ErrorType::ConnectionClosed)),
    }
}
