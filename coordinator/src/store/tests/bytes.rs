//! The bytes of this format, held fast: a change here is a change of the format, and raises its version.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;

use mainstay_core::MemberId;

use super::mesh::peer;
use crate::store::encoding::{
    EncodingError, FORMAT, Sink, Source, seal, seal_entry, seal_position, seal_vote, unseal_entry, unseal_position, unseal_vote,
};
use crate::store::raft::{
    AppendRequest, AppendResponse, EntryPayload, LeaderId, LogEntry, LogId, Membership, Payload, SnapshotMeta, StoredMembership, TransferRequest,
    TransferResponse, Vote, VoteRequest, VoteResponse,
};
use crate::store::wire::{
    Append, Envelope, Leads, LeadsQuestion, Message, Piece, PieceAnswer, Readiness, ReadinessQuestion, decode_answer, decode_call, encode_answer,
    encode_call, open_call,
};

fn id(index: u64) -> LogId {
    LogId { leader_id: LeaderId { term: 3, node_id: 0xabcd }, index }
}

fn vote(committed: bool) -> Vote {
    Vote { leader_id: LeaderId { term: 3, node_id: 0xabcd }, committed }
}

fn membership() -> Membership {
    let nodes: BTreeMap<u64, _> = [(1, peer(1)), (2, peer(2)), (3, peer(3))].into();
    Membership::new(vec![BTreeSet::from([1, 2]), BTreeSet::from([2, 3])], nodes).unwrap()
}

fn entries() -> Vec<LogEntry> {
    let payloads = [EntryPayload::Blank, EntryPayload::Normal(Payload(Bytes::from_static(b"hi"))), EntryPayload::Membership(membership())];
    payloads.into_iter().zip(7..).map(|(payload, index)| LogEntry { log_id: id(index), payload }).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn bytes_on_disk_do_not_change() {
    let [blank, normal, members] = entries().try_into().unwrap();
    assert_eq!(hex(&seal_entry(&blank)), "01057310fd0300000000000000cdab000000000000070000000000000000");
    assert_eq!(hex(&seal_entry(&normal)), "01624c05940300000000000000cdab000000000000080000000000000001020000006869");
    assert_eq!(
        hex(&seal_entry(&members)),
        "015d9e8c570300000000000000cdab00000000000009000000000000000202000000020000000100000000000000020000000000000002000000020000000000000003000000000000000300000001000000000000000d0000006d656d6265722d313a3734303002000000000000000d0000006d656d6265722d323a3734303003000000000000000d0000006d656d6265722d333a37343030"
    );
    assert_eq!(hex(&seal_vote(&vote(true))), "017b0d7b120300000000000000cdab00000000000001");
    assert_eq!(hex(&seal_position(Some(&id(7)))), "011619dedc010300000000000000cdab0000000000000700000000000000");
    assert_eq!(hex(&seal_position(None)), "01be23c25800");
}

#[test]
fn bytes_on_the_wire_do_not_change() {
    let envelope = Envelope { to: MemberId(2), from: MemberId(1) };
    let append = Append {
        heartbeat: true,
        request: AppendRequest { vote: vote(true), prev_log_id: Some(id(6)), entries: entries()[..2].to_vec(), leader_commit: None },
    };
    assert_eq!(
        hex(&encode_call(envelope, &append)),
        "0102000000000000000100000000000000010300000000000000cdab00000000000001010300000000000000cdab000000000000060000000000000000020000000300000000000000cdab0000000000000700000000000000000300000000000000cdab000000000000080000000000000001020000006869"
    );
    assert_eq!(
        hex(&encode_call(envelope, &VoteRequest::new(vote(false), Some(id(6))))),
        "01020000000000000001000000000000000300000000000000cdab00000000000000010300000000000000cdab000000000000060000000000000000"
    );
    assert_eq!(
        hex(&encode_answer(&VoteResponse { vote: vote(false), vote_granted: true, last_log_id: None })),
        "010300000000000000cdab000000000000000100"
    );
    assert_eq!(hex(&encode_answer(&AppendResponse::PartialSuccess(Some(id(8))))), "0101010300000000000000cdab0000000000000800000000000000");
    assert_eq!(
        hex(&encode_call(envelope, &TransferRequest::new(vote(true), 2, Some(id(6))))),
        "01020000000000000001000000000000000300000000000000cdab000000000000010200000000000000010300000000000000cdab0000000000000600000000000000"
    );
    assert_eq!(hex(&encode_answer(&PieceAnswer::Have(5))), "01000500000000000000");
    assert_eq!(hex(&encode_call(envelope, &LeadsQuestion { term: 3 })), "01020000000000000001000000000000000300000000000000");
    assert_eq!(hex(&encode_answer(&Leads(true))), "0101");
}

fn survives_call<M: Message + std::fmt::Debug>(message: &M) {
    let envelope = Envelope { to: MemberId(2), from: MemberId(1) };
    let bytes = encode_call(envelope, message);
    let (found, source) = open_call(bytes.clone()).unwrap();
    assert_eq!(found, envelope);
    assert_eq!(encode_call(envelope, &decode_call::<M>(source).unwrap()), bytes, "{message:?}");
}

fn survives_answer<M: Message + std::fmt::Debug>(message: &M) {
    let bytes = encode_answer(message);
    assert_eq!(encode_answer(&decode_answer::<M>(bytes.clone()).unwrap()), bytes, "{message:?}");
}

#[test]
fn everything_survives_its_bytes() {
    for entry in entries() {
        assert_eq!(unseal_entry(entry.log_id.index, seal_entry(&entry).into()).unwrap(), entry);
    }
    assert_eq!(unseal_vote(seal_vote(&vote(false)).into()).unwrap(), vote(false));
    assert_eq!(unseal_position(seal_position(Some(&id(1))).into()).unwrap(), Some(id(1)));
    let request = AppendRequest { vote: vote(true), prev_log_id: Some(id(6)), entries: entries(), leader_commit: Some(id(5)) };
    survives_call(&Append { heartbeat: false, request });
    survives_call(&VoteRequest { leadership_transfer: true, ..VoteRequest::new(vote(false), None) });
    survives_call(&TransferRequest::new(vote(true), 9, None));
    let piece = Piece { vote: vote(true), last: Some(id(3)), total: 10, digest: [7; 32], offset: 4, data: Bytes::from_static(b"data") };
    survives_call(&piece);
    survives_call(&ReadinessQuestion);
    survives_call(&LeadsQuestion { term: 9 });
    for answer in [AppendResponse::Success, AppendResponse::PartialSuccess(None), AppendResponse::Conflict, AppendResponse::HigherVote(vote(true))] {
        survives_answer(&answer);
    }
    survives_answer(&VoteResponse { vote: vote(true), vote_granted: false, last_log_id: Some(id(2)) });
    use openraft::raft::TransferLeaderError::{LogNotFlushed, VoteChanged};
    let transfers: [TransferResponse; 3] =
        [Ok(()), Err(VoteChanged { expected: vote(true), actual: vote(false) }), Err(LogNotFlushed { expected: Some(id(1)), actual: None })];
    transfers.iter().for_each(survives_answer);
    [PieceAnswer::Have(3), PieceAnswer::Done(vote(true))].iter().for_each(survives_answer);
    survives_answer(&Readiness(true));
    survives_answer(&Leads(false));
    let meta = SnapshotMeta { last_log_id: Some(id(9)), last_membership: StoredMembership::new(Some(id(0)), membership()) };
    for meta in [meta, SnapshotMeta::default()] {
        let mut sink = Sink::default();
        sink.snapshot_meta(&meta);
        assert_eq!(Source::new("meta", sink.finish().into()).snapshot_meta().unwrap(), meta);
    }
}

#[test]
fn every_flipped_bit_of_a_record_is_noticed() {
    let sealed = seal_entry(&entries()[1]);
    for bit in 0..sealed.len() * 8 {
        let mut bytes = sealed.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(unseal_entry(8, bytes.into()), Err(EncodingError::Checksum("a log record")), "bit {bit}");
    }
    assert_eq!(unseal_entry(9, sealed.into()), Err(EncodingError::Invalid("a log record's index")));
}

#[test]
fn a_newer_version_is_told_apart_from_damage() {
    let mut sealed = seal(Sink::default());
    sealed[0] = FORMAT + 1;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[FORMAT + 1]);
    sealed[1..5].copy_from_slice(&hasher.finalize().to_le_bytes());
    assert_eq!(unseal_vote(sealed.into()), Err(EncodingError::Newer { what: "the vote", found: FORMAT + 1 }));
    let newer = Bytes::from_static(&[FORMAT + 1, 0, 0]);
    assert!(matches!(open_call(newer.clone()), Err(EncodingError::Newer { .. })));
    assert!(matches!(decode_answer::<PieceAnswer>(newer), Err(EncodingError::Newer { .. })));
}

proptest! {
    /// What a stranger sends is refused, not believed: no panic, no memory for a wild number.
    #[test]
    fn nonsense_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = FORMAT;
        }
        let bytes = Bytes::from(bytes);
        if let Ok((_, source)) = open_call(bytes.clone()) {
            drop(decode_call::<Append>(source));
        }
        drop(decode_answer::<AppendResponse>(bytes.clone()));
        drop(decode_answer::<TransferResponse>(bytes.clone()));
        drop(Source::new("meta", bytes.clone()).snapshot_meta());
        prop_assert!(unseal_entry(0, bytes).is_err());
    }
}
