//! What a seed is about. Each one draws some of the faults and some of the work: what never happens together
//! with everything else is found by seeds that have little of it.

use crate::chance::Chance;
use crate::plans;

/// Which faults there are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    pub loss: bool,
    pub delay: bool,
    pub duplicates: bool,
    pub partitions: bool,
    /// A leader dies, is cut off without noticing, or stands still.
    pub leaders: bool,
    pub clock_jumps: bool,
    pub agent_crashes: bool,
    /// An agent's disk is emptied.
    pub disk_emptied: bool,
    /// An agent's disk is put back to what it was some seconds before.
    pub disk_set_back: bool,
    pub clients: bool,
    /// Members come and go.
    pub members: bool,
    /// Steps fail, hang, and do not stop when they are told to.
    pub steps: bool,
    /// Somebody pauses, aborts, undoes and retries runs.
    pub operators: bool,
}

#[derive(Debug, Clone)]
pub struct Setting {
    pub faults: Faults,
    /// Until then, in milliseconds.
    pub faults_until: u64,
    pub agents: usize,
    /// Which lease each client wants, by its place in [`crate::client::LEASES`].
    pub clients: Vec<usize>,
    /// The plan of each run, by its place in [`plans::ALL`].
    pub runs: Vec<usize>,
    /// One member is of an older version until then; nothing when all are of this one.
    pub older_until: Option<u64>,
    /// Room that is left in the state while there are faults; nothing when there is plenty.
    pub room: Option<u64>,
}

impl Setting {
    pub fn draw(chance: &mut Chance) -> Setting {
        let mut some = |of_hundred| chance.percent(of_hundred);
        let faults = Faults {
            loss: some(60),
            delay: some(60),
            duplicates: some(60),
            partitions: some(40),
            leaders: some(75),
            clock_jumps: some(40),
            agent_crashes: some(60),
            disk_emptied: some(30),
            disk_set_back: some(20),
            clients: some(60),
            members: some(25),
            steps: some(60),
            operators: some(50),
        };
        let faults_until = chance.between(12_000, 40_000);
        // Leases and runs hardly meet: most seeds have much of one and little of the other.
        let (most_clients, most_runs) = [(6, 1), (2, 4), (3, 3)][chance.place(3)];
        let kinds = chance.between(1, 3) as usize;
        let wanted: Vec<usize> = (0..kinds).map(|_| chance.place(crate::client::LEASES.len())).collect();
        let clients = (0..chance.between(1, most_clients + 1)).map(|_| wanted[chance.place(kinds)]).collect();
        let runs = (0..chance.between(0, most_runs + 1)).map(|_| chance.place(plans::ALL.len())).collect();
        Setting {
            faults,
            faults_until,
            agents: chance.between(1, 5) as usize,
            clients,
            runs,
            older_until: chance.percent(8).then(|| chance.between(2_000, faults_until)),
            room: chance.percent(8).then(|| chance.between(3_000, 40_000)),
        }
    }
}
