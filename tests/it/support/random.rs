//! Reproducible random numbers.

use session_postgres::Key;

/// A small generator of random numbers (SplitMix64).
///
/// The seed of a round determines its calls, but not when the threads run them.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number from 0 up to but not including `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end as u64) as usize
    }

    /// True once in `many` calls on average.
    pub(crate) fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }
}

/// A seed that differs each time.
pub(crate) fn seed() -> u64 {
    let key = Key::generate().unwrap();
    let bytes = key.as_str().bytes();
    bytes.fold(0, |seed, byte| (seed << 6) ^ u64::from(byte))
}
