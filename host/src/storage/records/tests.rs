//! All stores against the same checks, and against a plain list.
//!
//! PostgreSQL is a real one that the test starts; each check has a database of its own in it.

use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use wasmgate_tests::databases::Postgres;

use super::*;
use crate::config::{RecordsConfig, RecordsStore, Secret, Storage, WhenFull};
use crate::storage;

/// A kind of store, and where stores of that kind are made.
enum Backend {
    Memory,
    File(RecordsStore, tempfile::TempDir),
    Postgres(Box<Postgres>),
}

static NUMBER: AtomicUsize = AtomicUsize::new(0);

impl Backend {
    fn file(kind: RecordsStore) -> Self {
        Self::File(kind, tempfile::tempdir().unwrap())
    }

    /// Settings of a store that nobody used before.
    fn fresh(&self) -> Storage {
        let name = format!("s{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let records = match self {
            Self::Memory => RecordsConfig { r#type: Some(RecordsStore::Memory), ..RecordsConfig::default() },
            Self::File(kind, folder) => {
                RecordsConfig { r#type: Some(*kind), path: Some(folder.path().join(name)), ..RecordsConfig::default() }
            }
            Self::Postgres(postgres) => {
                let url = Some(Secret::new(postgres.database(&name)));
                RecordsConfig { r#type: Some(RecordsStore::Postgres), url, ..RecordsConfig::default() }
            }
        };
        Storage { retain_records: Duration::ZERO, records, ..Storage::default() }
    }

    fn outlives_its_process(&self) -> bool {
        !matches!(self, Self::Memory)
    }
}

fn open_rows(storage: &Storage) -> Arc<dyn Records> {
    storage::open_records(storage).unwrap()
}

/// What every store must pass.
fn suite(backend: &Backend) {
    let checks: [fn(&dyn Records); 6] =
        [limits_are_told, pages_are_bounded_in_bytes, groups_are_bounded, namespaces_are_apart, tables_are_told, writers_at_once];
    for check in checks {
        check(&*open_rows(&backend.fresh()));
    }
    is_like_a_list(backend);
    old_rows_are_deleted(backend);
    if backend.outlives_its_process() {
        what_was_flushed_survives_a_kill(backend);
    }
}

#[test]
fn memory_passes() {
    suite(&Backend::Memory);
}

#[test]
fn redb_passes() {
    suite(&Backend::file(RecordsStore::Redb));
}

#[test]
fn sqlite_passes() {
    suite(&Backend::file(RecordsStore::Sqlite));
}

#[test]
fn postgres_passes() {
    if let Some(postgres) = Postgres::start() {
        suite(&Backend::Postgres(Box::new(postgres)));
    }
}

fn all(table: &str) -> Selection {
    Selection { table: table.into(), ..Selection::default() }
}

fn row(at_ms: u64, n: i64) -> Row {
    Row { at_ms, fields: vec![("n".into(), FieldValue::Integer(n))] }
}

/// The field `n` of all rows, page by page.
fn numbers(records: &dyn Records, table: &str) -> Vec<i64> {
    let mut numbers = Vec::new();
    let mut cursor = None;
    loop {
        let page = records.query("x", &all(table), 3, cursor.as_deref()).unwrap();
        numbers.extend(page.rows.iter().map(|r| if let FieldValue::Integer(n) = r.fields[0].1 { n } else { -1 }));
        cursor = page.cursor;
        if cursor.is_none() {
            return numbers;
        }
    }
}

fn limits_are_told(records: &dyn Records) {
    let refused = |table: &str, fields: Vec<(String, FieldValue)>| records.append("x", table, vec![Row { at_ms: 1, fields }]).unwrap_err();
    assert_eq!(refused("", vec![]), RecordsError::Table(String::new()));
    assert_eq!(refused("A", vec![]), RecordsError::Table("A".into()));
    assert_eq!(refused(&"a".repeat(65), vec![]), RecordsError::Table("a".repeat(64)));
    assert_eq!(refused("a", vec![("n".into(), FieldValue::Null); 65]), RecordsError::TooManyFields(65));
    assert_eq!(refused("a", vec![("n".repeat(129), FieldValue::Null)]), RecordsError::FieldNameTooLong(129));
    let long = refused("a", vec![("n".into(), FieldValue::Text("x".repeat(MAX_ROW)))]);
    assert!(matches!(long, RecordsError::RowTooLong(n) if n > MAX_ROW), "{long}");
    let second_is_wrong = vec![row(1, 1), Row { at_ms: 1, fields: vec![("n".repeat(129), FieldValue::Null)] }];
    assert_eq!(records.append("x", "a", second_is_wrong), Err(RecordsError::FieldNameTooLong(129)));
    assert_eq!(numbers(records, "a"), [] as [i64; 0], "all rows or none");
    assert_eq!(records.query("x", &all("a"), 1, Some("1")), Err(RecordsError::Cursor));
    let grouping = Grouping { every_ms: Some(0), ..Grouping::default() };
    assert_eq!(records.summarise("x", &all("a"), &grouping), Err(RecordsError::EmptyStretch));
    for n in 0..MAX_TABLES {
        records.append("x", &format!("t{n}"), vec![row(1, 1)]).unwrap();
    }
    assert_eq!(records.append("x", "a", vec![row(1, 1)]), Err(RecordsError::TooManyTables));
    assert_eq!(records.append("x", "t0", vec![row(1, 2)]), Ok(()));
}

fn pages_are_bounded_in_bytes(records: &dyn Records) {
    let text = FieldValue::Text("x".repeat(MAX_ROW - 100));
    records.append("x", "a", (0..40).map(|at_ms| Row { at_ms, fields: vec![("t".into(), text.clone())] }).collect()).unwrap();
    let page = records.query("x", &all("a"), 1000, None).unwrap();
    assert_eq!(page.rows.len(), MAX_PAGE_BYTES / MAX_ROW);
    assert_eq!(records.query("x", &all("a"), 1000, page.cursor.as_deref()).unwrap().rows[0].at_ms, 39 - 16);
}

fn groups_are_bounded(records: &dyn Records) {
    records.append("x", "a", (0..=MAX_GROUPS as u64).map(|at| row(at, at as i64)).collect()).unwrap();
    let by_n = Grouping { by: vec!["n".into()], ..Grouping::default() };
    assert_eq!(records.summarise("x", &all("a"), &by_n), Err(RecordsError::TooManyGroups));
    let fewer = Selection { since_ms: Some(1), ..all("a") };
    assert_eq!(records.summarise("x", &fewer, &by_n).unwrap().len(), MAX_GROUPS);
}

fn namespaces_are_apart(records: &dyn Records) {
    records.append("x", "a", vec![row(1, 1)]).unwrap();
    records.append("y", "a", vec![row(1, 2)]).unwrap();
    records.flush();
    assert_eq!(numbers(records, "a"), [1]);
}

fn tables_are_told(records: &dyn Records) {
    assert_eq!(records.tables().unwrap(), []);
    records.append("x", "b", vec![row(1, 1)]).unwrap();
    records.append("x", "a", vec![row(1, 1)]).unwrap();
    records.flush();
    records.append("a", "z", vec![row(1, 1)]).unwrap();
    let tables = records.tables().unwrap();
    let tables: Vec<(&str, &str)> = tables.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
    assert_eq!(tables, [("a", "z"), ("x", "a"), ("x", "b")]);
}

/// However many write at once, the ledger is what they wrote.
fn writers_at_once(records: &dyn Records) {
    const WRITERS: u64 = 8;
    const ROWS: u64 = 500;
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                for n in 0..ROWS {
                    // Times collide among the writers, and batches have many sizes.
                    let rows = (0..=n % 3).map(|part| row(n / 7, (writer * ROWS + n) as i64 * 10 + part as i64)).collect();
                    records.append("x", "ledger", rows).unwrap();
                    if n % 97 == writer {
                        records.flush();
                    }
                }
            });
        }
    });
    let mut wanted: Vec<i64> =
        (0..WRITERS * ROWS).flat_map(|n| (0..=(n % ROWS % 3) as i64).map(move |part| n as i64 * 10 + part)).collect();
    let mut found: Vec<i64> = Vec::new();
    for row in read(records, &all("ledger"), MAX_PAGE) {
        found.extend(number(&row.fields[0].1).map(|n| n as i64));
    }
    found.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(found, wanted);
    let sums = Grouping { sums: vec!["n".into()], ..Grouping::default() };
    let total = &records.summarise("x", &all("ledger"), &sums).unwrap()[0];
    assert_eq!((total.count, total.sums[0]), (wanted.len() as u64, wanted.iter().sum::<i64>() as f64));
}

fn old_rows_are_deleted(backend: &Backend) {
    let far = i64::MAX as u64 / 2;
    let mut storage = backend.fresh();
    let mut records = open_rows(&storage);
    let fill = |records: &dyn Records| {
        for table in ["a", "b"] {
            records.append("x", table, vec![row(1, 1), row(2, 2), row(far, 3)]).unwrap();
        }
        records.append("y", "c", (0..25_000).map(|at| row(at, 1)).collect()).unwrap();
    };
    if backend.outlives_its_process() {
        fill(&*records);
        drop(records);
        storage.retain_records = Duration::from_secs(3600);
        records = open_rows(&storage);
    } else {
        storage.retain_records = Duration::from_secs(3600);
        records = open_rows(&storage);
        fill(&*records);
    }
    // One transaction deletes 10,000 rows; a flush goes on until there are no more.
    records.flush();
    assert_eq!(numbers(&*records, "a"), [3]);
    assert_eq!(numbers(&*records, "b"), [3]);
    assert_eq!(records.query("y", &all("c"), 1, None).unwrap(), Page::default());
}

/// Rows of one step of the child.
const BURST: i64 = 200;

/// A process that appends, flushes and says so is killed in the middle: what it said is there, and what it did not say is there whole or not.
fn what_was_flushed_survives_a_kill(backend: &Backend) {
    let storage = backend.fresh();
    let records = &storage.records;
    let place = records.path.clone().unwrap_or_else(|| PathBuf::from(records.url.as_ref().unwrap().expose()));
    let kind = records.r#type.unwrap().word();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["storage::records::tests::child_that_appends", "--exact", "--nocapture"])
        .env("WASMGATE_TEST_CHILD", format!("{kind} {}", place.display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let said = lines.filter_map(|line| line.rsplit_once("flushed ")?.1.parse::<i64>().ok()).nth(4).expect("the child flushes");
    child.kill().unwrap();
    child.wait().unwrap();

    let records = open_rows(&storage);
    let mut found = Vec::new();
    for row in read(&*records, &all("a"), MAX_PAGE) {
        found.extend(number(&row.fields[0].1).map(|n| n as i64));
    }
    found.reverse();
    assert!(found.len() as i64 >= said, "{} rows of {said} that were flushed", found.len());
    assert_eq!(found, (0..found.len() as i64).collect::<Vec<_>>(), "in order, none twice");
    // It goes on where it was.
    records.append("x", "a", vec![row(1, -1)]).unwrap();
    records.flush();
    assert_eq!(read(&*records, &all("a"), 1).first(), Some(&row(1, -1)));
}

/// Not a test of its own: what the process that is killed does.
#[test]
fn child_that_appends() {
    let Ok(child) = std::env::var("WASMGATE_TEST_CHILD") else { return };
    let (kind, place) = child.split_once(' ').unwrap();
    let store = RecordsStore::from_word(kind).unwrap();
    let (path, url) = match store {
        RecordsStore::Postgres => (None, Some(Secret::new(place.to_owned()))),
        _ => (Some(PathBuf::from(place)), None),
    };
    let records = RecordsConfig { r#type: Some(store), path, url, ..RecordsConfig::default() };
    let storage = Storage { flush_interval: Duration::from_millis(1), records, retain_records: Duration::ZERO, ..Storage::default() };
    let records = open_rows(&storage);
    for step in 0.. {
        for n in 0..BURST {
            records.append("x", "a", vec![row(1, step * BURST + n)]).unwrap();
        }
        records.flush();
        // Past the harness: its lock is not worth a wait.
        let mut out = std::io::stdout();
        if writeln!(out, "flushed {}", (step + 1) * BURST).and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

#[test]
fn a_full_queue_is_an_error_where_that_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let database = ::redb::Database::create(&path).unwrap();
    let bounds = Bounds { when_full: WhenFull::Refuse, ..Bounds::default() };
    let source = Arc::new(RowSource::open(&database, None, bounds).unwrap());
    let (database, blocked) = (Arc::new(database), Arc::new(::redb::Database::create(folder.path().join("other.redb")).unwrap()));
    // A writer that never gets its turn.
    let _turn = blocked.begin_write().unwrap();
    let work = storage::redb::Transactions { database: Arc::clone(&blocked), sources: vec![Arc::clone(&source) as _] };
    let writer = Arc::new(storage::writer::Writer::start("other".into(), Duration::from_millis(1), Box::new(work)).unwrap());
    let records = RedbRecords::new(source, database, Arc::clone(&writer));
    records.append("x", "a", (0..MAX_WAITING_ROWS as u64).map(|at| row(at, 0)).collect()).unwrap();
    assert_eq!(records.append("x", "a", vec![row(1, 1)]), Err(RecordsError::Busy(MAX_WAITING_ROWS)));
    assert_eq!(records.append("y", "a", vec![row(1, 1)]), Ok(()), "others have their own share");
    // Dropping the writer would wait for its turn.
    std::mem::forget((records, writer));
}

#[test]
fn a_redb_file_is_open_in_one_process() {
    let backend = Backend::file(RecordsStore::Redb);
    let storage = backend.fresh();
    let _open = open_rows(&storage);
    let refused = storage::open_records(&storage).err().map(|e| format!("{e:#}")).unwrap();
    assert!(refused.contains("stop the gateway first"), "{refused}");
}

#[test]
fn an_sqlite_file_is_read_and_written_by_several() {
    let backend = Backend::file(RecordsStore::Sqlite);
    share(&backend.fresh());
}

/// Two processes that write to one store have numbers of their own, and see what the other wrote.
fn share(storage: &Storage) {
    let (one, two) = (open_rows(storage), open_rows(storage));
    for n in 0..500 {
        one.append("x", "a", vec![row(1, n)]).unwrap();
        two.append("x", "a", vec![row(1, 1000 + n)]).unwrap();
    }
    one.flush();
    two.flush();
    let mut found = numbers(&*one, "a");
    assert_eq!(found, numbers(&*two, "a"));
    found.sort_unstable();
    assert_eq!(found, (0..500).chain(1000..1500).collect::<Vec<_>>());
}

#[test]
fn postgres_is_shared_and_comes_back() {
    let Some(mut postgres) = Postgres::start() else { return };
    let url = postgres.database("shared");
    let records =
        RecordsConfig { r#type: Some(RecordsStore::Postgres), url: Some(Secret::new(url)), queue: 50, ..RecordsConfig::default() };
    let interval = Duration::from_millis(5);
    let storage = Storage { flush_interval: interval, retain_records: Duration::ZERO, records, ..Storage::default() };
    let wide = Storage { records: RecordsConfig { queue: 10_000, ..storage.records.clone() }, ..storage.clone() };
    share(&wide);

    // Away from the start, rows wait, the queue is bounded, and nobody waits.
    postgres.end();
    let records = open_rows(&storage);
    for n in 0..60 {
        records.append("x", "away", vec![row(n as u64, n)]).unwrap();
    }
    records.flush();
    let health = records.health();
    assert!(health.waiting == 50 && health.dropped == 10 && health.failures > 0, "{health:?}");
    assert_eq!(records.query("x", &all("away"), 1, None), Err(RecordsError::Unreadable));
    postgres.begin();
    records.flush();
    assert_eq!(records.health().waiting, 0);
    assert_eq!(numbers(&*records, "away"), (10..60).rev().collect::<Vec<_>>());

    // Away for a while, with connections that were used before.
    postgres.end();
    records.append("x", "away", vec![row(100, 100)]).unwrap();
    records.flush();
    assert_eq!(records.health().waiting, 1);
    postgres.begin();
    records.flush();
    assert_eq!(numbers(&*records, "away")[0], 100);

    // For people, and for the index.
    assert_eq!(postgres.query("shared", "SELECT fields->>'n' FROM wasmgate_records WHERE tbl = 'away' ORDER BY at_ms LIMIT 1"), "10");
    drop(records);
    let records = open_rows(&wide);
    let text = |at_ms, key: &str| Row { at_ms, fields: vec![("key".into(), FieldValue::Text(key.into()))] };
    records.append("x", "keys", (0..3000).map(|n| text(n, if n % 1000 == 7 { "mine" } else { "other" })).collect()).unwrap();
    records.flush();
    let filter = Filter { field: "key".into(), comparison: Comparison::Equal, value: FieldValue::Text("mine".into()) };
    let mine = Selection { filters: vec![filter], ..all("keys") };
    assert_eq!(read(&*records, &mine, 2).iter().map(|r| r.at_ms).collect::<Vec<_>>(), [2007, 1007, 7]);

    // A schema that is newer is left alone, and that is said.
    drop(records);
    postgres.query("shared", "UPDATE wasmgate_schema SET version = 99");
    let records = open_rows(&storage);
    records.append("x", "away", vec![row(200, 200)]).unwrap();
    records.flush();
    assert_eq!(records.health().waiting, 1);
}

/// What is done to a store.
#[derive(Debug, Clone)]
enum Step {
    Append(u8, Vec<Row>),
    Flush,
    Reopen,
    Query(Selection, usize),
    Summarise(Selection, Grouping),
}

fn value() -> impl Strategy<Value = FieldValue> {
    prop_oneof![
        Just(FieldValue::Null),
        "[ab]{0,2}".prop_map(FieldValue::Text),
        (-2i64..3).prop_map(FieldValue::Integer),
        (-2i32..3).prop_map(|n| FieldValue::Number(f64::from(n) / 2.0)),
        any::<bool>().prop_map(FieldValue::Flag),
    ]
}

fn name() -> impl Strategy<Value = String> {
    "[pqr]"
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let fields = proptest::collection::btree_map(name(), value(), 0..3);
    let row = (0u64..30, fields).prop_map(|(at_ms, fields)| Row { at_ms, fields: fields.into_iter().collect() });
    proptest::collection::vec(row, 0..12)
}

fn selection() -> impl Strategy<Value = Selection> {
    let comparison = prop_oneof![
        Just(Comparison::Equal),
        Just(Comparison::NotEqual),
        Just(Comparison::AtLeast),
        Just(Comparison::Below),
        Just(Comparison::Contains),
    ];
    let filter = (name(), comparison, value()).prop_map(|(field, comparison, value)| Filter { field, comparison, value });
    let time = || proptest::option::of(0u64..32);
    (0u8..3, time(), time(), proptest::collection::vec(filter, 0..2)).prop_map(|(table, since_ms, until_ms, filters)| Selection {
        table: format!("t{table}"),
        since_ms,
        until_ms,
        filters,
    })
}

fn grouping() -> impl Strategy<Value = Grouping> {
    let names = || proptest::collection::vec(name(), 0..3);
    (names(), proptest::option::of(1u64..10), names()).prop_map(|(by, every_ms, sums)| Grouping { by, every_ms, sums })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..2, rows()).prop_map(|(table, rows)| Step::Append(table, rows)),
        1 => Just(Step::Flush),
        1 => Just(Step::Reopen),
        3 => (selection(), 1usize..9).prop_map(|(selection, limit)| Step::Query(selection, limit)),
        2 => (selection(), grouping()).prop_map(|(selection, grouping)| Step::Summarise(selection, grouping)),
    ]
}

/// The plain list: rows in the order in which they came.
#[derive(Default)]
struct Model(Vec<(String, Row)>);

impl Model {
    fn select(&self, selection: &Selection) -> Vec<Row> {
        let times = selection.since_ms.unwrap_or(0)..selection.until_ms.unwrap_or(u64::MAX);
        let rows = self.0.iter().filter(|(table, row)| *table == selection.table && times.contains(&row.at_ms));
        let mut rows: Vec<Row> = rows.map(|(_, row)| row.clone()).filter(|row| selection.filters.iter().all(|f| fits(row, f))).collect();
        rows.sort_by_key(|row| row.at_ms);
        rows.reverse();
        rows
    }

    fn summarise(&self, selection: &Selection, grouping: &Grouping) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        for row in self.select(selection) {
            let keys: Vec<FieldValue> = grouping.by.iter().map(|f| field(&row, f)).collect();
            let at_ms = grouping.every_ms.map(|every| row.at_ms - row.at_ms % every);
            let known = groups.iter().position(|g| g.keys == keys && g.at_ms == at_ms);
            let group = known.unwrap_or_else(|| {
                groups.push(Group { keys, at_ms, count: 0, sums: vec![0.0; grouping.sums.len()] });
                groups.len() - 1
            });
            groups[group].count += 1;
            for (sum, name) in groups[group].sums.iter_mut().zip(&grouping.sums) {
                *sum += number(&field(&row, name)).unwrap_or(0.0);
            }
        }
        groups
    }
}

fn field(row: &Row, name: &str) -> FieldValue {
    row.fields.iter().find(|(n, _)| n == name).map_or(FieldValue::Null, |(_, v)| v.clone())
}

fn number(value: &FieldValue) -> Option<f64> {
    match value {
        FieldValue::Integer(n) => Some(*n as f64),
        FieldValue::Number(n) => Some(*n),
        FieldValue::Flag(flag) => Some(if *flag { 1.0 } else { 0.0 }),
        _ => None,
    }
}

fn fits(row: &Row, filter: &Filter) -> bool {
    let (found, wanted) = (field(row, &filter.field), filter.value.clone());
    let is_flag = |v: &FieldValue| matches!(v, FieldValue::Flag(_));
    let order = match (&found, &wanted) {
        (FieldValue::Text(a), FieldValue::Text(b)) => Some(a.cmp(b)),
        (FieldValue::Null, FieldValue::Null) => Some(std::cmp::Ordering::Equal),
        (a, b) if is_flag(a) == is_flag(b) => number(a).zip(number(b)).and_then(|(a, b)| a.partial_cmp(&b)),
        _ => None,
    };
    match filter.comparison {
        Comparison::Equal => order.is_some_and(|o| o.is_eq()),
        Comparison::NotEqual => !order.is_some_and(|o| o.is_eq()),
        Comparison::AtLeast => order.is_some_and(|o| o.is_ge()),
        Comparison::Below => order.is_some_and(|o| o.is_lt()),
        Comparison::Contains => matches!((found, wanted), (FieldValue::Text(a), FieldValue::Text(b)) if a.contains(&b)),
    }
}

/// All pages together.
fn read(records: &dyn Records, selection: &Selection, limit: usize) -> Vec<Row> {
    let (mut rows, mut cursor) = (Vec::new(), None);
    loop {
        let page = records.query("x", selection, limit, cursor.as_deref()).unwrap();
        assert!(page.rows.len() <= limit);
        rows.extend(page.rows);
        cursor = page.cursor;
        if cursor.is_none() {
            return rows;
        }
    }
}

fn run(steps: Vec<Step>, mut records: Arc<dyn Records>, reopen: impl Fn(Arc<dyn Records>) -> Arc<dyn Records>) {
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Append(table, rows) => {
                let table = format!("t{table}");
                model.0.extend(rows.iter().map(|row| (table.clone(), row.clone())));
                records.append("x", &table, rows).unwrap();
            }
            Step::Flush => records.flush(),
            Step::Reopen => records = reopen(records),
            Step::Query(selection, limit) => assert_eq!(read(&*records, &selection, limit), model.select(&selection)),
            Step::Summarise(selection, grouping) => {
                let (mut found, mut wanted) =
                    (records.summarise("x", &selection, &grouping).unwrap(), model.summarise(&selection, &grouping));
                assert!(found.is_sorted_by_key(|g| g.at_ms));
                for groups in [&mut found, &mut wanted] {
                    groups.sort_by_key(|g| format!("{g:?}"));
                }
                assert_eq!(found, wanted);
            }
        }
    }
}

/// Whatever is done to a store, it answers as a plain list would.
fn is_like_a_list(backend: &Backend) {
    // A database is made for each case.
    let cases = if matches!(backend, Backend::Postgres(_)) { 16 } else { 64 };
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let ran = TestRunner::new(config).run(&proptest::collection::vec(step(), 1..40), |steps| {
        let storage = backend.fresh();
        run(steps, open_rows(&storage), |records| {
            if !backend.outlives_its_process() {
                return records;
            }
            drop(records);
            open_rows(&storage)
        });
        Ok(())
    });
    if let Err(e) = ran {
        panic!("{e}");
    }
}
