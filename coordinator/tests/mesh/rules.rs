//! Every call there is, by every kind of caller: what the services do is what the table of rights says.

use std::collections::BTreeSet;

use bytes::{Buf, BufMut};
use mainstay_client::channel;
use mainstay_coordinator::api::RULES;
use mainstay_core::authz::{Caller, Method, Subject, authorize};
use mainstay_core::state::enrolment::OperatorRole;
use mainstay_core::{Identity, LeaseName};
use mainstay_proto::v1;
use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::harness::Mesh;

/// On the enrolment listener, which takes no certificate.
const ENROLMENT: &str = "mainstay.v1.Enrolment/Enrol";
/// A lease that anybody who may hold leases at all may hold, and one of the program `ci`.
const LEASES: [&str; 2] = ["demo", "client/ci/demo"];

fn calls() -> BTreeSet<String> {
    let descriptors = FileDescriptorSet::decode(mainstay_proto::DESCRIPTORS).unwrap();
    let mut calls = BTreeSet::new();
    for file in descriptors.file.iter().filter(|file| file.package() == "mainstay.v1") {
        for service in &file.service {
            calls.extend(service.method.iter().map(|method| format!("{}.{}/{}", file.package(), service.name(), method.name())));
        }
    }
    calls
}

#[test]
fn every_call_has_one_rule() {
    let mut described = calls();
    assert!(described.remove(ENROLMENT));
    let ruled: BTreeSet<String> = RULES.iter().map(|(call, _)| (*call).to_owned()).collect();
    assert_eq!(ruled.len(), RULES.len(), "a call is listed twice");
    assert_eq!(described, ruled, "api/rules.rs lists every call of the proto files, and no other");
}

/// Bytes as they are.
#[derive(Clone, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining()).to_vec()))
    }
}

/// The first answer to a call with such a message.
async fn answer(channel: Channel, call: &str, message: Vec<u8>) -> Result<(), Status> {
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path: PathAndQuery = format!("/{call}").parse().unwrap();
    let mut stream = client.server_streaming(Request::new(message), path, Raw).await?.into_inner();
    stream.message().await.map(|_| ())
}

/// A message that comes as far as the question of rights, and no further.
fn probe(call: &str, lease: &str) -> Vec<u8> {
    let name = lease.to_owned();
    match call {
        "mainstay.v1.Leases/Acquire" => v1::AcquireRequest { name, ..Default::default() }.encode_to_vec(),
        "mainstay.v1.Leases/Renew" => v1::RenewRequest { name, ..Default::default() }.encode_to_vec(),
        "mainstay.v1.Leases/RenewMany" => {
            let leases = vec![v1::RenewRequest { name, ..Default::default() }];
            v1::RenewManyRequest { leases }.encode_to_vec()
        }
        "mainstay.v1.Leases/Release" => v1::ReleaseRequest { name, ..Default::default() }.encode_to_vec(),
        _ => Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_is_refused_to_whom_the_table_refuses_it() {
    let mut mesh = Mesh::of(1).await;
    let admin = mesh.operator("ana");
    mesh.ready(&admin).await;
    for (name, role) in [("o", "operator"), ("v", "viewer"), ("gone", "viewer")] {
        admin.set_operator(v1::SetOperatorRequest { name: name.into(), role: role.into(), dry_run: false }).await.unwrap();
    }
    let gone = v1::RevokeRequest { identity: "operator/gone".into(), reason: "test".into(), dry_run: false };
    admin.revoke_identity(gone).await.unwrap();

    let callers: [(&str, Option<OperatorRole>); 11] = [
        ("operator/ana", Some(OperatorRole::Admin)),
        ("operator/o", Some(OperatorRole::Operator)),
        ("operator/v", Some(OperatorRole::Viewer)),
        ("operator/nobody", None),
        ("operator/gone", None),
        ("coordinator/00000000000000ff", None),
        ("cluster/local/node/n1", None),
        ("cluster/local/node/n1/hands", None),
        ("cluster/local/agent/r1", None),
        ("cluster/local/worker/1.1", None),
        ("client/ci", None),
    ];
    let mut wrong = Vec::new();
    for (caller, role) in callers {
        let identity: Identity = caller.parse().unwrap();
        let (now, late) = (mesh.as_identity(caller), mesh.expired(caller));
        for (expired, client) in [(false, now), (true, late)] {
            for (call, method) in RULES {
                for lease in LEASES {
                    let name: LeaseName = lease.parse().unwrap();
                    let own = identity.agent().unwrap_or_else(|| "local/n1".parse().unwrap());
                    let subject = match method {
                        Method::HoldLease => Subject::Lease(&name),
                        Method::LinkAgent | Method::ReportAttempt | Method::PutArtifact | Method::ReadUndoData | Method::BackUpMesh => {
                            Subject::Agent(&own)
                        }
                        _ => Subject::None,
                    };
                    let who = Caller { identity: &identity, role, revoked: caller == "operator/gone", expired };
                    let allowed = authorize(&who, *method, subject);
                    let channel = channel::connect(&mesh.addresses()[0], client.identity()).await.unwrap();
                    let answered = answer(channel, call, probe(call, lease)).await.err();
                    let denied = answered.as_ref().filter(|status| status.code() == Code::PermissionDenied);
                    if denied.is_some() == allowed.is_ok() || denied.is_some_and(|status| status.message().is_empty()) {
                        wrong.push(format!("{caller} (expired: {expired}) {call} {lease}: {allowed:?}, and the service says {answered:?}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    mesh.stop_all().await;
}
