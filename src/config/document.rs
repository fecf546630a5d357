//! Settings as a file that documents every key.

use super::keys::{Key, keys};
use super::types::Config;
use crate::model::AllocTag;

/// The shipped file: every key with its default, as a comment.
const SHIPPED: &str = include_str!("../../config/scheduler.yaml");

/// The items of a key whose value is a list, as YAML has them in a line.
fn items(key: &Key, config: &Config) -> Option<Vec<String>> {
    let texts = |texts: &[String]| Some(texts.iter().map(|text| quoted(text)).collect());
    match key.path {
        "queue.selfish_services" => texts(&config.queue.selfish_services),
        "scheduler.manual_tags" => texts(&config.scheduler.manual_tags),
        "scheduler.ignore_tags" => texts(&config.scheduler.ignore_tags),
        "scheduler.alloc_tags" => Some(config.scheduler.alloc_tags.iter().map(pair).collect()),
        _ => None,
    }
}

/// In its short form where a single colon parts the two.
fn pair(AllocTag { show, tag }: &AllocTag) -> String {
    if show.contains(':') || tag.contains(':') {
        format!("{{show: {}, tag: {}}}", quoted(show), quoted(tag))
    } else {
        quoted(&format!("{show}:{tag}"))
    }
}

/// The shipped file with its comments, in which everything that is not at its default is set.
///
/// The password is in it only if it did not come from a file of its own.
pub fn document(config: &Config) -> String {
    let default = Config::default();
    let mut text = String::with_capacity(SHIPPED.len() + 1_024);
    let mut sections: Vec<(usize, &str)> = Vec::new();
    for line in SHIPPED.lines() {
        let indent = line.len() - line.trim_start().len();
        let written = line.trim_start().trim_start_matches('#');
        let Some((word, _)) = written.split_once(':').filter(|(word, _)| is_word(word)) else {
            push(&mut text, line);
            continue;
        };
        sections.retain(|(depth, _)| *depth < indent);
        let path = sections.iter().map(|(_, section)| *section).chain([word]).collect::<Vec<_>>().join(".");
        if !line.trim_start().starts_with('#') {
            sections.push((indent, word));
            push(&mut text, line);
            continue;
        }
        let key = keys().iter().find(|key| key.path == path);
        match key.filter(|key| is_set(key, config, &default)) {
            Some(key) => push(&mut text, &format!("{:indent$}{word}: {}", "", value(key, config))),
            None => push(&mut text, line),
        }
    }
    text
}

fn push(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_')
}

fn is_set(key: &Key, config: &Config, default: &Config) -> bool {
    if key.is_secret {
        return config.database.db_pass.is_some() && config.database.db_pass_file.is_none();
    }
    key.value(config) != key.value(default)
}

fn value(key: &Key, config: &Config) -> String {
    if key.is_secret {
        return config.database.db_pass.as_ref().map(|secret| quoted(secret.reveal())).unwrap_or_default();
    }
    let shown = key.value(config);
    if let Some(items) = items(key, config) {
        return format!("[{}]", items.join(", "));
    }
    let is_plain = shown.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '/')
        && shown.chars().all(|letter| letter.is_ascii_alphanumeric() || "/._-".contains(letter))
        && !shown.eq_ignore_ascii_case("null");
    if is_plain { shown } else { quoted(&shown) }
}

/// Double quotes of JSON are double quotes of YAML.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::Duration;

    use super::*;
    use crate::config::{Inputs, Secret, load};

    fn loaded(text: &str) -> Config {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text.as_bytes()).expect("it is written");
        let inputs = Inputs { file: Some(file.path().to_owned()), ..Inputs::default() };
        load(&inputs).expect("the document is right").config
    }

    #[test]
    fn defaults_give_the_shipped_file() {
        assert_eq!(document(&Config::default()), SHIPPED);
    }

    #[test]
    fn what_is_set_is_read_back_and_the_comments_stay() {
        let mut config = Config::default();
        config.database.db_host = "/var/run/postgresql".to_owned();
        config.database.db_name = "null".to_owned();
        config.database.db_user = "o'neil \"x\" # no comment".to_owned();
        config.database.db_pass = Some(Secret::new("p: {a}\\ \u{e9}".to_owned()));
        config.queue.host_booking_strategy.core_saturation = false;
        config.queue.monitor_interval = Duration::from_millis(1_500);
        config.queue.selfish_services = vec!["arnold".to_owned(), "my service".to_owned()];
        config.scheduler.facility = Some("local".to_owned());
        let tag = |show: &str, tag: &str| AllocTag { show: show.to_owned(), tag: tag.to_owned() };
        config.scheduler.alloc_tags = vec![tag("a show", "general"), tag("a:b", "c,d")];
        config.scheduler.manual_tags = vec!["a,b c".to_owned()];
        config.accounting.recompute_interval = Duration::from_mins(1);
        let text = document(&config);
        assert_eq!(loaded(&text), config);
        let comments = |text: &str| text.lines().filter(|line| line.trim_start().starts_with("# ")).count();
        assert_eq!(comments(&text), comments(SHIPPED));
    }

    /// Wherever a key stands in the file, it is found and set.
    #[test]
    fn every_key_can_be_set() {
        for key in keys() {
            let shown = key.value(&Config::default());
            let line = shown.parse::<u64>().is_ok_and(|number| number != 100).then(|| format!("{}9", &shown[..1]));
            let Some(number) = line else { continue };
            let environment = std::collections::BTreeMap::from([(key.variable().into(), number.into())]);
            let Ok(settings) = load(&Inputs { environment, ..Inputs::default() }) else { continue };
            assert_eq!(loaded(&document(&settings.config)), settings.config, "{}", key.path);
        }
    }

    #[test]
    fn a_password_of_a_file_stays_in_its_file() {
        let mut config = Config::default();
        config.database.db_pass = Some(Secret::new("hunter2".to_owned()));
        config.database.db_pass_file = Some("/etc/cue/password".into());
        let text = document(&config);
        assert!(text.contains("  db_pass_file: /etc/cue/password\n") && !text.contains("hunter2"));
    }
}
