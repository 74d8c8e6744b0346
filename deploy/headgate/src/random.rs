//! The one source of randomness of the composition root: the operating system's, by way of aws-lc.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

/// Fills `bytes`.
pub(crate) fn random_bytes(bytes: &mut [u8]) {
    SystemRandom::new().fill(bytes).expect("the kernel's random source does not fail once the system is up");
}

/// 64 random bits.
pub(crate) fn random_u64() -> u64 {
    let mut bytes = [0; 8];
    random_bytes(&mut bytes);
    u64::from_le_bytes(bytes)
}
