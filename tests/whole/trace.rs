//! What happens in a simulation: what the programs log, and a number in which everything counts, down to each byte that
//! goes over the network.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber, span};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use crate::{clock, watch};

/// Lines that are kept for whoever looks at a seed that failed.
const LINES: usize = 80;

#[derive(Default)]
struct Trace {
    sum: u64,
    lines: VecDeque<String>,
    all: bool,
}

thread_local! {
    static TRACE: RefCell<Trace> = RefCell::default();
    static MACHINE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// FNV-1a, which is quick and tells what differs.
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3))
}

/// Takes numbers into the sum.
pub fn count(numbers: &[u64]) {
    TRACE.with_borrow_mut(|trace| {
        for number in numbers {
            trace.sum = (trace.sum ^ number).wrapping_mul(0x0100_0000_01B3).rotate_left(29);
        }
    });
}

/// Everything so far, as one number.
pub fn sum() -> u64 {
    TRACE.with_borrow(|trace| trace.sum)
}

/// The machine that is being run.
pub fn machine() -> Option<String> {
    MACHINE.with_borrow(Clone::clone)
}

/// A machine is being run.
pub fn enter(machine: &str) {
    MACHINE.set(Some(machine.to_owned()));
}

/// No machine is being run.
pub fn no_machine() {
    MACHINE.set(None);
}

/// The last lines.
pub fn last_lines() -> String {
    TRACE.with_borrow(|trace| trace.lines.iter().cloned().collect::<Vec<_>>().join("\n"))
}

/// Adds a line of somebody.
pub fn line(who: &str, text: &str) {
    let line = format!("{:>8.3} s  {who:<3} {text}", clock::elapsed().as_secs_f64());
    count(&[hash(line.as_bytes())]);
    TRACE.with_borrow_mut(|trace| {
        if trace.all {
            println!("{line} [{:016x}]", trace.sum);
        }
        if trace.lines.len() == LINES {
            trace.lines.pop_front();
        }
        trace.lines.push_back(line);
    });
}

/// From here on, what programs of this process log is traced; `all` prints it as it comes.
pub fn begin(all: bool) {
    TRACE.with_borrow_mut(|trace| trace.all = all);
    let filter = tracing_subscriber::EnvFilter::new(
        std::env::var("MAINSTAY_LOG")
            .unwrap_or_else(|_| "off,mainstay=info,mainstay_agent::link=debug,mainstay_coordinator::formation=debug,turmoil=info".to_owned()),
    );
    let layers = tracing_subscriber::registry().with(filter).with(Lines);
    tracing::subscriber::set_global_default(layers).expect("a process simulates once");
}

struct Lines;

/// The name of the machine that is being run.
struct Machine(String);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        if attributes.metadata().name() == "node"
            && let Some(span) = context.span(id)
        {
            let mut said = Said::default();
            attributes.record(&mut said);
            span.extensions_mut()
                .insert(Machine(said.fields.into_iter().find(|(name, _)| *name == "name").map(|(_, value)| value).unwrap_or_default()));
        }
    }

    fn on_enter(&self, id: &span::Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(Machine(name)) = span.extensions().get::<Machine>()
        {
            MACHINE.set(Some(name.clone()));
        }
    }

    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut said = Said::default();
        event.record(&mut said);
        let machine = machine().unwrap_or_default();
        let mut text = format!("{} {}", event.metadata().level(), event.metadata().target());
        for (name, value) in &said.fields {
            let _ = if *name == "message" { write!(text, " {value}") } else { write!(text, " {name}={value}") };
        }
        line(&machine, &text);
        watch::logged(&machine, event.metadata(), &said.fields);
    }
}

/// What an event says.
#[derive(Default)]
struct Said {
    fields: Vec<(&'static str, String)>,
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.push((field.name(), value.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.fields.push((field.name(), format!("{value:?}")));
    }
}
