//! Is it the key or the host? When two or more credentials share a host and every one of them that was heard of in the
//! last ten seconds ended in a fault of the host, with no success there since the first, the keys are not to blame.
//!
//! Then the strikes of these ten seconds are withdrawn, and there are no new ones until one succeeds or ten seconds
//! pass without a failure. Credentials that were not asked in that time have no say: they may serve other models.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::standing::Record;

/// What counts as "at the same time".
const SPAN: Duration = Duration::from_secs(10);
/// Strikes remembered per host; far more than ten seconds of failures make before a ban.
const MOST_STRIKES: usize = 1024;

/// All hosts, and the latest news of each credential.
pub(super) struct Hosts {
    hosts: Vec<Host>,
    /// By credential: its host, and its latest outcome there.
    members: Vec<Member>,
}

#[derive(Default)]
struct Host {
    credentials: Vec<usize>,
    succeeded: Option<Instant>,
    /// The host is at fault; when it last failed.
    down: Option<Instant>,
    strikes: VecDeque<Strike>,
}

struct Member {
    host: usize,
    outcome: Option<(Instant, bool)>,
}

/// A strike for a fault of the host, and what it would take to withdraw it.
pub(super) struct Strike {
    pub(super) at: Instant,
    pub(super) credential: usize,
    pub(super) model: Option<Arc<str>>,
    pub(super) before: Record,
}

impl Hosts {
    /// `names` by credential; the same name is the same host.
    pub(super) fn new<'h>(names: impl Iterator<Item = &'h str>) -> Self {
        let mut known: HashMap<&str, usize> = HashMap::new();
        let mut hosts: Vec<Host> = Vec::new();
        let mut members = Vec::new();
        for (credential, name) in names.enumerate() {
            let host = *known.entry(name).or_insert(hosts.len());
            if host == hosts.len() {
                hosts.push(Host::default());
            }
            hosts[host].credentials.push(credential);
            members.push(Member { host, outcome: None });
        }
        Self { hosts, members }
    }

    /// A 2xx: the host is well.
    pub(super) fn succeeded(&mut self, credential: usize, now: Instant) {
        self.answered(credential, now);
        if let Some(host) = self.host_of(credential) {
            host.succeeded = Some(now);
            host.down = None;
            host.strikes.clear();
        }
    }

    /// A failure that is not the host's: it has answered.
    pub(super) fn answered(&mut self, credential: usize, now: Instant) {
        self.heard(credential, now, false);
    }

    /// A fault of the host. Whether it is the host, so that nobody is struck.
    pub(super) fn failed(&mut self, credential: usize, now: Instant) -> bool {
        self.heard(credential, now, true);
        let all_fail = self.all_fail(credential, now);
        let Some(host) = self.host_of(credential) else { return false };
        let known = host.down.is_some_and(|last| now.saturating_duration_since(last) <= SPAN);
        host.down = (known || all_fail).then_some(now);
        known || all_fail
    }

    /// Remembers a strike for a fault of the host.
    pub(super) fn struck(&mut self, strike: Strike) {
        let (credential, now) = (strike.credential, strike.at);
        let Some(host) = self.host_of(credential) else { return };
        if host.credentials.len() > 1 {
            while host.strikes.len() >= MOST_STRIKES
                || host.strikes.front().is_some_and(|old| old.at + SPAN < now)
            {
                host.strikes.pop_front();
            }
            host.strikes.push_back(strike);
        }
    }

    /// The strikes of the last ten seconds at the host of `credential`, latest first, to be withdrawn in that order.
    pub(super) fn withdraw(&mut self, credential: usize, now: Instant) -> Vec<Strike> {
        let Some(host) = self.host_of(credential) else { return Vec::new() };
        let recent = std::mem::take(&mut host.strikes).into_iter().rev();
        recent.take_while(|strike| strike.at + SPAN >= now).collect()
    }

    fn heard(&mut self, credential: usize, now: Instant, failed: bool) {
        if let Some(member) = self.members.get_mut(credential) {
            member.outcome = Some((now, failed));
        }
    }

    fn host_of(&mut self, credential: usize) -> Option<&mut Host> {
        let host = self.members.get(credential)?.host;
        self.hosts.get_mut(host)
    }

    fn all_fail(&self, credential: usize, now: Instant) -> bool {
        let host = self.members.get(credential).and_then(|member| self.hosts.get(member.host));
        let Some(host) = host.filter(|host| host.credentials.len() > 1) else { return false };
        let outcomes = host.credentials.iter().filter_map(|&at| self.members.get(at)?.outcome);
        let recent: Vec<_> = outcomes.filter(|(at, _)| *at + SPAN >= now).collect();
        let first = recent.iter().map(|(at, _)| *at).min();
        let since = host.succeeded.is_some_and(|success| first.is_some_and(|first| success >= first));
        recent.len() > 1 && recent.iter().all(|(_, failed)| *failed) && !since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Instant {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        *START.get_or_init(Instant::now) + Duration::from_secs(second)
    }

    fn three() -> Hosts {
        Hosts::new(["a:443", "a:443", "b:443"].into_iter())
    }

    #[test]
    fn one_credential_that_fails_is_not_the_host() {
        let mut hosts = three();
        assert!(!hosts.failed(0, at(0)));
        assert!(!hosts.failed(0, at(1)));
        assert!(!hosts.failed(2, at(1)));
    }

    #[test]
    fn all_that_were_heard_of_failing_is_the_host() {
        let mut hosts = three();
        assert!(!hosts.failed(0, at(0)));
        assert!(hosts.failed(1, at(9)));
    }

    #[test]
    fn failures_further_apart_than_ten_seconds_are_not_the_host() {
        let mut hosts = three();
        assert!(!hosts.failed(0, at(0)));
        assert!(!hosts.failed(1, at(11)));
    }

    #[test]
    fn a_success_between_speaks_for_the_host() {
        let mut hosts = three();
        hosts.failed(0, at(0));
        hosts.succeeded(1, at(1));
        assert!(!hosts.failed(1, at(2)));
    }

    #[test]
    fn an_answer_of_any_other_kind_speaks_for_the_host_while_it_is_the_latest() {
        let mut hosts = three();
        hosts.answered(0, at(0));
        assert!(!hosts.failed(1, at(1)));
        assert!(hosts.failed(0, at(2)));
    }

    #[test]
    fn a_host_stays_at_fault_until_ten_seconds_without_failure() {
        let mut hosts = three();
        hosts.failed(0, at(0));
        assert!(hosts.failed(1, at(1)));
        assert!(hosts.failed(0, at(11)));
        assert!(!hosts.failed(0, at(22)));
    }

    #[test]
    fn only_the_strikes_of_the_last_ten_seconds_are_withdrawn() {
        let mut hosts = three();
        for second in [0, 5, 11] {
            let before = Record::default();
            hosts.struck(Strike { at: at(second), credential: 0, model: None, before });
        }
        let withdrawn: Vec<_> = hosts.withdraw(1, at(12)).iter().map(|strike| strike.at).collect();
        assert_eq!(withdrawn, [at(11), at(5)]);
        assert!(hosts.withdraw(1, at(12)).is_empty());
    }
}
