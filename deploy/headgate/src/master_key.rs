//! The cell's master key: under it rest all secrets. Kept in a file that its owner alone may read.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use headgate_iam::MasterKey;

use crate::data_dir::write_private;
use crate::random::random_bytes;

/// Loads the key, or makes it at the first start.
pub(crate) fn load_or_create(path: &Path) -> Result<MasterKey> {
    if path.exists() {
        return load(path);
    }
    let mut key = [0; 32];
    random_bytes(&mut key);
    write_private(path, format!("{}\n", to_hex(&key)).as_bytes())?;
    Ok(MasterKey::new(&key))
}

/// Loads the key.
pub(crate) fn load(path: &Path) -> Result<MasterKey> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let key = from_hex(text.trim()).ok_or_else(|| {
        anyhow!("{} does not hold 64 hexadecimal digits; restore it from a backup", path.display())
    })?;
    Ok(MasterKey::new(&key))
}

fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        text
    })
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_and_a_damaged_file_is_refused() {
        let key: [u8; 32] = std::array::from_fn(|i| i as u8 * 7);
        assert_eq!(from_hex(&to_hex(&key)), Some(key));
        assert_eq!(from_hex("zz"), None);
        assert_eq!(from_hex(&"g".repeat(64)), None);
    }
}
