//! Random input by the thousand for the fuzz targets of the rooms, and by the million when asked.
//!
//! Every case has its own seed, its number, so that the same cases run everywhere and one can run alone:
//! `FUZZ_CASES` says how many, `FUZZ_FIRST` which is the first.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

/// Runs the cases of a target; `cases` are a few seconds of it.
pub(crate) fn fuzz(cases: u64, mut target: impl FnMut(&mut StdRng)) {
    let number = |name| std::env::var(name).ok().map(|text: String| text.parse::<u64>().expect("a number"));
    let first = number("FUZZ_FIRST").unwrap_or(0);
    for case in first..first + number("FUZZ_CASES").unwrap_or(cases) {
        let ended = catch_unwind(AssertUnwindSafe(|| target(&mut StdRng::seed_from_u64(case))));
        assert!(ended.is_ok(), "case {case} failed; FUZZ_FIRST={case} FUZZ_CASES=1 runs it alone");
    }
}

/// Text of up to so many of these pieces.
pub(crate) fn text_of(random: &mut StdRng, pieces: &[&str], pieces_max: usize) -> String {
    let number = random.random_range(0..=pieces_max);
    (0..number).filter_map(|_| pieces.choose(random).copied()).collect()
}
