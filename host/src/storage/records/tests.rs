//! Both stores against the same checks, and against a plain list.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::Storage;
use crate::storage;

fn open(path: &Path, retain: Duration) -> storage::Store {
    storage::open(&Storage { path: Some(path.into()), retain_records: retain }).unwrap()
}

/// Only the rows: the file is closed when they are dropped.
fn open_rows(path: &Path) -> Arc<dyn Records> {
    let store = open(path, Duration::ZERO);
    store.records
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

/// Runs a check on each kind of store.
fn each_store(check: impl Fn(&dyn Records)) {
    check(&MemoryRecords::new(None));
    let folder = tempfile::tempdir().unwrap();
    check(&*open(&folder.path().join("store.redb"), Duration::ZERO).records);
}

#[test]
fn limits_are_told() {
    each_store(|records| {
        let refused =
            |table: &str, fields: Vec<(String, FieldValue)>| records.append("x", table, vec![Row { at_ms: 1, fields }]).unwrap_err();
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
    });
}

#[test]
fn pages_are_bounded_in_bytes() {
    each_store(|records| {
        let text = FieldValue::Text("x".repeat(MAX_ROW - 100));
        records.append("x", "a", (0..40).map(|at_ms| Row { at_ms, fields: vec![("t".into(), text.clone())] }).collect()).unwrap();
        let page = records.query("x", &all("a"), 1000, None).unwrap();
        assert_eq!(page.rows.len(), MAX_PAGE_BYTES / MAX_ROW);
        assert_eq!(records.query("x", &all("a"), 1000, page.cursor.as_deref()).unwrap().rows[0].at_ms, 39 - 16);
    });
}

#[test]
fn groups_are_bounded() {
    each_store(|records| {
        records.append("x", "a", (0..=MAX_GROUPS as u64).map(|at| row(at, at as i64)).collect()).unwrap();
        let by_n = Grouping { by: vec!["n".into()], ..Grouping::default() };
        assert_eq!(records.summarise("x", &all("a"), &by_n), Err(RecordsError::TooManyGroups));
        let fewer = Selection { since_ms: Some(1), ..all("a") };
        assert_eq!(records.summarise("x", &fewer, &by_n).unwrap().len(), MAX_GROUPS);
    });
}

#[test]
fn namespaces_are_apart() {
    each_store(|records| {
        records.append("x", "a", vec![row(1, 1)]).unwrap();
        records.append("y", "a", vec![row(1, 2)]).unwrap();
        records.flush();
        assert_eq!(numbers(records, "a"), [1]);
    });
}

#[test]
fn a_full_queue_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let database = ::redb::Database::create(&path).unwrap();
    let source = Arc::new(RowSource::open(&database, None).unwrap());
    let (database, blocked) = (Arc::new(database), Arc::new(::redb::Database::create(folder.path().join("other.redb")).unwrap()));
    // A writer that never gets its turn.
    let _turn = blocked.begin_write().unwrap();
    let writer = Arc::new(storage::writer::Writer::start(Arc::clone(&blocked), vec![Arc::clone(&source) as _]).unwrap());
    let records = RedbRecords::new(source, database, Arc::clone(&writer));
    records.append("x", "a", (0..MAX_WAITING_ROWS as u64).map(|at| row(at, 0)).collect()).unwrap();
    assert_eq!(records.append("x", "a", vec![row(1, 1)]), Err(RecordsError::Busy(MAX_WAITING_ROWS)));
    assert_eq!(records.append("y", "a", vec![row(1, 1)]), Ok(()), "others have their own share");
    // Dropping the writer would wait for its turn.
    std::mem::forget((records, writer));
}

#[test]
fn what_is_on_disk_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let (path, image) = (folder.path().join("store.redb"), folder.path().join("image.redb"));
    let store = open(&path, Duration::ZERO);
    store.records.append("x", "a", vec![row(5, 1), row(7, 2)]).unwrap();
    store.records.flush();
    store.records.append("x", "a", vec![row(6, 3)]).unwrap();
    // The file as a process that is killed now leaves it: never closed.
    std::fs::copy(&path, &image).unwrap();
    drop(store);
    let killed = open(&image, Duration::ZERO);
    let numbers_left = numbers(&*killed.records, "a");
    assert!(numbers_left == [2, 1] || numbers_left == [2, 3, 1], "{numbers_left:?}");
    killed.records.append("x", "a", vec![row(7, 4)]).unwrap();
    assert_eq!(numbers(&*killed.records, "a")[..2], [4, 2], "numbers of rows go on where they were");

    // Closed in order: nothing is lost, flushed or not.
    assert_eq!(numbers(&*open(&path, Duration::ZERO).records, "a"), [2, 3, 1]);
}

#[test]
fn rows_that_are_too_old_are_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let far = u64::MAX / 2;
    let store = open(&path, Duration::ZERO);
    for table in ["a", "b"] {
        store.records.append("x", table, vec![row(1, 1), row(2, 2), row(far, 3)]).unwrap();
    }
    store.records.append("y", "c", (0..25_000).map(|at| row(at, 1)).collect()).unwrap();
    drop(store);
    let store = open(&path, Duration::from_secs(3600));
    // One transaction deletes 10,000 rows.
    for _ in 0..3 {
        store.records.flush();
    }
    assert_eq!(numbers(&*store.records, "a"), [3]);
    assert_eq!(numbers(&*store.records, "b"), [3]);
    assert_eq!(store.records.query("y", &all("c"), 1, None).unwrap(), Page::default());
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

fn run(steps: Vec<Step>, mut records: Arc<dyn Records>, mut reopen: impl FnMut(Arc<dyn Records>) -> Arc<dyn Records>) {
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn memory_is_like_a_list(steps in proptest::collection::vec(step(), 1..40)) {
        run(steps, Arc::new(MemoryRecords::new(None)), |records| records);
    }

    #[test]
    fn the_file_is_like_a_list(steps in proptest::collection::vec(step(), 1..40)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.redb");
        run(steps, open_rows(&path), |records| {
            drop(records);
            open_rows(&path)
        });
    }
}
