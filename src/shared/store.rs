//! The line to the store: the one file that knows the client crate.
//!
//! One connection for all requests, whose questions and answers follow each other without waiting (the client matches
//! them by order), so that a router costs the store one connection. It does not mend itself: it is given up at the first
//! failure and made anew in the background, so that no request ever waits for a connection. Scripts go by their digest,
//! and whole when the store has forgotten them (`NOSCRIPT`).

use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, Pipeline, RedisError, RedisFuture, Script, ScriptInvocation, Value,
};

use super::answer::{answer, Answer};
use super::keys::Taken;
use crate::config::Shared;
use crate::routing::{Question, Stretch};
use crate::secret::Secret;

/// For a connection, TLS and password included.
const CONNECT: Duration = Duration::from_secs(1);
/// A lease that nobody renews is over: its router is dead.
pub const LEASE: Duration = Duration::from_secs(30);
/// So is a probe, which nobody renews.
const PROBE: Duration = Duration::from_secs(60);
/// A router that was silent for longer is not counted.
const SILENT: Duration = Duration::from_secs(5);

/// One entry of `settle.lua`: a second of the store's clock, or so far from now if it is small; requests; tokens.
pub type Charge = (i64, i64, i64);

/// A connection.
#[derive(Clone)]
pub enum Line {
    /// To one server.
    Alone(MultiplexedConnection),
    /// To a cluster.
    Cluster(ClusterConnection),
}

/// Why the store has not answered.
#[derive(Debug, thiserror::Error)]
pub enum Silence {
    /// In time.
    #[error("it has not answered for {0:?}")]
    Late(Duration),
    /// Or not well.
    #[error("{0}")]
    Refused(#[from] RedisError),
    /// Or not what was asked for.
    #[error("its answer is not understood")]
    Garbled,
}

/// A sign of life, as it is answered.
pub struct Beat {
    /// The store's clock, in milliseconds.
    pub now: u64,
    /// Since when it remembers, by that clock.
    pub born: u64,
    /// Routers that were heard of lately.
    pub routers: u32,
    /// The number of the last change of a standing.
    pub last: u64,
    /// Fields and values of those that are new.
    pub changes: Vec<String>,
}

/// What is asked, and in what time.
pub struct Scripts {
    admit: Script,
    settle: Script,
    look: Script,
    renew: Script,
    beat: Script,
    tell: Script,
    timeout: Duration,
}

impl ConnectionLike for Line {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Alone(line) => line.req_packed_command(cmd),
            Self::Cluster(line) => line.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        cmd: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Alone(line) => line.req_packed_commands(cmd, offset, count),
            Self::Cluster(line) => line.req_packed_commands(cmd, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Alone(line) => line.get_db(),
            Self::Cluster(line) => line.get_db(),
        }
    }
}

/// A connection to the store. It lives in the runtime that it is made in.
pub async fn connect(shared: &Shared) -> Result<Line, Silence> {
    let connecting = async {
        if shared.cluster {
            let nodes = shared.nodes.iter().map(Secret::expose);
            let client = ClusterClient::builder(nodes).connection_timeout(CONNECT).retries(1).build()?;
            return Ok(Line::Cluster(client.get_async_connection().await?));
        }
        let url = shared.nodes.first().map_or("", Secret::expose);
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT));
        let client = Client::open(url)?;
        Ok(Line::Alone(client.get_multiplexed_async_connection_with_config(&config).await?))
    };
    within(CONNECT, connecting).await
}

impl Scripts {
    /// With the time that each question has.
    pub fn new(timeout: Duration) -> Self {
        let windowed = |code: &str| Script::new(&format!("{}{code}", include_str!("script/window.lua")));
        Self {
            admit: windowed(include_str!("script/admit.lua")),
            settle: windowed(include_str!("script/settle.lua")),
            look: windowed(include_str!("script/look.lua")),
            renew: Script::new(include_str!("script/renew.lua")),
            beat: Script::new(include_str!("script/beat.lua")),
            tell: Script::new(include_str!("script/tell.lua")),
            timeout,
        }
    }

    /// Asks for what a lease takes, which is charged if it is granted.
    pub async fn admit(
        &self,
        line: &mut Line,
        taken: &Taken,
        question: &Question,
        id: &str,
    ) -> Result<Answer, Silence> {
        let mut call = invocation(&self.admit, taken);
        let probe = if question.probe.is_some() { millis(PROBE) } else { 0 };
        call.arg(id)
            .arg(question.tokens)
            .arg(question.most.map_or(-1, i64::from))
            .arg(millis(LEASE))
            .arg(probe);
        for asked in &question.limits {
            rule(&mut call, asked.stretch);
            call.arg(bound(asked.requests)).arg(bound(asked.tokens));
        }
        let numbers: Vec<i64> = within(self.timeout, async { Ok(call.invoke_async(line).await?) }).await?;
        answer(&numbers, question).ok_or(Silence::Garbled)
    }

    /// Says what has become of a lease, or what was admitted without asking.
    pub async fn settle(
        &self,
        line: &mut Line,
        taken: &Taken,
        id: &str,
        is_over: bool,
        charges: &[Charge],
    ) -> Result<(), Silence> {
        let mut call = invocation(&self.settle, taken);
        call.arg(id).arg(i64::from(is_over));
        taken.windows.iter().for_each(|(_, stretch)| rule(&mut call, *stretch));
        for (second, requests, tokens) in charges {
            call.arg(second).arg(requests).arg(tokens);
        }
        within(self.timeout, async { Ok(call.invoke_async(line).await?) }).await
    }

    /// What is used of one limit: requests and tokens.
    pub async fn look(&self, line: &mut Line, taken: &Taken) -> Result<[u64; 2], Silence> {
        let mut call = invocation(&self.look, taken);
        taken.windows.iter().for_each(|(_, stretch)| rule(&mut call, *stretch));
        let used: (u64, u64) = within(self.timeout, async { Ok(call.invoke_async(line).await?) }).await?;
        Ok(used.into())
    }

    /// Holds leases for longer.
    pub async fn renew(&self, line: &mut Line, leases: &str, ids: &[String]) -> Result<(), Silence> {
        let mut call = self.renew.prepare_invoke();
        call.key(leases).arg(millis(LEASE)).arg(ids);
        within(self.timeout, async { Ok(call.invoke_async(line).await?) }).await
    }

    /// Gives a sign of life, or leaves. `keys`: routers, standings, changes, born.
    pub async fn beat(
        &self,
        line: &mut Line,
        keys: &[String],
        router: &str,
        known: u64,
        leaves: bool,
    ) -> Result<Beat, Silence> {
        let mut call = self.beat.prepare_invoke();
        keys.iter().for_each(|key| {
            call.key(key);
        });
        call.arg(router).arg(known).arg(if leaves { 0 } else { millis(SILENT) });
        let told: (u64, u64, u32, u64, Vec<String>) =
            within(self.timeout, async { Ok(call.invoke_async(line).await?) }).await?;
        let (now, born, routers, last, changes) = told;
        Ok(Beat { now, born, routers, last, changes })
    }

    /// Tells a change of a standing. `keys`: standings, changes.
    pub async fn tell(
        &self,
        line: &mut Line,
        keys: &[String],
        field: &str,
        left: i64,
        value: &str,
    ) -> Result<(), Silence> {
        let mut call = self.tell.prepare_invoke();
        keys.iter().for_each(|key| {
            call.key(key);
        });
        call.arg(field).arg(left).arg(value);
        within(self.timeout, async { Ok(call.invoke_async(line).await?) }).await
    }
}

fn invocation<'s>(script: &'s Script, taken: &Taken) -> ScriptInvocation<'s> {
    let mut call = script.key(&taken.leases);
    call.key(&taken.probe);
    taken.windows.iter().for_each(|(window, ..)| {
        call.key(window);
    });
    call
}

/// The ruler of a limit, as the scripts read it.
fn rule(call: &mut ScriptInvocation, stretch: Stretch) {
    let (grain, count, ends) = match stretch {
        Stretch::Rolling { grain, count, .. } => (grain, count, 0),
        Stretch::Day { end, .. } => (0, 0, end),
    };
    call.arg(grain).arg(count).arg(ends);
}

fn bound(limit: Option<u64>) -> i64 {
    limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

async fn within<T>(
    limit: Duration,
    work: impl std::future::Future<Output = Result<T, Silence>>,
) -> Result<T, Silence> {
    tokio::time::timeout(limit, work).await.unwrap_or(Err(Silence::Late(limit)))
}
