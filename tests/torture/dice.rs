//! What chooses among what is to be tried.
#![allow(dead_code)]

/// Numbers that are the same again for the same seed (xorshift64*).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// One below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(high).expect("31 bits") % end.max(1)
    }

    /// Some of these, in no order, each once.
    pub fn some<T>(&mut self, mut of: Vec<T>, count: usize) -> Vec<T> {
        let mut taken = Vec::new();
        while taken.len() < count && !of.is_empty() {
            taken.push(of.swap_remove(self.below(of.len())));
        }
        taken
    }
}
