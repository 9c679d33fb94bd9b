//! Rows 38 to 52: what befalls the process, its host, its neighbours. Each is proved by tests of its own, here named.

use super::row::Row;

/// A row without cases in the rig.
const fn row(number: u8, words: [&'static str; 4], tests: &'static [&'static str]) -> Row {
    let [fault, client, blame, counts] = words;
    Row { number, fault, client, blame, counts, faults: Vec::new(), tests }
}

pub fn rows() -> Vec<Row> {
    [of_the_host(), of_neighbours(), of_many(), of_the_process()].into_iter().flatten().collect()
}

fn of_the_host() -> Vec<Row> {
    vec![
        row(
            38,
            ["the wall clock leaps", "nothing", "nobody; bans end when they would have", "windows go on"],
            &["a_leap_of_the_wall_clock_changes_no_limit_and_no_ban"],
        ),
        row(
            39,
            [
                "the token endpoint of a service account fails",
                "the answer on the old token; else the next candidate",
                "the pair, never the whole account; nobody while a token is good",
                "nothing",
            ],
            &[
                "without_a_token_somebody_else_serves_and_the_account_is_not_banned",
                "fifty_requests_before_the_first_token_make_one_exchange",
                "a_token_is_exchanged_before_it_ends_and_nobody_is_ever_without",
                "a_refused_account_is_tried_ever_more_rarely",
            ],
        ),
        row(
            40,
            [
                "the log's disk is full, or nobody reads it",
                "nothing",
                "nobody",
                "as always; `log_dropped_total`",
            ],
            &["a_log_that_nobody_takes_costs_lines_and_no_request"],
        ),
        row(
            41,
            ["no descriptor is left", "503, or a wait; who is being served stays so", "nobody", "nothing"],
            &["without_descriptors_nobody_is_blamed_and_all_is_well_again_when_there_are_some"],
        ),
        row(
            42,
            [
                "no port is left to connect from",
                "the next candidate at another address; else 503",
                "nobody",
                "nothing",
            ],
            &["without_ports_nobody_is_blamed_and_another_address_serves", "our_own_faults_blame_nobody"],
        ),
    ]
}

fn of_neighbours() -> Vec<Row> {
    vec![
        row(
            43,
            ["A asks B, and B asks A", "508 at once, with the path", "nobody", "the request at A"],
            &[
                "a_request_that_comes_back_is_ended_with_508_at_once",
                "a_peer_s_508_is_never_retried",
                "a_loop_names_its_path_and_a_chain_is_at_most_ten_deep",
            ],
        ),
        row(
            44,
            [
                "a chained router's `/health` is wrong, slow, huge or hostile",
                "nothing; the page escapes it",
                "nobody; the last good word is kept, then stale, then down",
                "nothing",
            ],
            &[
                "a_router_whose_health_is_huge_slow_deep_or_hostile_harms_nobody",
                "garbage_instead_of_health_harms_nobody",
                "a_peer_that_hangs_is_stale_then_down_and_comes_back_by_itself",
                "the_page_shows_the_same_and_escapes_every_name",
            ],
        ),
        row(
            45,
            [
                "a reload of a bad file",
                "nothing; the old configuration serves on",
                "nobody",
                "counts go on; exit code 78 with line and column",
            ],
            &["a_reload_of_a_bad_file_changes_nothing_and_names_line_and_column"],
        ),
    ]
}

fn of_many() -> Vec<Row> {
    vec![
        row(
            46,
            [
                "a ban ends under load",
                "the others' answers; 503 with Retry-After 1 where there are none",
                "one probe decides: the full share at once, or twice the term",
                "the probe's request",
            ],
            &[
                "after_a_ban_one_request_probes_and_the_others_go_on_elsewhere",
                "a_probe_that_fails_bans_for_twice_the_term",
                "after_a_ban_exactly_one_request_probes_and_the_others_are_told_to_come_back",
            ],
        ),
        row(
            47,
            [
                "everything is down",
                "a 5xx at once",
                "by the error, once for each attempt",
                "each attempt; attempts are at most 1.2 of requests, and ten a second",
            ],
            &["in_a_total_outage_attempts_stay_within_the_budget"],
        ),
    ]
}

fn of_the_process() -> Vec<Row> {
    vec![
        row(
            48,
            ["a panic in a request", "500, or an error event", "nobody", "given back by Drop"],
            &["a_panic_on_the_way_is_answered_with_500", "a_panic_gives_a_lease_back"],
        ),
        row(
            49,
            [
                "an upgrade in the middle of a stream",
                "the whole stream; new connections meet the new process",
                "handed over",
                "handed over: one allowance for both",
            ],
            &[
                "a_stream_ends_on_the_process_that_it_began_with",
                "a_kept_connection_moves_and_notices_nothing",
                "limits_and_bans_hold_over_both_processes",
            ],
        ),
        row(
            50,
            [
                "SIGTERM",
                "no 503: streams end within drain_timeout, or are told so by an event",
                "nobody",
                "as always; exit code 0",
            ],
            &[
                "streams_finish_while_readiness_fails",
                "what_outlasts_the_drain_is_told_so_before_the_cut",
                "an_idle_router_leaves_at_once",
            ],
        ),
        row(
            51,
            ["the new binary crashes at its start", "nothing; the old one serves on", "nobody", "as always"],
            &[
                "a_binary_that_crashes_or_talks_nonsense_leaves_the_old_process",
                "the_old_process_takes_the_work_back_if_the_new_one_dies",
            ],
        ),
        row(
            52,
            ["SIGKILL", "a reset", "bans outlast it", "windows outlast it, but for two seconds"],
            &["a_crash_forgets_two_seconds_at_most", "a_ban_outlasts_a_restart_and_ends_when_it_would_have"],
        ),
    ]
}
