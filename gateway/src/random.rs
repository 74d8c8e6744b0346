//! Randomness, as an argument.

/// A source of random bits.
pub trait RandomBits: Send + Sync + 'static {
    /// Sixty-four fresh bits that nobody can guess.
    fn bits(&self) -> u64;
}

/// The thread's cryptographically secure generator, seeded by the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl RandomBits for SystemRandom {
    fn bits(&self) -> u64 {
        rand::random()
    }
}
