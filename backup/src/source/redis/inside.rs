//! What is in a server that nobody else uses: its keys by database and type, with and without an end.
//!
//! Of a replica that has lost its primary, since that removes nothing: keys whose end has come are still there, and are not
//! shown any more. So every key that was in a snapshot is accounted for.

use std::collections::BTreeMap;

use super::walk::{Keys, Tally};
use super::wire::{AskError, Wire};
use super::{Duplex, fields};

/// A page of keys, counted: the next cursor, and of each type how many keys there are and how many of them have an end.
const PAGE: &str = "
local page, kinds = redis.call('SCAN', ARGV[1], 'COUNT', 1000), {}
for _, key in ipairs(page[2]) do
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'none' then
    local seen = kinds[kind] or {0, 0}
    seen[1] = seen[1] + 1
    if redis.call('PTTL', key) ~= -1 then seen[2] = seen[2] + 1 end
    kinds[kind] = seen
  end
end
local said = {page[1]}
for kind, seen in pairs(kinds) do said[#said + 1] = kind .. ' ' .. seen[1] .. ' ' .. seen[2] end
return table.concat(said, '\\n')";

/// What `TYPE` says of types that are Redis's own.
const TYPES: [&str; 6] = ["string", "list", "set", "zset", "hash", "stream"];

/// What is in a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Inside {
    /// By database: all that it has, whether their end has come or not.
    pub all: BTreeMap<String, Keys>,
    /// Those that it shows.
    pub shown: Tally,
}

impl Inside {
    /// What another one has, too.
    pub fn merge(&mut self, other: &Inside) {
        for (database, keys) in &other.all {
            let all = self.all.entry(database.clone()).or_default();
            all.keys += keys.keys;
            all.expiring += keys.expiring;
        }
        self.shown.merge(&other.shown);
    }
}

/// A server that lets everybody in, once all of its keys are loaded.
pub(crate) struct Loaded(Wire);

impl Loaded {
    /// Refused while it loads.
    pub async fn of(socket: Box<dyn Duplex>) -> Result<Loaded, String> {
        let mut wire = Wire::new(socket);
        wire.ask(&[b"PING"]).await.map_err(|error| error.to_string())?;
        Ok(Loaded(wire))
    }

    /// Counts all that is in it.
    pub async fn count(mut self, by_type: bool) -> Result<Inside, String> {
        self.counted(by_type).await.map_err(|error| error.to_string())
    }

    async fn counted(&mut self, by_type: bool) -> Result<Inside, AskError> {
        let wire = &mut self.0;
        let all = keys(&fields(&wire.ask(&[b"INFO", b"keyspace"]).await?));
        let mut shown = Tally::default();
        for database in all.keys().filter(|_| by_type) {
            wire.ask(&[b"SELECT", database.trim_start_matches("db").as_bytes()]).await?;
            let mut cursor = "0".to_owned();
            loop {
                let said = wire.ask(&[b"EVAL", PAGE.as_bytes(), b"0", cursor.as_bytes()]).await?;
                let mut lines = said.lines();
                cursor = lines.next().unwrap_or("0").to_owned();
                for line in lines {
                    let (kind, keys) = counts(line).ok_or_else(|| AskError::Strange(line.to_owned()))?;
                    shown.add(database, kind, keys);
                }
                if cursor == "0" {
                    break;
                }
            }
        }
        Ok(Inside { all, shown })
    }
}

/// `string 3 1`
fn counts(line: &str) -> Option<(&str, Keys)> {
    let mut words = line.rsplitn(3, ' ');
    let expiring = words.next()?.parse().ok()?;
    let keys = words.next()?.parse().ok()?;
    let kind = words.next()?;
    Some((if TYPES.contains(&kind) { kind } else { "module" }, Keys { keys, expiring }))
}

/// Of `INFO keyspace`: how many keys each database has, and how many of them have an end.
pub(super) fn keys(keyspace: &BTreeMap<String, String>) -> BTreeMap<String, Keys> {
    let count = |value: &str, name: &str| value.split(',').find_map(|field| field.strip_prefix(name)?.parse::<u64>().ok());
    let read = |(name, value): (&String, &String)| {
        let keys = Keys { keys: count(value, "keys=")?, expiring: count(value, "expires=").unwrap_or_default() };
        Some((name.clone(), keys))
    };
    keyspace.iter().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_of_its_keys_is_read() {
        let said = fields("# Keyspace\r\ndb0:keys=7,expires=4,avg_ttl=0\r\ndb3:keys=1,expires=0,avg_ttl=0\r\n");
        let expected = [("db0", 7, 4), ("db3", 1, 0)].map(|(name, keys, expiring)| (name.to_owned(), Keys { keys, expiring }));
        assert_eq!(keys(&said), BTreeMap::from(expected));
        assert_eq!(counts("zset 12 3"), Some(("zset", Keys { keys: 12, expiring: 3 })));
        assert_eq!(counts("ReJSON-RL 1 0"), Some(("module", Keys { keys: 1, expiring: 0 })));
        assert_eq!(counts("zset"), None);
    }
}
