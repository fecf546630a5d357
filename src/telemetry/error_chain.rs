//! An error with all its causes on one line.

use std::error::Error;

/// `outer: inner: innermost`. A cause that the text before it already ends with is not said twice,
/// since many libraries repeat their cause in their own message.
#[must_use]
pub fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !message.is_empty() && !text.ends_with(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
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
