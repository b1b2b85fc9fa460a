//! Every listing that a death, a pause or a loss can leave behind.

use std::path::Path;

use super::*;
use crate::manifest::{OfSource, Part, Sum, VERSION, Void, bytes_of};
use crate::receipt::{PublicKey, SigningKey};

const OLD: &str = "prod/db/20261130T020000Z-1.1";
const NEW: &str = "prod/db/20261130T030000Z-1.2";

fn id(text: &str) -> Id {
    text.parse().unwrap()
}

fn manifest(of: &str) -> Manifest {
    let sum = |bytes| Sum { bytes, sha256: "ab".to_owned() };
    Manifest {
        backup: id(of),
        writer: "w1".to_owned(),
        set: None,
        source: OfSource { kind: "files".to_owned(), versions: BTreeMap::new(), counted: BTreeMap::new() },
        parts: vec![Part { name: "tree".to_owned(), content: "application/x-tar".to_owned(), plain: sum(9), stored: sum(5) }],
        key: None,
        recipients: Vec::new(),
        took_ms: 1,
        taken: None,
    }
}

fn outcome(of: &str) -> Vec<u8> {
    bytes_of(&Outcome::Manifest(manifest(of))).unwrap()
}

fn void(of: &str) -> Vec<u8> {
    bytes_of(&Outcome::Void(Void { backup: id(of), by: "1.2".parse().unwrap(), why: "1.2 has begun".to_owned() })).unwrap()
}

fn begun(of: &str, writer: &str) -> Vec<u8> {
    bytes_of(&Begun { version: VERSION, backup: id(of), writer: writer.to_owned() }).unwrap()
}

struct World {
    key: SigningKey,
    found: BTreeMap<Id, Found>,
}

impl World {
    /// A backup that has begun and has its part.
    fn with(of: &str) -> World {
        let key = SigningKey::read(&SigningKey::generate().unwrap(), Path::new("here")).unwrap();
        let mut world = World { key, found: BTreeMap::new() };
        world.begin(of);
        world.one(of).objects.insert(Object::Part("tree".to_owned()), 5);
        world
    }

    fn one(&mut self, of: &str) -> &mut Found {
        self.found.entry(id(of)).or_default()
    }

    fn begin(&mut self, of: &str) {
        self.one(of).objects.insert(Object::Begun, 1);
        self.one(of).begun = Some(begun(of, "w1"));
    }

    fn finish(&mut self, of: &str) {
        self.one(of).manifest = Some(outcome(of));
    }

    fn confirm(&mut self, of: &str) {
        let digest = digest(self.one(of).manifest.as_deref().unwrap());
        self.one(of).receipt = Some(bytes_of(&Receipt::sign(id(of), digest, &self.key).unwrap()).unwrap());
    }

    fn known(&self) -> Vec<PublicKey> {
        vec![self.key.public()]
    }

    fn standing(&self, of: &str) -> Standing {
        let judged = judge(&self.found, &self.known());
        judged.into_iter().find(|judged| judged.id == id(of)).unwrap().standing
    }
}

fn sealed() -> Standing {
    Standing::Sealed { by: "1.2".parse().unwrap(), why: "1.2 has begun".to_owned() }
}

#[test]
fn from_beginning_to_end() {
    let mut world = World::with(OLD);
    assert_eq!(world.standing(OLD), Standing::Unfinished);
    world.finish(OLD);
    assert_eq!(world.standing(OLD), Standing::Unconfirmed { why: "it has no receipt".to_owned() });
    world.confirm(OLD);
    assert_eq!(world.standing(OLD), Standing::Good);
    // A later one changes nothing about it.
    world.begin(NEW);
    assert_eq!(world.standing(OLD), Standing::Good);
    assert_eq!(world.standing(NEW), Standing::Unfinished);
}

#[test]
fn parts_without_a_manifest_count_for_nothing() {
    let mut world = World::with(OLD);
    world.begin(NEW);
    assert_eq!(world.standing(OLD), Standing::Leftover);
    world.one(OLD).begun = None;
    world.found.remove(&id(NEW));
    assert_eq!(world.standing(OLD), Standing::Leftover);
}

#[test]
fn a_receipt_of_somebody_else_confirms_nothing() {
    let mut world = World::with(OLD);
    world.finish(OLD);
    let other = World::with(OLD);
    let digest = digest(world.one(OLD).manifest.as_deref().unwrap());
    world.one(OLD).receipt = Some(bytes_of(&Receipt::sign(id(OLD), digest.clone(), &other.key).unwrap()).unwrap());
    assert!(matches!(world.standing(OLD), Standing::Unconfirmed { why } if why.contains("nobody whose word counts")));
    world.one(OLD).receipt = Some(bytes_of(&Receipt::sign(id(NEW), digest, &world.key).unwrap()).unwrap());
    assert!(matches!(world.standing(OLD), Standing::Unconfirmed { why } if why.contains("it is for")));
    world.one(OLD).receipt = Some(b"{".to_vec());
    assert!(matches!(world.standing(OLD), Standing::Unconfirmed { .. }));
}

#[test]
fn of_what_is_not_given_nothing_is_known_and_what_is_no_record_is_damaged() {
    let mut world = World::with(OLD);
    world.finish(OLD);
    world.confirm(OLD);
    world.one(OLD).damaged = vec!["it has more than 8388608 bytes".to_owned()];
    assert!(matches!(world.standing(OLD), Standing::Damaged { what } if what[0].contains("more than")));
    world.one(OLD).unread = Some("not for you".to_owned());
    assert_eq!(world.standing(OLD), Standing::Unread { why: "not for you".to_owned() }, "what is not given may be good");
    // A key that is there and not given is not one that is gone.
    let mut world = World::with(OLD);
    let keyed = Manifest { key: Some(OfKey { generation: 1, key: "age1".to_owned(), sha256: "ab".to_owned() }), ..manifest(OLD) };
    world.one(OLD).manifest = Some(bytes_of(&Outcome::Manifest(keyed)).unwrap());
    world.confirm(OLD);
    let ring = Ring { secrets: [(1, digest(b""))].into(), unread: [(1, "not for you".to_owned())].into(), ..Ring::default() };
    world.one(OLD).ring = Arc::new(ring);
    assert_eq!(world.standing(OLD), Standing::Unread { why: "not for you".to_owned() });
    world.one(OLD).ring = Arc::new(Ring { secrets: [(1, digest(b""))].into(), ..Ring::default() });
    assert!(matches!(world.standing(OLD), Standing::Damaged { what } if what[0].contains("is not the key")));
}

#[test]
fn a_receipt_is_for_one_manifest() {
    let mut world = World::with(OLD);
    world.finish(OLD);
    world.confirm(OLD);
    let changed = Manifest { took_ms: 2, ..manifest(OLD) };
    world.one(OLD).manifest = Some(bytes_of(&Outcome::Manifest(changed)).unwrap());
    // Somebody whose word counts has signed another: what stands there was changed after that.
    assert!(matches!(world.standing(OLD), Standing::Damaged { what } if what[0].contains("is not the one for which ed25519:")));
    let other = World::with(OLD);
    let receipt = Receipt::sign(id(OLD), "ab".to_owned(), &other.key).unwrap();
    world.one(OLD).receipt = Some(bytes_of(&receipt).unwrap());
    assert!(matches!(world.standing(OLD), Standing::Unconfirmed { why } if why.contains("another manifest")), "a stranger's word says nothing");
}

#[test]
fn a_writer_that_was_paused_makes_nothing_appear() {
    // It is made void while it is paused.
    let mut world = World::with(OLD);
    world.one(OLD).manifest = Some(void(OLD));
    world.one(OLD).sealed = Some(void(OLD));
    world.begin(NEW);
    assert_eq!(world.standing(OLD), sealed());
    // It goes on: more parts come, and its manifest does not.
    world.one(OLD).objects.insert(Object::Part("more".to_owned()), 5);
    assert_eq!(world.standing(OLD), sealed());
    // On a store that overwrites, its manifest does come, and the other word still stands.
    world.finish(OLD);
    assert_eq!(world.standing(OLD), sealed());
    // Whether or not the later one ever came to its end.
    world.found.remove(&id(NEW));
    assert_eq!(world.standing(OLD), sealed());
    // Half of the sealing was lost, and the store overwrote the other half: still nothing that counts.
    world.one(OLD).sealed = None;
    assert!(matches!(world.standing(OLD), Standing::Unconfirmed { .. }));
}

#[test]
fn what_was_counted_cannot_be_made_void() {
    let mut world = World::with(OLD);
    world.finish(OLD);
    world.confirm(OLD);
    world.one(OLD).sealed = Some(void(OLD));
    assert_eq!(world.standing(OLD), Standing::Good);
    world.one(OLD).manifest = Some(void(OLD));
    assert!(matches!(world.standing(OLD), Standing::Damaged { what } if what[0].contains("made void, and it has a receipt")));
}

#[test]
fn what_vanished_is_named() {
    let mut world = World::with(OLD);
    world.finish(OLD);
    world.confirm(OLD);
    let whole = world.found.clone();
    world.one(OLD).objects.remove(&Object::Part("tree".to_owned()));
    assert_eq!(world.standing(OLD), Standing::Damaged { what: vec!["tree.zst.age is missing".to_owned()] });
    world.one(OLD).objects.insert(Object::Part("tree".to_owned()), 4);
    assert_eq!(world.standing(OLD), Standing::Damaged { what: vec!["tree.zst.age has 4 bytes, and 5 were written".to_owned()] });
    world.found = whole;
    world.one(OLD).manifest = None;
    assert_eq!(world.standing(OLD), Standing::Damaged { what: vec!["its manifest is missing, and it has a receipt".to_owned()] });
}

#[test]
fn a_manifest_in_the_wrong_place_counts_for_nothing() {
    let mut world = World::with(OLD);
    world.one(OLD).manifest = Some(outcome(NEW));
    world.confirm(OLD);
    assert!(matches!(world.standing(OLD), Standing::Damaged { what } if what[0].contains("that of prod/db")));
    world.one(OLD).manifest = Some(outcome(OLD)[..40].to_vec());
    assert!(matches!(world.standing(OLD), Standing::Damaged { .. }));
    world.finish(OLD);
    world.confirm(OLD);
    world.one(OLD).begun = Some(begun(OLD, "w2"));
    assert!(matches!(world.standing(OLD), Standing::Damaged { what } if what[0].contains("another writer")));
}

#[test]
fn of_several_the_newest_good_one_before_an_instant_is_taken() {
    let mut world = World::with(OLD);
    world.finish(OLD);
    world.confirm(OLD);
    // The newest one is not good.
    world.begin(NEW);
    let judged = judge(&world.found, &world.known());
    let taken = |target: &str, at: Option<&str>| {
        let at = at.map(|at| at.parse().unwrap());
        newest_good(&judged, &target.parse().unwrap(), at).map(|one| one.id.to_string())
    };
    assert_eq!(taken("prod/db", None), Some(OLD.to_owned()));
    assert_eq!(taken("prod/db", Some("2026-11-30T02:00:00Z")), Some(OLD.to_owned()));
    assert_eq!(taken("prod/db", Some("2026-11-30T01:59:59Z")), None);
    assert_eq!(taken("prod/other", None), None);
}

/// Every combination of what may be there of two backups: never is one good that has not its manifest, its part and a
/// receipt for both.
#[test]
fn good_is_only_what_has_everything() {
    let whole = {
        let mut world = World::with(OLD);
        world.finish(OLD);
        world.confirm(OLD);
        world
    };
    let manifests = [None, Some(outcome(OLD)), Some(void(OLD)), Some(outcome(NEW)), Some(b"{\"version\":9}".to_vec()), Some(Vec::new())];
    let receipts = [None, whole.found[&id(OLD)].receipt.clone(), Some(b"{}".to_vec())];
    let sealings = [None, Some(void(OLD)), Some(b"?".to_vec())];
    let beginnings = [None, Some(begun(OLD, "w1")), Some(begun(OLD, "w2"))];
    let parts = [None, Some(5), Some(6)];
    let mut seen = 0;
    for (m, r, s, b, p, later) in combinations(manifests.len(), receipts.len(), sealings.len(), beginnings.len(), parts.len()) {
        let mut found = Found {
            manifest: manifests[m].clone(),
            receipt: receipts[r].clone(),
            sealed: sealings[s].clone(),
            begun: beginnings[b].clone(),
            ..Found::default()
        };
        found.objects.extend(parts[p].map(|bytes| (Object::Part("tree".to_owned()), bytes)));
        let mut all = BTreeMap::from([(id(OLD), found)]);
        if later {
            all.insert(id(NEW), Found { begun: Some(begun(NEW, "w1")), ..Found::default() });
        }
        let standing = judge(&all, &whole.known()).remove(0).standing;
        let everything = m == 1 && r == 1 && p == 1 && b != 2;
        assert_eq!(standing == Standing::Good, everything, "{standing:?}: manifest {m}, receipt {r}, sealed {s}, begun {b}, part {p}, later {later}");
        seen += 1;
    }
    assert_eq!(seen, 6 * 3 * 3 * 3 * 3 * 2);
}

fn combinations(m: usize, r: usize, s: usize, b: usize, p: usize) -> impl Iterator<Item = (usize, usize, usize, usize, usize, bool)> {
    let pairs = (0..m).flat_map(move |m| (0..r).flat_map(move |r| (0..s).map(move |s| (m, r, s))));
    pairs.flat_map(move |(m, r, s)| (0..b).flat_map(move |b| (0..p).flat_map(move |p| [(m, r, s, b, p, false), (m, r, s, b, p, true)])))
}
