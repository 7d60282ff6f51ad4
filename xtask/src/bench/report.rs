//! From single measurements to the tables: medians, ratios, and whether the machine was quiet enough. Pure.

use std::fmt::Write;

use serde::Serialize;
use serde_json::{Value, json};

use super::cases::{self, Case, Work};
use super::quiet::NOISE;
use super::sample::{Sample, Taken};

/// What was run.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Run {
    pub date: String,
    pub commit: String,
    pub machine: String,
    pub profile: String,
    pub pinned: bool,
    pub quick: bool,
    pub rounds: usize,
}

pub struct Report<'a> {
    run: Run,
    works: Vec<&'a Work>,
    tables: Vec<Table>,
    checks: Vec<Check>,
    taken: Vec<Taken>,
}

/// One piece of work.
struct Table {
    work: &'static str,
    chunks: Option<usize>,
    rows: Vec<Row>,
}

/// Medians of one server.
#[derive(Debug, Serialize)]
struct Row {
    server: &'static str,
    cpu_us: f64,
    ratio: f64,
    /// The smallest and the largest of the rounds that count.
    ratio_from: f64,
    ratio_to: f64,
    aim: Option<f64>,
    p50_us: f64,
    p99_us: f64,
    first_p50_us: f64,
    reads: f64,
    idle_mb: f64,
    after_mb: f64,
    /// No round was quiet for it and the floor, so that all count.
    noisy: bool,
}

/// One figure that is worked out of several rows.
#[derive(Debug, Serialize)]
struct Check {
    what: String,
    found: f64,
    aim: Option<f64>,
    unit: &'static str,
}

impl<'a> Report<'a> {
    pub fn new(run: Run, works: &[&'a Work]) -> Report<'a> {
        Report { run, works: works.to_vec(), tables: Vec::new(), checks: Vec::new(), taken: Vec::new() }
    }

    /// One more round.
    pub fn add(&mut self, taken: Vec<Taken>) {
        self.run.rounds += 1;
        self.taken.extend(taken);
        self.tables = self.works.iter().map(|work| Table::new(work, &self.taken)).collect();
        self.checks = checks(&self.tables);
    }

    pub fn json(&self) -> Value {
        let tables: Vec<Value> = self.tables.iter().map(|table| json!({"work": table.work, "rows": table.rows})).collect();
        json!({"run": self.run, "tables": tables, "checks": self.checks, "samples": self.taken, "verdict": self.verdict()})
    }

    /// The tables in Markdown, so that a full run can be kept in the documentation as it is.
    pub fn text(&self) -> String {
        let run = &self.run;
        let pinned = if run.pinned { "pinned" } else { "NOT pinned to CPUs" };
        let kind = if run.quick { "quick run, " } else { "" };
        let mut text = format!(
            "{}, commit {}, {}, profile `{}`, {kind}{} rounds, {pinned}\n",
            run.date, run.commit, run.machine, run.profile, run.rounds
        );
        for table in &self.tables {
            text.push_str(&table.text());
        }
        if !self.checks.is_empty() {
            let rows = self.checks.iter().map(Check::cells).collect::<Vec<_>>();
            let _ = write!(text, "\n{}", columns(&["what follows", "found", "aim"], &rows));
        }
        let _ = write!(text, "\n{}\n", self.verdict());
        text
    }

    fn verdict(&self) -> String {
        let noisy = self.taken.iter().filter(|taken| taken.sample.other_load > NOISE).count();
        if noisy == 0 {
            return "The machine was quiet: no other program used more than 20 % of the CPUs during any measurement.".to_owned();
        }
        let rows: usize = self.tables.iter().flat_map(|table| &table.rows).filter(|row| row.noisy).count();
        let judged = match rows {
            0 => "Each row has at least one quiet round, and only quiet rounds count.".to_owned(),
            rows => format!("{rows} rows, marked `~`, have no quiet round: the machine was too noisy to judge them. Run it again."),
        };
        format!("During {noisy} of {} measurements other programs used more than 20 % of the CPUs. {judged}", self.taken.len())
    }
}

impl Table {
    fn new(work: &Work, taken: &[Taken]) -> Table {
        let floor = samples(taken, work, &work.cases[0]);
        let rows = work.cases.iter().map(|case| Row::new(case, &samples(taken, work, case), &floor)).collect();
        Table { work: work.name, chunks: work.chunks, rows }
    }

    fn row(&self, server: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.server == server)
    }

    fn text(&self) -> String {
        let titles: &[&str] = match self.chunks {
            None => &["CPU µs", "ratio", "of rounds", "aim", "p50 µs", "p99 µs", "RSS MB idle", "after"],
            Some(_) => &["CPU µs", "a chunk", "ratio", "of rounds", "aim", "first p50 µs", "reads", "RSS MB idle", "after"],
        };
        let titles: Vec<&str> = [self.work].into_iter().chain(titles.iter().copied()).collect();
        let rows = self.rows.iter().map(|row| row.cells(self.chunks)).collect::<Vec<_>>();
        format!("\n{}", columns(&titles, &rows))
    }
}

impl Row {
    fn new(case: &Case, samples: &[(usize, &Sample)], floor: &[(usize, &Sample)]) -> Row {
        let (counted, noisy) = quiet(samples);
        let of = |value: fn(&Sample) -> f64| median(counted.iter().map(|(_, sample)| value(sample)).collect());
        let (ratios, noisy_ratio) = ratios(samples, floor);
        Row {
            server: case.server.name(),
            cpu_us: of(|s| s.cpu_us),
            ratio: median(ratios.clone()),
            ratio_from: ratios.iter().copied().fold(f64::INFINITY, f64::min),
            ratio_to: ratios.iter().copied().fold(0.0, f64::max),
            aim: case.aim,
            p50_us: of(|s| s.p50_us),
            p99_us: of(|s| s.p99_us),
            first_p50_us: of(|s| s.first_p50_us),
            reads: of(|s| s.reads),
            idle_mb: of(|s| s.idle_kib as f64 / 1024.0),
            after_mb: of(|s| s.after_kib as f64 / 1024.0),
            noisy: (noisy || noisy_ratio) && !counted.is_empty(),
        }
    }

    fn cells(&self, chunks: Option<usize>) -> Vec<String> {
        let whole = |value: f64| format!("{value:.0}");
        let mark = if self.noisy { "~ " } else { "" };
        let mut cells = vec![self.server.to_owned(), if chunks.is_some() { whole(self.cpu_us) } else { format!("{:.1}", self.cpu_us) }];
        cells.extend(chunks.map(|chunks| format!("{:.1}", self.cpu_us / chunks as f64)));
        cells.push(format!("{mark}{:.2}", self.ratio));
        cells.push(format!("{:.2}-{:.2}", self.ratio_from, self.ratio_to));
        cells.push(aim(self.ratio, self.aim, |aim| format!("{aim:.2}")));
        match chunks {
            None => cells.extend([whole(self.p50_us), whole(self.p99_us)]),
            Some(_) => cells.extend([whole(self.first_p50_us), whole(self.reads)]),
        }
        cells.extend([whole(self.idle_mb), whole(self.after_mb)]);
        cells
    }
}

impl Check {
    fn cells(&self) -> Vec<String> {
        let show = |value: f64| format!("{value:.1} {}", self.unit);
        vec![self.what.clone(), show(self.found), aim(self.found, self.aim, show)]
    }
}

/// The aim, and whether it was missed.
fn aim(found: f64, aim: Option<f64>, show: impl Fn(f64) -> String) -> String {
    match aim {
        None => String::new(),
        Some(aim) if found <= aim => format!("{} met", show(aim)),
        Some(aim) => format!("{} **missed**", show(aim)),
    }
}

fn checks(tables: &[Table]) -> Vec<Check> {
    let row = |work: &str, server: &str| tables.iter().find(|table| table.work == work)?.row(server);
    let floor = |work: &str| tables.iter().find(|table| table.work == work)?.rows.first();
    let mut checks = Vec::new();
    for step in &cases::STEPS {
        if let (Some(fewer), Some(further)) = (row(step.work, step.fewer.name), row(step.work, step.further.name)) {
            let added = (further.cpu_us - fewer.cpu_us) / step.more;
            let what = format!("{}: added CPU", step.what);
            checks.push(Check { what, found: added / fewer.cpu_us * 100.0, aim: Some(step.aim * 100.0), unit: "%" });
            checks.push(Check { what: "the same".to_owned(), found: added, aim: None, unit: "µs" });
        }
    }
    for server in [cases::dialect_only(), cases::governed()] {
        if let (Some(floor), Some(row)) = (floor(cases::FIRST_EVENT), row(cases::FIRST_EVENT, server)) {
            let what = format!("first event at 1 connection, p50, {server}: later than through the floor");
            checks.push(Check { what, found: row.first_p50_us - floor.first_p50_us, aim: Some(cases::FIRST_EVENT_AIM), unit: "µs" });
        }
    }
    let (one, more, further) = cases::races();
    if let (Some(alone), Some(one), Some(more)) = (row(cases::RACE, cases::dialect_only()), row(cases::RACE, one), row(cases::RACE, more)) {
        let added = (more.cpu_us - one.cpu_us) / further;
        checks.push(Check { what: "each further racer, with its own request: added CPU".to_owned(), found: added, aim: None, unit: "µs" });
        let beyond = added - alone.cpu_us;
        let what = "the same without its own request, as the provider alone costs".to_owned();
        checks.push(Check { what, found: beyond, aim: Some(cases::RACER_AIM), unit: "µs" });
    }
    if let (Some(alone), Some(more)) = (row(cases::RACE_ALONE, cases::dialect_only()), row(cases::RACE_ALONE, more)) {
        let what = "a race at 1 connection, p50: later than the provider alone".to_owned();
        checks.push(Check { what, found: more.p50_us - alone.p50_us, aim: Some(cases::RACE_LATER_AIM), unit: "µs" });
    }
    if let Some(row) = row(cases::UNARY, cases::governed()) {
        checks.push(Check { what: "idle memory, governed".to_owned(), found: row.idle_mb, aim: Some(cases::IDLE_AIM), unit: "MB" });
    }
    checks
}

/// The measurements of a case, with their rounds.
fn samples<'a>(taken: &'a [Taken], work: &Work, case: &Case) -> Vec<(usize, &'a Sample)> {
    let of_case = taken.iter().filter(|taken| taken.work == work.name && taken.server == case.server.name());
    of_case.map(|taken| (taken.round, &taken.sample)).collect()
}

/// Those that count: the quiet ones, or all where none was quiet.
fn quiet<'a>(samples: &[(usize, &'a Sample)]) -> (Vec<(usize, &'a Sample)>, bool) {
    let quiet: Vec<_> = samples.iter().filter(|(_, sample)| sample.other_load <= NOISE).copied().collect();
    if quiet.is_empty() { (samples.to_vec(), true) } else { (quiet, false) }
}

/// Round by round, so that a slow minute of the machine slows both sides. Where no round was quiet for both, all count.
fn ratios(samples: &[(usize, &Sample)], floor: &[(usize, &Sample)]) -> (Vec<f64>, bool) {
    let pairs = |of: &[(usize, &Sample)], to: &[(usize, &Sample)]| -> Vec<f64> {
        let same_round = |round: usize| to.iter().find(|(other, _)| *other == round).map(|(_, sample)| sample.cpu_us);
        of.iter().filter_map(|(round, sample)| Some(sample.cpu_us / same_round(*round)?)).collect()
    };
    let ratios = pairs(&quiet(samples).0, &quiet(floor).0);
    if ratios.is_empty() { (pairs(samples, floor), true) } else { (ratios, false) }
}

/// Of an even number, the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => values[length / 2],
        length => (values[length / 2 - 1] + values[length / 2]) / 2.0,
    }
}

/// A Markdown table that is also readable as text: the first column to the left, the others to the right.
fn columns(titles: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([titles[column].chars().count(), 3]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..titles.len()).map(width).collect();
    let mut text = String::new();
    let mut line = |cells: &[String]| {
        for (column, cell) in cells.iter().enumerate() {
            let width = widths[column];
            let _ = if column == 0 { write!(text, "| {cell:<width$} ") } else { write!(text, "| {cell:>width$} ") };
        }
        text.push_str("|\n");
    };
    line(&titles.iter().map(|title| (*title).to_owned()).collect::<Vec<_>>());
    let rule = |(column, width): (usize, &usize)| if column == 0 { "-".repeat(*width) } else { format!("{}:", "-".repeat(width - 1)) };
    line(&widths.iter().enumerate().map(rule).collect::<Vec<_>>());
    rows.iter().for_each(|row| line(row));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(cpu_us: f64, other_load: f64) -> Sample {
        Sample {
            requests: 100,
            cpu_us,
            p50_us: 10.0 * cpu_us,
            p99_us: 20.0 * cpu_us,
            first_p50_us: 5.0 * cpu_us,
            reads: 1.0,
            idle_kib: 20 << 10,
            after_kib: 30 << 10,
            other_load,
        }
    }

    /// A report of the first work: the floor's and another server's samples, round by round.
    fn report(floor: &[Sample], other: &[Sample]) -> Report<'static> {
        let work = &cases::WORKS[0];
        let mut taken = Vec::new();
        for (case, samples) in work.cases.iter().zip([floor, other]) {
            let of_case = samples.iter().enumerate();
            taken.extend(of_case.map(|(round, s)| Taken { round, work: work.name, server: case.server.name(), sample: s.clone() }));
        }
        let mut report = Report::new(Run::default(), &[work]);
        report.add(taken);
        report
    }

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(vec![7.0]), 7.0);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn a_ratio_is_taken_within_a_round() {
        // The machine is twice as slow in the second round, for both.
        let found = report(&[sample(50.0, 0.0), sample(100.0, 0.0)], &[sample(60.0, 0.0), sample(120.0, 0.0)]);
        let row = &found.tables[0].rows[1];
        assert_eq!((row.ratio, row.ratio_from, row.ratio_to), (1.2, 1.2, 1.2));
        assert!(found.verdict().contains("was quiet"));
    }

    #[test]
    fn noisy_rounds_count_only_where_there_is_no_other() {
        let found = report(&[sample(50.0, 0.0), sample(90.0, 0.5)], &[sample(60.0, 0.1), sample(300.0, 0.5)]);
        let rows = &found.tables[0].rows;
        assert_eq!((rows[0].cpu_us, rows[1].cpu_us, rows[1].ratio, rows[1].noisy), (50.0, 60.0, 1.2, false));
        assert!(found.verdict().contains("only quiet rounds count"), "{}", found.verdict());

        let found = report(&[sample(50.0, 0.3)], &[sample(75.0, 0.3)]);
        let row = &found.tables[0].rows[1];
        assert_eq!((row.ratio, row.noisy), (1.5, true));
        assert!(found.verdict().contains("too noisy to judge"), "{}", found.verdict());
        assert!(found.text().contains("~ 1.50"), "{}", found.text());

        // No round in which both were quiet.
        let found = report(&[sample(50.0, 0.0), sample(50.0, 0.9)], &[sample(60.0, 0.9), sample(60.0, 0.0)]);
        let row = &found.tables[0].rows[1];
        assert_eq!((row.ratio, row.noisy), (1.2, true));
    }

    #[test]
    fn a_table_is_markdown_in_columns() {
        let rows = [vec!["µ".to_owned(), "10.5".to_owned()], vec!["long name".to_owned(), String::new()]];
        let expected = "| what      | found |\n| --------- | ----: |\n| µ         |  10.5 |\n| long name |       |\n";
        assert_eq!(columns(&["what", "found"], &rows), expected);
    }

    #[test]
    fn an_aim_is_met_or_missed() {
        let show = |aim: f64| format!("{aim:.2}");
        assert_eq!(aim(1.2, Some(1.2), show), "1.20 met");
        assert_eq!(aim(1.3, Some(1.2), show), "1.20 **missed**");
        assert_eq!(aim(1.3, None, show), "");
    }
}
