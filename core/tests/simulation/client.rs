//! Lease clients, and what they believe by their own clocks. As the client library does it: a lease counts
//! from before its request was sent, and its holder stops a tenth of the TTL early.

use mainstay_core::state::lease::{Holder, LeaseKind, LeaseSpec};
use mainstay_core::time::Millis;
use mainstay_core::{Command, LeaseName, Token};

use crate::chance::Chance;
use crate::clock::Monotonic;
use crate::invariants::Deed;
use crate::network::{Place, Way};
use crate::world::{Event, From, World};

/// A lease that clients want.
pub struct Wanted {
    pub name: &'static str,
    /// Nothing where the client takes it as it is defined.
    spec: Option<LeaseSpec>,
    pub slots: u32,
    is_claim: bool,
}

const fn ttl(name: &'static str, slots: u32, ttl: u64) -> Wanted {
    Wanted { name, spec: Some(LeaseSpec { slots, ttl: Millis(ttl), kind: LeaseKind::Ttl }), slots, is_claim: false }
}

pub const LEASES: [Wanted; 5] = [
    ttl("demo", 1, 4_000),
    ttl("pool", 2, 3_000),
    ttl("short", 1, 2_000),
    Wanted { name: "node/c/n0", spec: Some(LeaseSpec { slots: 1, ttl: Millis(4_000), kind: LeaseKind::Claim }), slots: 1, is_claim: true },
    // The same that a plan's steps want.
    Wanted { name: "deploy/shop", spec: None, slots: 1, is_claim: false },
];

#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// No TTL: a claim.
    Granted {
        token: Token,
        ttl: Option<u64>,
    },
    Renewed(Token),
    NotHeld(Token),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Belief {
    Nothing,
    /// Holds it until then, by its own clock; renews meanwhile, and gives it back at `enough`.
    Holds {
        token: Token,
        ttl: Option<u64>,
        until: u64,
        enough: u64,
    },
}

pub struct Client {
    pub name: String,
    pub wanted: &'static Wanted,
    clock: Monotonic,
    /// (process, attempt at the lease): answers to an earlier one are not waited for any more. Each is a holder
    /// of its own: a release that comes late must not end what was acquired after it.
    session: (u64, u64),
    belief: Belief,
    paused_until: u64,
    /// Whether it has had the lease since the faults ended.
    had_it: bool,
}

pub fn all(wants: &[usize], chance: &mut Chance) -> Vec<Client> {
    let client = |(index, want): (usize, &usize)| Client {
        name: format!("client-{index}"),
        wanted: &LEASES[*want],
        clock: Monotonic::draw(chance),
        session: (0, 0),
        belief: Belief::Nothing,
        paused_until: 0,
        had_it: false,
    };
    wants.iter().enumerate().map(client).collect()
}

impl Client {
    pub fn holder(&self) -> Holder {
        self.holder_of(self.session)
    }

    pub fn holder_of(&self, session: (u64, u64)) -> Holder {
        let identity = format!("client/{}", self.name).parse().unwrap();
        Holder { identity, incarnation: format!("p{}-{}", session.0, session.1), attributes: Default::default(), takes_over: self.wanted.is_claim }
    }

    /// The grant that it believes in if it looks at its clock now. Whether it is paused or cut off does not matter.
    pub fn believes(&self, now: u64) -> Option<Token> {
        match self.belief {
            Belief::Holds { token, until, .. } if self.clock.at(now) < until => Some(token),
            _ => None,
        }
    }

    pub fn has_had_it(&self) -> bool {
        self.had_it
    }
}

/// How long a holder is sure, from the time at which its request was sent.
fn end(sent: u64, ttl: Option<u64>) -> u64 {
    ttl.map_or(u64::MAX, |ttl| sent + ttl - ttl / 10)
}

impl World {
    /// The client, if it is the process and the session meant; later, if it is paused.
    fn client(&mut self, index: usize, session: (u64, u64), event: &Event) -> Option<&mut Client> {
        let client = &self.clients[index];
        if client.session != session {
            return None;
        }
        if client.paused_until > self.now {
            self.after(client.paused_until - self.now, event.clone());
            return None;
        }
        Some(&mut self.clients[index])
    }

    pub fn client_tick(&mut self, index: usize, session: (u64, u64)) {
        let (now, event) = (self.now, Event::ClientTick { index, session });
        let Some(client) = self.client(index, session, &event) else { return };
        let (wanted, holder, clock) = (client.wanted, client.holder(), client.clock.at(now));
        let place = Place::Client(index);
        match client.belief {
            Belief::Holds { token, until, enough, ttl } if clock < until && clock < enough => {
                self.client_writes(index, token);
                let renew = Event::Renew { from: From::Client { index, session, sent: clock }, lease: wanted.name, token };
                self.send(Way::ToMesh(place), renew);
                self.after(ttl.unwrap_or(3_000) / 3, event);
            }
            Belief::Holds { token, until, .. } => {
                // Lost by its own clock, or enough: it stops first, then says so.
                client.belief = Belief::Nothing;
                client.session.1 += 1;
                let next = client.session;
                if clock < until {
                    for _ in 0..2 {
                        let release = Command::ReleaseLease { name: wanted.name.parse().unwrap(), holder: holder.clone(), token: Some(token) };
                        self.ask(place, From::Client { index, session, sent: clock }, release);
                    }
                } else {
                    self.did(Deed::LeaseLost { client: index, token });
                }
                let pause = self.chance.between(100, 2_000);
                self.after(pause, Event::ClientTick { index, session: next });
            }
            Belief::Nothing => {
                let name: LeaseName = wanted.name.parse().unwrap();
                let acquire = Command::AcquireLease { name, spec: wanted.spec, holder, wait: true };
                self.ask(place, From::Client { index, session, sent: clock }, acquire);
                self.after(700, event);
            }
        }
    }

    /// A holder writes what its lease protects. Between its look at the clock and the write it may stand still.
    fn client_writes(&mut self, index: usize, token: Token) {
        let wanted = self.clients[index].wanted;
        if wanted.slots == 1 {
            let pause = if self.strikes(|faults| faults.clients, 10) { self.chance.between(500, 9_000) } else { 1 };
            let write = Event::Write { lease: wanted.name, token };
            let delays = self.network.delays(Way::ToStore(Place::Client(index)), self.now, self.faults(), &mut self.chance);
            for delay in delays {
                self.after(pause + delay, write.clone());
            }
        }
    }

    pub fn client_answer(&mut self, index: usize, session: (u64, u64), sent: u64, answer: &Answer) {
        let (now, calm) = (self.now, self.calm());
        let last = self.chance.between(800, 6_000);
        let event = Event::ClientAnswer { index, session, sent, answer: answer.clone() };
        let Some(client) = self.client(index, session, &event) else { return };
        let clock = client.clock.at(now);
        match (client.belief, answer) {
            (Belief::Nothing, Answer::Granted { token, ttl }) if clock < end(sent, *ttl) => {
                client.belief = Belief::Holds { token: *token, ttl: *ttl, until: end(sent, *ttl), enough: clock + last };
                client.had_it |= calm;
                let token = *token;
                self.did(Deed::LeaseHad { token });
            }
            (Belief::Holds { token, ttl, until, enough }, Answer::Granted { token: same, .. } | Answer::Renewed(same))
                if token == *same && clock < until =>
            {
                client.belief = Belief::Holds { token, ttl, until: until.max(end(sent, ttl)), enough };
            }
            // A claim that was taken over, or a lease that ended.
            (Belief::Holds { token, .. }, Answer::NotHeld(same)) if token == *same => {
                client.belief = Belief::Nothing;
                client.session.1 += 1;
                let session = client.session;
                self.did(Deed::LeaseLost { client: index, token });
                self.after(100, Event::ClientTick { index, session });
            }
            _ => {}
        }
    }

    /// The process dies, or stands still.
    pub fn client_fault(&mut self, index: usize) {
        let (dies, long) = (self.chance.percent(50), self.chance.between(500, 12_000));
        let now = self.now;
        let client = &mut self.clients[index];
        if dies {
            client.session = (client.session.0 + 1, 0);
            client.belief = Belief::Nothing;
            let session = client.session;
            self.after(long / 4, Event::ClientTick { index, session });
        } else {
            client.paused_until = now + long;
        }
        self.trace.line(now, || format!("!   client {index} {} for {long} ms", if dies { "dies" } else { "stands still" }));
        self.fault_later(true, Event::ClientFault { index }, 15_000);
    }
}
