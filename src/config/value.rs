//! Written values to typed ones and back. What is shown can be read again.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use strum::VariantNames;

use super::directive::{LEVELS, NoDirective, directives};
use super::types::{
    BesideMaestro, CueLicenses, CuebotSilence, DelayRule, FlagOff, FractionalCores, LogFormat, Secret, Tls, Version,
};
use super::yaml::{Entry, Given, Value};
use crate::model::{AllocTag, GpuKeep, JobOrder, LoadRule};
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

pub(super) fn expected(what: impl fmt::Display, given: &Given) -> Complaint {
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

/// What `parse` makes of a text, or the complaint that something else is expected.
fn read<T>(given: &Given, what: impl fmt::Display, parse: impl FnOnce(&str) -> Option<T>) -> Read<T> {
    text_of(given).and_then(parse).ok_or_else(|| expected(what, given))
}

pub(super) fn yes_or_no(given: &Given) -> Read<bool> {
    read(given, "true or false", |text| match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    })
}

/// A whole number from `MIN` to `MAX`.
pub(super) fn count<T: TryFrom<u64>, const MIN: u64, const MAX: u64>(given: &Given) -> Read<T> {
    read(given, format_args!("a whole number from {MIN} to {MAX}"), |text| {
        let number = text.parse().ok().filter(|number| (MIN..=MAX).contains(number))?;
        T::try_from(number).ok()
    })
}

/// A number of times, above 0.
pub(super) fn factor(given: &Given) -> Read<f64> {
    read(given, "a number above 0, such as 1.6", |text| {
        text.parse().ok().filter(|factor: &f64| factor.is_finite() && *factor > 0.0)
    })
}

/// A time above 0.
pub(super) fn duration(given: &Given) -> Read<Duration> {
    duration_up_to::<DURATION_SECONDS_MAX>(given)
}

/// A time above 0 and of at most so many seconds.
pub(super) fn duration_up_to<const SECONDS: u64>(given: &Given) -> Read<Duration> {
    let max = Duration::from_secs(SECONDS);
    let what = format!("a duration above 0 and up to {}, such as 5s or 300ms", max.show());
    read(given, what, |text| duration_of(text).filter(|time| !time.is_zero() && *time <= max))
}

/// A time, or 0 for none.
pub(super) fn duration_or_zero(given: &Given) -> Read<Duration> {
    let max = Duration::from_secs(DURATION_SECONDS_MAX);
    let what = format!("a duration of up to {}, such as 5s or 300ms, or 0s", max.show());
    read(given, what, |text| duration_of(text).filter(|time| *time <= max))
}

fn duration_of(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}

/// `auto`, `off`, or a time above 0.
pub(super) fn cuebot_silence(given: &Given) -> Read<CuebotSilence> {
    read(given, "auto, off, or a duration above 0 such as 30s", |text| match text {
        "auto" => Some(CuebotSilence::Auto),
        "off" | "false" => Some(CuebotSilence::Off),
        _ => duration(given).ok().map(CuebotSilence::After),
    })
}

/// `cuebot`, or a time.
pub(super) fn gpu_keep(given: &Given) -> Read<GpuKeep> {
    read(given, "cuebot, or a duration such as 1h or 0s", |text| match text {
        "cuebot" => Some(GpuKeep::Cuebot),
        _ => duration_or_zero(given).ok().map(GpuKeep::For),
    })
}

/// An amount of memory, rounded down to whole KiB.
pub(super) fn size(given: &Given) -> Read<Kib> {
    read(given, "a size with its unit, such as 2GiB, 1.5GiB or 512MiB", size_of)
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

/// Three numbers with dots between.
pub(super) fn version(given: &Given) -> Read<Version> {
    read(given, "a version of this program, such as 2.1.0", |text| {
        let mut numbers = text.split('.').map(|number| number.parse().ok());
        let version = Version(numbers.next()??, numbers.next()??, numbers.next()??);
        numbers.next().is_none().then_some(version)
    })
}

/// Text that is not empty.
pub(super) fn word(given: &Given) -> Read<String> {
    read(given, "text that is not empty", non_empty)
}

fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

pub(super) fn path(given: &Given) -> Read<PathBuf> {
    read(given, "a path", |text| non_empty(text).map(PathBuf::from))
}

/// A key without a value is as if it were not there.
pub(super) fn if_any<T>(read: impl Fn(&Given) -> Read<T>) -> impl Fn(&Given) -> Read<Option<T>> {
    move |given| match given.value {
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
    read(given, "an IP address of this machine, such as 127.0.0.1", |text| text.parse().ok())
}

/// A host name, an address without a port, or the folder of a Unix socket.
pub(super) fn database_host(given: &Given) -> Read<String> {
    let is_host = |text: &str| text.starts_with('/') || text.parse::<IpAddr>().is_ok() || is_host_name(text);
    let what = "a host name or address, without scheme and port, or the folder of a Unix socket";
    match &given.value {
        // A URL may hold a password, so nothing of it is repeated.
        Value::Text(text) if !text.trim().is_empty() && !is_host(text) => Err(Complaint::new(
            given,
            format!(
                "expected {what}; a URL is not taken: its parts have keys of their own (db_port, db_name, db_user, db_pass)"
            ),
        )),
        _ => read(given, what, non_empty),
    }
}

fn is_host_name(text: &str) -> bool {
    text.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

/// As the log reads it.
pub(super) fn log_filter(given: &Given) -> Read<String> {
    let text = text_of(given).unwrap_or_default();
    let what = match directives(text) {
        Ok(_) => return Ok(text.to_owned()),
        Err(NoDirective::Empty) => return Err(expected("a level such as info, or info,sqlx=warn", given)),
        Err(NoDirective::Form(part)) => {
            format!("{part:?} is not target=level; directives are separated by commas, as in info,sqlx=warn")
        }
        Err(NoDirective::Level { level, .. }) => format!("{level:?} is no level; levels are {}", LEVELS.join(", ")),
    };
    Err(Complaint::new(given, what))
}

/// A list of names; also as one text with commas.
pub(super) fn names(given: &Given) -> Read<Vec<String>> {
    items("a list of names", given)?.iter().map(|item| read(item, "a name", non_empty)).collect()
}

/// Rules that begin with an exit status, as in `330:15`; also as one text with commas or semicolons.
pub(super) fn delay_rules(given: &Given) -> Read<Vec<DelayRule>> {
    let mut rules = Vec::new();
    for item in items("a list of exit statuses with their delays", given)? {
        let text = text_of(&item).ok_or_else(|| expected("an exit status with its delay, such as 330:15", &item))?;
        for text in text.split(';').map(str::trim).filter(|text| !text.is_empty()) {
            let status = text.split([':', '=', ' ']).next().and_then(|status| status.parse().ok());
            let status = status.ok_or_else(|| expected("an exit status with its delay, such as 330:15", &item))?;
            rules.push(DelayRule { exit_status: status, text: text.to_owned() });
        }
    }
    Ok(rules)
}

/// A list of show and tag; also as `show:tag`.
pub(super) fn alloc_tags(given: &Given) -> Read<Vec<AllocTag>> {
    items("a list of show and tag", given)?.iter().map(alloc_tag).collect()
}

fn alloc_tag(item: &Given) -> Read<AllocTag> {
    let Value::Section(entries) = &item.value else {
        return read(item, "show:tag", |text| {
            let (show, tag) = text.split_once(':').filter(|(_, tag)| !tag.contains(':'))?;
            Some(AllocTag { show: non_empty(show.trim())?, tag: non_empty(tag.trim())? })
        });
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

/// A word out of a closed list, in whatever case.
pub(super) fn one_of<T: FromStr + VariantNames>(given: &Given) -> Read<T> {
    let words = match T::VARIANTS {
        [others @ .., last] if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        words => words.concat(),
    };
    read(given, words, |text| text.parse().ok())
}

/// A value as an operator would write it.
pub(super) trait Show {
    fn show(&self) -> String;
}

impl Show for GpuKeep {
    fn show(&self) -> String {
        match self {
            Self::Cuebot => "cuebot".to_owned(),
            Self::For(time) => time.show(),
        }
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
show_displayed!(
    Version,
    DelayRule,
    LogFormat,
    Tls,
    FractionalCores,
    JobOrder,
    LoadRule,
    FlagOff,
    BesideMaestro,
    CueLicenses
);

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
