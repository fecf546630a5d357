//! Numbers, amounts and ages as people read them.

use std::fmt::Display;

use crate::planner::Quantity;
use crate::units::{Amounts, Cores, Gpus};

/// `40 s`, `7 min`, `3 h`: as exactly as anybody asks.
pub(super) fn age(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ ..7_200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}

/// `2 cores, 4 GiB`: the kinds of which there is something.
pub(super) fn some_of(amounts: &Amounts) -> String {
    let Amounts { cores, memory, gpus, gpu_memory } = amounts;
    let parts = [
        (cores.get(), if *cores == Cores::ONE { "1 core".to_owned() } else { format!("{cores} cores") }),
        (memory.get(), memory.to_string()),
        (gpus.get(), count(gpus, "GPU")),
        (gpu_memory.get(), format!("{gpu_memory} of GPU memory")),
    ];
    let there = parts.into_iter().filter(|(number, _)| *number > 0);
    or_none(&there.map(|(_, words)| words).collect::<Vec<_>>())
}

pub(super) fn or_none<T: AsRef<str>>(parts: &[T]) -> String {
    if parts.is_empty() {
        return "none".to_owned();
    }
    parts.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ")
}

pub(super) fn count(number: impl Display, thing: &str) -> String {
    let number = grouped(number);
    let plural = if number == "1" { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

/// `1,553`
pub(super) fn grouped(number: impl Display) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) && digit.is_ascii_digit() {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// What amounts and frames come to in what a cap of this kind counts.
pub(super) const fn like_kind(kind: Quantity, amounts: &Amounts, frames: i64) -> Quantity {
    match kind {
        Quantity::Cores(_) => Quantity::Cores(amounts.cores),
        Quantity::Gpus(_) => Quantity::Gpus(amounts.gpus),
        Quantity::Frames(_) => Quantity::Frames(frames),
        Quantity::Hosts(_) => Quantity::Hosts(frames),
    }
}

pub(super) const fn like(kind: Quantity, number: i64) -> Quantity {
    match kind {
        Quantity::Cores(_) => Quantity::Cores(Cores(number)),
        Quantity::Gpus(_) => Quantity::Gpus(Gpus(number)),
        Quantity::Frames(_) => Quantity::Frames(number),
        Quantity::Hosts(_) => Quantity::Hosts(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(
            [grouped("7"), grouped("553"), grouped("1553"), grouped("1234567")],
            ["7", "553", "1,553", "1,234,567"]
        );
        assert_eq!([count(1, "host"), count(1_000, "host")], ["1 host", "1,000 hosts"]);
    }
}
