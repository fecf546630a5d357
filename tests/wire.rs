//! Our wire definitions against facts and bytes taken from the published ones.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use cue_scheduler::rqd::proto::{report, rqd};
use prost::{DecodeError, Message};
use protox::prost_reflect::{
    Cardinality, DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value,
};
use serde_json::{Map, Value as Json, json};

const MESSAGES: &str = include_str!("data/rqd-wire.csv");
const ENUMS: &str = include_str!("data/rqd-wire-enums.csv");
const RPCS: &str = include_str!("data/rqd-wire-rpcs.csv");
const SAMPLES: &str = include_str!("data/rqd-samples.json");

/// Enums of other packages that the published list names and no message of ours carries.
const ENUMS_NOT_CARRIED: [&str; 11] = [
    "host.HostTagType",
    "host.LockState",
    "host.RedirectType",
    "host.ThreadMode",
    "host.RunState",
    "job.CheckpointState",
    "job.FrameExitStatus",
    "job.FrameState",
    "job.JobState",
    "job.LayerType",
    "job.Order",
];

fn definitions() -> DescriptorPool {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");
    let mut compiler = protox::Compiler::new([folder]).unwrap();
    compiler.open_files(["rqd.proto", "report.proto", "host.proto"]).unwrap();
    compiler.descriptor_pool()
}

/// Rows of a list of facts; only the types of maps hold a comma, and are quoted.
fn rows(csv: &str) -> BTreeSet<String> {
    csv.lines().skip(1).map(|line| line.replace('"', "")).collect()
}

fn yes_or_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

#[test]
fn every_message_and_field_is_as_published() {
    let pool = definitions();
    let mut ours = BTreeSet::new();
    for message in pool.all_messages().filter(|message| !message.is_map_entry()) {
        let name = message.full_name();
        if message.fields().len() == 0 {
            ours.insert(format!("{name},,,,,,"));
        }
        for field in message.fields() {
            let oneof = field.containing_oneof().map(|oneof| oneof.name().to_owned()).unwrap_or_default();
            let label = match field.cardinality() {
                _ if field.is_map() => "map",
                Cardinality::Repeated => "repeated",
                _ => "singular",
            };
            let deprecated = field.field_descriptor_proto().options.as_ref().and_then(|options| options.deprecated);
            ours.insert(format!(
                "{name},{},{},{},{label},{oneof},{}",
                field.number(),
                field.name(),
                type_name(&field),
                yes_or_no(deprecated == Some(true))
            ));
        }
    }
    pretty_difference(&ours, &rows(MESSAGES));
}

fn type_name(field: &FieldDescriptor) -> String {
    match field.kind() {
        Kind::Message(entry) if field.is_map() => {
            let (key, value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
            format!("map<{},{}>", type_name(&key), type_name(&value))
        }
        Kind::Message(message) => format!("message:{}", message.full_name()),
        Kind::Enum(values) => format!("enum:{}", values.full_name()),
        Kind::String => "string".to_owned(),
        Kind::Bool => "bool".to_owned(),
        Kind::Int32 => "int32".to_owned(),
        Kind::Int64 => "int64".to_owned(),
        kind => panic!("{}: a kind that the published definitions do not use: {kind:?}", field.full_name()),
    }
}

#[test]
fn every_enum_that_is_carried_is_as_published() {
    let pool = definitions();
    let ours = pool.all_enums().flat_map(|values| {
        let name = values.full_name().to_owned();
        let rows: Vec<_> = values.values().map(|v| format!("{name},{},{},no", v.number(), v.name())).collect();
        rows
    });
    let is_carried = |row: &String| {
        let name = row.split(',').next().unwrap();
        !ENUMS_NOT_CARRIED.contains(&name)
    };
    pretty_difference(&ours.collect(), &rows(ENUMS).into_iter().filter(is_carried).collect());
}

#[test]
fn every_call_is_as_published() {
    let pool = definitions();
    let ours = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()).map(|method| {
        let (service, name) = (method.parent_service().full_name().to_owned(), method.name());
        let kind = if method.is_client_streaming() || method.is_server_streaming() { "streaming" } else { "unary" };
        let (request, response) = (method.input(), method.output());
        let (request, response) = (request.full_name(), response.full_name());
        format!("{service},{name},/{service}/{name},{request},{response},{kind},no")
    });
    pretty_difference(&ours.collect(), &rows(RPCS));
}

fn pretty_difference(ours: &BTreeSet<String>, published: &BTreeSet<String>) {
    let missing: Vec<_> = published.difference(ours).collect();
    let invented: Vec<_> = ours.difference(published).collect();
    assert!(missing.is_empty() && invented.is_empty(), "missing: {missing:#?}\ninvented: {invented:#?}");
}

/// Decodes with the generated type and encodes again.
type Passing = fn(&[u8]) -> Result<Vec<u8>, DecodeError>;

fn pass<T: Message + Default>(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    T::decode(bytes).map(|message| message.encode_to_vec())
}

fn generated_types() -> HashMap<&'static str, Passing> {
    HashMap::from([
        ("rqd.RunFrame", pass::<rqd::RunFrame> as Passing),
        ("rqd.RqdStaticLaunchFrameRequest", pass::<rqd::RqdStaticLaunchFrameRequest>),
        ("rqd.RqdStaticKillRunningFrameRequest", pass::<rqd::RqdStaticKillRunningFrameRequest>),
        ("rqd.RqdStaticLockRequest", pass::<rqd::RqdStaticLockRequest>),
        ("report.BootReport", pass::<report::BootReport>),
        ("report.HostReport", pass::<report::HostReport>),
        ("report.CoreDetail", pass::<report::CoreDetail>),
        ("report.CoreId", pass::<report::CoreId>),
        ("report.FrameCompleteReport", pass::<report::FrameCompleteReport>),
        ("report.RenderHost", pass::<report::RenderHost>),
    ])
}

struct Sample {
    name: String,
    passing: Passing,
    definition: MessageDescriptor,
    fields: Json,
}

fn samples(kind: &str) -> Vec<Sample> {
    let all: Json = serde_json::from_str(SAMPLES).unwrap();
    let (types, pool) = (generated_types(), definitions());
    let list = all[kind].as_array().unwrap();
    assert!(!list.is_empty());
    list.iter()
        .map(|sample| {
            let message = sample["message"].as_str().unwrap();
            Sample {
                name: sample["name"].as_str().unwrap().to_owned(),
                passing: types[message],
                definition: pool.get_message_by_name(message).unwrap(),
                fields: sample.clone(),
            }
        })
        .collect()
}

impl Sample {
    fn bytes(&self, field: &str) -> Vec<u8> {
        let hex = self.fields[field].as_str().unwrap();
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    fn pass(&self, bytes: &[u8]) -> Vec<u8> {
        (self.passing)(bytes).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    fn read(&self, bytes: &[u8]) -> Json {
        message_to_json(&DynamicMessage::decode(self.definition.clone(), bytes).unwrap())
    }
}

#[test]
fn every_sample_reads_and_writes_as_published() {
    for sample in samples("samples") {
        let published = sample.bytes("hex");
        let passed = sample.pass(&published);
        assert_eq!(sample.read(&passed), sample.fields["json"], "{}: reading", sample.name);
        let built = message_from_json(&sample.definition, &sample.fields["json"]).encode_to_vec();
        let written = sample.pass(&built);
        assert_eq!(sample.read(&written), sample.fields["json"], "{}: writing", sample.name);
        assert_eq!(written, passed, "{}: one message, two encodings", sample.name);
        if sample.fields["byte_exact"] == json!(true) {
            assert_eq!(written, published, "{}: bytes", sample.name);
        }
    }
}

#[test]
fn odd_but_valid_bytes_are_understood() {
    for sample in samples("decode_only") {
        let passed = sample.pass(&sample.bytes("hex_in"));
        assert_eq!(sample.read(&passed), sample.fields["json"], "{}", sample.name);
        // Our encoder leaves empty halves of map entries out: equal in meaning, not in bytes.
        let canonical = sample.bytes("hex_canonical");
        if sample.name == "map_entry_without_value" {
            assert_eq!(passed, sample.pass(&canonical));
        } else {
            assert_eq!(passed, canonical, "{}", sample.name);
        }
    }
}

#[test]
fn broken_bytes_are_refused() {
    for sample in samples("invalid") {
        assert!((sample.passing)(&sample.bytes("hex_in")).is_err(), "{}", sample.name);
    }
}

/// The JSON form of protobuf with the fields' own names: 64-bit numbers as text, enums by name,
/// defaults left out.
fn message_to_json(message: &DynamicMessage) -> Json {
    let fields = message.fields().map(|(field, value)| {
        let json = match value {
            Value::List(list) => list.iter().map(|value| value_to_json(&field.kind(), value)).collect(),
            Value::Map(entries) => {
                let Kind::Message(entry) = field.kind() else { panic!("a map without entries") };
                let kind = entry.map_entry_value_field().kind();
                let entries: BTreeMap<String, Json> =
                    entries.iter().map(|(key, value)| (key_to_text(key), value_to_json(&kind, value))).collect();
                json!(entries)
            }
            value => value_to_json(&field.kind(), value),
        };
        (field.name().to_owned(), json)
    });
    Json::Object(fields.collect::<Map<_, _>>())
}

fn value_to_json(kind: &Kind, value: &Value) -> Json {
    match value {
        Value::String(text) => json!(text),
        Value::Bool(value) => json!(value),
        Value::I32(number) => json!(number),
        Value::I64(number) => json!(number.to_string()),
        Value::EnumNumber(number) => {
            let values = kind.as_enum().unwrap();
            values.get_value(*number).map_or_else(|| json!(number), |value| json!(value.name()))
        }
        Value::Message(message) => message_to_json(message),
        value => panic!("a value that the published definitions do not use: {value:?}"),
    }
}

fn key_to_text(key: &MapKey) -> String {
    match key {
        MapKey::String(text) => text.clone(),
        MapKey::I64(number) => number.to_string(),
        key => panic!("a key that the published definitions do not use: {key:?}"),
    }
}

fn message_from_json(definition: &MessageDescriptor, json: &Json) -> DynamicMessage {
    let mut message = DynamicMessage::new(definition.clone());
    for (name, json) in json.as_object().unwrap() {
        let field = definition.get_field_by_name(name).unwrap_or_else(|| panic!("no field {name}"));
        let value = match json {
            Json::Object(entries) if field.is_map() => {
                let Kind::Message(entry) = field.kind() else { panic!("a map without entries") };
                let (key, value) = (entry.map_entry_key_field().kind(), entry.map_entry_value_field().kind());
                Value::Map(entries.iter().map(|(k, v)| (key_from_text(&key, k), value_from_json(&value, v))).collect())
            }
            Json::Array(list) => Value::List(list.iter().map(|json| value_from_json(&field.kind(), json)).collect()),
            json => value_from_json(&field.kind(), json),
        };
        message.set_field(&field, value);
    }
    message
}

fn value_from_json(kind: &Kind, json: &Json) -> Value {
    match kind {
        Kind::String => Value::String(json.as_str().unwrap().to_owned()),
        Kind::Bool => Value::Bool(json.as_bool().unwrap()),
        Kind::Int32 => Value::I32(json.as_i64().unwrap().try_into().unwrap()),
        Kind::Int64 => Value::I64(json.as_str().unwrap().parse().unwrap()),
        Kind::Enum(values) => Value::EnumNumber(values.get_value_by_name(json.as_str().unwrap()).unwrap().number()),
        Kind::Message(definition) => Value::Message(message_from_json(definition, json)),
        kind => panic!("a kind that the published definitions do not use: {kind:?}"),
    }
}

fn key_from_text(kind: &Kind, text: &str) -> MapKey {
    match kind {
        Kind::String => MapKey::String(text.to_owned()),
        _ => MapKey::I64(text.parse().unwrap()),
    }
}
