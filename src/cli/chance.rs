//! Bytes that nobody can guess, from the system: for keys and nonces.

use crate::hex::hex;
use ring::rand::{SecureRandom, SystemRandom};

/// `N` of them; an error where the system has none to give.
pub fn bytes<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| "the system gives no random bytes")?;
    Ok(bytes)
}

/// A key for callers.
pub fn key() -> Result<String, String> {
    Ok(format!("sk-{}", hex(&bytes::<16>()?)))
}
