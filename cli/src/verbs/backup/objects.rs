//! `mainstay backup restore` of objects of Kubernetes: a file, or a stream, that kubectl takes. No API server is asked.

use std::io::{self, Write};
use std::path::Path;

use mainstay_backup::decode::verify;
use mainstay_backup::judge::Judged;
use mainstay_backup::keys::Identities;
use mainstay_backup::manifest::Manifest;
use mainstay_backup::place::kubernetes::{Choice, Put, pass_on, write};
use mainstay_backup::progress::Teller;
use mainstay_backup::source::kubernetes::{CONTENT, OBJECTS, Tally};
use mainstay_backup::{Store, open};
use serde_json::{Value, json};

use crate::args;
use crate::error::CliError;
use crate::exit::Exit;
use crate::host;
use crate::render::units;
use crate::verbs::Screen;

/// Where a stream goes that is to be piped.
const STDOUT: &str = "-";

pub async fn restore(
    args: &args::backup::Restore,
    store: &Store,
    judged: &Judged,
    manifest: &Manifest,
    keys: &Identities,
    screen: Screen,
) -> Result<Exit, CliError> {
    let failed = |error: &dyn std::fmt::Display| CliError::failed(error.to_string());
    if args.to.contains("://") {
        return Err(CliError::usage("objects of Kubernetes are put back by kubectl: --to DIR, or --to - | kubectl apply --server-side -f -"));
    }
    let is_piped = args.to == STDOUT;
    if is_piped && screen.is_json() {
        return Err(CliError::usage("the objects themselves go to standard output: --to DIR together with -o json"));
    }
    let was = Tally::of(manifest.source.counted.get(OBJECTS).unwrap_or(&Value::Null));
    let has: Vec<&str> = was.namespaces().collect();
    let named = &args.objects;
    let choice = Choice::read(&named.namespace, &named.only, &named.label, &has).map_err(|error| CliError::usage(error.to_string()))?;
    let part = manifest.parts.iter().find(|part| part.content == CONTENT);
    let part = part.ok_or_else(|| CliError::failed(format!("{} has no part with objects", manifest.backup)))?;
    let tell = Teller::default();
    if is_piped {
        // Nothing that is not right is to come as far as kubectl.
        verify(store, manifest, part, keys, &tell).await.map_err(|error| failed(&error))?;
    }
    let plain = open(store, manifest, part, keys, &tell).await.map_err(|error| failed(&error))?;
    let (place, put) = if is_piped {
        let put = pass_on(plain, &mut io::BufWriter::new(Printed), &choice).await.map_err(|error| failed(&error))?;
        ("standard output".to_owned(), put)
    } else {
        let (file, put) = write(plain, Path::new(&args.to), &choice).await.map_err(|error| failed(&error))?;
        (file.display().to_string(), put)
    };
    let differs = put.seen.differs_from(&was);
    let words = words(judged, &put, &place, &differs);
    if is_piped {
        host::print_error(&words).map_err(|error| failed(&error))?;
    } else {
        let told = json!({ "backup": judged.id, "to": place, "standing": judged.standing, "objects": put.objects.counted(), "differs": differs });
        screen.done(&told, words.trim_end())?;
    }
    Ok(if differs.is_empty() { Exit::Success } else { Exit::Failed })
}

fn words(judged: &Judged, put: &Put, place: &str, differs: &[String]) -> String {
    let id = &judged.id;
    if !differs.is_empty() {
        return format!("✖ {id} is in {place}, and is not what it was: {}\n", differs.join("; "));
    }
    let (objects, all) = (units::count(put.objects.count(), "object", "objects"), put.seen.count());
    let of_all = if put.objects.count() == all { String::new() } else { format!(" of {all}") };
    let mut words = format!("✔ {objects}{of_all} of {id}: {place}; every checksum was right\n");
    if place != "standard output" {
        for namespace in put.objects.namespaces() {
            words.push_str(&format!("  kubectl create namespace {namespace}        unless it is there\n"));
        }
        words.push_str(&format!("  kubectl apply --server-side -f {place}\n"));
    }
    words
}

/// Standard output.
struct Printed;

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        host::print_bytes(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
