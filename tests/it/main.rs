//! The tests of the router as a whole: the real binary between a scripted provider and a raw client.
//!
//! One room a file. `support` is the harness; `harness` tests it without a router.

mod support;

mod admin;
mod admission;
mod architecture;
mod bans;
mod browsers;
mod chains;
mod command;
mod dialects;
mod entrance;
mod exhaustion;
mod failover;
mod failover_bench;
mod fleet;
mod floods;
mod hardening;
mod harness;
mod headers;
mod health;
mod images;
mod kept;
mod keys;
mod limits;
mod logs;
mod models;
mod moving;
mod packaging;
mod page;
mod passthrough;
mod pins;
mod providers;
mod pseudo_models;
mod queue;
mod quotas;
mod readers;
mod readme;
mod realtime;
mod regressions;
mod rescue;
mod sealed;
mod seeds;
mod shared;
mod shutdown;
mod strategies;
mod streaming;
mod strict;
mod supervised;
mod timeouts;
mod tls;
mod top;
mod traces;
mod upgrade;
mod walks;
