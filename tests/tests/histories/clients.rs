//! Those who take leases, what they did and were told, and the judgement of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mainstay_client::{CallError, Mesh};
use mainstay_proto::v1;
use mainstay_tests::history::lease::{Answer, Ask, Lease, Token, beliefs, overlaps};
use mainstay_tests::history::register::{Register, Store};
use mainstay_tests::history::{History, linearizable, porcupine, register};
use mainstay_tests::namespaces::Group;
use tokio::task::JoinHandle;
use tonic::Code;

const CLIENTS: usize = 32;
pub const LEASES: usize = 24;
/// Operations that a history has at least.
pub const ENOUGH: u64 = 10_000;
/// A history has more grants than this.
const GRANTS: usize = 100;
/// The shortest that there is: leases end by time while the test looks on.
pub const TTL: Duration = Duration::from_secs(2);
/// How long the clients may take: a machine that does other things too is slow, and nothing is judged by it.
const PATIENCE: Duration = Duration::from_secs(300);
/// Longest that one call is waited for. What has no answer by then is not known.
const CALL: Duration = Duration::from_secs(3);
/// The same for every third client, who so hears of little while a fault lasts.
const IMPATIENT: Duration = Duration::from_millis(250);

/// Between two reads of one who does nothing else.
const PACE: Duration = Duration::from_millis(20);

/// A lease, and what it protects.
struct Object {
    name: String,
    lease: History<Ask, Answer>,
    store: Store,
    register: History<register::Ask, register::Answer>,
}

struct Scene {
    objects: Vec<Object>,
    operations: AtomicU64,
    /// How many of them are asked for.
    in_use: AtomicUsize,
    is_over: AtomicBool,
}

impl Scene {
    /// Grants, and how many were found to have ended.
    fn answers(&self) -> (usize, usize) {
        let all = self.objects.iter().flat_map(|object| object.lease.operations());
        all.fold((0, 0), |(grants, gone), operation| match operation.output {
            Some(Answer::Granted(_)) => (grants + 1, gone),
            Some(Answer::Gone) => (grants, gone + 1),
            _ => (grants, gone),
        })
    }
}

/// Clients at work.
pub struct Crowd {
    scene: Arc<Scene>,
    clients: Vec<JoinHandle<()>>,
}

impl Crowd {
    /// Lets them begin.
    pub fn of(group: &Group) -> Crowd {
        Crowd::asking_for(LEASES, group)
    }

    /// The same, with so many of the leases only.
    pub fn asking_for(leases: usize, group: &Group) -> Crowd {
        let begun = Instant::now();
        let object = |number| Object {
            name: format!("history/{number}"),
            lease: History::since(begun),
            store: Store::default(),
            register: History::since(begun),
        };
        let scene = Arc::new(Scene {
            objects: (0..LEASES).map(object).collect(),
            operations: AtomicU64::new(0),
            in_use: AtomicUsize::new(leases),
            is_over: AtomicBool::new(false),
        });
        let client = |number: usize| {
            let deadline = if number.is_multiple_of(3) { IMPATIENT } else { CALL };
            tokio::spawn(Client { number, mesh: group.client().with_deadline(deadline), scene: scene.clone() }.work())
        };
        let reader = |member: usize| {
            let mesh = group.client_at(member).with_deadline(IMPATIENT);
            tokio::spawn(Client { number: CLIENTS + 1 + member, mesh, scene: scene.clone() }.look())
        };
        Crowd { clients: (0..CLIENTS).map(client).chain((0..group.len()).map(reader)).collect(), scene }
    }

    /// From now on they ask for so many of the leases only.
    pub fn ask_for(&self, leases: usize) {
        self.scene.in_use.store(leases, Ordering::Relaxed);
    }

    /// What they have done so far.
    pub fn operations(&self) -> u64 {
        self.scene.operations.load(Ordering::Relaxed)
    }

    /// Waits until they have done so much.
    pub async fn has_done(&self, operations: u64) {
        mainstay_tests::eventually_within(PATIENCE, "enough has been done", || async {
            let done = self.operations();
            if done >= operations { Ok(()) } else { Err(format!("{done} operations")) }
        })
        .await;
    }

    /// From now on the mesh may take every lease for itself, once, of which no client hears.
    pub fn mesh_may_take_all(&self) {
        for object in &self.scene.objects {
            object.lease.note(CLIENTS, Ask::Acquire, Instant::now(), None);
        }
    }

    /// Ends their work, when leases were had and some of them have ended by time, and judges it. The greatest token that one
    /// of them was given.
    pub async fn end(self) -> Token {
        mainstay_tests::eventually_within(PATIENCE, "leases are had, and end by time", || async {
            let (grants, gone) = self.scene.answers();
            if grants > GRANTS && gone > 0 { Ok(()) } else { Err(format!("{grants} grants, {gone} gone")) }
        })
        .await;
        self.scene.is_over.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("a client");
        }
        judge(&self.scene)
    }
}

/// One of those who take leases.
struct Client {
    number: usize,
    mesh: Mesh,
    scene: Arc<Scene>,
}

impl Client {
    /// Takes leases, one after the other, writes under them, and gives some back; others end by time.
    async fn work(self) {
        let mut turn = self.number;
        while !self.scene.is_over.load(Ordering::Relaxed) {
            turn += 1;
            let object = &self.scene.objects[(turn * (self.number + 3)) % self.scene.in_use.load(Ordering::Relaxed)];
            self.read(object).await;
            let incarnation = format!("{}-{turn}", self.number);
            let Some(token) = self.acquire(object, &incarnation).await else { continue };
            for _ in 0..turn % 4 {
                self.write(object, token, turn as u64);
                if !self.renew(object, token, &incarnation).await {
                    break;
                }
            }
            // One who stood still for longer than the lease comes back, and hears of it.
            if turn.is_multiple_of(17) {
                tokio::time::sleep(TTL + TTL / 4).await;
                self.renew(object, token, &incarnation).await;
            }
            // A late write of one who has lost it, now and then; and now and then nobody gives it back.
            if !turn.is_multiple_of(7) {
                self.release(object, token, &incarnation).await;
            }
            self.write(object, token, turn as u64);
        }
    }

    /// Only reads, at one member for as long as that one answers: it knows nothing of a leader that others have elected.
    async fn look(self) {
        let mut pace = tokio::time::interval(PACE);
        for object in self.scene.objects.iter().cycle() {
            if self.scene.is_over.load(Ordering::Relaxed) {
                return;
            }
            self.read(object).await;
            pace.tick().await;
        }
    }

    fn note(&self, object: &Object, ask: Ask, called: Instant, answer: Option<Answer>) {
        object.lease.note(self.number, ask, called, answer);
        self.scene.operations.fetch_add(1, Ordering::Relaxed);
    }

    async fn acquire(&self, object: &Object, incarnation: &str) -> Option<Token> {
        let spec = Some(v1::LeaseSpec { slots: 1, ttl_ms: TTL.as_millis() as u64, kind: v1::LeaseKind::Ttl.into() });
        let request = v1::AcquireRequest { name: object.name.clone(), spec, incarnation: incarnation.to_owned(), ..v1::AcquireRequest::default() };
        let called = Instant::now();
        let answer = match self.mesh.acquire_lease(request).await {
            Ok(answer) if answer.token.is_empty() => Some(Answer::Taken),
            Ok(answer) => Some(Answer::Granted(token(&answer.token))),
            Err(_) => None,
        };
        self.note(object, Ask::Acquire, called, answer.clone());
        if let Some(Answer::Granted(token)) = answer { Some(token) } else { None }
    }

    async fn renew(&self, object: &Object, token: Token, incarnation: &str) -> bool {
        let request = v1::RenewRequest { name: object.name.clone(), token: words(token), incarnation: incarnation.to_owned() };
        let called = Instant::now();
        let answer = known(self.mesh.renew_lease(request).await.map(drop));
        self.note(object, Ask::Renew(token), called, answer.clone());
        answer == Some(Answer::Done)
    }

    async fn release(&self, object: &Object, token: Token, incarnation: &str) {
        let request = v1::ReleaseRequest { name: object.name.clone(), token: words(token), incarnation: incarnation.to_owned() };
        let called = Instant::now();
        let answer = known(self.mesh.release_lease(request).await.map(drop));
        self.note(object, Ask::Release(token), called, answer);
    }

    async fn read(&self, object: &Object) {
        let called = Instant::now();
        let answer = match self.mesh.get_lease(v1::GetLeaseRequest { name: object.name.clone() }).await {
            Ok(lease) => Some(Answer::Holder(lease.held.first().map(|holder| token(&holder.token)))),
            // Nobody has ever taken it.
            Err(error) if error.code() == Some(Code::NotFound) => Some(Answer::Holder(None)),
            Err(_) => None,
        };
        self.note(object, Ask::Read, called, answer);
    }

    /// Into the store that the lease protects, whether or not it is still held.
    fn write(&self, object: &Object, token: Token, value: u64) {
        for ask in [register::Ask::Write { value, token }, register::Ask::Read] {
            let called = Instant::now();
            let answer = object.store.do_it(&ask);
            object.register.note(self.number, ask, called, Some(answer));
        }
    }
}

/// What is known of a grant after a call: an answer that it is gone is one, no answer is none.
fn known(answer: Result<(), CallError>) -> Option<Answer> {
    match answer {
        Ok(()) => Some(Answer::Done),
        Err(error) if matches!(error.code(), Some(Code::NotFound | Code::FailedPrecondition | Code::Aborted)) => Some(Answer::Gone),
        Err(_) => None,
    }
}

fn token(text: &str) -> Token {
    let (incarnation, counter) = text.split_once('.').expect("a token has two numbers");
    (incarnation.parse().expect("a number"), counter.parse().expect("a number"))
}

fn words((incarnation, counter): Token) -> String {
    format!("{incarnation}.{counter}")
}

fn judge(scene: &Scene) -> Token {
    let mut told = Vec::new();
    let (mut unknown, mut by_time) = (0, 0);
    let mut grants = BTreeSet::new();
    for object in &scene.objects {
        let operations = object.lease.operations();
        linearizable::check::<Lease>(&operations).unwrap_or_else(|error| panic!("lease {}: {error}", object.name));
        let believed = beliefs(&operations, TTL);
        assert_eq!(overlaps(&believed), [], "two held {} at once", object.name);
        let writes = object.register.operations();
        linearizable::check::<Register>(&writes).unwrap_or_else(|error| panic!("what {} protects: {error}", object.name));
        told.push(porcupine::of_lease(&object.name, &operations));
        told.push(porcupine::of_register(&object.name, &writes));
        unknown += operations.iter().filter(|operation| operation.output.is_none()).count();
        let tokens = believed.iter().map(|belief| belief.token);
        tokens.for_each(|token| assert!(grants.insert(token), "{token:?} was given twice"));
        by_time += operations.iter().filter(|operation| operation.output == Some(Answer::Gone)).count();
    }
    porcupine::judge(&told).unwrap_or_else(|error| panic!("Porcupine says: {error}"));
    let operations = scene.operations.load(Ordering::Relaxed);
    let greatest = *grants.last().expect("a lease was had");
    let grants = grants.len();
    println!("{operations} operations, {grants} grants, {by_time} found gone, {unknown} without an answer");
    greatest
}
