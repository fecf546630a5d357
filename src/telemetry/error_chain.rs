//! An error with all its causes.

use std::error::Error;

/// An error and what caused it, outermost first.
pub(crate) fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (**error).source())
}

/// All on one line: `outer: inner: innermost`. A cause that the text before it already ends with is not said
/// twice, since many libraries repeat their cause in their own message.
pub fn error_chain(error: &(dyn Error + 'static)) -> String {
    causes(error).map(ToString::to_string).fold(String::new(), |text, message| match text.as_str() {
        "" => message,
        _ if message.is_empty() || text.ends_with(&message) => text,
        _ => format!("{text}: {message}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(&'static str, #[source] Option<Box<Layer>>);

    #[test]
    fn every_cause_is_said_once() {
        let error = Layer(
            "lost the database",
            Some(Box::new(Layer("broken: reset by peer", Some(Box::new(Layer("reset by peer", None)))))),
        );
        assert_eq!(error_chain(&error), "lost the database: broken: reset by peer");
    }
}
