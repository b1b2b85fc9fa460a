//! Follows what the mesh has of the cluster's plans. When a stream ends, the next begins with all of them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use mainstay_client::Mesh;
use mainstay_client::random::Backoff;
use mainstay_proto::v1;
use mainstay_proto::v1::objects_event::Event;
use tonic::{Status, Streaming};

use super::known::{Objects, key_of};
use crate::complaint::Complaint;

/// Somebody who is there says so every few seconds.
const SILENCE: Duration = Duration::from_secs(30);
/// Between streams.
const PAUSES: (Duration, Duration) = (Duration::from_millis(300), Duration::from_secs(15));

/// Follows for ever.
pub async fn follow(mesh: &Mesh, objects: &Objects) -> Infallible {
    let mut pauses = Backoff::new(PAUSES.0, PAUSES.1);
    let mut complaint = Complaint::default();
    loop {
        let mut has_told = false;
        let why = match mesh.watch_objects(v1::WatchObjectsRequest {}).await {
            Ok(stream) => read(stream, objects, &mut has_told).await,
            Err(error) => error.to_string(),
        };
        objects.mesh_is_away();
        if has_told {
            (pauses, complaint) = (Backoff::new(PAUSES.0, PAUSES.1), Complaint::default());
        }
        let pause = pauses.pause();
        complaint.about("the mesh does not say how the plans of this cluster's namespaces are", &why, pause);
        tokio::time::sleep(pause).await;
    }
}

/// Answers with why it ended.
async fn read(mut stream: Streaming<v1::ObjectsEvent>, objects: &Objects, has_told: &mut bool) -> String {
    // Of all, until all have come.
    let mut all = BTreeMap::new();
    loop {
        let event = match tokio::time::timeout(SILENCE, stream.message()).await {
            Ok(Ok(Some(event))) => event.event,
            Ok(Ok(None)) => return "the mesh has ended the stream".to_owned(),
            Ok(Err(error)) => return Status::message(&error).to_owned(),
            Err(_) => return format!("the mesh said nothing for {SILENCE:?}"),
        };
        let named = |name: &str| key_of(name);
        match event {
            Some(Event::Plan(plan)) => {
                let Some(key) = plan.plan.as_ref().and_then(|plan| named(&plan.name)) else { continue };
                if *has_told { objects.mesh_put(key, Some(plan)) } else { drop(all.insert(key, plan)) }
            }
            Some(Event::Gone(name)) => {
                if let Some(key) = named(&name).filter(|_| *has_told) {
                    objects.mesh_put(key, None);
                }
            }
            Some(Event::Told(_)) if !*has_told => {
                objects.mesh_has(std::mem::take(&mut all));
                *has_told = true;
            }
            // What this version does not know.
            Some(Event::Told(_)) | None => {}
        }
    }
}
