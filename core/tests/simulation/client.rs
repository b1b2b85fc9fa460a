//! Lease clients, and what they believe by their own clocks.

use mainstay_core::state::lease::{Holder, LeaseKind, LeaseSpec};
use mainstay_core::time::Millis;
use mainstay_core::{Command, Token};

use crate::world::{Event, From, World};

/// Name, slots and TTL of each lease; no TTL for a claim.
const LEASES: [(&str, u32, Option<u64>); 3] = [("demo", 1, Some(4_000)), ("pool", 2, Some(3_000)), ("node/c/n0", 1, None)];
/// Which lease each client wants.
const WANTS: [usize; 8] = [0, 0, 0, 1, 1, 1, 2, 2];

#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Granted(Token),
    Renewed(Token),
    NotHeld(Token),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Belief {
    Nothing,
    /// Holds it until then, by its own clock; renews meanwhile, and gives it back at `enough`.
    Holds {
        token: Token,
        until: u64,
        enough: u64,
    },
}

pub struct Client {
    pub name: String,
    pub lease: &'static str,
    ttl: Option<u64>,
    /// (process, attempt at the lease): answers to an earlier one are not waited for any more. Each is a holder
    /// of its own: a release that comes late must not end what was acquired after it.
    session: (u64, u64),
    belief: Belief,
    paused_until: u64,
    cut_until: u64,
    /// How often it had the lease since the faults ended.
    pub calm_grants: u32,
}

pub fn all() -> Vec<Client> {
    let client = |(index, want): (usize, &usize)| {
        let (lease, _, ttl) = LEASES[*want];
        Client {
            name: format!("client-{index}"),
            lease,
            ttl,
            session: (0, 0),
            belief: Belief::Nothing,
            paused_until: 0,
            cut_until: 0,
            calm_grants: 0,
        }
    };
    WANTS.iter().enumerate().map(client).collect()
}

/// The promise of a lease. Whether the client is paused or cut off does not matter: it counts what it would
/// believe if it looked at its clock now.
pub fn at_most_as_many_as_slots(world: &World) {
    for (lease, slots, _) in LEASES {
        let believers: Vec<&str> =
            world.clients.iter().filter(|client| client.lease == lease && client.believes(world.now)).map(|client| client.name.as_str()).collect();
        assert!(believers.len() <= slots as usize, "at {} ms {believers:?} hold {lease}, which has {slots} slots", world.now);
    }
}

impl Client {
    pub fn holder(&self) -> Holder {
        self.holder_of(self.session)
    }

    pub fn holder_of(&self, session: (u64, u64)) -> Holder {
        let identity = format!("client/{}", self.name).parse().unwrap();
        Holder { identity, incarnation: format!("p{}-{}", session.0, session.1), attributes: Default::default(), takes_over: self.ttl.is_none() }
    }

    fn believes(&self, now: u64) -> bool {
        matches!(self.belief, Belief::Holds { until, .. } if now < until)
    }

    /// From the time at which the request was sent.
    fn until(&self, sent: u64) -> u64 {
        self.ttl.map_or(u64::MAX, |ttl| sent + ttl)
    }
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
        let (lease, ttl, holder) = (client.lease, client.ttl, client.holder());
        match client.belief {
            Belief::Holds { token, until, enough } if now < until && now < enough => {
                self.client_send(index, Event::Renew { from: From::Client { index, session, sent: now }, lease, token });
                let next = ttl.unwrap_or(2_000) / 3;
                self.after(next, event);
            }
            Belief::Holds { token, until, .. } => {
                // Lost by its own clock, or enough: it stops first, then says so.
                client.belief = Belief::Nothing;
                client.session.1 += 1;
                let session = client.session;
                if now < until {
                    let release = Command::ReleaseLease { name: lease.parse().unwrap(), holder, token: Some(token) };
                    for _ in 0..3 {
                        self.client_send(
                            index,
                            Event::Arrive { from: From::Client { index, session, sent: now }, key: None, command: Box::new(release.clone()) },
                        );
                    }
                }
                let pause = self.chance.between(100, 3_000);
                self.after(pause, Event::ClientTick { index, session });
            }
            Belief::Nothing => {
                let (_, slots, ttl) = LEASES.into_iter().find(|(name, ..)| *name == lease).unwrap();
                let spec =
                    LeaseSpec { slots, ttl: Millis(ttl.unwrap_or(4_000)), kind: if ttl.is_some() { LeaseKind::Ttl } else { LeaseKind::Claim } };
                let acquire = Command::AcquireLease { name: lease.parse().unwrap(), spec: Some(spec), holder, wait: true };
                self.client_send(index, Event::Arrive { from: From::Client { index, session, sent: now }, key: None, command: Box::new(acquire) });
                self.after(700, event);
            }
        }
    }

    fn client_send(&mut self, index: usize, event: Event) {
        if self.clients[index].cut_until <= self.now {
            self.send(event);
        }
    }

    pub fn client_answer(&mut self, index: usize, session: (u64, u64), sent: u64, answer: &Answer) {
        let (now, calm) = (self.now, self.calm());
        if self.clients[index].cut_until > now {
            return;
        }
        let enough = now + self.chance.between(1_000, 9_000);
        let event = Event::ClientAnswer { index, session, sent, answer: answer.clone() };
        let Some(client) = self.client(index, session, &event) else { return };
        let until = client.until(sent);
        match (client.belief, answer) {
            (Belief::Nothing, Answer::Granted(token)) if now < until => {
                client.belief = Belief::Holds { token: *token, until, enough };
                client.calm_grants += u32::from(calm);
            }
            (Belief::Holds { token, until: before, enough }, Answer::Granted(same) | Answer::Renewed(same)) if token == *same && now < before => {
                client.belief = Belief::Holds { token, until: before.max(until), enough };
            }
            // A claim that was taken over, or a lease that ended.
            (Belief::Holds { token, .. }, Answer::NotHeld(same)) if token == *same => {
                client.belief = Belief::Nothing;
                client.session.1 += 1;
                let session = client.session;
                self.after(100, Event::ClientTick { index, session });
            }
            _ => {}
        }
    }

    /// The process dies, stands still, or is cut off.
    pub fn client_fault(&mut self, index: usize) {
        let (kind, long) = (self.chance.between(0, 3), self.chance.between(500, 12_000));
        let now = self.now;
        let client = &mut self.clients[index];
        match kind {
            0 => {
                client.session = (client.session.0 + 1, 0);
                client.belief = Belief::Nothing;
                let session = client.session;
                self.after(long / 4, Event::ClientTick { index, session });
            }
            1 => client.paused_until = now + long,
            _ => client.cut_until = now + long,
        }
        self.fault_later(Event::ClientFault { index }, 20_000);
    }
}
