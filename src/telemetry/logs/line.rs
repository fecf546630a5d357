//! The form of a line.

use std::fmt;

use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, UtcTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::directive::{OWN_NAME, is_own};

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
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// Universal time with milliseconds.
pub(super) fn clock() -> UtcTime<&'static [BorrowedFormatItem<'static>]> {
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
