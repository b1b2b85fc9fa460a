//! What this machine knows: settings without their secrets, and the ends of logs.

use std::path::{Path, PathBuf};

use mainstay_client::files;

use super::{Bundle, clean};
use crate::contexts;
use crate::host;
use crate::up::layout::Layout;
use crate::up::record::{Record, address};

/// Where the units look for their settings.
const SERVERS: &str = "/etc/mainstay";
/// Settings are a page or two.
const SETTINGS_MAX: u64 = 1 << 20;
/// Of each log, its end.
const LOG_MAX: u64 = 256 << 10;
/// Logs of one mesh; beyond that, it is a large one on one machine.
const LOGS: usize = 20;

/// Settings files of a mesh of `mainstay up`, of a server, and of this user.
pub fn settings(local: Option<&Path>, bundle: &mut Bundle) {
    let mut all: Vec<PathBuf> = ["coordinator.toml", "agent.toml", "agent-policy.toml"].map(|name| Path::new(SERVERS).join(name)).into();
    if let Some(dir) = local {
        let layout = Layout::new(dir);
        all.extend([layout.record(), layout.policy()]);
    }
    all.extend(contexts::config_dir().map(|dir| dir.join("contexts.toml")));
    for path in all.into_iter().filter(|path| files::exists(path)) {
        let name = format!("settings/{}", path.file_name().unwrap_or_default().to_string_lossy());
        let read = files::read_text(&path, SETTINGS_MAX).map_err(|error| error.to_string()).and_then(|text| clean::settings(&text));
        match read {
            Ok(text) => bundle.text(&name, &format!("{}, without secrets and comments", path.display()), &text),
            Err(why) => bundle.leave_out(&name, &why),
        }
    }
}

/// The end of each log of a mesh of `mainstay up`. Elsewhere they are the journal's, which others may read.
pub fn logs(local: Option<&Path>, bundle: &mut Bundle) {
    let Some(dir) = local else {
        return bundle
            .leave_out("logs/", &"they are in the journals of their machines: journalctl -u mainstay-coordinator -u mainstay-agent -n 2000");
    };
    let mut all = match files::list(&Layout::new(dir).logs()) {
        Ok(all) => all,
        Err(error) => return bundle.leave_out("logs/", &error),
    };
    all.retain(|(path, _)| path.extension().is_some_and(|extension| extension == "log"));
    all.sort();
    if all.len() > LOGS {
        bundle.leave_out(&format!("{} more logs", all.split_off(LOGS).len()), &format!("{LOGS} are there"));
    }
    for (path, _) in all {
        let name = format!("logs/{}", path.file_name().unwrap_or_default().to_string_lossy());
        match host::tail(&path, LOG_MAX) {
            Ok(text) => bundle.text(&name, "the end of its log", &text),
            Err(error) => bundle.leave_out(&name, &error),
        }
    }
}

/// Where members of this machine serve their metrics, and what each is called.
pub fn metrics_addresses(local: Option<&Path>) -> Vec<(String, String)> {
    if let Some(dir) = local {
        let record = Record::load(&Layout::new(dir)).ok().flatten().unwrap_or_default();
        return record.coordinators.into_iter().map(|member| (member.name, address(member.http))).collect();
    }
    let text = files::read_text(&Path::new(SERVERS).join("coordinator.toml"), SETTINGS_MAX).unwrap_or_default();
    let table: toml::Table = toml::from_str(&text).unwrap_or_default();
    let of = |name: &str| table.get(name).and_then(toml::Value::as_str);
    let address = of("http_listen").filter(|address| *address != "none");
    address.map(|address| (of("name").unwrap_or("member").to_owned(), address.replace("0.0.0.0", "127.0.0.1"))).into_iter().collect()
}
