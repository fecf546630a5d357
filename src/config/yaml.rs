//! YAML text as a tree that knows its lines, so that every complaint can name one.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::error::Problem;

/// A value and the line it begins on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    /// `None` outside a file.
    pub(super) line: Option<usize>,
    pub(super) value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Nothing, `~` or `null`.
    Nothing,
    /// As it is written; which type it has is decided by the key.
    Text(String),
    List(Vec<Given>),
    Section(Vec<Entry>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) line: Option<usize>,
    pub(super) given: Given,
}

/// Deeper nesting than any key needs is refused, so that no text exhausts the stack.
const DEPTH_MAX: usize = 16;

/// The tree of the one document in `text`; an empty text is an empty section.
///
/// # Errors
/// The first place that is not YAML, or YAML of a kind that no setting needs.
pub(super) fn parse(text: &str) -> Result<Given, Problem> {
    let mut events = Events { parser: Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text)) };
    let mut document = None;
    loop {
        let (event, span) = events.next()?;
        match event {
            Event::StreamEnd => break,
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {}
            _ if document.is_some() => return Err(refused(span, "a second document; the settings are one document")),
            event => document = Some(events.node(event, span, 0)?),
        }
    }
    Ok(document.unwrap_or(Given { line: None, value: Value::Nothing }))
}

struct Events<'t> {
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
}

impl<'t> Events<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Span), Problem> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                Err(Problem::at_line(Some(error.marker().line()), format!("not valid YAML: {}", error.info())))
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Given, Problem> {
        if depth > DEPTH_MAX {
            return Err(refused(span, "nested deeper than any setting is"));
        }
        let value = match event {
            Event::Scalar(text, style, ..) => scalar(&text, style),
            Event::SequenceStart(..) => self.list(depth)?,
            Event::MappingStart(..) => self.section(depth)?,
            Event::Alias(_) => return Err(refused(span, "an alias; write the value out instead")),
            _ => return Err(refused(span, "not valid YAML: a value is missing")),
        };
        Ok(Given { line: Some(span.start.line()), value })
    }

    fn list(&mut self, depth: usize) -> Result<Value, Problem> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn section(&mut self, depth: usize) -> Result<Value, Problem> {
        let mut entries = Vec::new();
        loop {
            let (name, line) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(Value::Section(entries)),
                (Event::Scalar(name, ..), span) => (name.into_owned(), Some(span.start.line())),
                (_, span) => return Err(refused(span, "a key that is not a word")),
            };
            let (event, span) = self.next()?;
            let mut given = self.node(event, span, depth + 1)?;
            if given.value == Value::Nothing {
                // An absent value has the place of whatever follows it.
                given.line = line;
            }
            entries.push(Entry { name, line, given });
        }
    }
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    match (style, text) {
        (ScalarStyle::Plain, "" | "~" | "null" | "Null" | "NULL") => Value::Nothing,
        _ => Value::Text(text.to_owned()),
    }
}

fn refused(span: Span, what: &str) -> Problem {
    Problem::at_line(Some(span.start.line()), what.to_owned())
}
