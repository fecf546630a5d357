//! The form of a line.

use std::fmt;

use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{Format, Json, Writer};
use tracing_subscriber::fmt::time::{FormatTime as _, UtcTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::directive::{OWN_NAME, is_own};
use crate::text::{LINE_MAX, cleaned, escaped_json};

const TIME: &[BorrowedFormatItem<'static>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// One event as text.
pub(super) struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        clock().format_time(&mut writer)?;
        let level = metadata.level();
        if writer.has_ansi_escapes() {
            write!(writer, " \x1b[{}m{level}\x1b[0m ", color(*level))?;
        } else {
            write!(writer, " {level} ")?;
        }
        let target = metadata.target();
        write!(writer, "{}: ", if is_own(target) { OWN_NAME } else { target })?;
        // Without colours of its own, since what they are made of is what is cleaned away.
        let mut fields = String::new();
        context.format_fields(Writer::new(&mut fields), event)?;
        writeln!(writer, "{}", cleaned(&fields, LINE_MAX))
    }
}

/// One event as JSON, with nothing in it that a terminal obeys.
pub(super) struct JsonLine(Format<Json, UtcTime<&'static [BorrowedFormatItem<'static>]>>);

impl JsonLine {
    pub(super) fn new() -> Self {
        Self(Format::default().json().flatten_event(true).with_timer(clock()))
    }
}

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        let line = shortened(&line).map(|line| line + "\n").unwrap_or(line);
        writer.write_str(&escaped_json(&line))
    }
}

/// The same with what is longer than a line cut; `None` where nothing is.
fn shortened(line: &str) -> Option<String> {
    if line.len() <= LINE_MAX {
        return None;
    }
    let mut fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).ok()?;
    for value in fields.values_mut() {
        if let serde_json::Value::String(text) = value
            && let Some((end, _)) = text.char_indices().nth(LINE_MAX)
        {
            *text = format!("{}... ({} letters)", &text[..end], text.chars().count());
        }
    }
    serde_json::to_string(&fields).ok()
}

/// Universal time with milliseconds.
fn clock() -> UtcTime<&'static [BorrowedFormatItem<'static>]> {
    UtcTime::new(TIME)
}

const fn color(level: Level) -> u8 {
    match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        Level::TRACE => 35,
    }
}
