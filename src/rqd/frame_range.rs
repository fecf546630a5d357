//! Frame ranges: the text of `layer.str_range` as numbers, and chunks of it as text again.
//!
//! Cuebot decides what a range means, so its reading is followed to the letter: no blanks, empty
//! sections only at the end, nothing sorted, repeats kept across sections. A chunk is written as
//! Cuebot writes it wherever its text reads back as the same numbers, and number by number where
//! it does not: there Cuebot's frames would render each other's numbers.
//!
//! Work and memory follow the length of the text and of one chunk, never the length of the range:
//! `1-2000000000` is three numbers in here. Only interleaved sections are written out, up to
//! [`INTERLEAVED_FRAMES_MAX`].

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;

/// Numbers in all interleaved sections (`A-B:S`) of one range together; these must be held in memory.
const INTERLEAVED_FRAMES_MAX: u64 = 200_000;

/// Numbers in one chunk, which become text in one command.
const CHUNK_FRAMES_MAX: u64 = 1_000_000;

/// Longest piece of a broken range that an error repeats.
const QUOTED_CHARS_MAX: usize = 60;

/// The numbers of a range, in its order, found by position without being held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FrameSet {
    sections: Vec<Section>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameRangeError {
    #[error("{section:?} is no frame range; a section is N, A-B, A-BxS, A-ByS or A-B:S, without blanks")]
    Form { section: String },
    #[error("{number:?} in the frame range is beyond 32 bits")]
    NumberTooLarge { number: String },
    #[error("the step of {section:?} is 0")]
    StepZero { section: String },
    #[error("{section:?} steps away from its end; give the step the sign of the direction")]
    Direction { section: String },
    #[error("interleaved sections of the frame range hold over {INTERLEAVED_FRAMES_MAX} numbers")]
    InterleavedTooLong,
    #[error("frame {frame} is not in its layer's range")]
    NotInRange { frame: i32 },
    #[error("a chunk of {frames} numbers is over the {CHUNK_FRAMES_MAX} that fit in a command")]
    ChunkTooLong { frames: u64 },
}

/// The numbers that one frame of a layer renders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    /// As text for the command. Empty when the chunk size is 0 or negative.
    pub(super) spec: String,
    /// The last number; the frame's own when the chunk is empty.
    pub(super) end: i32,
}

impl FrameSet {
    pub(super) fn parse(range: &str) -> Result<Self, FrameRangeError> {
        let listed = range.trim_end_matches(',');
        if listed.is_empty() && !range.is_empty() {
            return Ok(Self { sections: Vec::new() });
        }
        let mut interleaved_left = INTERLEAVED_FRAMES_MAX;
        let sections = listed.split(',').map(|text| Section::parse(text, &mut interleaved_left));
        Ok(Self { sections: sections.collect::<Result<_, _>>()? })
    }

    /// How many numbers, repeats included.
    fn len(&self) -> u64 {
        self.sections.iter().map(Section::len).sum()
    }

    /// Where the number occurs first.
    fn position(&self, frame: i32) -> Option<u64> {
        let mut before = 0;
        for section in &self.sections {
            if let Some(position) = section.position(frame) {
                return Some(before + position);
            }
            before += section.len();
        }
        None
    }

    /// The numbers from a position on; lazy, so that taking a few of billions is cheap.
    fn iter_from(&self, position: u64) -> impl Iterator<Item = i32> {
        let mut skipped = position;
        self.sections.iter().flat_map(move |section| {
            let first = skipped.min(section.len());
            skipped -= first;
            (first..section.len()).filter_map(|position| section.get(position))
        })
    }

    /// What the frame with this number renders: the next `size` numbers, cut at the range's end.
    pub(super) fn chunk(&self, frame: i32, size: i32) -> Result<Chunk, FrameRangeError> {
        let position = self.position(frame).ok_or(FrameRangeError::NotInRange { frame })?;
        let frames = (self.len() - position).min(u64::try_from(size).unwrap_or(0));
        if frames > CHUNK_FRAMES_MAX {
            return Err(FrameRangeError::ChunkTooLong { frames });
        }
        let numbers: Vec<i32> = self.iter_from(position).take(usize::try_from(frames).unwrap_or(usize::MAX)).collect();
        let spec = chunk_text(&numbers);
        let reads_back =
            Self::parse(&spec).is_ok_and(|set| set.len() == frames && set.iter_from(0).eq(numbers.iter().copied()));
        let spec = if reads_back || numbers.is_empty() { spec } else { every_number(&numbers) };
        Ok(Chunk { spec, end: numbers.last().copied().unwrap_or(frame) })
    }
}

/// Longer ranges are not looked through.
const LOOKED_THROUGH_MAX: u64 = 1_000_000;

/// The numbers of a layer's range that none of its frames renders, ascending; `None` where the range makes no
/// sense or is too long. Cuebot makes the frames of a layer when it is submitted, and passes over numbers of
/// some interleaved ranges.
pub(crate) fn unrendered_numbers(range: &str, chunk_size: i32, frames: &[i32]) -> Option<Vec<i32>> {
    let set = FrameSet::parse(range).ok().filter(|set| set.len() <= LOOKED_THROUGH_MAX)?;
    let numbers: Vec<i32> = set.iter_from(0).collect();
    let mut positions: HashMap<i32, usize> = HashMap::new();
    for (position, &number) in numbers.iter().enumerate() {
        positions.entry(number).or_insert(position);
    }
    let mut left: BTreeSet<i32> = numbers.iter().copied().collect();
    let size = usize::try_from(chunk_size).unwrap_or_default();
    for &position in frames.iter().filter_map(|frame| positions.get(frame)) {
        for number in numbers.iter().skip(position).take(size) {
            left.remove(number);
        }
    }
    Some(left.into_iter().collect())
}

/// A section, to be asked by position.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Section {
    /// Of each stretch of `step` numbers, in its direction, so many after those that are passed over.
    Stretches {
        first: i64,
        step: i64,
        passed_over: i64,
        taken: i64,
        len: u64,
    },
    Listed(Vec<i32>),
}

impl Section {
    /// `interleaved_left`: numbers that interleaved sections may still hold.
    fn parse(text: &str, interleaved_left: &mut u64) -> Result<Self, FrameRangeError> {
        let form_error = || FrameRangeError::Form { section: quoted(text) };
        let (first, rest) = number(text).ok_or_else(form_error)?;
        if rest.is_empty() {
            return Ok(Self::steps(value(first)?, 1, 1));
        }
        let (last, rest) = rest.strip_prefix('-').and_then(number).ok_or_else(form_error)?;
        let mut rest = rest.chars();
        let kind = rest.next();
        let step = match (kind, number(rest.as_str())) {
            (None, _) => None,
            (Some('x' | 'y' | ':'), Some((step, ""))) => Some(step),
            _ => return Err(form_error()),
        };
        let (first, last) = (value(first)?, value(last)?);
        let (is_descending, span) = (last < first, last.abs_diff(first) + 1);
        let step = step.map_or(Ok(if is_descending { -1 } else { 1 }), value)?;
        if step == 0 {
            return Err(FrameRangeError::StepZero { section: quoted(text) });
        }
        // A step of 1 away from the end: no error in Cuebot, and no numbers.
        if step == 1 && is_descending {
            return Ok(Self::Listed(Vec::new()));
        }
        if (step > 0) == is_descending {
            return Err(FrameRangeError::Direction { section: quoted(text) });
        }
        Ok(match kind {
            None | Some('x') => Self::steps(first, step, span),
            Some('y') => Self::Stretches {
                first,
                step,
                passed_over: 1,
                taken: step.abs() - 1,
                len: span - Self::steps(first, step, span).len(),
            },
            Some(_) => {
                *interleaved_left = interleaved_left.checked_sub(span).ok_or(FrameRangeError::InterleavedTooLong)?;
                Self::Listed(interleave(first, step, span))
            }
        })
    }

    /// `first`, then every `step`-th number of the `span` that begins with it.
    const fn steps(first: i64, step: i64, span: u64) -> Self {
        Self::Stretches { first, step, passed_over: 0, taken: 1, len: (span - 1) / step.unsigned_abs() + 1 }
    }

    fn len(&self) -> u64 {
        match self {
            Self::Stretches { len, .. } => *len,
            Self::Listed(numbers) => numbers.len() as u64,
        }
    }

    fn get(&self, position: u64) -> Option<i32> {
        match self {
            Self::Stretches { first, step, passed_over, taken, len } => {
                let position = i64::try_from(position).ok().filter(|_| position < *len)?;
                let in_stretch = passed_over + position % taken;
                i32::try_from(first + position / taken * step + in_stretch * step.signum()).ok()
            }
            Self::Listed(numbers) => numbers.get(usize::try_from(position).ok()?).copied(),
        }
    }

    fn position(&self, frame: i32) -> Option<u64> {
        match self {
            Self::Stretches { first, step, passed_over, taken, len } => {
                let away = (i64::from(frame) - first) * step.signum();
                let in_stretch = away.rem_euclid(step.abs()) - passed_over;
                let position = away.div_euclid(step.abs()) * taken + in_stretch;
                let position = u64::try_from(position).ok().filter(|position| position < len);
                position.filter(|_| (0..*taken).contains(&in_stretch))
            }
            Self::Listed(numbers) => numbers.iter().position(|number| *number == frame).map(|at| at as u64),
        }
    }
}

/// Every `step`-th number, then every half-step-th, down to every one, each number once.
fn interleave(first: i64, mut step: i64, span: u64) -> Vec<i32> {
    let mut seen = HashSet::new();
    let mut numbers = Vec::new();
    while step != 0 {
        let pass = Section::steps(first, step, span);
        for number in (0..pass.len()).filter_map(|position| pass.get(position)) {
            if seen.insert(number) {
                numbers.push(number);
            }
        }
        step /= 2;
    }
    numbers
}

/// Splits off a leading number: digits, perhaps after one minus.
fn number(text: &str) -> Option<(&str, &str)> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let rest = digits.trim_start_matches(|c: char| c.is_ascii_digit());
    (rest.len() < digits.len()).then(|| text.split_at(text.len() - rest.len()))
}

fn value(number: &str) -> Result<i64, FrameRangeError> {
    number.parse::<i32>().map(i64::from).map_err(|_| FrameRangeError::NumberTooLarge { number: quoted(number) })
}

fn quoted(text: &str) -> String {
    if text.chars().count() <= QUOTED_CHARS_MAX {
        return text.to_owned();
    }
    text.chars().take(QUOTED_CHARS_MAX).chain(['…']).collect()
}

/// Cuebot's way of writing a list of numbers, its flaw included: after a lone number the next step
/// is measured from the number before the last, so that some lists read back as others.
fn chunk_text(numbers: &[i32]) -> String {
    /// Cuebot's mark for "not known yet"; a real step of 0 (repeats) is forgotten likewise.
    const UNKNOWN: i64 = 0;

    let mut numbers = numbers.iter().map(|n| i64::from(*n));
    let Some(first) = numbers.next() else { return String::new() };
    let mut text = String::new();
    let (mut start, mut last, mut step, mut count) = (first, first, UNKNOWN, 1);
    for n in numbers {
        if step == UNKNOWN {
            step = n - start;
        }
        if n - last == step {
            (last, count) = (n, count + 1);
        } else if count == 2 && step != 1 {
            push_run(&mut text, start, start, 1);
            (start, last, step) = (last, n, UNKNOWN);
        } else {
            push_run(&mut text, start, last, step);
            (start, last, step, count) = (n, n, UNKNOWN, 1);
        }
    }
    if count == 2 && step != 1 {
        push_run(&mut text, start, start, 1);
        push_run(&mut text, last, last, 1);
    } else {
        push_run(&mut text, start, last, step);
    }
    text
}

fn push_run(text: &mut String, start: i64, last: i64, step: i64) {
    if !text.is_empty() {
        text.push(',');
    }
    // Writing to a string cannot fail.
    let _ = match step {
        _ if start == last => write!(text, "{start}"),
        1 => write!(text, "{start}-{last}"),
        _ => write!(text, "{start}-{last}x{step}"),
    };
}

fn every_number(numbers: &[i32]) -> String {
    numbers.iter().map(i32::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use rand::RngExt as _;

    use super::*;
    use crate::fuzz::{fuzz, text_of};

    fn numbers(range: &str) -> Vec<i32> {
        let set = FrameSet::parse(range).unwrap_or_else(|error| panic!("{range}: {error}"));
        let numbers: Vec<i32> = set.iter_from(0).collect();
        assert_eq!(set.len(), numbers.len() as u64, "{range}");
        for (position, number) in (0..).zip(&numbers) {
            assert_eq!(set.iter_from(position).next(), Some(*number), "{range} at {position}");
            let first = numbers.iter().position(|n| n == number).unwrap() as u64;
            assert_eq!(set.position(*number), Some(first), "{range}: {number}");
        }
        assert_eq!(set.iter_from(set.len()).next(), None);
        numbers
    }

    #[test]
    fn numbers_that_no_frame_renders_are_found() {
        assert_eq!(unrendered_numbers("1-8:4", 3, &[1, 3, 6]), Some(vec![4]));
        assert_eq!(unrendered_numbers("1-10", 4, &[1, 5, 9]), Some(vec![]));
        assert_eq!(unrendered_numbers("10-1x-3", 2, &[10, 77]), Some(vec![1, 4]));
        assert_eq!(unrendered_numbers("1-3", 0, &[1]), Some(vec![1, 2, 3]));
        // Neither nonsense nor a range of billions is looked through.
        assert_eq!((unrendered_numbers("a", 3, &[]), unrendered_numbers("1-2000000000", 3, &[1])), (None, None));
    }

    #[test]
    fn ranges_read_as_cuebot_reads_them() {
        let vectors: &[(&str, &[i32])] = &[
            ("1", &[1]),
            ("0001", &[1]),
            ("-5", &[-5]),
            ("1-10", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
            ("5-5", &[5]),
            ("6-2", &[6, 5, 4, 3, 2]),
            ("-20--13", &[-20, -19, -18, -17, -16, -15, -14, -13]),
            ("-5-3", &[-5, -4, -3, -2, -1, 0, 1, 2, 3]),
            ("-2--6", &[-2, -3, -4, -5, -6]),
            ("1-10x2", &[1, 3, 5, 7, 9]),
            ("1-10x3", &[1, 4, 7, 10]),
            ("1-10x20", &[1]),
            ("10-1x-2", &[10, 8, 6, 4, 2]),
            ("76-70x-3", &[76, 73, 70]),
            ("-10--1x3", &[-10, -7, -4, -1]),
            ("5-5x3", &[5]),
            ("1-10y3", &[2, 3, 5, 6, 8, 9]),
            ("5-12y3", &[6, 7, 9, 10, 12]),
            ("8-1y-2", &[7, 5, 3, 1]),
            ("1-5y1", &[]),
            ("1-10:5", &[1, 6, 3, 5, 7, 9, 2, 4, 8, 10]),
            ("1-8:4", &[1, 5, 3, 7, 2, 4, 6, 8]),
            ("1-7:5", &[1, 6, 3, 5, 7, 2, 4]),
            ("10-1:-5", &[10, 5, 8, 6, 4, 2, 9, 7, 3, 1]),
            ("10-1x1", &[]),
            ("10-1:1", &[]),
            (
                "57,1-3,4-2,12-15x2,76-70x-3,5-12y3,1-7:5",
                &[57, 1, 2, 3, 4, 3, 2, 12, 14, 76, 73, 70, 6, 7, 9, 10, 12, 1, 6, 3, 5, 7, 2, 4],
            ),
            ("1-3,2-4", &[1, 2, 3, 2, 3, 4]),
            ("1,1,1", &[1, 1, 1]),
            ("1-3,", &[1, 2, 3]),
            ("1-3,,,", &[1, 2, 3]),
            (",", &[]),
            ("10-7x-1", &[10, 9, 8, 7]),
            ("10-7y-1", &[]),
        ];
        for (range, expected) in vectors {
            assert_eq!(numbers(range), *expected, "{range}");
        }
    }

    #[test]
    fn broken_ranges_are_named() {
        for range in ["1-10x-2", "10-1x2", "10-1:5", "5-5x-1", "1-8x-2"] {
            assert!(matches!(FrameSet::parse(range), Err(FrameRangeError::Direction { .. })), "{range}");
        }
        for range in ["1-10x0", "1-10:0", "1-10y0"] {
            assert!(matches!(FrameSet::parse(range), Err(FrameRangeError::StepZero { .. })), "{range}");
        }
        let no_form = [
            "a", "1-10-20", "1x10-20", "1-10z2", "1-10x2:3", "1-3,,5", " 1-3", "1-3, 5", "", ",1", "-", "1-", "--5",
            "+5", "1-10x", "1-10x+2", "1–3", "１", "1-10é2",
        ];
        for range in no_form {
            assert!(matches!(FrameSet::parse(range), Err(FrameRangeError::Form { .. })), "{range:?}");
        }
        for range in ["99999999999", "2147483648", "1-10x4294967296", "-2147483649"] {
            assert!(matches!(FrameSet::parse(range), Err(FrameRangeError::NumberTooLarge { .. })), "{range}");
        }
    }

    #[test]
    fn a_long_range_costs_what_its_text_costs() {
        let set = FrameSet::parse("1-2000000000").unwrap();
        assert_eq!(set.len(), 2_000_000_000);
        assert_eq!(set.position(1_999_999_999), Some(1_999_999_998));
        assert_eq!(set.chunk(1_999_999_995, 100).unwrap().spec, "1999999995-2000000000");
        let set = FrameSet::parse("-2147483648-2147483647,-2147483648-2147483647y2").unwrap();
        assert_eq!(set.len(), (1 << 32) + (1 << 31));
        assert_eq!(set.iter_from(set.len() - 1).next(), Some(i32::MAX));
        let long = set.chunk(0, i32::MAX);
        assert_eq!(long, Err(FrameRangeError::ChunkTooLong { frames: 2_147_483_647 }));
        assert_eq!(FrameSet::parse("1-2000000000:4"), Err(FrameRangeError::InterleavedTooLong));
        let many = ["1-900000:2"; 400].join(",");
        assert_eq!(FrameSet::parse(&many), Err(FrameRangeError::InterleavedTooLong));
    }

    #[test]
    fn chunks_are_written_as_cuebot_writes_them() {
        let mixed = "1-10x2,11-100x20,103-108";
        let vectors = [
            ("1-10", 1, 1, "1"),
            ("1-10", 5, 3, "5-7"),
            ("1-10", 8, 5, "8-10"),
            ("1-10", 9, 3, "9-10"),
            ("1-10", 10, 3, "10"),
            ("55-60", 55, 10, "55-60"),
            ("1-10x2", 3, 3, "3-7x2"),
            ("1-10x2", 7, 3, "7,9"),
            ("1-100x3", 28, 3, "28-34x3"),
            (mixed, 11, 5, "11-91x20"),
            (mixed, 5, 5, "5-11x2,31"),
            (mixed, 91, 3, "91,103,104"),
            ("10-1", 10, 3, "10-8x-1"),
            ("10-1", 10, 2, "10,9"),
            ("10-1x-2", 10, 3, "10-6x-2"),
            ("1-10:5", 1, 4, "1,6,3,5"),
            ("1-10:5", 1, 10, "1,6,3,5,7,9,2,4,8,10"),
            ("1,2,4,5", 1, 4, "1-2,4-5"),
            ("1,3", 1, 2, "1,3"),
            ("1-3,10,20,30", 1, 6, "1-3,10-30x10"),
            ("2-6x2,7,8", 2, 5, "2-6x2,7-8"),
            ("1,4,5,6", 1, 4, "1,4,5,6"),
            ("5,4,6", 5, 3, "5,4,6"),
            ("-5-5", -5, 3, "-5--3"),
            ("1-5,3-8", 3, 4, "3-5,3"),
            ("1-10", 1, 0, ""),
            ("1-10", 1, -3, ""),
        ];
        for (range, frame, size, spec) in vectors {
            let chunk = FrameSet::parse(range).unwrap().chunk(frame, size).unwrap();
            assert_eq!(chunk.spec, spec, "{range} from {frame} by {size}");
        }
        let missing = FrameSet::parse("1-10").unwrap().chunk(11, 2);
        assert_eq!(missing, Err(FrameRangeError::NotInRange { frame: 11 }));
    }

    #[test]
    fn where_cuebots_text_reads_back_wrong_every_number_is_written() {
        let vectors: [(&[i32], &str, &str); 4] = [
            (&[1, 6, 3, 7], "1,6-3,7", "1,6,3,7"),
            (&[1, 5, 3, 6], "1,5-3,6", "1,5,3,6"),
            (&[3, 3, 3, 4], "3-4", "3,3,3,4"),
            (&[1, 1, 2], "1-2", "1,1,2"),
        ];
        for (list, cuebot, ours) in vectors {
            assert_eq!(chunk_text(list), cuebot);
            let set = FrameSet::parse(&every_number(list)).unwrap();
            let chunk = set.chunk(list[0], i32::try_from(list.len()).unwrap()).unwrap();
            assert_eq!(chunk, Chunk { spec: ours.to_owned(), end: *list.last().unwrap() });
        }
    }

    #[test]
    fn fuzz_frame_ranges_cost_what_they_say_and_chunks_read_back() {
        let pieces = [
            "1",
            "2",
            "10",
            "0",
            "-",
            "--",
            ",",
            ",,",
            "x",
            "y",
            ":",
            "7",
            "100",
            "2147483647",
            "-2147483648",
            "2147483648",
            " ",
            "a",
            "\u{ff11}",
            "00",
            "1-10",
            "20-3x-2",
            "5-40y3",
            "1-30:8",
            "1-900:2",
        ];
        fuzz(20_000, |random| {
            let range = text_of(random, &pieces, 14);
            let set = match FrameSet::parse(&range) {
                Ok(set) => set,
                Err(error) => return assert!(error.to_string().len() < 400, "{range}"),
            };
            // Of a long range some places, as its numbers are not held.
            for position in (0..set.len().min(40)).chain([set.len() / 2, set.len().saturating_sub(1)]) {
                let number = set.iter_from(position).next();
                let first = number.and_then(|number| set.position(number));
                assert!(first.is_some_and(|first| first <= position) || set.len() == 0, "{range} at {position}");
                assert_eq!(set.iter_from(first.unwrap_or_default()).next(), number, "{range} at {position}");
            }
            assert_eq!(set.iter_from(set.len()).next(), None, "{range}");
            let (frame, size) = (random.random_range(-30..120), random.random_range(-2..60));
            let Ok(chunk) = set.chunk(frame, size) else { return };
            let wanted = usize::try_from(size).unwrap_or_default();
            let position = set.position(frame).expect("it has a chunk");
            let expected: Vec<i32> = set.iter_from(position).take(wanted).collect();
            assert!(chunk.spec.len() <= 12 * wanted, "{range} from {frame} by {size}");
            if !expected.is_empty() {
                let again = FrameSet::parse(&chunk.spec).expect("a chunk is a range");
                assert_eq!(again.iter_from(0).collect::<Vec<_>>(), expected, "{range} from {frame} by {size}");
            }
        });
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn a_chunk_always_reads_back(list in proptest::collection::vec(-20i32..20, 1..12)) {
            let chunk = FrameSet::parse(&every_number(&list)).unwrap().chunk(list[0], 12).unwrap();
            proptest::prop_assert_eq!(numbers(&chunk.spec), list);
        }

        #[test]
        fn no_text_breaks_the_reader(text in "[-0-9xy:, a]{0,24}") {
            if let Ok(set) = FrameSet::parse(&text) {
                let _ = set.iter_from(0).take(100).count();
                let _ = set.chunk(5, 7);
            }
        }
    }
}
