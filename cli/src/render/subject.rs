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
        other => return (in_words(other), of),
    };
    (noun.to_owned(), of)
}

/// Subject and message as one sentence: `disk /var is 96 % full, 1.1 GiB left`.
#[must_use]
pub fn sentence(check: &Check) -> String {
    let (subject, message) = (subject(check), check.message.as_str());
    let starts_with_digit = message.starts_with(|c: char| c.is_ascii_digit());
    let link = match check.id.as_str() {
        "disk.used" if starts_with_digit => " is ",
        "disk.readOnly" => " is ",
        "service" if message.starts_with("not running") || message.starts_with("running") => " is ",
        "tls.daysLeft" if ["ends ", "expired ", "not valid "].iter().any(|word| message.starts_with(word)) => " ",
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
            (check("certRotation.daysLeft", "x", ""), "cert rotation days left x"),
        ];
        for (check, text) in cases {
            assert_eq!(sentence(&check), text);
        }
    }
}
