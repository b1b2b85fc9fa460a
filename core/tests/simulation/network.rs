//! The network: what is sent is lost, repeated, late, out of order, or does not get through one way for a
//! while. In the calm it is only a little late.

use crate::chance::Chance;
use crate::setting::Faults;

/// Where a message comes from or goes to, besides the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Agent(usize),
    Client(usize),
    Operator,
}

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    ToMesh(Place),
    FromMesh(Place),
    /// To the store that checks tokens.
    ToStore(Place),
}

/// What does not get through, and until when.
#[derive(Debug, Default)]
pub struct Network {
    cuts: Vec<(Way, u64)>,
}

impl Network {
    /// Cuts a place off, both ways or one way only.
    pub fn cut(&mut self, place: Place, chance: &mut Chance, until: u64) {
        let ways = [Way::ToMesh(place), Way::FromMesh(place)];
        let (from, to) = [(0, 2), (0, 1), (1, 2)][chance.place(3)];
        self.cuts.extend(ways[from..to].iter().map(|way| (*way, until)));
    }

    /// After how long each copy of a message arrives.
    pub fn delays(&mut self, way: Way, now: u64, faults: Option<Faults>, chance: &mut Chance) -> Vec<u64> {
        self.cuts.retain(|(_, until)| *until > now);
        let Some(faults) = faults else { return vec![chance.between(1, 20)] };
        let is_cut = self.cuts.iter().any(|(cut, _)| *cut == way);
        if is_cut || (faults.loss && chance.percent(8)) {
            return Vec::new();
        }
        let copies = if faults.duplicates && chance.percent(8) { 2 } else { 1 };
        let delay = |chance: &mut Chance| {
            if faults.delay && chance.percent(6) { chance.between(1_000, 12_000) } else { chance.between(1, 120) }
        };
        (0..copies).map(|_| delay(chance)).collect()
    }
}
