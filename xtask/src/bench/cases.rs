//! What is measured: pieces of work, the servers that do each, and what we want of them. A new case is one line here.

/// One kind of load.
pub struct Work {
    pub name: &'static str,
    /// What the client speaks; the upstream speaks OpenAI's format.
    pub format: &'static str,
    /// Size of a request's body.
    pub bytes: usize,
    /// A stream of so many chunks; a complete answer of 1 KB without.
    pub chunks: Option<usize>,
    pub connections: usize,
    /// In a full run, so many that the measured process is busy for about a second: its CPU time is known to 10 ms.
    pub requests: usize,
    /// The first is the floor. Ratios are to it.
    pub cases: &'static [Case],
}

/// One server's part in it.
pub struct Case {
    pub server: Server,
    /// Most CPU time that we want, as a ratio to the floor.
    pub aim: Option<f64>,
}

pub enum Server {
    /// Parses and writes JSON in both directions.
    Floor,
    /// The same program, which lets bytes pass.
    PassThrough,
    Gateway(&'static Setup),
}

/// A gateway's configuration.
pub struct Setup {
    pub name: &'static str,
    pub log: &'static str,
    pub extensions: &'static [Entry],
    /// So many race for each request, all of them the upstream under other names. Without any, it is asked directly.
    pub racers: usize,
}

/// One extension of it.
pub struct Entry {
    pub name: &'static str,
    pub source: Source,
    /// Its settings, as YAML.
    pub config: &'static str,
}

pub enum Source {
    Extension,
    /// A fixture of this name. Under another name it is a copy, for what is wanted more than once.
    Fixture(&'static str),
}

impl Server {
    pub fn name(&self) -> &'static str {
        match self {
            Server::Floor => "floor: parse and write JSON",
            Server::PassThrough => "floor: pass-through",
            Server::Gateway(setup) => setup.name,
        }
    }
}

// === the extensions ===

const OPENAI: Entry = extension("openai-api");
const ANTHROPIC: Entry = extension("anthropic-api");
const ROUTING: Entry = extension("routing");
/// The limits are never reached: what is measured is that they are looked at.
const METERS: Entry = fixture("meters", "meters", "{limit: 1000000000}");
const GOVERNS: Entry = fixture("governs", "governs", "{keys: [bench-key-with-enough-characters], limit: 1000000000}");
/// As in `configs/cortex.yaml`: with a limit of tokens, for which the gateway counts what is in the conversation.
const APIKEYS: Entry = Entry {
    config: "{api_keys: [{key: bench-key-with-enough-characters, name: bench, denied_models: [\"o1-*\"], rate_limit_rpm: 1000000000, rate_limit_tpm: 1000000000, max_parallel_requests: 100000}]}",
    ..extension("apikeys")
};
const APIKEYS_WITHOUT_TOKENS: Entry = Entry {
    config: "{api_keys: [{key: bench-key-with-enough-characters, name: bench, denied_models: [\"o1-*\"], rate_limit_rpm: 1000000000, max_parallel_requests: 100000}]}",
    ..extension("apikeys")
};
const USAGE: Entry = extension("usage");
const REDACTS: Entry = fixture("redacts", "redacts", "{}");

const fn extension(name: &'static str) -> Entry {
    Entry { name, source: Source::Extension, config: "{}" }
}

const fn fixture(name: &'static str, of: &'static str, config: &'static str) -> Entry {
    Entry { name, source: Source::Fixture(of), config }
}

const fn reads(name: &'static str) -> Entry {
    fixture(name, "reads", "{}")
}

const fn passes(name: &'static str) -> Entry {
    fixture(name, "passes", "{}")
}

// === the gateways ===

const fn setup(name: &'static str, extensions: &'static [Entry]) -> Setup {
    Setup { name, log: "info", extensions, racers: 0 }
}

const fn race(name: &'static str, racers: usize) -> Setup {
    Setup { racers, ..setup(name, &[OPENAI]) }
}

static DIALECT: Setup = setup("dialect only", &[OPENAI]);
static QUIET: Setup = Setup { log: "warn", ..setup("dialect only, no request log", &[OPENAI]) };
static WITH_ROUTING: Setup = setup("dialect, `routing`", &[OPENAI, ROUTING]);
static WITH_METERS: Setup = setup("dialect, `meters`", &[OPENAI, METERS]);
static WITH_GOVERNS: Setup = setup("dialect, `governs`", &[OPENAI, GOVERNS]);
static ONE_HOOK: Setup = setup("dialect, `reads`", &[OPENAI, reads("reads")]);
static FIVE_HOOKS: Setup =
    setup("dialect, 5 x `reads`", &[OPENAI, reads("reads"), reads("reads-2"), reads("reads-3"), reads("reads-4"), reads("reads-5")]);
static ONE_FILTER: Setup = setup("dialect, `passes`", &[OPENAI, passes("passes")]);
static FIVE_FILTERS: Setup = setup(
    "dialect, 5 x `passes`",
    &[OPENAI, passes("passes"), passes("passes-2"), passes("passes-3"), passes("passes-4"), passes("passes-5")],
);
static WITH_REDACTS: Setup = setup("dialect, `redacts`", &[OPENAI, REDACTS]);
/// Each racer sends a request of its own to the same upstream; the first that answers wins.
static RACE_OF_1: Setup = race("dialect, race of 1", 1);
static RACE_OF_2: Setup = race("dialect, race of 2", 2);
static RACE_OF_4: Setup = race("dialect, race of 4", 4);
static WITH_APIKEYS: Setup = setup("dialect, `apikeys`", &[OPENAI, APIKEYS]);
static WITH_USAGE: Setup = setup("dialect, `usage`", &[OPENAI, USAGE]);
/// Both dialects, and in the place of keys, limits and ledger fixtures that do a little of their work.
static FIXTURES: Setup = setup("5 extensions, of them two fixtures", &[OPENAI, ANTHROPIC, ROUTING, GOVERNS, METERS]);
/// Cortex: keys with limits of requests, tokens and parallel requests, aliases, and a ledger on a disk.
static GOVERNED: Setup = setup("governed (5 extensions)", &[OPENAI, ANTHROPIC, ROUTING, APIKEYS, USAGE]);
static WITHOUT_TOKENS: Setup = setup("governed, no limit of tokens", &[OPENAI, ANTHROPIC, ROUTING, APIKEYS_WITHOUT_TOKENS, USAGE]);

const fn case(setup: &'static Setup) -> Case {
    Case { server: Server::Gateway(setup), aim: None }
}

const fn aimed(setup: &'static Setup, aim: f64) -> Case {
    Case { server: Server::Gateway(setup), aim: Some(aim) }
}

const FLOOR: Case = Case { server: Server::Floor, aim: None };
const PASS_THROUGH: Case = Case { server: Server::PassThrough, aim: None };

// === the work ===

pub const UNARY: &str = "unary, 800 B";
pub const STREAM: &str = "stream of 200 chunks";
pub const FIRST_EVENT: &str = "first event, 1 connection";
pub const RACE: &str = "race, unary, 800 B";
pub const RACE_ALONE: &str = "race, unary, 800 B, 1 connection";

pub static WORKS: &[Work] = &[
    Work {
        name: UNARY,
        requests: 20_000,
        cases: &[
            FLOOR,
            PASS_THROUGH,
            aimed(&DIALECT, 1.2),
            case(&QUIET),
            case(&ONE_HOOK),
            case(&FIVE_HOOKS),
            case(&WITH_ROUTING),
            case(&WITH_METERS),
            case(&WITH_GOVERNS),
            case(&ONE_FILTER),
            case(&WITH_APIKEYS),
            case(&WITH_USAGE),
            case(&FIXTURES),
            aimed(&WITHOUT_TOKENS, 1.5),
            aimed(&GOVERNED, 1.5),
        ],
        ..unary(800)
    },
    Work { name: "unary, 10 KB", requests: 10_000, cases: SIZES, ..unary(10 << 10) },
    Work { name: "unary, 100 KB", requests: 2_000, cases: LARGE_SIZES, ..unary(100 << 10) },
    Work { name: "unary, 1 MB", requests: 250, cases: LARGE_SIZES, ..unary(1 << 20) },
    Work {
        name: "unary, 800 B, Anthropic client",
        format: "anthropic",
        requests: 15_000,
        cases: &[FLOOR, aimed(&GOVERNED, 2.0)],
        ..unary(800)
    },
    Work {
        name: STREAM,
        cases: &[
            FLOOR,
            PASS_THROUGH,
            aimed(&DIALECT, 1.1),
            case(&QUIET),
            case(&WITH_ROUTING),
            case(&WITH_GOVERNS),
            case(&ONE_FILTER),
            case(&FIVE_FILTERS),
            case(&WITH_REDACTS),
            aimed(&GOVERNED, 1.25),
        ],
        ..stream(32)
    },
    Work { name: "stream of 200 chunks, Anthropic client", format: "anthropic", cases: &[FLOOR, aimed(&GOVERNED, 2.0)], ..stream(32) },
    Work { name: "stream of 200 chunks, 1 at once", requests: 150, cases: MANY, ..stream(1) },
    Work { name: "stream of 200 chunks, 10 at once", cases: MANY, ..stream(10) },
    Work { name: "stream of 200 chunks, 100 at once", cases: MANY, ..stream(100) },
    Work { name: "stream of 200 chunks, 1,000 at once", requests: 1_000, cases: MANY, ..stream(1_000) },
    Work { name: "unary, 800 B, 1 connection", connections: 1, requests: 5_000, cases: MANY, ..unary(800) },
    Work { name: RACE, requests: 5_000, cases: RACES, ..unary(800) },
    Work { name: "race, streams of 20 chunks, 16 at once", chunks: Some(20), requests: 2_000, cases: RACES, ..stream(16) },
    Work { name: RACE_ALONE, connections: 1, requests: 2_000, cases: RACES, ..unary(800) },
    Work { name: FIRST_EVENT, chunks: Some(5), requests: 3_000, cases: MANY, ..stream(1) },
];

const SIZES: &[Case] = &[FLOOR, case(&DIALECT), case(&WITHOUT_TOKENS), case(&GOVERNED)];
const LARGE_SIZES: &[Case] = &[FLOOR, case(&DIALECT), aimed(&WITHOUT_TOKENS, 1.15), aimed(&GOVERNED, 1.15)];
const RACES: &[Case] = &[FLOOR, case(&DIALECT), case(&RACE_OF_1), case(&RACE_OF_2), case(&RACE_OF_4)];
const MANY: &[Case] = &[FLOOR, case(&DIALECT), case(&GOVERNED)];

const fn unary(bytes: usize) -> Work {
    Work { name: "", format: "openai", bytes, chunks: None, connections: 16, requests: 0, cases: &[] }
}

const fn stream(connections: usize) -> Work {
    Work { name: "", format: "openai", bytes: 800, chunks: Some(200), connections, requests: 400, cases: &[] }
}

// === what is worked out of several cases ===

/// What one more extension costs: the difference of two gateways that differ by `more` of them.
pub struct Step {
    pub what: &'static str,
    pub work: &'static str,
    pub fewer: &'static Setup,
    pub further: &'static Setup,
    pub more: f64,
    /// Most that one of them may add, as a part of `fewer`.
    pub aim: f64,
}

pub static STEPS: [Step; 2] = [
    Step {
        what: "each before-generate hook that reads model and key",
        work: UNARY,
        fewer: &DIALECT,
        further: &FIVE_HOOKS,
        more: 5.0,
        aim: 0.02,
    },
    Step { what: "each further filter that passes", work: STREAM, fewer: &ONE_FILTER, further: &FIVE_FILTERS, more: 4.0, aim: 0.03 },
];

/// Most that the first event may come later than through the floor, in microseconds, and the memory of an idle gateway, in MB.
pub const FIRST_EVENT_AIM: f64 = 100.0;

/// Most CPU time that a further racer may take beyond its own request, and how much later a race may answer than the provider alone, in microseconds.
pub const RACER_AIM: f64 = 300.0;
pub const RACE_LATER_AIM: f64 = 10_000.0;
pub const IDLE_AIM: f64 = 60.0;

/// A race of one and of more, and how many more.
pub fn races() -> (&'static str, &'static str, f64) {
    (RACE_OF_1.name, RACE_OF_4.name, (RACE_OF_4.racers - RACE_OF_1.racers) as f64)
}

pub fn governed() -> &'static str {
    GOVERNED.name
}

pub fn dialect_only() -> &'static str {
    DIALECT.name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_work_begins_with_the_floor_and_names_are_unique() {
        for (index, work) in WORKS.iter().enumerate() {
            assert!(matches!(work.cases[0].server, Server::Floor), "{}", work.name);
            assert!(work.requests / super::super::QUICK >= work.connections / 5 && work.requests > 0, "{}", work.name);
            assert!(WORKS[..index].iter().all(|other| other.name != work.name), "{}", work.name);
            for (at, case) in work.cases.iter().enumerate() {
                assert!(work.cases[..at].iter().all(|other| other.server.name() != case.server.name()), "{}", case.server.name());
            }
        }
    }

    #[test]
    fn steps_are_of_measured_cases() {
        for step in &STEPS {
            let work = WORKS.iter().find(|work| work.name == step.work).unwrap();
            for setup in [step.fewer, step.further] {
                assert!(work.cases.iter().any(|case| case.server.name() == setup.name), "{}", setup.name);
            }
            assert_eq!(step.further.extensions.len() - step.fewer.extensions.len(), step.more as usize);
        }
    }
}
