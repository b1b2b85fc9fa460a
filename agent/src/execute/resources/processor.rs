//! CPU, load, pressure and network: what is told from counters and averages.

use mainstay_core::Millis;
use mainstay_core::report::{Check, Verdict};

use super::{Params, rounded, with_hint, with_history};
use crate::execute::{Context, wording};
use crate::observe::load;
use crate::observe::network::Traffic;
use crate::observe::pressure::{self, Resource};
use crate::observe::readings::Counters;

/// Fewer lost packets than this say nothing about a network, whatever share they are.
const LOST_LEAST: u64 = 10;
/// A CPU that was busy for a moment has done its work; whoever waits for one shows as pressure.
const JUDGED_LEAST: Millis = Millis(15_000);
/// Network errors are told over what the sampler remembers.
const NETWORK_WINDOW: Millis = Millis(600_000);

pub(super) fn checks(params: &Params, context: &Context, counters: Result<(&Counters, &Counters), &str>) -> Vec<Check> {
    let mut checks = vec![cpu(params, context, counters), load_average(params, context, counters)];
    checks.extend(Resource::ALL.map(|resource| pressure_on(params, context, resource)));
    if let Ok((_, now)) = counters {
        checks.extend(network(params, context, now));
    }
    checks
}

fn cpu(params: &Params, context: &Context, counters: Result<(&Counters, &Counters), &str>) -> Check {
    let (earlier, now) = match counters {
        Ok(counters) => counters,
        Err(error) => return Check::stated("cpu.used", "", Verdict::Unknown, format!("not read: {error}")),
    };
    let Some(used) = now.cpu.since(&earlier.cpu) else {
        return Check::stated("cpu.used", "", Verdict::Unknown, "the kernel's counters stand still");
    };
    let span = wording::span(Millis(now.at_ms.saturating_sub(earlier.at_ms)));
    let cores = wording::count(now.cpu.cores.into(), "core", "cores");
    let mut message = format!("{} of {cores} busy over the last {span}", wording::percent(used.busy_percent));
    if used.stolen_percent >= 1.0 {
        message += &format!("; {} taken by the hypervisor", wording::percent(used.stolen_percent));
    }
    let is_short = now.at_ms.saturating_sub(earlier.at_ms) < JUDGED_LEAST.0;
    if is_short {
        message += ", too short a time to judge";
    }
    let mut check = Check::measured("cpu.used", "", rounded(used.busy_percent), "%", params.cpu.above(85.0, 95.0), message);
    if is_short {
        check.verdict = Verdict::Ok;
    }
    with_history(with_hint(check, "top -b -n 1 -o %CPU | head -n 15"), context, "cpu")
}

fn load_average(params: &Params, context: &Context, counters: Result<(&Counters, &Counters), &str>) -> Check {
    let unknown = |error: String| Check::stated("load.perCore", "", Verdict::Unknown, format!("not read: {error}"));
    let cores = match counters {
        Ok((_, now)) => f64::from(now.cpu.cores.max(1)),
        Err(error) => return unknown(error.to_owned()),
    };
    match load::read(&context.host) {
        Err(error) => unknown(error.to_string()),
        Ok(load) => {
            let [one, five, fifteen] = [load.one, load.five, load.fifteen].map(|average| average / cores);
            let message = format!("{five:.2} per core over 5 min (1 min {one:.2}, 15 min {fifteen:.2})");
            let check = Check::measured("load.perCore", "", rounded(five), "", params.load.above(2.0, 4.0), message);
            with_history(with_hint(check, "ps -eo state,pid,comm | grep -E '^[RD]'"), context, "load")
        }
    }
}

fn pressure_on(params: &Params, context: &Context, resource: Resource) -> Check {
    let id = format!("pressure.{}", resource.as_str());
    let (thresholds, hint) = match resource {
        Resource::Cpu => (params.cpu_pressure.above(40.0, 80.0), "top -b -n 1 -o %CPU | head -n 15"),
        Resource::Memory => (params.memory_pressure.above(10.0, 40.0), "ps -eo pid,rss,comm --sort=-rss | head"),
        Resource::Io => (params.io_pressure.above(30.0, 60.0), "iostat -x 1 3"),
    };
    match pressure::read(&context.host, resource) {
        Err(error) => Check::stated(&id, "", Verdict::Unknown, format!("not read: {error}")),
        Ok(None) => {
            Check::stated(&id, "", Verdict::Skipped, "this kernel does not measure it").with_hint("boot with psi=1, on a kernel from 4.20 on")
        }
        Ok(Some(pressure)) => {
            let all = pressure.full.filter(|full| *full > 0.0).map_or_else(String::new, |full| format!(", all of it {}", wording::percent(full)));
            let message = format!("work waited {} of the last minute{all}", wording::percent(pressure.some));
            let check = Check::measured(&id, "", rounded(pressure.some), "%", thresholds, message);
            with_history(with_hint(check, hint), context, &format!("psi:{}", resource.as_str()))
        }
    }
}

fn network(params: &Params, context: &Context, now: &Counters) -> Vec<Check> {
    let earlier = context.readings.counters_within(now.at_ms, NETWORK_WINDOW);
    let interface = |(name, traffic): (&String, &Traffic)| {
        let before = earlier.as_ref().and_then(|earlier| Some((earlier.at_ms, earlier.network.get(name)?)));
        let (traffic, when) = match before {
            Some((at_ms, before)) => (traffic.since(before), format!("in the last {}", wording::span(Millis(now.at_ms - at_ms)))),
            None => (*traffic, "since boot".to_owned()),
        };
        let share = traffic.lost_percent();
        let counts = format!(
            "{}, {}, {}",
            wording::count(traffic.errors, "error", "errors"),
            wording::count(traffic.drops, "drop", "drops"),
            wording::count(traffic.packets, "packet", "packets")
        );
        let message = format!("{} of packets lost {when}: {counts}", wording::percent(share));
        let mut check = Check::measured("network.errors", name, rounded(share), "%", params.network.above(0.1, 1.0), message);
        if traffic.errors.saturating_add(traffic.drops) < LOST_LEAST {
            check.verdict = Verdict::Ok;
        }
        with_hint(check, &format!("ip -s link show {}", wording::quoted(name)))
    };
    now.network.iter().map(interface).collect()
}
