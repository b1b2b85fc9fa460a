//! What a check is about, in words: from its id and subject.

use mainstay_proto::v1::Check;

/// The subject alone: `disk /var`, `certificate /etc/ssl/site.pem`, `CPU`.
#[must_use]
pub fn subject(check: &Check) -> String {
    let (noun, of) = parts(check);
    if noun.is_empty() || of.is_empty() { format!("{noun}{of}") } else { format!("{noun} {of}") }
}

/// The noun, and what it is of; either may be empty.
#[must_use]
pub fn parts(check: &Check) -> (String, &str) {
    let of = check.subject.as_str();
    let noun = match check.id.as_str() {
        "cpu.used" => "CPU",
        "memory.used" => "memory",
        "swap.used" => "swap",
        "load.perCore" => "load",
        "pressure.cpu" => "CPU pressure",
        "pressure.memory" => "memory pressure",
        "pressure.io" => "I/O pressure",
        "disk.used" => "disk",
        "disk.inodes" => "inodes",
        "disk.readOnly" if of.is_empty() => "writable disks",
        "disk.readOnly" => "disk",
        "volume.used" if of.is_empty() => "volumes",
        "volume.used" => "volume",
        "volume.inodes" => "inodes of",
        "network.errors" => "network",
        "kernel.outOfMemory" => "out of memory",
        "kernel.diskErrors" => "disk errors",
        "kernel.readOnly" => "read-only remounts",
        "kernel.hungTasks" => "hung tasks",
        "kernel.hardware" => "hardware errors",
        "uptime" => "uptime",
        "service" => "service",
        "service.failedUnits" => "services",
        "logs.errors" | "logs.readable" if of.is_empty() => "logs",
        "logs.errors" | "logs.readable" => "log",
        "tls.daysLeft" if of.is_empty() => "certificates",
        "tls.daysLeft" => "certificate",
        "tls.chain" => "TLS",
        "http" if !of.is_empty() => "",
        "kube.workloads" => "workloads",
        // Its kind is in its name.
        id if id.starts_with("kube.") && !of.is_empty() => "",
        "http.daysLeft" => "certificate of",
        id => match server_noun(id, !of.is_empty()) {
            Some(noun) => noun,
            None => return (in_words(id), of),
        },
    };
    (noun.to_owned(), of)
}

/// What is looked at in a server: alone, and in front of what it is of.
fn server_noun(id: &str, of: bool) -> Option<&'static str> {
    let (alone, before) = match id {
        "postgres.reachable" => ("PostgreSQL", "PostgreSQL"),
        "postgres.version" => ("PostgreSQL version", "PostgreSQL version"),
        "postgres.connections" => ("PostgreSQL connections", "connections of"),
        "postgres.longTransactions" => ("oldest transaction", "oldest transaction of"),
        "postgres.preparedTransactions" => ("prepared transactions", "prepared transactions of"),
        "postgres.transactionAge" => ("transaction ids", "transaction ids of"),
        "postgres.multixactAge" => ("multixact ids", "multixact ids of"),
        "postgres.size" => ("size of databases", "size of"),
        "postgres.deadTuples" => ("dead rows", "dead rows in"),
        "postgres.bloat" => ("bloat", "bloat in"),
        "postgres.archive" => ("WAL archive", "WAL archive"),
        "postgres.replication.standbys" => ("standbys", "standbys of"),
        "postgres.replication.slot" => ("replication slots", "replication slot"),
        "postgres.replication.receiver" => ("link to the primary", "link to"),
        "postgres.replication.replay" => ("replay", "replay of"),
        "postgres.replication.lag" | "postgres.replication.lagBytes" => ("replication lag", "standby"),
        "redis.ping" | "redis.info" => ("Redis", "Redis"),
        "redis.version" => ("Redis version", "Redis version"),
        "redis.memory" => ("Redis memory", "Redis memory"),
        "redis.fragmentation" => ("Redis memory fragmentation", "Redis memory fragmentation"),
        "redis.evictions" => ("Redis evictions", "Redis evictions"),
        "redis.clients" => ("Redis clients", "Redis clients"),
        "redis.clients.blocked" => ("blocked Redis clients", "blocked Redis clients"),
        "redis.clients.rejected" => ("rejected Redis clients", "rejected Redis clients"),
        "redis.replication.replicas" => ("Redis replicas", "Redis replicas of"),
        "redis.replication.link" => ("Redis replication", "Redis replica"),
        "redis.replication.lag" | "redis.replication.lagBytes" => ("Redis replication lag", "Redis replica"),
        "redis.persistence.snapshot" => ("Redis snapshot", "Redis snapshot"),
        "redis.persistence.age" => ("age of the Redis snapshot", "age of the Redis snapshot"),
        "redis.persistence.appendOnly" => ("Redis append-only file", "Redis append-only file"),
        "redis.persistence.loading" => ("Redis", "Redis"),
        "prometheus.reachable" => ("Prometheus", "Prometheus"),
        "prometheus.up" => ("scraped targets", "target"),
        "prometheus.query" => ("Prometheus query", ""),
        "backup.made" => ("backup", "backup"),
        "backup.dryRun" => ("backup", "backup"),
        "backup.signed" => ("signatures", "signatures in"),
        "backup.store" => ("store", "store"),
        "backup.keys" => ("keys", "keys of"),
        "backup.mesh" => ("what is in the newest backup", "what is in"),
        "backup.age" => ("age of the newest backup", "age of"),
        "backup.size" => ("size of the newest backup", "size of"),
        "backup.damaged" | "backup.vanished" | "backup.content" | "backup.pruned" => ("backup", "backup"),
        "restore.done" => ("restored backup", "backup"),
        "restore.dryRun" => ("backup", "backup"),
        "restore.rto" => ("time to recover", "time to recover"),
        "restore.rpo" => ("what is lost", "what is lost"),
        "drill.restored" => ("drill", "drill of"),
        "drill.rto" => ("time to recover", "time to recover"),
        "drill.rpo" => ("what would be lost", "what would be lost"),
        "backup.retention" => ("backups", "backups of"),
        "prometheus.query.series" => ("number of series", "series of"),
        "prometheus.query.warnings" => ("warnings of Prometheus", "warnings of Prometheus about"),
        "prometheus.query.lint" => ("the query", "the query"),
        _ => return None,
    };
    Some(if of { before } else { alone })
}

/// Subject and message as one sentence: `disk /var is 96 % full, 1.1 GiB left`.
#[must_use]
pub fn sentence(check: &Check) -> String {
    let (subject, message) = (subject(check), check.message.as_str());
    let starts_with_digit = message.starts_with(|c: char| c.is_ascii_digit());
    let link = match check.id.as_str() {
        "disk.used" | "volume.used" if starts_with_digit && !check.subject.is_empty() => " is ",
        "disk.readOnly" => " is ",
        "prometheus.up" if message.starts_with("down") || message.starts_with("up") => " is ",
        "service" if message.starts_with("not running") || message.starts_with("running") => " is ",
        "tls.daysLeft" | "http.daysLeft" if ["ends ", "expired ", "not valid "].iter().any(|word| message.starts_with(word)) => " ",
        // The message names what happened, and how often.
        id if id.starts_with("kernel.") && starts_with_digit => return message.to_owned(),
        _ => ": ",
    };
    if message.is_empty() { subject } else { format!("{subject}{link}{message}") }
}

/// `certRotation.daysLeft` is `cert rotation days left`.
fn in_words(id: &str) -> String {
    let mut words = String::new();
    for c in id.chars() {
        match c {
            '.' | '_' | '-' => words.push(' '),
            c if c.is_ascii_uppercase() => {
                words.push(' ');
                words.push(c.to_ascii_lowercase());
            }
            c => words.push(c),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(id: &str, of: &str, message: &str) -> Check {
        Check { id: id.into(), subject: of.into(), message: message.into(), ..Check::default() }
    }

    #[test]
    fn sentences_read_like_sentences() {
        let cases = [
            (check("disk.used", "/var", "96 % full, 1.1 GiB left"), "disk /var is 96 % full, 1.1 GiB left"),
            (check("disk.used", "/mnt", "does not answer; nfs of nas:/x hangs"), "disk /mnt: does not answer; nfs of nas:/x hangs"),
            (check("disk.inodes", "/var", "12 % of inodes used"), "inodes /var: 12 % of inodes used"),
            (
                check("volume.used", "shop/PersistentVolumeClaim/data", "96 % full, 1.1 GiB left"),
                "volume shop/PersistentVolumeClaim/data is 96 % full, 1.1 GiB left",
            ),
            (check("volume.used", "", "2 volumes of pods"), "volumes: 2 volumes of pods"),
            (
                check("tls.daysLeft", "/etc/ssl/site.pem", "ends in 12 days, on 2026-01-01 (site)"),
                "certificate /etc/ssl/site.pem ends in 12 days, on 2026-01-01 (site)",
            ),
            (check("service", "nginx", "not running: no process `nginx`"), "service nginx is not running: no process `nginx`"),
            (check("service", "nginx", "failed: A web server"), "service nginx: failed: A web server"),
            (
                check("kernel.outOfMemory", "", "2 processes killed for want of memory in the last 24h"),
                "2 processes killed for want of memory in the last 24h",
            ),
            (check("kernel.outOfMemory", "", "none in the last 24h"), "out of memory: none in the last 24h"),
            (check("http", "https://shop.example/health", "HTTP 503 in 4 ms"), "https://shop.example/health: HTTP 503 in 4 ms"),
            (check("logs.errors", "", "no log files in the usual places"), "logs: no log files in the usual places"),
            (check("postgres.reachable", "", "no answer within 10s"), "PostgreSQL: no answer within 10s"),
            (check("postgres.replication.lag", "walreceiver", "42 s behind"), "standby walreceiver: 42 s behind"),
            (check("postgres.deadTuples", "orders", "31 % of public.items"), "dead rows in orders: 31 % of public.items"),
            (check("redis.persistence.snapshot", "", "the last snapshot failed (err)"), "Redis snapshot: the last snapshot failed (err)"),
            (check("prometheus.up", "node web:9100", "down"), "target node web:9100 is down"),
            (check("prometheus.query", "error ratio", "4 %"), "error ratio: 4 %"),
            (check("http.daysLeft", "shop.example:443", "ends in 3 days"), "certificate of shop.example:443 ends in 3 days"),
            (check("certRotation.daysLeft", "x", ""), "cert rotation days left x"),
        ];
        for (check, text) in cases {
            assert_eq!(sentence(&check), text);
        }
    }
}
