//! The picture that `top` shows: lines of text, made of the figures of the page and nothing else.
//!
//! Names, models and reasons come from outside: what could move the cursor or turn the direction of writing is left out.
//! Colours go with words, never alone.

use std::fmt::Write;

use serde_json::Value;

/// How much room there is, in characters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) lines: usize,
}

/// A column of the table: its head, its width, and what is in it.
type Column = (&'static str, usize, fn(&Value) -> String);

/// In this order; those for which there is no room are left out from the end.
const COLUMNS: [Column; 10] = [
    ("NAME", 22, |c| text(&c["name"])),
    ("STATE", 20, state),
    ("RPM", 13, |c| used(&c["rpm"])),
    ("TPM", 19, |c| used(&c["tpm"])),
    ("FLY", 4, |c| c["in_flight"].to_string()),
    ("ANSWER p50/p95", 15, |c| times(&c["latency_ms"])),
    ("TOKEN p50/p95", 14, |c| times(&c["first_token_ms"])),
    ("TOK/S", 7, |c| c["tokens_per_second"].as_f64().map(|speed| format!("{speed:.1}")).unwrap_or_default()),
    ("LAST MINUTES", 21, |c| curve(&c["answers"])),
    ("LAST ERROR", 40, |c| error(&c["last_error"])),
];

/// Lines that are not of the table.
const AROUND: usize = 5;

/// The whole picture; each line ends with a line feed and has at most `size.columns` characters.
pub(super) fn draw(sheet: &Value, size: Size, colour: bool) -> String {
    let mut out = String::new();
    let (on, off) = match sheet["status"].as_str() {
        _ if !colour => ("", ""),
        Some("healthy") => ("\x1b[32m", "\x1b[0m"),
        _ => ("\x1b[31m", "\x1b[0m"),
    };
    let _ = writeln!(out, "{on}{}{off}", fit(&summary(sheet), size.columns));
    let _ = writeln!(out, "{}", fit(&process(sheet), size.columns));
    out.push('\n');
    let columns = fitting(size.columns);
    let heads: Vec<String> = columns.iter().map(|(head, width, _)| padded(head, *width)).collect();
    let (on, off) = if colour { ("\x1b[7m", "\x1b[0m") } else { ("", "") };
    let _ = writeln!(out, "{on}{}{off}", fit(heads.join(" ").trim_end(), size.columns));
    let credentials = sheet["credentials"].as_array().map_or(&[][..], Vec::as_slice);
    let room = size.lines.saturating_sub(AROUND);
    for credential in credentials.iter().take(room) {
        let cells: Vec<String> =
            columns.iter().map(|(_, width, cell)| padded(&cell(credential), *width)).collect();
        let (on, off) = match credential["state"].as_str() {
            _ if !colour => ("", ""),
            Some("available") => ("", ""),
            Some("banned" | "banned_permanently") => ("\x1b[31m", "\x1b[0m"),
            _ => ("\x1b[33m", "\x1b[0m"),
        };
        let _ = writeln!(out, "{on}{}{off}", fit(cells.join(" ").trim_end(), size.columns));
    }
    if credentials.len() > room {
        out.push_str(&fit(
            &format!("{} more; a higher window shows them", credentials.len() - room),
            size.columns,
        ));
    } else if colour {
        out.push_str(&fit("q quits, s sorts", size.columns));
    }
    out
}

fn summary(sheet: &Value) -> String {
    let mut line = format!(
        "{}: {}/{} credentials available, {} banned, {} models, {} in flight",
        text(&sheet["status"]),
        sheet["available"],
        sheet["total"],
        sheet["banned"],
        sheet["active_models"],
        sheet["in_flight"],
    );
    if sheet["draining"] == true {
        line.push_str(", draining");
    }
    if sheet["reload_failed"] == true {
        line.push_str(", the last reload was refused");
    }
    line
}

fn process(sheet: &Value) -> String {
    let uptime = sheet["uptime"].as_u64().unwrap_or_default();
    format!(
        "Auto AI Router {}, up {}, configuration {} read {}, generation {}",
        text(&sheet["version"]),
        humantime::format_duration(std::time::Duration::from_secs(uptime)),
        text(&sheet["config"]),
        text(&sheet["config_read_at"]),
        sheet["generation"],
    )
}

/// The columns that there is room for; the first always.
fn fitting(columns: usize) -> &'static [Column] {
    let mut width = 0;
    let fits = COLUMNS.iter().take_while(|(_, wide, _)| {
        width += wide + 1;
        width <= columns + 1
    });
    COLUMNS.get(..fits.count().max(1)).unwrap_or_default()
}

fn state(credential: &Value) -> String {
    let state = text(&credential["state"]);
    match credential["next_recovery"].as_u64() {
        Some(left) if state != "available" => format!("{state} {left} s"),
        _ => state,
    }
}

fn used(amount: &Value) -> String {
    let limit = amount["limit"].as_u64().map_or_else(|| "-".to_owned(), |limit| limit.to_string());
    format!("{}/{limit}", amount["used"])
}

fn times(times: &Value) -> String {
    match (times[0].as_u64(), times[1].as_u64()) {
        (Some(median), Some(most)) => format!("{median}/{most} ms"),
        _ => "-".into(),
    }
}

/// Three slots of five seconds a character.
fn curve(answers: &Value) -> String {
    let counts: Vec<u64> = answers.as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
    let sums: Vec<u64> = counts.chunks(3).map(|three| three.iter().sum()).collect();
    let most = sums.iter().copied().max().unwrap_or(0).max(1);
    let step = |sum: u64| match (sum * 8).div_ceil(most) {
        0 => ' ',
        eighths => char::from_u32(0x2580 + eighths as u32).unwrap_or('█'),
    };
    sums.into_iter().map(step).collect()
}

fn error(error: &Value) -> String {
    match error["at"].as_str() {
        Some(at) => {
            let time = at.get(11..19).unwrap_or_default();
            format!("{time} {} {} {}", error["status"], text(&error["reason"]), text(&error["request_id"]))
        }
        None => "-".into(),
    }
}

/// A text from outside, without what a terminal obeys.
fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().chars().filter(|c| !is_command(*c)).collect()
}

/// Control characters, and those that turn the direction of writing (Unicode Standard Annex 9).
fn is_command(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// At most `columns` characters.
pub(super) fn fit(text: &str, columns: usize) -> String {
    match text.char_indices().nth(columns) {
        Some(_) => text.chars().take(columns.saturating_sub(1)).chain(['…']).collect(),
        None => text.to_owned(),
    }
}

fn padded(text: &str, width: usize) -> String {
    format!("{:<width$}", fit(text, width))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sheet() -> Value {
        let credential = |name: &str, state: &str| {
            json!({"name": name, "state": state, "next_recovery": 12, "rpm": {"used": 7, "limit": 10},
                   "tpm": {"used": 900, "limit": null}, "in_flight": 2, "latency_ms": [120, 900],
                   "first_token_ms": null, "tokens_per_second": 41.55, "answers": [0, 0, 0, 1, 1, 1, 8, 8, 8],
                   "last_error": {"at": "2026-01-31T12:00:01.000Z", "status": 503, "reason": "status",
                                  "request_id": "req_7"}})
        };
        json!({"status": "healthy", "version": "1.2.3", "uptime": 3700, "config": "0123456789ab",
               "config_read_at": "2026-01-31T11:00:00.000Z", "generation": 1, "available": 1, "total": 2, "banned": 1,
               "active_models": 4, "in_flight": 3, "draining": false, "reload_failed": true,
               "credentials": [credential("main", "available"), credential("a\x1b[2J\u{202e}b", "banned")]})
    }

    #[test]
    fn the_picture_has_the_figures_of_the_page() {
        let picture = draw(&sheet(), Size { columns: 200, lines: usize::MAX }, false);
        for text in [
            "healthy: 1/2 credentials available",
            "last reload was refused",
            "up 1h 1m 40s",
            "banned 12 s",
            "7/10",
            "900/-",
            "120/900 ms",
            "41.5",
            " ▁█",
            "12:00:01 503 status req_7",
        ] {
            assert!(picture.contains(text), "{text} is missing in\n{picture}");
        }
        assert!(!picture.contains("q quits"));
    }

    #[test]
    fn a_name_cannot_move_the_cursor() {
        let picture = draw(&sheet(), Size { columns: 200, lines: 50 }, false);
        assert!(!picture.contains('\x1b') && !picture.contains('\u{202e}'));
        assert!(picture.contains("a[2Jb"));
    }

    #[test]
    fn the_picture_fits_any_window() {
        for columns in [1, 10, 40, 80, 132] {
            let picture = draw(&sheet(), Size { columns, lines: 6 }, false);
            assert!(picture.lines().all(|line| line.chars().count() <= columns), "{columns}:\n{picture}");
        }
        let low = draw(&sheet(), Size { columns: 80, lines: 6 }, true);
        assert!(low.contains("1 more") && !low.contains("a[2Jb"), "{low}");
    }

    #[test]
    fn an_answer_of_another_version_is_shown_as_far_as_it_is_understood() {
        assert!(draw(&Value::Null, Size { columns: 80, lines: 24 }, false).lines().count() >= 3);
    }
}
