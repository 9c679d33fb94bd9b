//! `secrets`: keys for callers' and providers' secrets at rest, and the files that hold them.
//!
//! A file is changed where a secret stands and nowhere else, so that comments, order and quotes stay; the new text is
//! put in the place of the old one in one step, with the old one's permissions. A key is never shown but by `key`, and
//! secrets only by `decrypt`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::{fchown, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use zeroize::Zeroizing;

use super::{chance, complain, say, BAD_CONFIG};
use crate::config::sealed::{Keys, KEY_LENGTH, PREFIX};
use crate::config::{self, Outside, Source};
use crate::hex::hex;
use crate::loading;

#[derive(Subcommand)]
pub enum Secrets {
    /// Print a new key, for the variable AUTO_AI_ROUTER_SECRET_KEY or a file
    Key,
    /// Seal the standard input, or all plain secrets in a configuration file
    Encrypt {
        /// The file to change
        file: Option<PathBuf>,
    },
    /// Open a sealed value from the standard input
    Decrypt,
    /// Seal all sealed values of files again with the first key of several
    Rotate {
        /// The files to change
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

/// Does what was asked.
pub fn run(asked: &Secrets) -> ExitCode {
    let done = match asked {
        Secrets::Key => chance::bytes::<KEY_LENGTH>().map(|key| hex(&key)),
        Secrets::Encrypt { file: None } => input().and_then(|text| seal(&keys()?, &text)),
        Secrets::Encrypt { file: Some(file) } => encrypt(file),
        Secrets::Decrypt => input().and_then(|text| keys()?.open(text.trim()).map_err(|why| why.to_string())),
        Secrets::Rotate { files } => {
            files.iter().map(|file| rotate(file)).collect::<Result<Vec<_>, _>>().map(|said| said.join("\n"))
        }
    };
    match done {
        Ok(text) => say(&text),
        Err(why) => {
            complain(&why);
            ExitCode::from(BAD_CONFIG)
        }
    }
}

fn input() -> Result<Zeroizing<String>, String> {
    let mut text = Zeroizing::new(String::new());
    io::stdin().read_to_string(&mut text).map_err(|why| format!("the standard input: {why}"))?;
    Ok(Zeroizing::new(text.trim_end_matches(['\n', '\r']).to_owned()))
}

fn keys() -> Result<Keys, String> {
    let outside = Outside { env: &loading::variable, read: &|path| fs::read_to_string(path) };
    Keys::find(outside).map_err(|why| why.to_string())
}

fn seal(keys: &Keys, text: &str) -> Result<String, String> {
    keys.seal(text, chance::bytes()?).map_err(|why| why.to_string())
}

/// Seals what the schema calls a secret and stands in the file itself.
fn encrypt(file: &Path) -> Result<String, String> {
    let keys = keys()?;
    let text = read(file)?;
    let found = config::plain_secrets(Source { path: file, text: &text })?;
    let sealed = found.into_iter().map(|(place, secret)| Ok((place, seal(&keys, &secret)?)));
    replace(file, &text, sealed.collect::<Result<_, String>>()?, "sealed")
}

/// Opens and seals again every sealed value, wherever in the file it stands.
fn rotate(file: &Path) -> Result<String, String> {
    let keys = keys()?;
    let text = read(file)?;
    let sealed = text.match_indices(PREFIX).map(|(start, _)| {
        let rest = &text[start + PREFIX.len()..];
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || "+/=".contains(c))).unwrap_or(rest.len());
        let place = start..start + PREFIX.len() + end;
        let line = text[..start].matches('\n').count() + 1;
        let opened = keys.open(&text[place.clone()]).map(Zeroizing::new);
        let opened = opened.map_err(|why| format!("{}:{line}: {why}", file.display()))?;
        Ok((place, seal(&keys, &opened)?))
    });
    replace(file, &text, sealed.collect::<Result<_, String>>()?, "sealed again")
}

fn read(file: &Path) -> Result<Zeroizing<String>, String> {
    fs::read_to_string(file).map(Zeroizing::new).map_err(|why| format!("{}: {why}", file.display()))
}

/// Puts other texts in some places of a file, all or none.
fn replace(
    file: &Path,
    text: &str,
    places: Vec<(Range<usize>, String)>,
    what: &str,
) -> Result<String, String> {
    let count = places.len();
    let (mut new, mut from) = (String::with_capacity(text.len()), 0);
    for (place, value) in places {
        new.extend([&text[from..place.start], &value]);
        from = place.end;
    }
    new.push_str(&text[from..]);
    if count > 0 {
        write(file, &new).map_err(|why| format!("{}: {why}", file.display()))?;
    }
    Ok(format!("{}: {count} {what}", file.display()))
}

/// Writes beside the file and renames, so that nobody ever reads half of it.
fn write(file: &Path, text: &str) -> io::Result<()> {
    let file = fs::canonicalize(file)?;
    let beside = file.with_extension(format!("new.{}", std::process::id()));
    let written = OpenOptions::new().write(true).create_new(true).open(&beside).and_then(|mut new: File| {
        let old = fs::metadata(&file)?;
        let own = new.metadata()?;
        // Whoever could read it can read it again, the service's own user above all.
        if (own.uid(), own.gid()) != (old.uid(), old.gid()) {
            fchown(&new, Some(old.uid()), Some(old.gid()))?;
        }
        new.set_permissions(old.permissions())?;
        new.write_all(text.as_bytes())?;
        new.sync_all()?;
        fs::rename(&beside, &file)
    });
    written.inspect_err(|_| {
        let _ = fs::remove_file(&beside);
    })
}
