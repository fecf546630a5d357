//! Amounts with their units, so that no number crosses a room without saying what it counts.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};

macro_rules! amount {
    ($(#[$doc:meta])* $name:ident) => {
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        $(#[$doc])*
        pub struct $name(pub i64);

        impl $name {
            pub const ZERO: Self = Self(0);

            /// The bare number, for a column or a wire field of the same unit.
            pub const fn get(self) -> i64 {
                self.0
            }
        }

        // Saturating: a nonsense row (an amount near the end of the range) must compare as "too
        // much" and be refused, never wrap round to "plenty".
        impl Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0.saturating_add(other.0))
            }
        }
        impl Sub for $name {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }
        }
        impl Neg for $name {
            type Output = Self;
            fn neg(self) -> Self {
                Self(self.0.saturating_neg())
            }
        }
        in_place!($name);
    };
}

/// What follows from adding and subtracting.
macro_rules! in_place {
    ($name:ident) => {
        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                *self = *self + other;
            }
        }
        impl SubAssign for $name {
            fn sub_assign(&mut self, other: Self) {
                *self = *self - other;
            }
        }
        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
                amounts.fold(Self::default(), Add::add)
            }
        }
    };
}

amount!(
    /// Cores in centicores: 100 = one core. Never rounded to whole cores on the way. In documents a
    /// number of cores: half a core is 0.5.
    #[serde(from = "f64", into = "f64")]
    Cores
);
amount!(
    /// Memory in KiB; what Cuebot's columns and comments call KB is 1,024 bytes.
    #[serde(transparent)]
    Kib
);
amount!(
    /// Whole GPUs.
    #[derive(derive_more::Display)]
    #[serde(transparent)]
    Gpus
);

impl Cores {
    pub const ONE: Self = Self(100);

    pub const fn whole(cores: i64) -> Self {
        Self(cores.saturating_mul(100))
    }

    /// Whole cores contained in the amount, rounded towards zero.
    pub const fn whole_cores(self) -> i64 {
        self.0 / 100
    }

    pub const fn is_fractional(self) -> bool {
        self.0 % 100 != 0
    }
}

impl From<Cores> for f64 {
    #[expect(clippy::cast_precision_loss, reason = "no farm has so many cores")]
    fn from(cores: Cores) -> Self {
        cores.0 as Self / 100.0
    }
}

impl From<f64> for Cores {
    #[expect(clippy::cast_possible_truncation, reason = "numbers out of range saturate")]
    fn from(cores: f64) -> Self {
        Self((cores * 100.0).round() as i64)
    }
}

impl Kib {
    pub const fn gib(gib: i64) -> Self {
        Self(gib.saturating_mul(1_048_576))
    }

    pub const fn mib(mib: i64) -> Self {
        Self(mib.saturating_mul(1_024))
    }
}

impl fmt::Display for Cores {
    /// `8`, `0.5`, `-2`: cores without trailing zeros.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&f64::from(*self).to_string())
    }
}

impl fmt::Display for Kib {
    /// `64 GiB`, `1.5 GiB`, `512 MiB`, `17 KiB`: the largest unit that keeps the number above one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "display only, one decimal")]
        let kib = self.0 as f64;
        let (value, unit) = match self.0.unsigned_abs() {
            0..1_024 => (kib, "KiB"),
            1_024..1_048_576 => (kib / 1_024.0, "MiB"),
            _ => (kib / 1_048_576.0, "GiB"),
        };
        let number = format!("{value:.1}");
        f.pad(&format!("{} {unit}", number.strip_suffix(".0").unwrap_or(&number)))
    }
}

/// What a host has or lacks and what a frame reserves, in all four kinds at once. In documents the
/// names say the units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Amounts {
    pub cores: Cores,
    #[serde(rename = "memory_kib")]
    pub memory: Kib,
    pub gpus: Gpus,
    #[serde(rename = "gpu_memory_kib")]
    pub gpu_memory: Kib,
}

impl Amounts {
    /// Whether every amount is available in `idle`.
    pub fn fits_in(&self, idle: &Self) -> bool {
        self.cores <= idle.cores
            && self.memory <= idle.memory
            && self.gpus <= idle.gpus
            && self.gpu_memory <= idle.gpu_memory
    }

    /// The lesser of each amount.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        self.zip(other, i64::min)
    }

    /// The greater of each amount.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        self.zip(other, i64::max)
    }

    fn zip(self, other: Self, each: impl Fn(i64, i64) -> i64) -> Self {
        Self {
            cores: Cores(each(self.cores.0, other.cores.0)),
            memory: Kib(each(self.memory.0, other.memory.0)),
            gpus: Gpus(each(self.gpus.0, other.gpus.0)),
            gpu_memory: Kib(each(self.gpu_memory.0, other.gpu_memory.0)),
        }
    }

    /// Whether any amount is above zero.
    pub fn has_some(&self) -> bool {
        !self.fits_in(&Self::default())
    }

    /// Whether any amount is below zero.
    pub fn has_some_below_zero(&self) -> bool {
        !Self::default().fits_in(self)
    }
}

impl Add for Amounts {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        self.zip(other, i64::saturating_add)
    }
}

impl Sub for Amounts {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self.zip(other, i64::saturating_sub)
    }
}

in_place!(Amounts);

/// `a, b and 3 more`: so many names at most, for a sentence.
pub fn listed(names: impl IntoIterator<Item = impl AsRef<str>>, max: usize) -> String {
    let names: Vec<String> = names.into_iter().map(|name| name.as_ref().to_owned()).collect();
    let more = names.len().saturating_sub(max);
    let listed = names[..names.len() - more].join(", ");
    if more > 0 { format!("{listed} and {more} more") } else { listed }
}

/// Numbers in their order, runs joined: `1-4` and `9`.
pub fn number_runs(numbers: &[i32]) -> Vec<String> {
    let mut runs: Vec<(i32, i32)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let shown =
        runs.iter().map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") });
    shown.collect()
}

/// `1 host`, `2 hosts`.
pub fn counted<N: Copy + fmt::Display + PartialEq + From<u8>>(number: N, thing: &str) -> String {
    format!("{number} {thing}{}", if number == N::from(1) { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_as_an_operator_writes_them() {
        let shown: Vec<String> = [800, 50, 250, -200, -50, 0].map(|c| Cores(c).to_string()).into();
        assert_eq!(shown, ["8", "0.5", "2.5", "-2", "-0.5", "0"]);
        let shown: Vec<String> = [17, 524_288, 1_572_864, 67_108_864].map(|k| Kib(k).to_string()).into();
        assert_eq!(shown, ["17 KiB", "512 MiB", "1.5 GiB", "64 GiB"]);
    }

    #[test]
    fn runs_of_numbers_are_joined() {
        assert_eq!(number_runs(&[1, 2, 3, 7, 9, 10]), ["1-3", "7", "9-10"]);
        assert_eq!(number_runs(&[-2, -1, 0]), ["-2-0"]);
        assert_eq!(number_runs(&[i32::MAX, i32::MIN]), ["2147483647", "-2147483648"]);
    }

    #[test]
    fn a_nonsense_amount_stays_too_much() {
        assert_eq!(Kib(i64::MAX) + Kib(1), Kib(i64::MAX));
        assert_eq!(Cores(i64::MIN) - Cores(1), Cores(i64::MIN));
    }
}
