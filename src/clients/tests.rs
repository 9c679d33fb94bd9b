//! Keys in, seats out: who is let in, what a limit refuses, and what outlasts a configuration and a process.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::config::{load, Source};
use crate::routing::{Receipt, Which};

const A: &str = "sk-of-a-0123456789abcdef";
/// What the wall clock says has no part in most of this.
const WALL: SystemTime = SystemTime::UNIX_EPOCH;
const MASTER_KEY: &str = "sk-master-0123456789abcdef";

fn settings(keys: &str) -> Settings {
    let text = format!(
        "server: {{master_key: {MASTER_KEY}}}\ncredentials: [{{name: a, api_key: k, base_url: 'https://h'}}]\nclient_keys:\n{keys}"
    );
    let none = |_: &Path| Err(io::ErrorKind::NotFound.into());
    let source = Source { path: Path::new("config.yaml"), text: &text };
    let loaded = load(source, &|_| None, &none, SystemTime::UNIX_EPOCH);
    let rendered = loaded.render(false);
    loaded.settings.unwrap_or_else(|| panic!("{rendered}"))
}

fn roster(keys: &str, before: Option<&Roster>, now: Instant) -> Roster {
    Roster::new(&settings(keys), Secret::new("spare"), before, now)
}

fn one(limits: &str) -> String {
    format!("  - {{name: a, key: {A}, {limits}}}\n")
}

fn find(roster: &Roster, key: &str) -> Option<Arc<Client>> {
    roster.known(std::iter::once(key.as_bytes())).cloned()
}

fn account(roster: &Roster) -> Arc<Account> {
    find(roster, A).expect("the key").account.clone()
}

fn tokens(account: &Account, now: Instant) -> (u64, Option<u64>) {
    account.standing(now).uses[0].1[1]
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Counts a request of `tokens` whose end is not waited for.
fn ask(account: &Arc<Account>, tokens: u64, now: Instant) -> Result<Seat, Full> {
    let mut seat = account.enter(now, WALL, 1)?;
    seat.count(tokens, now, 1)?;
    Ok(seat)
}

/// The same, at its end.
fn asked(account: &Arc<Account>, cost: u64, now: Instant) -> Result<(), Full> {
    ask(account, cost, now).map(|mut seat| seat.charge(cost))
}

/// Writes down what a fleet is told.
struct Notes(Arc<Mutex<Vec<String>>>);

impl Receipt for Notes {
    fn sent(&mut self) {}

    fn overshot(&mut self, more: u64) {
        self.0.lock().unwrap().push(format!("{more} more"));
    }

    fn settled(&mut self, unsent: bool, tokens: u64) {
        self.0.lock().unwrap().push(format!("over, {unsent}, {tokens} back"));
    }
}

#[test]
fn a_fleet_is_asked_about_a_limited_key_once_and_told_what_becomes_of_it() {
    let now = Instant::now();
    let roster = roster(&one("rpm: 5, tpm: 100, rpd: 50, max_concurrent: 3"), None, now);
    let account = account(&roster);
    let notes = Arc::new(Mutex::new(Vec::new()));
    let mut seat = ask(&account, 30, now).unwrap();
    let question = seat.question("salt").expect("a limited key");
    assert_eq!((question.tokens, question.most, question.limits.len()), (30, Some(3), 2));
    assert_ne!(question.credential, seat.question("pepper").expect("still").credential);
    seat.confirm(Box::new(Notes(notes.clone())));
    assert!(seat.question("salt").is_none());
    seat.charge(20);
    drop(seat);
    let mut seat = ask(&account, 30, now).unwrap();
    seat.confirm(Box::new(Notes(notes.clone())));
    seat.charge(35);
    drop(seat);
    let mut seat = ask(&account, 30, now).unwrap();
    seat.confirm(Box::new(Notes(notes.clone())));
    seat.forgo();
    let told = ["over, false, 10 back", "5 more", "over, false, 0 back", "over, true, 30 back"];
    assert_eq!(*notes.lock().unwrap(), told);
    let free = Roster::new(&settings(&one("models: [m]")), Secret::new("spare"), None, now);
    assert!(ask(&find(&free, A).unwrap().account, 30, now).unwrap().question("salt").is_none());
}

#[test]
fn what_the_fleet_has_refused_is_not_asked_about_again_for_a_moment() {
    let now = Instant::now();
    let roster = roster(&one("rpm: 5"), None, now);
    let account = account(&roster);
    let full = Full {
        which: Which::Requests,
        bound: crate::routing::Bound { amount: 5, per: crate::routing::Per::Seconds(60) },
        wait: secs(9),
    };
    ask(&account, 1, now).unwrap().deny(full, now);
    assert_eq!(account.standing(now).uses[0].1[0], (0, Some(5)), "it has used nothing");
    let later = now + Duration::from_millis(249);
    let refused = ask(&account, 1, later).expect_err("just refused");
    assert_eq!((refused.which, refused.wait), (Which::Requests, Duration::from_millis(8751)));
    assert!(ask(&account, 1, now + Duration::from_millis(250)).is_ok());
}

#[test]
fn of_a_day_that_others_have_used_a_router_has_a_part_of_what_is_left_though_nobody_has_asked_it_yet() {
    let now = Instant::now();
    let wall = WALL + secs(1_790_000_000);
    let roster = roster(&one("rpd: 20"), None, now);
    let days = roster.days("salt", now, wall);
    let [(account, _, day)] = &days[..] else { panic!("{} days", days.len()) };
    account.hear_of(*day, [15, 0], now);
    let ask = || account.enter(now, wall, 2).and_then(|mut seat| seat.count(1, now, 2));
    assert_eq!((0..9).filter(|_| ask().is_ok()).count(), 2);
}

#[test]
fn a_part_of_a_key_s_limits_is_what_each_of_several_routers_has() {
    let now = Instant::now();
    let roster = roster(&one("rpm: 6, max_concurrent: 4"), None, now);
    let account = account(&roster);
    let seats: Vec<_> = (0..4).map_while(|_| account.enter(now, WALL, 2).ok()).collect();
    assert_eq!(seats.len(), 2);
    drop(seats);
    let ask = || account.enter(now, WALL, 2).and_then(|mut seat| seat.count(1, now, 2));
    assert_eq!((0..6).filter(|_| ask().is_ok()).count(), 3);
    let mut seat = account.enter(now, WALL, 1).unwrap();
    seat.count(1, now, 1).unwrap();
    assert!(seat.recount(now, 2).is_err(), "it was let in before the others were lost");
}

#[test]
fn a_key_is_known_by_its_digest_whichever_way_it_is_written() {
    let hex = ring::digest::digest(&ring::digest::SHA256, b"sk-of-b-0123456789abcdef");
    let hex: String = hex.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let keys = format!("{}  - {{name: b, key_sha256: {hex}}}\n", one("rpm: 1"));
    let roster = roster(&keys, None, Instant::now());
    let name = |key| find(&roster, key).map(|client| client.name.to_string());
    assert_eq!(name(A).as_deref(), Some("a"));
    assert_eq!(name("sk-of-b-0123456789abcdef").as_deref(), Some("b"));
    assert_eq!(name(MASTER_KEY).as_deref(), Some(MASTER));
    assert_eq!((name("sk-of-c-0123456789abcdef"), name(""), name("spare")), (None, None, None));
    assert!(find(&roster, MASTER_KEY).unwrap().is_master && !find(&roster, A).unwrap().is_master);
}

#[test]
fn no_request_more_than_the_limit_is_let_in_within_a_minute() {
    let now = Instant::now();
    let roster = roster(&one("rpm: 3"), None, now);
    let account = account(&roster);
    for _ in 0..3 {
        asked(&account, 10, now).expect("below the limit");
    }
    let full = asked(&account, 10, now + secs(1)).expect_err("the fourth");
    assert_eq!((full.which, full.bound.amount), (Which::Requests, 3));
    assert!((secs(58)..=secs(60)).contains(&full.wait), "{full:?}");
    asked(&account, 10, now + secs(62)).expect("a minute later");
}

#[test]
fn tokens_are_reserved_charged_and_given_back() {
    let now = Instant::now();
    let roster = roster(&one("tpm: 100"), None, now);
    let account = account(&roster);
    let seat = ask(&account, 80, now).expect("room for 80");
    assert_eq!(ask(&account, 30, now).expect_err("80 + 30 is too much").which, Which::Tokens);
    drop(seat);
    let mut seat = ask(&account, 90, now).expect("nothing was charged");
    seat.charge(20);
    drop(seat);
    assert_eq!(tokens(&account, now), (20, Some(100)));
    let mut seat = ask(&account, 10, now).expect("room for 10");
    seat.charge(70);
    assert_eq!(tokens(&account, now), (90, Some(100)), "what was not foreseen counts at once");
    drop(seat);
    assert_eq!(tokens(&account, now), (90, Some(100)));
}

#[test]
fn a_place_comes_back_when_its_seat_is_dropped() {
    let now = Instant::now();
    let roster = roster(&one("max_concurrent: 2"), None, now);
    let account = account(&roster);
    let seats = [account.enter(now, WALL, 1).unwrap(), account.enter(now, WALL, 1).unwrap()];
    assert_eq!(account.enter(now, WALL, 1).expect_err("the third").which, Which::Concurrency);
    drop(seats);
    assert_eq!(account.standing(now).in_flight, 0);
    assert!(account.enter(now, WALL, 1).is_ok());
}

#[test]
fn a_request_that_is_asked_elsewhere_does_not_count() {
    let now = Instant::now();
    let roster = roster(&one("rpm: 1, tpm: 10"), None, now);
    let account = account(&roster);
    ask(&account, 10, now).expect("the first").forgo();
    assert!(asked(&account, 10, now).is_ok());
}

#[test]
fn a_reload_keeps_what_a_key_has_used_and_takes_the_new_limits() {
    let now = Instant::now();
    let first = roster(&one("rpm: 2"), None, now);
    let old = account(&first);
    let seat = ask(&old, 1, now).unwrap();
    let second = roster(&one("rpm: 3, max_concurrent: 1"), Some(&first), now);
    let new = account(&second);
    assert!(Arc::ptr_eq(&old, &new));
    assert_eq!(
        new.enter(now, WALL, 1).expect_err("the old request is still there").which,
        Which::Concurrency
    );
    drop(seat);
    asked(&new, 1, now).unwrap();
    asked(&new, 1, now).unwrap();
    assert_eq!(asked(&new, 1, now).expect_err("one was before the reload").bound.amount, 3);
    let third = roster("  - {name: b, key: sk-of-b-0123456789abcdef}\n", Some(&second), now);
    assert!(find(&third, A).is_none(), "a revoked key");
}

#[test]
fn a_master_key_that_was_taken_away_opens_nothing() {
    let now = Instant::now();
    let first = roster(&one("rpm: 2"), None, now);
    let mut without = settings(&one("rpm: 2"));
    without.server.master_key = None;
    let second = Roster::new(&without, Secret::new("unguessable"), Some(&first), now);
    assert!(find(&second, MASTER_KEY).is_none() && find(&second, A).is_some());
    assert_eq!((second.valid(WALL), second.clients().len()), (1, 1), "what nobody knows is not shown");
}

#[test]
fn another_process_goes_on_where_this_one_stopped() {
    let now = Instant::now();
    let keys = one("rpm: 5, tpm: 100, max_concurrent: 2");
    let (old, new) = (roster(&keys, None, now), roster(&keys, None, now + secs(5)));
    let (before, after) = (account(&old), account(&new));
    asked(&before, 10, now + secs(1)).unwrap();
    let mut running = ask(&before, 40, now + secs(2)).unwrap();
    let notes: Arc<std::sync::Mutex<Vec<Note>>> = Arc::default();
    let heard = notes.clone();
    let heir: Heir = Arc::new(move |note| heard.lock().unwrap().push(note));
    let ledger = old.close(&heir, now + secs(6));
    let wire = serde_json::to_string(&ledger).unwrap();
    assert!(!wire.contains(A));
    new.inherit(&serde_json::from_str(&wire).unwrap(), "", old.epoch());
    let stands = |account: &Account| {
        let standing = account.standing(now + secs(6));
        (standing.in_flight, standing.uses[0].1[0].0, standing.uses[0].1[1].0)
    };
    assert_eq!(stands(&after), (1, 2, 50));
    running.charge(60);
    drop(running);
    before.ended(true, (30, 30), SystemTime::UNIX_EPOCH);
    ask(&before, 5, now + secs(6)).unwrap().forgo();
    notes.lock().unwrap().iter().for_each(|note| new.hear(note));
    assert_eq!(stands(&after), (0, 2, 70));
    assert_eq!(after.standing(now).counts.requests, 1);
    assert_eq!(new.epoch(), old.epoch(), "so that its own ledger says the same");
}

#[test]
fn at_rest_nothing_is_under_way() {
    let now = Instant::now();
    let keys = one("rpm: 2");
    let old = roster(&keys, None, now);
    let running = ask(&account(&old), 1, now);
    let kept = old.ledger("salt", now).at_rest();
    let new = roster(&keys, None, now);
    new.inherit(&kept, "another salt", old.epoch());
    assert_eq!(account(&new).standing(now).uses[0].1[0], (0, Some(2)), "ids are salted");
    new.inherit(&kept, "salt", old.epoch());
    let standing = account(&new).standing(now);
    assert_eq!((standing.in_flight, standing.uses[0].1[0]), (0, (1, Some(2))));
    drop(running);
}

#[test]
fn a_list_of_models_is_open_where_each_of_them_is() {
    let roster = roster(&one("models: [m, 'gpt-*']"), None, Instant::now());
    let client = find(&roster, A).unwrap();
    assert!(client.may_use("m|gpt-5") && client.may_use("m | gpt-5"));
    assert!(!client.may_use("m|secret") && !client.may_use("secret|m") && !client.may_use("gpt-5|"));
}

#[test]
fn patterns_say_which_models_are_open() {
    for (pattern, text, expected) in [
        ("gpt-5", "gpt-5", true),
        ("gpt-5", "gpt-5-mini", false),
        ("gpt-*", "gpt-5-mini", true),
        ("*", "", true),
        ("*-mini", "gpt-5-mini", true),
        ("*-mini", "gpt-5-mini-2", false),
        ("a*b*c", "a1b2c", true),
        ("a*b*c", "a1c2b", false),
        ("a*a", "a", false),
        ("*/llama*", "meta/llama-4", true),
    ] {
        assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
    }
}
