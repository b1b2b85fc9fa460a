//! What programs of an older feature level say on the wire, programs of this one still understand, and the other way
//! round: nothing that was there has gone, or means something else. `kept/level-N.gz` is the description of the
//! services as they were at the end of that level; `KEEP=1 cargo test -p mainstay-proto --test kept` writes the one of
//! this program's level, once, before the level is raised.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use mainstay_core::state::FEATURE_LEVEL;
use prost::Message;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorSet};

fn place(level: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/kept/level-{level}.gz"))
}

/// Everything with a number or a type on the wire, by its path: `message Run field 3` → `revision uint32`.
fn facts(set: &FileDescriptorSet) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    for file in set.file.iter().filter(|file| file.package().starts_with("mainstay.")) {
        let package = file.package();
        file.message_type.iter().for_each(|message| of_message(package, message, &mut facts));
        file.enum_type.iter().for_each(|values| of_enum(package, values, &mut facts));
        for service in &file.service {
            for method in &service.method {
                let (takes, gives) = (method.client_streaming(), method.server_streaming());
                let fact = format!(
                    "{}{} → {}{}",
                    if takes { "stream " } else { "" },
                    method.input_type(),
                    if gives { "stream " } else { "" },
                    method.output_type()
                );
                facts.insert(format!("{package}.{}/{}", service.name(), method.name()), fact);
            }
        }
    }
    facts
}

fn of_message(parent: &str, message: &DescriptorProto, facts: &mut BTreeMap<String, String>) {
    let name = format!("{parent}.{}", message.name());
    for field in &message.field {
        let of = field.oneof_index.filter(|_| !field.proto3_optional()).and_then(|index| message.oneof_decl.get(index as usize));
        let fact = format!("{} {:?} {:?} {} {}", field.name(), field.label(), field.r#type(), field.type_name(), of.map_or("", |of| of.name()));
        facts.insert(format!("{name} field {}", field.number()), fact);
    }
    message.nested_type.iter().for_each(|nested| of_message(&name, nested, facts));
    message.enum_type.iter().for_each(|values| of_enum(&name, values, facts));
}

fn of_enum(parent: &str, values: &EnumDescriptorProto, facts: &mut BTreeMap<String, String>) {
    for value in &values.value {
        facts.insert(format!("{parent}.{} value {}", values.name(), value.number()), value.name().to_owned());
    }
}

#[test]
fn what_an_older_level_says_is_still_understood() {
    let now = facts(&FileDescriptorSet::decode(mainstay_proto::DESCRIPTORS).unwrap());
    if std::env::var_os("KEEP").is_some() {
        let mut file = GzEncoder::new(File::create(place(FEATURE_LEVEL)).unwrap(), Compression::best());
        file.write_all(mainstay_proto::DESCRIPTORS).unwrap();
        file.finish().unwrap();
    }
    for level in 2..FEATURE_LEVEL {
        let mut bytes = Vec::new();
        GzDecoder::new(fs::read(place(level)).unwrap().as_slice()).read_to_end(&mut bytes).unwrap();
        let before = facts(&FileDescriptorSet::decode(bytes.as_slice()).unwrap());
        assert!(before.len() > 500, "level {level} has {} facts", before.len());
        let changed: Vec<String> = before
            .iter()
            .filter(|(name, fact)| now.get(*name) != Some(fact))
            .map(|(name, fact)| format!("{name}: was {fact}, is {}", now.get(name).map_or("gone", String::as_str)))
            .collect();
        assert!(changed.is_empty(), "of level {level}:\n{}", changed.join("\n"));
    }
}
