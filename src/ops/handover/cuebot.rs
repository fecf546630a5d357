//! What one Cuebot is told, by its command line, its environment and its properties file.
//!
//! By the rules of Spring Boot 2.2, which Cuebot asks for a property: the command line, then
//! `SPRING_APPLICATION_JSON`, then `-D` of the Java machine, then variables, then the file. The first place
//! that has the property decides, an empty text too.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::properties::Properties;
use super::words::{Unclosed, variables, words};
use super::{EXCLUSION_LIST, MAESTRO, TURN_OFF_BOOKING};

/// Properties that make Cuebot read other files than it would.
const OTHER_FILES: [&str; 5] = [
    "spring.config.location",
    "spring.config.additional-location",
    "spring.config.name",
    "spring.profiles.active",
    "spring.profiles.include",
];
const JSON: &str = "spring.application.json";

/// Why a Cuebot that is told so does not start, or what it is told cannot be known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CuebotError {
    #[error("Cuebot does not start with --{name}=: a property of the command line is not empty; --{name} alone is")]
    EmptyArgument { name: String },
    #[error(
        "Cuebot does not start: {key} is {value:?} ({place}), which is neither true, yes, on, 1 nor false, no, off, 0"
    )]
    NoSwitch { key: &'static str, value: String, place: String },
    #[error("{0}")]
    Unclosed(#[from] Unclosed),
    #[error("there is no line NAME=VALUE in it")]
    NoVariables,
}

/// The places where a Cuebot finds its properties, as far as they are known.
#[derive(Clone, Debug, Default)]
pub struct CuebotSettings {
    /// In the order in which they are given.
    arguments: Vec<Argument>,
    /// `-Dname=value`; the last of a name counts.
    of_machine: Vec<Argument>,
    environment: BTreeMap<String, String>,
    file: Option<Properties>,
}

#[derive(Clone, Debug)]
struct Argument {
    name: String,
    /// A name alone says nothing.
    value: Option<String>,
    /// That it stands in.
    variable: Option<String>,
}

impl CuebotSettings {
    pub fn new(file: Option<Properties>) -> Self {
        Self { file, ..Self::default() }
    }

    /// Takes the variables of a file as systemd (`EnvironmentFile=`) and shells read it. Those with words such
    /// as `--name=value` or `-Dname=value`, mostly `OPTIONS`, are taken for parts of the command line.
    ///
    /// # Errors
    /// When it is no such file, or Cuebot would not start with what it says.
    pub fn add_options(&mut self, text: &str) -> Result<(), CuebotError> {
        let variables = variables(text)?;
        if variables.is_empty() {
            return Err(CuebotError::NoVariables);
        }
        for (name, value) in variables {
            // What is no list of words has no argument in it.
            if let Some(words) = words(&value) {
                self.add_words(&name, &words)?;
            }
            self.environment.insert(name, value);
        }
        Ok(())
    }

    /// Takes `name=value` as if `--name=value` stood on the command line.
    ///
    /// # Errors
    /// When Cuebot would not start with it.
    pub fn add_property(&mut self, property: &str) -> Result<(), CuebotError> {
        self.add_argument(property, None)
    }

    fn add_argument(&mut self, property: &str, variable: Option<&str>) -> Result<(), CuebotError> {
        let (name, value) = property.split_once('=').map_or((property, None), |(name, value)| (name, Some(value)));
        if name.is_empty() || value.is_some_and(str::is_empty) {
            return Err(CuebotError::EmptyArgument { name: name.to_owned() });
        }
        let (name, value, variable) = (name.to_owned(), value.map(str::to_owned), variable.map(str::to_owned));
        self.arguments.push(Argument { name, value, variable });
        Ok(())
    }

    fn add_words(&mut self, variable: &str, words: &[String]) -> Result<(), CuebotError> {
        let jar = words.iter().position(|word| word == "-jar");
        for (at, word) in words.iter().enumerate() {
            // Before the program's own file stand options of the Java machine, behind it those of the program.
            if let Some(property) = word.strip_prefix("-D").filter(|_| jar.is_none_or(|jar| at < jar)) {
                let (name, value) = property.split_once('=').unwrap_or((property, ""));
                let (name, value) = (name.to_owned(), Some(value.to_owned()));
                self.of_machine.push(Argument { name, value, variable: Some(variable.to_owned()) });
            } else if let Some(property) = word.strip_prefix("--").filter(|_| jar.is_none_or(|jar| at > jar)) {
                self.add_argument(property, Some(variable))?;
            }
        }
        Ok(())
    }

    /// What Cuebot finds, and in which place.
    pub fn get(&self, key: &str) -> Option<(String, String)> {
        let found = |value: &str, place: String| Some((value.to_owned(), place));
        if let Some(value) = self.argument(key) {
            return found(&value, format!("--{key} {}", places(self.arguments_of(key))));
        }
        if let Some(value) = self.json().get(key) {
            return found(value, "SPRING_APPLICATION_JSON".to_owned());
        }
        if let Some(argument) = self.of_machine(key) {
            let value = argument.value.as_deref().unwrap_or_default();
            return found(value, format!("-D{key} {}", places(std::iter::once(argument))));
        }
        if let Some((name, value)) = self.variable(key) {
            return found(value, format!("the variable {name}"));
        }
        self.file.as_ref()?.get(key).and_then(|value| found(value, "the file".to_owned()))
    }

    /// Whether a property that is on or off is on.
    ///
    /// # Errors
    /// When Cuebot would not start with what it says.
    fn is_on(&self, key: &'static str) -> Result<bool, CuebotError> {
        let Some((value, place)) = self.get(key) else { return Ok(false) };
        match value.trim().to_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(true),
            "" | "false" | "no" | "off" | "0" => Ok(false),
            _ => Err(CuebotError::NoSwitch { key, value, place }),
        }
    }

    /// Whether it books no host at all.
    ///
    /// # Errors
    /// When Cuebot would not start with what it says.
    pub fn is_booking_off(&self) -> Result<bool, CuebotError> {
        self.is_on(TURN_OFF_BOOKING)
    }

    /// Whether its own planner is switched on; what it does not know is off.
    pub fn has_planner(&self) -> bool {
        let told = self.get(MAESTRO).map(|(value, _)| value.trim().to_lowercase());
        told.is_some_and(|told| ["managed", "facility", "true"].contains(&told.as_str()))
    }

    /// What is said in vain, or may decide elsewhere.
    pub fn oddities(&self) -> Vec<String> {
        let mut odd = Vec::new();
        for key in [EXCLUSION_LIST, TURN_OFF_BOOKING] {
            let in_variables = self.arguments.iter().chain(&self.of_machine).filter(|argument| argument.name == key);
            let variables: BTreeSet<&str> = in_variables.filter_map(|argument| argument.variable.as_deref()).collect();
            if variables.len() > 1 {
                let variables = Vec::from_iter(variables).join(" and ");
                odd.push(format!("{key} stands in {variables}, and which of them Cuebot is given is not known here"));
            }
            let in_file = self.file.as_ref().and_then(|file| file.get(key));
            if let (Some((value, place)), Some(in_file)) = (self.get(key), in_file)
                && place != "the file"
                && value != in_file
            {
                odd.push(format!("{key} is decided by {place}, and what the file says has no effect"));
            }
            odd.extend(
                self.misspelt(key).into_iter().map(|name| format!("{name} is not read as {key} and has no effect")),
            );
        }
        for key in OTHER_FILES {
            if let Some((value, place)) = self.get(key) {
                odd.push(format!("{key} is {value:?} ({place}): Cuebot may read other files than this"));
            }
        }
        if self.json_text().is_some_and(|text| object_of(&text).is_none()) {
            odd.push("SPRING_APPLICATION_JSON is no JSON object, and Cuebot passes over it".to_owned());
        }
        odd
    }

    /// A name that is there several times has all its values, with commas between.
    fn argument(&self, key: &str) -> Option<String> {
        let mut given = self.arguments_of(key).peekable();
        given.peek()?;
        Some(given.filter_map(|argument| argument.value.as_deref()).collect::<Vec<_>>().join(","))
    }

    fn arguments_of(&self, key: &str) -> impl Iterator<Item = &Argument> {
        self.arguments.iter().filter(move |argument| argument.name == key)
    }

    fn of_machine(&self, key: &str) -> Option<&Argument> {
        self.of_machine.iter().rfind(|argument| argument.name == key)
    }

    /// Dots and hyphens may be underscores, and all letters capitals.
    fn variable(&self, key: &str) -> Option<(String, &str)> {
        let spelt = [key.to_owned(), key.replace('.', "_"), key.replace('-', "_"), key.replace(['.', '-'], "_")];
        let mut names = spelt.clone().into_iter().chain(spelt.map(|name| name.to_uppercase()));
        names.find_map(|name| self.environment.get(&name).map(|value| (name, value.as_str())))
    }

    fn json_text(&self) -> Option<String> {
        let of_environment = || self.variable(JSON).map(|(_, text)| text.to_owned());
        let of_machine = || self.of_machine(JSON).and_then(|argument| argument.value.clone());
        self.argument(JSON).or_else(of_machine).or_else(of_environment)
    }

    fn json(&self) -> BTreeMap<String, String> {
        self.json_text().and_then(|text| object_of(&text)).unwrap_or_default()
    }

    /// Names that somebody took for the property's; Cuebot does not.
    fn misspelt(&self, key: &str) -> Vec<String> {
        let plain = |name: &str| name.replace(['.', '_', '-'], "").to_lowercase();
        let bound = self.variable(key).map(|(name, _)| name);
        let arguments = self.arguments.iter().map(|Argument { name, .. }| (name, format!("--{name}")));
        let of_machine = self.of_machine.iter().map(|Argument { name, .. }| (name, format!("-D{name}")));
        let variables = self.environment.keys().filter(|name| bound.as_ref() != Some(name));
        let variables = variables.map(|name| (name, name.clone()));
        let named: Vec<String> = arguments
            .chain(of_machine)
            .filter(|(name, _)| *name != key)
            .chain(variables)
            .filter(|(name, _)| plain(name) == plain(key))
            .map(|(_, shown)| shown)
            .collect();
        let in_file =
            self.file.iter().flat_map(Properties::keys).filter(|name| *name != key && plain(name) == plain(key));
        named.into_iter().chain(in_file.map(|name| format!("{name} in the file"))).collect()
    }
}

/// `in OPTIONS`, or `on the command line` of what was given by itself.
fn places<'a>(arguments: impl Iterator<Item = &'a Argument>) -> String {
    let of = |argument: &Argument| match &argument.variable {
        Some(variable) => format!("in {variable}"),
        None => "on the command line".to_owned(),
    };
    let mut places: Vec<String> = arguments.map(of).collect();
    places.dedup();
    places.join(" and ")
}

/// The object's values by their paths, `{"a": {"b": 1}}` as a.b.
fn object_of(text: &str) -> Option<BTreeMap<String, String>> {
    let Ok(Value::Object(object)) = serde_json::from_str(text) else { return None };
    let mut found = BTreeMap::new();
    let mut left: Vec<(String, Value)> = object.into_iter().collect();
    while let Some((path, value)) = left.pop() {
        match value {
            Value::Object(object) => {
                left.extend(object.into_iter().map(|(name, value)| (format!("{path}.{name}"), value)));
            }
            Value::Array(items) => {
                left.extend(items.into_iter().enumerate().map(|(at, value)| (format!("{path}[{at}]"), value)));
            }
            Value::Null => {}
            Value::String(text) => _ = found.insert(path, text),
            value => _ = found.insert(path, value.to_string()),
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(file: &str, options: &str, properties: &[&str]) -> Result<CuebotSettings, CuebotError> {
        let mut told = CuebotSettings::new(Some(Properties::parse(file).expect("Java takes it")));
        if !options.is_empty() {
            told.add_options(options)?;
        }
        properties.iter().try_for_each(|property| told.add_property(property))?;
        Ok(told)
    }

    fn list(told: &CuebotSettings) -> Option<(String, String)> {
        told.get(EXCLUSION_LIST)
    }

    fn value(file: &str, options: &str, properties: &[&str]) -> Option<String> {
        list(&told(file, options, properties).expect("Cuebot starts")).map(|(value, _)| value)
    }

    const FILE: &str = "dispatcher.exclusion_list=file";

    #[test]
    fn the_command_line_wins_over_json_over_the_machine_over_variables_over_the_file() {
        let variable = "DISPATCHER_EXCLUSION_LIST=variable\n";
        let machine = format!("{variable}JAVA_OPTS=-Ddispatcher.exclusion_list=machine\n");
        let json = format!("{machine}SPRING_APPLICATION_JSON='{{\"dispatcher\": {{\"exclusion_list\": \"json\"}}}}'\n");
        let line = format!("{json}OPTIONS=\"-Xmx4g --dispatcher.exclusion_list=line\"\n");
        let cases = [
            ("", "file", "the file"),
            (variable, "variable", "the variable DISPATCHER_EXCLUSION_LIST"),
            (&machine, "machine", "-Ddispatcher.exclusion_list in JAVA_OPTS"),
            (&json, "json", "SPRING_APPLICATION_JSON"),
            (&line, "line", "--dispatcher.exclusion_list in OPTIONS"),
        ];
        for (options, value, place) in cases {
            let told = told(FILE, options, &[]).expect("Cuebot starts");
            assert_eq!(list(&told), Some((value.to_owned(), place.to_owned())), "{options}");
        }
        assert_eq!(value("", "A=b", &[]), None);
    }

    #[test]
    fn of_the_command_line_values_are_joined_and_the_empty_is_refused() {
        let key = "dispatcher.exclusion_list";
        assert_eq!(value(FILE, "", &[&format!("{key}=a:b"), &format!("{key}=c:d")]).as_deref(), Some("a:b,c:d"));
        assert_eq!(value(FILE, &format!("OPTIONS=--{key}=a"), &[&format!("{key}=b")]).as_deref(), Some("a,b"));
        assert_eq!(value(FILE, "", &[key]).as_deref(), Some(""), "a name alone is the empty text");
        assert_eq!(value(FILE, "DISPATCHER_EXCLUSION_LIST=", &[]).as_deref(), Some(""), "so is a variable of nothing");
        let empty = CuebotError::EmptyArgument { name: key.to_owned() };
        assert_eq!(told(FILE, "", &[&format!("{key}=")]).err(), Some(empty.clone()));
        assert_eq!(told(FILE, &format!("OPTIONS=--{key}="), &[]).err(), Some(empty));
    }

    #[test]
    fn the_machines_options_end_where_the_program_begins() {
        let options = "OPTIONS='--add-opens=a/b=c -Ddispatcher.exclusion_list=a -jar cuebot.jar \
                       -Ddispatcher.exclusion_list=b --dispatcher.turn_off_booking=1'";
        let told = told("", options, &[]).expect("Cuebot starts");
        assert_eq!(list(&told).map(|(value, _)| value).as_deref(), Some("a"));
        assert_eq!(told.is_booking_off(), Ok(true));
        assert_eq!(told.get("add-opens"), None);
    }

    #[test]
    fn only_some_spellings_are_the_property() {
        for name in ["DISPATCHER_EXCLUSION_LIST", "dispatcher_exclusion_list"] {
            assert_eq!(value(FILE, &format!("{name}=x"), &[]).as_deref(), Some("x"), "{name}");
        }
        let told = told(
            "dispatcher.exclusion_list=file\ndispatcher.exclusion-list=x",
            "DISPATCHER_EXCLUSIONLIST=x",
            &["dispatcher.exclusion-list=x"],
        );
        let told = told.expect("Cuebot starts");
        assert_eq!(list(&told).map(|(value, _)| value).as_deref(), Some("file"));
        let odd = [
            "--dispatcher.exclusion-list is not read as dispatcher.exclusion_list and has no effect",
            "DISPATCHER_EXCLUSIONLIST is not read as dispatcher.exclusion_list and has no effect",
            "dispatcher.exclusion-list in the file is not read as dispatcher.exclusion_list and has no effect",
        ];
        assert_eq!(told.oddities(), odd);
    }

    #[test]
    fn a_switch_is_on_off_or_the_end_of_the_start() {
        let off = |value: &str| {
            told(&format!("dispatcher.turn_off_booking={value}"), "", &[]).expect("read").is_booking_off()
        };
        for value in ["true", "TRUE", "Yes", "on", "1", "on \t"] {
            assert_eq!(off(value), Ok(true), "{value}");
        }
        for value in ["false", "No", "OFF", "0", ""] {
            assert_eq!(off(value), Ok(false), "{value}");
        }
        for value in ["y", "t", "2", "enabled"] {
            assert!(matches!(off(value), Err(CuebotError::NoSwitch { .. })), "{value}");
        }
        assert!(told("maestro.enabled = Managed", "", &[]).expect("read").has_planner());
        assert!(!told("maestro.enabled = perhaps", "", &[]).expect("read").has_planner());
    }

    #[test]
    fn what_has_no_effect_or_may_decide_elsewhere_is_named() {
        let options = "SPRING_APPLICATION_JSON=[1]\nSPRING_PROFILES_ACTIVE=studio\nDISPATCHER_EXCLUSION_LIST=a\n";
        let odd = [
            "dispatcher.exclusion_list is decided by the variable DISPATCHER_EXCLUSION_LIST, and what the file says has \
             no effect",
            "spring.profiles.active is \"studio\" (the variable SPRING_PROFILES_ACTIVE): Cuebot may read other files than \
             this",
            "SPRING_APPLICATION_JSON is no JSON object, and Cuebot passes over it",
        ];
        assert_eq!(told(FILE, options, &[]).expect("Cuebot starts").oddities(), odd);
        assert_eq!(told(FILE, "# none\n", &[]).err(), Some(CuebotError::NoVariables));
    }

    #[test]
    fn the_same_in_two_variables_is_named_with_both() {
        let options = "OPTIONS=--dispatcher.exclusion_list=a\nMORE=--dispatcher.exclusion_list=b\n";
        let told = told("", options, &["dispatcher.exclusion_list=c"]).expect("Cuebot starts");
        let place = "--dispatcher.exclusion_list in OPTIONS and in MORE and on the command line";
        assert_eq!(list(&told), Some(("a,b,c".to_owned(), place.to_owned())));
        let odd =
            "dispatcher.exclusion_list stands in MORE and OPTIONS, and which of them Cuebot is given is not known here";
        assert_eq!(told.oddities(), [odd]);
    }

    #[test]
    fn json_is_flat_for_cuebot() {
        let text =
            r#"{"dispatcher.exclusion_list": "a", "dispatcher": {"turn_off_booking": true, "x": null}, "l": [1, "b"]}"#;
        let told = told("", "", &[&format!("spring.application.json={text}")]).expect("Cuebot starts");
        let get = |key: &str| told.get(key).map(|(value, _)| value);
        assert_eq!(get("dispatcher.exclusion_list").as_deref(), Some("a"));
        assert_eq!((told.is_booking_off(), get("dispatcher.x")), (Ok(true), None));
        assert_eq!((get("l[0]").as_deref(), get("l[1]").as_deref()), (Some("1"), Some("b")));
    }
}
