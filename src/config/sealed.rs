//! Secrets at rest: `enc:v1:` and the base64 of a nonce, the text under AES-256-GCM, and its tag.
//!
//! Any scalar may be sealed, and so may be what a variable or a file gives. The key is 32 bytes, as 64 hexadecimal digits
//! or as base64; a source may hold several, one a line: the first one seals, all of them open, so that a fleet can
//! change its key without a moment in which a router can read only half of its file. What is sealed is bound to the
//! format and not to its place: entries may be renamed and moved, and whoever can write the file needs no swapped secret,
//! since he can send any secret to an address of his own. Nonces are random; at the few hundred secrets of a file two
//! equal ones are out of the question (NIST SP 800-38D, 8.3, allows 2^32 of them for one key).

use std::path::Path;

use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::engine::DecodePaddingMode;
use base64::{alphabet, Engine};
use ring::aead::{Aad, LessSafeKey, Nonce, UnboundKey, AES_256_GCM, NONCE_LEN};
use zeroize::{Zeroize, Zeroizing};

use super::interpolate::Outside;

/// What a sealed text begins with.
pub const PREFIX: &str = "enc:v1:";
/// The length of a key, in bytes.
pub const KEY_LENGTH: usize = 32;
/// The length of a nonce, in bytes.
pub const NONCE_LENGTH: usize = NONCE_LEN;
/// The variable with the key, and the one with the path of its file.
pub const VARIABLES: [&str; 2] = ["AUTO_AI_ROUTER_SECRET_KEY", "AUTO_AI_ROUTER_SECRET_KEY_FILE"];
/// The name of the key among the credentials of a systemd service (systemd.exec(5), `LoadCredential=`).
const CREDENTIAL: &str = "secret-key";
/// A tag is a sixteenth of a kilobit, and a text has at least nothing.
const SHORTEST: usize = NONCE_LEN + 16;

/// Base64 with or without its padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a sealed text stays closed, or a key is none. Never holds any of either.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// There is no key at all.
    #[error("the value is sealed, and there is no key: set {0}, {1}, or the systemd credential `secret-key`", VARIABLES[0], VARIABLES[1])]
    NoKey,
    /// A line is no key.
    #[error("{0}: line {1} is no key, which is 64 hexadecimal digits or the base64 of 32 bytes")]
    BadKey(String, usize),
    /// The file of the key cannot be read.
    #[error("the file of the key, {0}, cannot be read: {1}")]
    Unreadable(String, String),
    /// What follows the prefix is not what sealing makes.
    #[error("the value is damaged: after `enc:v1:` comes the base64 of at least 28 bytes")]
    Damaged,
    /// No key fits.
    #[error("no key opens the value: it was sealed with another one, or has been changed since")]
    WrongKey,
}

/// Keys: the first one seals, all open.
pub struct Keys(Vec<LessSafeKey>);

impl Keys {
    /// Keys from a text, one a line; `source` says where it stands.
    pub fn read(source: &str, text: &str) -> Result<Self, Closed> {
        let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
        let keys = lines
            .filter(|(_, line)| !line.is_empty())
            .map(|(at, line)| key(line).ok_or_else(|| Closed::BadKey(source.to_owned(), at)));
        let keys: Vec<_> = keys.collect::<Result<_, _>>()?;
        if keys.is_empty() {
            return Err(Closed::BadKey(source.to_owned(), 1));
        }
        Ok(Self(keys))
    }

    /// The keys of the variable, of the file that the other variable names, or of the service's credential.
    pub fn find(outside: Outside) -> Result<Self, Closed> {
        let set = |name: &str| (outside.env)(name).filter(|value| !value.is_empty()).map(Zeroizing::new);
        let [key, file] = VARIABLES;
        if let Some(text) = set(key) {
            return Self::read(key, &text);
        }
        let directory = || Some(Path::new(set("CREDENTIALS_DIRECTORY")?.as_str()).join(CREDENTIAL));
        let named = set(file).map(|path| Path::new(path.as_str()).to_owned());
        let wanted = named.is_some();
        let Some(path) = named.or_else(directory) else { return Err(Closed::NoKey) };
        let shown = path.display().to_string();
        match (outside.read)(&path).map(Zeroizing::new) {
            Ok(text) => Self::read(&shown, &text),
            Err(why) if !wanted && why.kind() == std::io::ErrorKind::NotFound => Err(Closed::NoKey),
            Err(why) => Err(Closed::Unreadable(shown, why.kind().to_string())),
        }
    }

    /// The text, sealed with the first key. A nonce must never be used twice with one key.
    pub fn seal(&self, text: &str, nonce: [u8; NONCE_LENGTH]) -> Result<String, Closed> {
        let mut sealed = nonce.to_vec();
        let mut body = text.as_bytes().to_vec();
        let key = self.0.first().ok_or(Closed::NoKey)?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(nonce, Aad::from(PREFIX), &mut body).map_err(|_| Closed::WrongKey)?;
        sealed.append(&mut body);
        Ok(format!("{PREFIX}{}", STANDARD.encode(sealed)))
    }

    /// What was sealed; `text` begins with the prefix.
    pub fn open(&self, text: &str) -> Result<String, Closed> {
        let sealed = text.strip_prefix(PREFIX).and_then(|text| LENIENT.decode(text.trim()).ok());
        let sealed = sealed.filter(|bytes| bytes.len() >= SHORTEST).ok_or(Closed::Damaged)?;
        self.0.iter().find_map(|key| open(key, Aad::from(PREFIX.as_bytes()), &sealed)).ok_or(Closed::WrongKey)
    }
}

/// The text of nonce, ciphertext and tag without a prefix and without bound data, as other programs write it; none if
/// the key is not theirs.
pub fn open_plain(key: &[u8], sealed: &str) -> Option<String> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).ok()?);
    open(&key, Aad::from(&[]), &LENIENT.decode(sealed.trim()).ok()?)
}

fn open(key: &LessSafeKey, bound: Aad<&[u8]>, sealed: &[u8]) -> Option<String> {
    let (nonce, body) = sealed.split_at_checked(NONCE_LEN)?;
    let mut body = Zeroizing::new(body.to_vec());
    let text = key.open_in_place(Nonce::try_assume_unique_for_key(nonce).ok()?, bound, &mut body).ok()?;
    String::from_utf8(text.to_vec()).ok()
}

fn key(line: &str) -> Option<LessSafeKey> {
    let digits = line.len() == 2 * KEY_LENGTH && line.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut bytes = match digits {
        true => (0..KEY_LENGTH)
            .map_while(|at| u8::from_str_radix(line.get(2 * at..2 * at + 2)?, 16).ok())
            .collect(),
        false => LENIENT.decode(line).ok()?,
    };
    let key = UnboundKey::new(&AES_256_GCM, &bytes).ok().map(LessSafeKey::new);
    bytes.zeroize();
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OLD: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const NEW: &str = "//////////////////////////////////////////8=";

    fn keys(text: &str) -> Keys {
        Keys::read("test", text).unwrap_or_else(|why| panic!("{why}"))
    }

    #[test]
    fn a_key_is_hexadecimal_or_base64_with_or_without_its_padding() {
        for text in [OLD, NEW, NEW.trim_end_matches('='), &format!("\n {OLD} \n{NEW}\n")] {
            assert!(Keys::read("test", text).is_ok(), "{text}");
        }
        for (text, line) in [("", 1), ("short", 1), (&format!("{OLD}\n{OLD}00"), 2)] {
            assert_eq!(Keys::read("test", text).err(), Some(Closed::BadKey("test".into(), line)), "{text}");
        }
    }

    #[test]
    fn all_keys_open_and_the_first_one_seals() {
        let by_old = keys(OLD).seal("sk-1", [1; 12]).unwrap();
        let both = keys(&format!("{NEW}\n{OLD}"));
        assert_eq!(both.open(&by_old).as_deref(), Ok("sk-1"));
        let by_new = both.seal("sk-2", [2; 12]).unwrap();
        assert_eq!(keys(NEW).open(&by_new).as_deref(), Ok("sk-2"));
        assert_eq!(keys(OLD).open(&by_new), Err(Closed::WrongKey));
        assert_eq!(both.open("enc:v1:AAAA"), Err(Closed::Damaged));
    }

    #[test]
    fn a_key_comes_from_a_variable_or_a_file_or_the_service_manager() {
        let read = |path: &Path| match path.to_str() {
            Some("/run/key") | Some("/creds/secret-key") => Ok(OLD.to_owned()),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        };
        let find = |name: &'static str, value: &'static str| {
            let env = |asked: &str| (asked == name).then(|| value.to_owned());
            Keys::find(Outside { env: &env, read: &read }).map(|_| ())
        };
        assert_eq!(find(VARIABLES[0], OLD), Ok(()));
        assert_eq!(find(VARIABLES[1], "/run/key"), Ok(()));
        assert_eq!(find("CREDENTIALS_DIRECTORY", "/creds"), Ok(()));
        assert_eq!(find("CREDENTIALS_DIRECTORY", "/other"), Err(Closed::NoKey));
        assert_eq!(find("OTHER", "x"), Err(Closed::NoKey));
        assert!(matches!(find(VARIABLES[1], "/no"), Err(Closed::Unreadable(path, _)) if path == "/no"));
    }

    #[test]
    fn the_errors_hold_nothing_of_a_key() {
        let said = Keys::read("KEY", "sk-not-a-key").err().unwrap().to_string();
        assert_eq!(said, "KEY: line 1 is no key, which is 64 hexadecimal digits or the base64 of 32 bytes");
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_and_any_changed_byte_keeps_it_closed(text in any::<String>(), nonce: [u8; 12], at: usize) {
            let keys = keys(OLD);
            let sealed = keys.seal(&text, nonce).unwrap();
            prop_assert_eq!(keys.open(&sealed), Ok(text));
            let mut bytes = STANDARD.decode(&sealed[PREFIX.len()..]).unwrap();
            let at = at % bytes.len();
            bytes[at] ^= 1;
            let bent = format!("{PREFIX}{}", STANDARD.encode(bytes));
            prop_assert_eq!(keys.open(&bent), Err(Closed::WrongKey));
        }
    }
}
