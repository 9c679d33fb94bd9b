//! The ban machine, by example and by property.

use proptest::prelude::*;

use super::*;

const TERM: Duration = Duration::from_secs(10);

fn policy(max_attempts: u32, ban: Term) -> BanPolicy {
    BanPolicy { max_attempts, ban, error_codes: vec![429, 500, 503], rules: Vec::new() }
}

fn banned(now: Instant) -> Standing {
    let mut standing = Standing::default();
    assert!(standing.strike(&policy(1, Term::For(TERM)), 500, now).is_some());
    standing
}

#[test]
fn strikes_in_a_row_make_a_ban_and_a_success_between_starts_over() {
    let (policy, now) = (policy(3, Term::For(TERM)), Instant::now());
    let mut standing = Standing::default();
    assert_eq!(standing.strike(&policy, 500, now), None);
    assert_eq!(standing.strike(&policy, 503, now), None);
    assert!(!standing.succeed(1));
    assert_eq!(standing.strikes(), 0);
    assert_eq!(standing.strike(&policy, 500, now), None);
    assert_eq!(standing.strike(&policy, 400, now), None, "400 is no strike");
    assert_eq!(standing.strike(&policy, 500, now), None);
    assert_eq!(standing.strike(&policy, 429, now), Some(Sentence { strikes: 3, term: Term::For(TERM) }));
    assert_eq!(standing.gate(now), Gate::Banned(Until::Time(now + TERM)));
}

#[test]
fn after_a_ban_one_request_decides() {
    let now = Instant::now();
    let mut standing = banned(now);
    let later = now + TERM;
    assert_eq!(standing.gate(later), Gate::Probe);
    assert!(standing.expire(later));
    assert!(!standing.expire(later), "only once");
    assert!(standing.enter(7));
    assert!(!standing.enter(8));
    assert_eq!(standing.gate(later), Gate::Probing);
    assert!(!standing.succeed(8), "only the probe decides");
    assert_eq!(standing.gate(later), Gate::Probing);
    assert!(standing.succeed(7));
    assert_eq!(standing.gate(later), Gate::Open);
    assert!(standing.is_blank(later));
}

#[test]
fn a_failed_probe_bans_for_twice_the_term_each_time() {
    let policy = policy(1, Term::For(TERM));
    let mut now = Instant::now();
    let mut standing = banned(now);
    for seconds in [20, 40, 80, 160, 320, 600, 600] {
        let Gate::Banned(Until::Time(end)) = standing.gate(now) else { panic!("banned") };
        now = end;
        standing.expire(now);
        standing.enter(1);
        let sentence = standing.probe_failed(&policy, 500, 1, false, now);
        assert_eq!(sentence, Some(Sentence { strikes: 1, term: Term::For(Duration::from_secs(seconds)) }));
    }
}

#[test]
fn a_probe_that_may_be_poison_bans_for_the_same_term() {
    let policy = policy(1, Term::For(TERM));
    let now = Instant::now();
    let mut standing = banned(now);
    let later = now + TERM;
    standing.expire(later);
    standing.enter(1);
    let sentence = standing.probe_failed(&policy, 500, 1, true, later);
    assert_eq!(sentence, Some(Sentence { strikes: 1, term: Term::For(TERM) }));
}

#[test]
fn a_probe_without_verdict_frees_the_slot_and_a_late_one_cannot_free_anothers() {
    let now = Instant::now();
    let mut standing = banned(now);
    let later = now + TERM;
    standing.expire(later);
    standing.enter(1);
    standing.leave(1);
    assert_eq!(standing.gate(later), Gate::Probe);
    standing.enter(2);
    standing.leave(1);
    assert_eq!(standing.gate(later), Gate::Probing);
}

#[test]
fn a_permanent_ban_ends_by_an_operator_only() {
    let now = Instant::now();
    let mut standing = Standing::default();
    let sentence = standing.strike(&policy(1, Term::Permanent), 500, now);
    assert_eq!(sentence, Some(Sentence { strikes: 1, term: Term::Permanent }));
    let much_later = now + Duration::from_secs(1_000_000);
    assert!(!standing.expire(much_later));
    assert_eq!(standing.gate(much_later), Gate::Banned(Until::Lifted));
    assert!(!standing.succeed(1), "an old request's success lifts nothing");
    assert_eq!(standing.gate(much_later), Gate::Banned(Until::Lifted));
    assert!(standing.lift());
    assert_eq!(standing.gate(much_later), Gate::Open);
}

#[test]
fn of_two_cool_downs_the_later_end_wins() {
    let now = Instant::now();
    let mut standing = Standing::default();
    assert_eq!(standing.cool(Duration::from_secs(20), 429, false, now), Some(Duration::from_secs(20)));
    assert_eq!(standing.cool(Duration::from_secs(5), 429, false, now), None);
    assert_eq!(standing.cool(Duration::from_secs(30), 503, false, now), None, "longer, but no news");
    let Gate::Cooling(cool_down) = standing.gate(now) else { panic!("cooling") };
    assert_eq!(cool_down.until, now + Duration::from_secs(30));
    standing.succeed(1);
    assert!(matches!(standing.gate(now), Gate::Cooling(_)), "a success does not end it");
    assert_eq!(standing.gate(now + Duration::from_secs(30)), Gate::Open);
}

#[test]
fn a_huge_cool_down_and_a_huge_term_do_not_break_the_clock() {
    let now = Instant::now();
    let mut standing = Standing::default();
    assert_eq!(standing.cool(Duration::MAX, 429, false, now), Some(LONGEST_COOL_DOWN));
    standing.strike(&policy(1, Term::For(Duration::MAX)), 500, now);
    assert_eq!(standing.gate(now), Gate::Banned(Until::Lifted));
}

#[test]
fn a_withdrawn_strike_restores_what_was_before() {
    let now = Instant::now();
    let policy = policy(2, Term::For(TERM));
    let mut standing = Standing::default();
    standing.strike(&policy, 500, now);
    let before = standing.record();
    standing.strike(&policy, 500, now);
    assert!(standing.restore(before));
    assert_eq!((standing.gate(now), standing.strikes()), (Gate::Open, 1));
}

proptest! {
    /// Whatever happens in whatever order: a ban is never left but through probation or by an operator, and at most
    /// one probe is out.
    #[test]
    fn a_ban_is_never_left_but_through_probation(acts in prop::collection::vec((0u8..6, 0u64..15), 1..200)) {
        let policy = policy(2, Term::For(TERM));
        let mut standing = Standing::default();
        let (mut now, mut ticket, mut out) = (Instant::now(), 0, Vec::new());
        for (act, step) in acts {
            let before = standing.gate(now);
            now += Duration::from_secs(step);
            let expired = standing.expire(now);
            match act {
                0 | 1 if matches!(standing.gate(now), Gate::Open | Gate::Probe) => {
                    ticket += 1;
                    let probe = standing.enter(ticket);
                    out.push((ticket, probe));
                }
                2 | 3 => if let Some((ticket, _)) = out.pop() {
                    let sentence = standing.probe_failed(&policy, 500, ticket, false, now);
                    if sentence.is_none() {
                        standing.strike(&policy, 500, now);
                    }
                    standing.leave(ticket);
                },
                4 => if let Some((ticket, _)) = out.pop() {
                    standing.succeed(ticket);
                    standing.leave(ticket);
                },
                _ => if let Some((ticket, _)) = out.pop() {
                    standing.leave(ticket);
                },
            }
            if let Gate::Banned(until) = before {
                prop_assert!(expired || standing.gate(now) == Gate::Banned(until));
            }
            prop_assert!(out.iter().filter(|(_, probe)| *probe).count() <= 1);
            if out.iter().all(|(_, probe)| !probe) {
                prop_assert_ne!(standing.gate(now), Gate::Probing, "a probe slot is lost");
            }
        }
    }
}
