//! `tests/FAULTS.md`, made from the rows, and what must be true of the rows themselves.

use std::fmt::Write as _;
use std::path::Path;

use super::row::{Fault, Row, Strikes, Then, Tokens, Told};
use super::{answers, connect, edge, process, streams};

/// All rows, in order.
fn matrix() -> Vec<Row> {
    let all = [edge::rows(), connect::rows(), answers::rows(), streams::rows(), process::rows()];
    all.into_iter().flatten().collect()
}

const BEGINNING: &str = "# Faults

What can go wrong, and what a request comes out of it with. Made from the rows of `tests/it/matrix` by
`WRITE_FAULTS=1 cargo test --test it matrix::page`; a test fails where this page says something else than they do.

After each case: nothing is in flight, no token is reserved, one access line tells of the request, and at the end there
are as many lines as requests as counts in `requests_total`. All routers log at debug level and hold keys of which no
eight characters may show in any log, page, header or body.

Whom it strikes: *the pair* is a credential with this model, *the credential* is all its models, each where
`fail2ban.error_codes` has the code. A request is counted from its first byte to an upstream, and never given back from
there.
";

fn page(rows: &[Row]) -> String {
    let cases: usize = rows.iter().map(Row::cases).sum();
    let mut page = format!("{BEGINNING}\n{} rows, {cases} cases in the rig.\n", rows.len());
    page.push_str(
        "\n| # | fault | the client sees | it strikes | it counts | proved by |\n|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let mut proofs: Vec<String> = row.tests.iter().map(|test| format!("`{test}`")).collect();
        if row.cases() > 0 {
            proofs.insert(0, format!("{} cases", row.cases()));
        }
        let Row { number, fault, client, blame, counts, .. } = row;
        let _ =
            writeln!(page, "| {number} | {fault} | {client} | {blame} | {counts} | {} |", proofs.join(", "));
    }
    page.push_str("\n## Cases\n\nOf the first candidate asked; where there are three, the others are well unless the row says otherwise.\n");
    page.push_str("\n| # | case | in | alone | of three |\n|---|---|---|---|---|\n");
    for (row, fault) in rows.iter().flat_map(|row| row.faults.iter().map(move |fault| (row, fault))) {
        let Fault { name, alone, three, .. } = fault;
        let shapes = fault.shapes_in_words();
        let _ =
            writeln!(page, "| {} | {name} | {shapes} | {} | {} |", row.number, then(*alone), then(*three));
    }
    page
}

fn then(then: Option<Then>) -> String {
    let Some(Then { told, strikes, requests, tokens, cooled }) = then else { return String::new() };
    let told = match told {
        Told::Served => "served".to_owned(),
        Told::Error(status, code) => format!("{status} {code}").trim_end().to_owned(),
        Told::Closing(status, code) => format!("{status} {code}, closed"),
        Told::Broken(code) => format!("200, then {code}"),
        Told::Gone => "gone".to_owned(),
    };
    let strikes = match strikes {
        Strikes::None => "no strike".to_owned(),
        Strikes::Pair(count) => format!("{count} × pair"),
        Strikes::Key(count) => format!("{count} × credential"),
        Strikes::Banned => "the pair is banned".to_owned(),
    };
    let tokens = match tokens {
        Tokens::None => "no tokens",
        Tokens::Reported => "tokens as reported",
        Tokens::Estimated => "tokens estimated",
    };
    let cooled = if cooled { "; cools down" } else { "" };
    format!("{told}; {strikes}{cooled}; rpm {requests}, {tokens}")
}

#[test]
fn there_are_fifty_two_rows_and_each_is_proved() {
    let rows = matrix();
    let numbers: Vec<u8> = rows.iter().map(|row| row.number).collect();
    assert_eq!(numbers, (1..=52).collect::<Vec<_>>());
    for row in &rows {
        assert!(row.cases() > 0 || !row.tests.is_empty(), "nothing proves row {}", row.number);
    }
    assert!(rows.iter().map(Row::cases).sum::<usize>() >= 250);
}

#[test]
fn every_test_that_a_row_names_is_there() {
    let mut sources = String::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["src", "tests/it"] {
        read_all(&root.join(folder), &mut sources);
    }
    for row in matrix() {
        for test in row.tests {
            assert!(sources.contains(&format!("fn {test}(")), "row {}: there is no test {test}", row.number);
        }
    }
}

fn read_all(folder: &Path, into: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            read_all(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn the_page_of_faults_says_what_the_rows_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/FAULTS.md");
    let made = page(&matrix());
    if std::env::var_os("WRITE_FAULTS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let is = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(is == made, "write it anew: WRITE_FAULTS=1 cargo test --test it matrix::page");
}
