//! The shape of the sources, kept by a test: the core is pure, every file says what it is for, nothing grows too long.

use std::fs;
use std::path::{Path, PathBuf};

/// Rooms that may touch neither the network nor a clock nor a file.
const CORE: [&str; 9] =
    ["calendar.rs", "clients", "config", "import", "llm", "providers", "routing", "names.rs", "secret.rs"];

/// What the core may not name, and where it may after all.
const OUTSIDE: [(&str, &str); 12] = [
    ("pingora", "routing"),
    ("tokio", ""),
    ("log::", ""),
    ("prometheus::", ""),
    ("std::fs", ""),
    ("std::env", ""),
    ("std::net::Tcp", ""),
    ("std::process", ""),
    ("Instant::now", ""),
    ("SystemTime::now", ""),
    ("println!", ""),
    ("thread::sleep", ""),
];

const MOST_LINES: usize = 500;
const MOST_LINES_OF_A_FUNCTION: usize = 60;

fn root() -> PathBuf {
    PathBuf::from(std::env::var("ROUTER_SOURCES").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").into()))
}

/// Every Rust file below `dir`, with its text.
fn sources(dir: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_path_buf()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found.sort();
    found
}

fn all_sources() -> Vec<(PathBuf, String)> {
    ["src", "tests"].iter().flat_map(|dir| sources(&root().join(dir))).collect()
}

fn is_test_file(path: &Path) -> bool {
    path.components().any(|c| c.as_os_str() == "tests" || c.as_os_str() == "tests.rs")
}

/// The lines of code before the tests, without comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().take_while(|(_, line)| !line.starts_with("#[cfg(test)]"));
    lines.filter(|(_, line)| !line.trim_start().starts_with("//")).map(|(n, line)| (n + 1, line))
}

#[test]
fn the_core_knows_no_network_no_clock_and_no_file() {
    let src = root().join("src");
    let mut offences = Vec::new();
    for (path, text) in sources(&src) {
        let inside = path.strip_prefix(&src).unwrap();
        let room = inside.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
        if !CORE.contains(&room.as_str()) || is_test_file(inside) {
            continue;
        }
        for (number, line) in code(&text) {
            for (word, allowed) in OUTSIDE {
                let named = line.contains(word) && !(room == allowed && line.contains("pingora_limits"));
                if named && starts_a_word(line, word) {
                    offences.push(format!("{}:{number}: {word}", inside.display()));
                }
            }
        }
    }
    assert!(offences.is_empty(), "{offences:#?}");
}

fn starts_a_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        !line[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '"')
    })
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent: Vec<_> =
        all_sources().into_iter().filter(|(_, text)| !text.starts_with("//!")).map(|(p, _)| p).collect();
    assert!(silent.is_empty(), "no //! at the top of {silent:#?}");
}

#[test]
fn no_file_is_longer_than_five_hundred_lines() {
    let long: Vec<_> = all_sources()
        .into_iter()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > MOST_LINES)
        .collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn no_function_is_longer_than_sixty_lines() {
    let mut long = Vec::new();
    for (path, text) in all_sources() {
        for (name, line, length) in functions(&text) {
            if length > MOST_LINES_OF_A_FUNCTION {
                long.push(format!("{}:{line}: {name} has {length} lines", path.display()));
            }
        }
    }
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn nothing_is_left_to_do_and_one_line_is_unsafe() {
    let words = [
        "TO".to_string() + "DO",
        "FIX".to_string() + "ME",
        "todo".to_string() + "!(",
        "unimplemented".to_string() + "!(",
    ];
    let (mut offences, mut unsafe_in) = (Vec::new(), Vec::new());
    for (path, text) in all_sources() {
        for (number, line) in text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word)) {
                offences.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
        let plain = without_text(&text);
        let is_unsafe = |line: &&str| line.contains("unsafe ") && line.contains('{');
        unsafe_in.extend(plain.lines().filter(is_unsafe).map(|_| path.clone()));
    }
    assert!(offences.is_empty(), "{offences:#?}");
    assert_eq!(unsafe_in.len(), 1, "{unsafe_in:#?}");
    assert!(unsafe_in[0].ends_with("src/footprint.rs"), "{unsafe_in:#?}");
}

#[test]
fn no_test_says_in_its_name_that_it_is_one() {
    let mut offences = Vec::new();
    for (path, text) in all_sources() {
        let prefixed = functions(&text).into_iter().filter(|(name, ..)| name.starts_with("test_"));
        offences.extend(prefixed.map(|(name, line, _)| format!("{}:{line}: {name}", path.display())));
    }
    assert!(offences.is_empty(), "{offences:#?}");
}

/// The functions of a file: name, line, and lines of code from the `fn` to its closing brace.
fn functions(text: &str) -> Vec<(String, usize, usize)> {
    let clean = without_text(text);
    let lines: Vec<_> = clean.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let (mut depth, mut opened, mut length) = (0i32, false, 0);
        for line in &lines[start..] {
            length += usize::from(!line.trim().is_empty());
            depth += line.matches('{').count() as i32 - line.matches('}').count() as i32;
            opened |= line.contains('{');
            if (opened && depth <= 0) || (!opened && line.trim_end().ends_with(';')) {
                break;
            }
        }
        found.push((name, start + 1, length));
    }
    found
}

fn function_name(line: &str) -> Option<String> {
    let mut words = line.split_whitespace().skip_while(|word| {
        ["pub", "async", "const", "extern", "pub(crate)", "pub(super)"].contains(word)
            || word.starts_with("pub(")
    });
    (words.next()? == "fn")
        .then(|| words.next().unwrap_or_default().split(['(', '<']).next().unwrap().to_string())
}

/// The source with strings, characters and comments blanked out, line ends kept.
fn without_text(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skip = literal_length(rest);
        if skip == 0 {
            clean.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        }
        clean.extend(rest[..skip].chars().filter(|c| *c == '\n'));
        rest = &rest[skip..];
    }
    clean
}

/// The length of the comment, string or character that `rest` starts with; 0 when it starts with none.
fn literal_length(rest: &str) -> usize {
    let until =
        |from: usize, end: &str| rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len());
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return until(2, "*/");
    }
    for hashes in ["", "#", "##"] {
        let opening = format!("r{hashes}\"");
        if rest.starts_with(&opening) {
            return until(opening.len(), &format!("\"{hashes}"));
        }
    }
    if rest.starts_with('"') {
        return quoted(rest, '"');
    }
    let mut chars = rest.chars();
    match (chars.next(), chars.next(), chars.next()) {
        (Some('\''), Some('\\'), _) => quoted(rest, '\''),
        (Some('\''), Some(c), Some('\'')) => 2 + c.len_utf8(),
        _ => 0,
    }
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

#[test]
fn the_measure_of_functions_is_right() {
    let text = "fn a() {\n    let s = \"}\"; // }\n\n    let c = '{';\n}\nfn b();\npub async fn c<T>() {\n    x(r#\"}\"#)\n}\n";
    assert_eq!(functions(text), [("a".into(), 1, 4), ("b".into(), 6, 1), ("c".into(), 7, 3)]);
}
