//! Written values to typed ones and back. What is shown can be read again.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use strum::VariantNames;

use super::types::{
    BesideMaestro, CuebotSilence, FlagOff, FractionalCores, HostBookingStrategyKind, LogFormat, Secret, Tls,
};
use super::yaml::{Entry, Given, Value};
use crate::model::{AllocTag, JobOrder};
use crate::units::Kib;

/// Why a value does not do, in words that follow the key's name.
#[derive(Debug)]
pub(super) struct Complaint {
    /// Where in the value, when that is not where it begins.
    pub(super) line: Option<usize>,
    pub(super) what: String,
}

pub(super) type Read<T> = Result<T, Complaint>;

/// Longest time that any setting makes sense with: 30 days.
const DURATION_SECONDS_MAX: u64 = 30 * 24 * 3600;
/// Longest part of a wrong value that a message repeats.
const REPEATED_MAX: usize = 60;

impl Complaint {
    pub(super) fn new(given: &Given, what: String) -> Self {
        Self { line: given.line, what }
    }
}

fn expected(what: impl fmt::Display, given: &Given) -> Complaint {
    Complaint::new(given, format!("expected {what}, found {}", found(given)))
}

/// A wrong value in words. Not for secrets.
fn found(given: &Given) -> String {
    match &given.value {
        Value::Nothing => "nothing".to_owned(),
        Value::Text(text) if text.is_empty() => "empty text".to_owned(),
        Value::Text(text) if text.chars().count() > REPEATED_MAX => {
            format!("{:?}...", text.chars().take(REPEATED_MAX).collect::<String>())
        }
        Value::Text(text) => format!("{text:?}"),
        Value::List(_) => "a list".to_owned(),
        Value::Section(_) => "a section".to_owned(),
    }
}

fn text_of(given: &Given) -> Option<&str> {
    match &given.value {
        Value::Text(text) => Some(text.trim()),
        _ => None,
    }
}

fn parsed<T: FromStr>(given: &Given) -> Option<T> {
    text_of(given)?.parse().ok()
}

pub(super) fn yes_or_no(given: &Given) -> Read<bool> {
    match text_of(given) {
        Some("true" | "True" | "TRUE") => Ok(true),
        Some("false" | "False" | "FALSE") => Ok(false),
        _ => Err(expected("true or false", given)),
    }
}

/// A whole number from `MIN` to `MAX`.
pub(super) fn count<T: TryFrom<u64>, const MIN: u64, const MAX: u64>(given: &Given) -> Read<T> {
    parsed::<u64>(given)
        .filter(|number| (MIN..=MAX).contains(number))
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| expected(format_args!("a whole number from {MIN} to {MAX}"), given))
}

/// A number of times, above 0.
pub(super) fn factor(given: &Given) -> Read<f64> {
    parsed::<f64>(given)
        .filter(|factor| factor.is_finite() && *factor > 0.0)
        .ok_or_else(|| expected("a number above 0, such as 1.6", given))
}

/// A time above 0.
pub(super) fn duration(given: &Given) -> Read<Duration> {
    duration_up_to::<DURATION_SECONDS_MAX>(given)
}

/// A time above 0 and of at most so many seconds.
pub(super) fn duration_up_to<const SECONDS: u64>(given: &Given) -> Read<Duration> {
    let max = Duration::from_secs(SECONDS);
    some_duration(given).filter(|duration| !duration.is_zero() && *duration <= max).ok_or_else(|| {
        let max = humantime::format_duration(max);
        expected(format_args!("a duration above 0 and up to {max}, such as 5s or 300ms"), given)
    })
}

/// A time, or 0 for none.
pub(super) fn duration_or_zero(given: &Given) -> Read<Duration> {
    let max = Duration::from_secs(DURATION_SECONDS_MAX);
    some_duration(given).filter(|duration| *duration <= max).ok_or_else(|| {
        let max = humantime::format_duration(max);
        expected(format_args!("a duration of up to {max}, such as 5s or 300ms, or 0s"), given)
    })
}

/// `auto`, `off`, or a time above 0.
pub(super) fn cuebot_silence(given: &Given) -> Read<CuebotSilence> {
    match text_of(given) {
        Some("auto") => Ok(CuebotSilence::Auto),
        Some("off" | "false") => Ok(CuebotSilence::Off),
        _ => duration(given)
            .map(CuebotSilence::After)
            .map_err(|_| expected("auto, off, or a duration above 0 such as 30s", given)),
    }
}

fn some_duration(given: &Given) -> Option<Duration> {
    humantime::parse_duration(text_of(given)?).ok()
}

/// An amount of memory, rounded down to whole KiB.
pub(super) fn size(given: &Given) -> Read<Kib> {
    text_of(given)
        .and_then(size_of)
        .ok_or_else(|| expected("a size with its unit, such as 2GiB, 1.5GiB or 512MiB", given))
}

fn size_of(text: &str) -> Option<Kib> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let number: f64 = text[..digits].parse().ok()?;
    let bytes: f64 = match text[digits..].trim_start().to_ascii_lowercase().as_str() {
        "b" => 1.0,
        "kb" => 1e3,
        "kib" | "k" => 1_024.0,
        "mb" => 1e6,
        "mib" | "m" => 1_048_576.0,
        "gb" => 1e9,
        "gib" | "g" => 1_073_741_824.0,
        "tb" => 1e12,
        "tib" | "t" => 1_099_511_627_776.0,
        _ => return None,
    };
    let kib = number * bytes / 1_024.0;
    #[expect(clippy::cast_possible_truncation, reason = "checked to be in range; the fraction is meant to go")]
    (kib < 1e15).then_some(Kib(kib as i64))
}

/// Text that is not empty.
pub(super) fn word(given: &Given) -> Read<String> {
    text_of(given)
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
        .ok_or_else(|| expected("text that is not empty", given))
}

/// As [`word`]; a key without a value is as if it were not there.
pub(super) fn word_if_any(given: &Given) -> Read<Option<String>> {
    if_any(word, given)
}

pub(super) fn path(given: &Given) -> Read<PathBuf> {
    word(given).map(PathBuf::from).map_err(|_| expected("a path", given))
}

pub(super) fn path_if_any(given: &Given) -> Read<Option<PathBuf>> {
    if_any(path, given)
}

pub(super) fn count_if_any<const MIN: u64, const MAX: u64>(given: &Given) -> Read<Option<u32>> {
    if_any(count::<u32, MIN, MAX>, given)
}

fn if_any<T>(read: fn(&Given) -> Read<T>, given: &Given) -> Read<Option<T>> {
    match given.value {
        Value::Nothing => Ok(None),
        _ => read(given).map(Some),
    }
}

/// Any text, as it stands; empty text is none.
pub(super) fn secret_if_any(given: &Given) -> Read<Option<Secret>> {
    match &given.value {
        Value::Nothing => Ok(None),
        Value::Text(text) if text.is_empty() => Ok(None),
        Value::Text(text) => Ok(Some(Secret::new(text.clone()))),
        Value::List(_) | Value::Section(_) => Err(expected("text", given)),
    }
}

pub(super) fn address(given: &Given) -> Read<IpAddr> {
    parsed(given).ok_or_else(|| expected("an IP address of this machine, such as 127.0.0.1", given))
}

/// A host name, an address without a port, or the folder of a Unix socket.
pub(super) fn database_host(given: &Given) -> Read<String> {
    word(given)
        .ok()
        .filter(|host| host.starts_with('/') || host.parse::<IpAddr>().is_ok() || is_host_name(host))
        .ok_or_else(|| {
            expected("a host name or address, without scheme and port, or the folder of a Unix socket", given)
        })
}

fn is_host_name(text: &str) -> bool {
    text.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

/// Comma-separated `level` or `target=level`; words only, so that neither a misspelt level nor a
/// colon in place of a comma is taken for the name of a target, which would silence the log.
pub(super) fn log_filter(given: &Given) -> Read<String> {
    let text = word(given).map_err(|_| expected("a level such as info, or info,sqlx=warn", given))?;
    let directives: Vec<&str> = text.split(',').map(str::trim).filter(|directive| !directive.is_empty()).collect();
    let is_name = |name: &str| {
        !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "_-.".contains(letter))
    };
    for directive in &directives {
        let (target, level) =
            directive.split_once('=').map_or((None, *directive), |(target, level)| (Some(target), level));
        let is_level = LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level.trim()));
        let has_target = target.is_none_or(|target| target.trim().split("::").all(is_name));
        if has_target && is_level {
            continue;
        }
        let what = if !has_target || level.contains(':') {
            format!("{directive:?} is not target=level; directives are separated by commas, as in info,sqlx=warn")
        } else {
            format!("{:?} is no level; levels are {}", level.trim(), LEVELS.join(", "))
        };
        return Err(Complaint::new(given, what));
    }
    if directives.is_empty() {
        return Err(expected("a level such as info, or info,sqlx=warn", given));
    }
    Ok(text)
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// A list of names; also as one text with commas.
pub(super) fn names(given: &Given) -> Read<Vec<String>> {
    let name = |item: &Given| {
        text_of(item).filter(|name| !name.is_empty()).map(str::to_owned).ok_or_else(|| expected("a name", item))
    };
    items("a list of names", given)?.iter().map(name).collect()
}

/// A list of show and tag; also as `show:tag`.
pub(super) fn alloc_tags(given: &Given) -> Read<Vec<AllocTag>> {
    items("a list of show and tag", given)?.iter().map(alloc_tag).collect()
}

fn alloc_tag(item: &Given) -> Read<AllocTag> {
    let Value::Section(entries) = &item.value else {
        let parts = text_of(item).and_then(|text| text.split_once(':'));
        return parts
            .map(|(show, tag)| (show.trim(), tag.trim()))
            .filter(|(show, tag)| !show.is_empty() && !tag.is_empty() && !tag.contains(':'))
            .map(|(show, tag)| AllocTag { show: show.to_owned(), tag: tag.to_owned() })
            .ok_or_else(|| expected("show:tag", item));
    };
    for (position, Entry { name, line, .. }) in entries.iter().enumerate() {
        if !matches!(name.as_str(), "show" | "tag") {
            return Err(Complaint { line: *line, what: format!("unknown key {name:?}; an entry has show and tag") });
        }
        if entries[..position].iter().any(|entry| entry.name == *name) {
            return Err(Complaint { line: *line, what: format!("{name} is there twice in one entry") });
        }
    }
    let part = |name: &str| {
        let entry = entries.iter().find(|entry| entry.name == name);
        let entry = entry.ok_or_else(|| Complaint::new(item, format!("an entry lacks its {name}")))?;
        word(&entry.given)
    };
    Ok(AllocTag { show: part("show")?, tag: part("tag")? })
}

fn items(what: &str, given: &Given) -> Read<Vec<Given>> {
    match &given.value {
        Value::Nothing => Ok(Vec::new()),
        Value::List(items) => Ok(items.clone()),
        Value::Text(text) if !text.trim().is_empty() => {
            Ok(text.split(',').map(|part| Given { line: given.line, value: Value::Text(part.to_owned()) }).collect())
        }
        Value::Text(_) | Value::Section(_) => Err(expected(what, given)),
    }
}

/// A word out of a closed list, whose variants derive it; in whatever case.
pub(super) trait Word: FromStr + VariantNames + Copy + Into<&'static str> {}

impl Word for LogFormat {}
impl Word for Tls {}
impl Word for FractionalCores {}
impl Word for JobOrder {}
impl Word for HostBookingStrategyKind {}
impl Word for FlagOff {}
impl Word for BesideMaestro {}

pub(super) fn one_of<T: Word>(given: &Given) -> Read<T> {
    parsed(given).ok_or_else(|| {
        let words = match T::VARIANTS {
            [others @ .., last] if !others.is_empty() => format!("{} or {last}", others.join(", ")),
            words => words.concat(),
        };
        expected(words, given)
    })
}

/// A value as an operator would write it.
pub(super) trait Show {
    fn show(&self) -> String;
}

impl<T: Word> Show for T {
    fn show(&self) -> String {
        Into::<&str>::into(*self).to_owned()
    }
}

impl Show for CuebotSilence {
    fn show(&self) -> String {
        match self {
            Self::Auto => "auto".to_owned(),
            Self::Off => "off".to_owned(),
            Self::After(time) => time.show(),
        }
    }
}

macro_rules! show_displayed {
    ($($displayed:ty),+) => {
        $(impl Show for $displayed {
            fn show(&self) -> String {
                self.to_string()
            }
        })+
    };
}

show_displayed!(bool, u16, u32, usize, String, IpAddr);

impl Show for f64 {
    fn show(&self) -> String {
        format!("{self:?}")
    }
}

impl Show for Duration {
    fn show(&self) -> String {
        humantime::format_duration(*self).to_string()
    }
}

impl Show for Kib {
    /// In the largest unit that keeps it whole.
    fn show(&self) -> String {
        match self.0 {
            kib if kib != 0 && kib % 1_048_576 == 0 => format!("{}GiB", kib / 1_048_576),
            kib if kib != 0 && kib % 1_024 == 0 => format!("{}MiB", kib / 1_024),
            kib => format!("{kib}KiB"),
        }
    }
}

impl Show for PathBuf {
    fn show(&self) -> String {
        Path::display(self).to_string()
    }
}

impl Show for Secret {
    fn show(&self) -> String {
        "***".to_owned()
    }
}

impl<T: Show> Show for Option<T> {
    /// Empty text for none.
    fn show(&self) -> String {
        self.as_ref().map(Show::show).unwrap_or_default()
    }
}

impl<T: Show> Show for Vec<T> {
    fn show(&self) -> String {
        self.iter().map(Show::show).collect::<Vec<_>>().join(",")
    }
}

impl Show for AllocTag {
    fn show(&self) -> String {
        format!("{}:{}", self.show, self.tag)
    }
}
