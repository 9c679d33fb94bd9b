//! `import`: what another router's files are here. The text goes to the standard output or to a new file that only its
//! owner can read, since keys stand in it as they did; what was found goes to the standard error.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use zeroize::Zeroizing;

use super::{complain, BAD_CONFIG};
use crate::import::{self, Foreign, Imported};
use crate::loading;

/// Reads the files and writes ours.
pub fn import(files: &[PathBuf], out: Option<&Path>) -> ExitCode {
    let done = read(files).and_then(|read| {
        write(&read.yaml, out)?;
        Ok(read.notes)
    });
    match done {
        Ok(notes) => {
            notes.iter().for_each(|note| complain(note));
            if let Some(out) = out {
                complain(&format!("now: auto-ai-router check -c {}", out.display()));
            }
            ExitCode::SUCCESS
        }
        Err(why) => {
            complain(&why);
            ExitCode::from(BAD_CONFIG)
        }
    }
}

fn read(files: &[PathBuf]) -> Result<Imported, String> {
    let named = files.iter().map(|file| {
        let text = fs::read_to_string(file).map_err(|why| format!("{}: {why}", file.display()))?;
        Ok((file.display().to_string(), Zeroizing::new(text)))
    });
    let named: Vec<_> = named.collect::<Result<_, String>>()?;
    let files: Vec<_> = named.iter().map(|(name, text)| Foreign { name, text }).collect();
    import::read(&files, &loading::variable)
}

fn write(yaml: &str, out: Option<&Path>) -> Result<(), String> {
    let Some(out) = out else {
        // A reader that has gone away is no failure of ours.
        let _ = std::io::stdout().write_all(yaml.as_bytes());
        return Ok(());
    };
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(out);
    file.and_then(|mut file| file.write_all(yaml.as_bytes()))
        .map_err(|why| format!("{}: {why}", out.display()))
}
