//! Bytes that nobody can guess, from the system: for keys and nonces.

use ring::rand::{SecureRandom, SystemRandom};

/// `N` of them; an error where the system has none to give.
pub fn bytes<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| "the system gives no random bytes")?;
    Ok(bytes)
}

/// A key for callers.
pub fn key() -> Result<String, String> {
    let hex: String = bytes::<16>()?.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("sk-{hex}"))
}
