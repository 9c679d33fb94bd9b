//! Variables from a file, so that `check` sees what the service will: who types it has other variables.
//!
//! The form is that of systemd's EnvironmentFile= (systemd.exec(5)) as far as keys need it: `NAME=value`, one a line,
//! a value in single or double quotes or in none, comments after `#` or `;` at the start of a line. The last of two
//! lines with one name counts.

use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;

use super::{complain, BAD_CONFIG};

/// Adds the variables of `file` to those of this process, which has no second thread yet.
pub fn add(file: &Path) -> Result<(), ExitCode> {
    let text = std::fs::read_to_string(file).map_err(|why| {
        complain(&format!("{}: {why}", file.display()));
        ExitCode::from(BAD_CONFIG)
    })?;
    parse(&text).into_iter().for_each(|(name, value)| std::env::set_var(name, value));
    Ok(())
}

/// Names and values of `text`; lines of another form are passed over, as systemd does.
fn parse(text: &str) -> HashMap<&str, &str> {
    let lines =
        text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']) && !line.contains('\0'));
    lines
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.trim(), bare(value.trim())))
        .filter(|(name, _)| !name.is_empty())
        .collect()
}

fn bare(value: &str) -> &str {
    let quoted = |quote| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    quoted('"').or_else(|| quoted('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_systemd_reads_them() {
        let text =
            "# keys\nA=one\n; B=commented\n C = two words \nD=\"it's\"\nE='x=y'\nnothing\nA=last\nF=\n=x\nG=a\0b\n";
        let found = parse(text);
        let wanted = [("A", "last"), ("C", "two words"), ("D", "it's"), ("E", "x=y"), ("F", "")];
        assert_eq!(found, HashMap::from(wanted));
    }
}
