//! Numbers for the operator's monitoring: the series of extensions, and the page that a scraper reads.
//!
//! The page is in the OpenMetrics text format (<https://prometheus.io/docs/specs/om/open_metrics_spec/>), which Prometheus and its kin
//! understand, or for those who ask for it in the older format of Prometheus
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>). Values are read while the page is made; nothing here runs in the background.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

/// `content-type` of the page.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `content-type` of the page in the older format.
pub const TEXT_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Most series of one extension. A histogram with its labels is one.
pub const MAX_SERIES: usize = 1_000;
/// Longest name of a metric or a label, in bytes.
pub const MAX_NAME: usize = 100;
/// Most labels of a series.
pub const MAX_LABELS: usize = 8;
/// Longest value of a label, in bytes.
pub const MAX_LABEL_VALUE: usize = 200;

/// Upper bounds of a histogram whose name ends in `_seconds`: from a cache's answer to a long generation.
const SECONDS: [f64; 15] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Upper bounds of other histograms: numbers of tokens, bytes or things, in powers of four.
const COUNTS: [f64; 13] =
    [1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0];

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How values are spread.
    Histogram,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.metric_type().as_str())
    }
}

impl Kind {
    fn metric_type(self) -> MetricType {
        match self {
            Self::Counter => MetricType::Counter,
            Self::Gauge => MetricType::Gauge,
            Self::Histogram => MetricType::Histogram,
        }
    }

    /// Names on the page that a metric takes, as ends of its family's name.
    fn suffixes(self) -> &'static [&'static str] {
        match self {
            Self::Counter => &["", "_total", "_created"],
            Self::Gauge => &[""],
            Self::Histogram => &["", "_bucket", "_sum", "_count", "_created"],
        }
    }
}

/// Why a value is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeriesError {
    /// A name cannot be.
    #[error("the name `{0}` must begin with a lower case letter or `_`, have only these and digits, and at most {MAX_NAME} bytes")]
    Name(String),
    /// A label's name is used by the format itself.
    #[error("the metric `{0}` cannot have a label `{1}`: the format uses it itself")]
    ReservedLabel(String, String),
    /// A label is there twice.
    #[error("the metric `{0}` has the label `{1}` twice")]
    LabelTwice(String, String),
    /// Too many labels.
    #[error("the metric `{0}` has {1} labels; at most {MAX_LABELS} are allowed")]
    TooManyLabels(String, usize),
    /// A label's value is too long.
    #[error("the label `{1}` of the metric `{0}` has a value of {2} bytes; at most {MAX_LABEL_VALUE} are allowed")]
    LabelValueTooLong(String, String, usize),
    /// Another metric has the name.
    #[error("the metric `{0}` cannot be a {1}: `{2}` is a {3} already")]
    Taken(String, Kind, String, Kind),
    /// Counters and sums of histograms only grow: what is read of them is how fast.
    #[error("the {1} `{0}` cannot take {2}: it only grows")]
    Negative(String, Kind, String),
    /// The value is none.
    #[error("the metric `{0}` would not be a finite number")]
    NotFinite(String),
    /// One more series than is allowed.
    #[error("the metric `{0}` needs a new series, and there are {MAX_SERIES} already: use fewer values of labels")]
    TooManySeries(String),
}

/// Labels in the order of their names.
type Labels = Vec<(String, String)>;

/// The metrics of one extension. They live as long as the process, whatever becomes of the extension's instances.
pub struct Series {
    prefix: String,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    families: BTreeMap<String, Family>,
    /// Names on the page, and the family that takes each.
    taken: HashMap<String, String>,
    count: usize,
}

struct Family {
    kind: Kind,
    series: BTreeMap<Labels, Value>,
}

enum Value {
    Number(f64),
    Spread {
        sum: f64,
        /// Values up to each bound, and above the one before; the last has no bound.
        buckets: Vec<u64>,
    },
}

impl Series {
    fn new(extension: &str) -> Self {
        let name = extension.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' });
        Self { prefix: format!("wasmgate_ext_{}_", name.collect::<String>()), inner: Mutex::default() }
    }

    /// Adds something, which is not negative, to a counter.
    pub fn count(&self, name: &str, labels: &[(String, String)], by: f64) -> Result<(), SeriesError> {
        // The format itself appends `_total`.
        let family = name.strip_suffix("_total").unwrap_or(name);
        self.change(name, family, Kind::Counter, labels, by, |value| value + by)
    }

    /// Sets a gauge.
    pub fn gauge(&self, name: &str, labels: &[(String, String)], value: f64) -> Result<(), SeriesError> {
        self.change(name, name, Kind::Gauge, labels, value, |_| value)
    }

    /// Adds a value, which is not negative, to a histogram.
    pub fn observe(&self, name: &str, labels: &[(String, String)], value: f64) -> Result<(), SeriesError> {
        self.change(name, name, Kind::Histogram, labels, value, |sum| sum + value)
    }

    fn change(
        &self,
        name: &str,
        family: &str,
        kind: Kind,
        labels: &[(String, String)],
        given: f64,
        new: impl Fn(f64) -> f64,
    ) -> Result<(), SeriesError> {
        check_name(name)?;
        check_name(family)?;
        let labels = checked_labels(name, labels)?;
        if !given.is_finite() {
            return Err(SeriesError::NotFinite(name.into()));
        }
        if given < 0.0 && kind != Kind::Gauge {
            return Err(SeriesError::Negative(name.into(), kind, given.to_string()));
        }
        let mut inner = self.lock();
        let value = inner.value(name, family, kind, labels)?;
        let (Value::Number(number) | Value::Spread { sum: number, .. }) = value;
        let sum = new(*number);
        if !sum.is_finite() {
            return Err(SeriesError::NotFinite(name.into()));
        }
        *number = sum;
        if let Value::Spread { buckets, .. } = value {
            let bucket = bounds(family).iter().position(|bound| given <= *bound).unwrap_or(buckets.len() - 1);
            buckets[bucket] += 1;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes all families whose names no other extension took before.
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>, taken: &mut HashSet<String>) -> fmt::Result {
        for (name, family) in &self.lock().families {
            let full = format!("{}{name}", self.prefix);
            let names: Vec<String> = family.kind.suffixes().iter().map(|suffix| format!("{full}{suffix}")).collect();
            if names.iter().any(|name| taken.contains(name)) {
                tracing::warn!(metric = full, "two extensions have a metric of this name; one of them is left out");
                continue;
            }
            taken.extend(names);
            let help = format!("{} of an extension", family.kind);
            let mut encoder = encoder.encode_descriptor(&full, &help, None, family.kind.metric_type())?;
            for (labels, value) in &family.series {
                if labels.is_empty() {
                    value.encode(name, family.kind, &mut encoder)?;
                } else {
                    value.encode(name, family.kind, &mut encoder.encode_family(labels)?)?;
                }
            }
        }
        Ok(())
    }
}

impl Inner {
    /// The value of a series, which is made when there is none.
    fn value(&mut self, name: &str, family: &str, kind: Kind, labels: Labels) -> Result<&mut Value, SeriesError> {
        let known = self.families.get(family).map(|f| (f.kind, f.series.contains_key(&labels)));
        if let Some((other, _)) = known.filter(|(other, _)| *other != kind) {
            return Err(SeriesError::Taken(name.into(), kind, family.into(), other));
        }
        if known.is_none() {
            let names = || kind.suffixes().iter().map(|suffix| format!("{family}{suffix}"));
            if let Some(owner) = names().find_map(|n| self.taken.get(&n)) {
                let other = self.families.get(owner).map_or(kind, |f| f.kind);
                return Err(SeriesError::Taken(name.into(), kind, owner.clone(), other));
            }
            if self.count < MAX_SERIES {
                self.taken.extend(names().map(|n| (n, family.to_owned())));
            }
        }
        if !known.is_some_and(|(_, there)| there) {
            if self.count >= MAX_SERIES {
                return Err(SeriesError::TooManySeries(name.into()));
            }
            self.count += 1;
        }
        let families = self.families.entry(family.to_owned()).or_insert_with(|| Family { kind, series: BTreeMap::new() });
        Ok(families.series.entry(labels).or_insert_with(|| match kind {
            Kind::Counter | Kind::Gauge => Value::Number(0.0),
            Kind::Histogram => Value::Spread { sum: 0.0, buckets: vec![0; bounds(family).len() + 1] },
        }))
    }
}

impl Value {
    fn encode(&self, family: &str, kind: Kind, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        match self {
            Self::Number(n) if kind == Kind::Counter => encoder.encode_counter::<NoLabelSet, _, f64>(n, None),
            Self::Number(n) => encoder.encode_gauge(n),
            Self::Spread { sum, buckets } => {
                let bounds = bounds(family).iter().copied().chain([f64::INFINITY]);
                let buckets: Vec<(f64, u64)> = bounds.zip(buckets.iter().copied()).collect();
                encoder.encode_histogram::<NoLabelSet>(*sum, buckets.iter().map(|(_, n)| n).sum(), &buckets, None)
            }
        }
    }
}

/// Upper bounds of a histogram's buckets.
fn bounds(family: &str) -> &'static [f64] {
    if family.ends_with("_seconds") { &SECONDS } else { &COUNTS }
}

fn check_name(name: &str) -> Result<(), SeriesError> {
    let mut bytes = name.bytes();
    let begins = bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_');
    if !begins || name.len() > MAX_NAME || !bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
        return Err(SeriesError::Name(name.chars().take(MAX_NAME).collect()));
    }
    Ok(())
}

fn checked_labels(metric: &str, labels: &[(String, String)]) -> Result<Labels, SeriesError> {
    if labels.len() > MAX_LABELS {
        return Err(SeriesError::TooManyLabels(metric.into(), labels.len()));
    }
    for (name, value) in labels {
        check_name(name)?;
        if name.starts_with("__") || name == "le" || name == "quantile" {
            return Err(SeriesError::ReservedLabel(metric.into(), name.clone()));
        }
        if value.len() > MAX_LABEL_VALUE {
            return Err(SeriesError::LabelValueTooLong(metric.into(), name.clone(), value.len()));
        }
    }
    let mut sorted = labels.to_vec();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => Err(SeriesError::LabelTwice(metric.into(), pair[0].0.clone())),
        None => Ok(sorted),
    }
}

/// The series of all extensions, by their names.
#[derive(Default)]
pub struct ExtensionSeries {
    extensions: Mutex<BTreeMap<String, Arc<Series>>>,
}

impl ExtensionSeries {
    /// The series of an extension: the same ones each time, so that counters go on when an extension is replaced.
    pub fn of(&self, extension: &str) -> Arc<Series> {
        let mut extensions = self.lock();
        Arc::clone(extensions.entry(extension.to_owned()).or_insert_with(|| Arc::new(Series::new(extension))))
    }

    /// Forgets extensions that are no longer there.
    pub fn retain(&self, is_there: impl Fn(&str) -> bool) {
        self.lock().retain(|name, _| is_there(name));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Series>>> {
        self.extensions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ExtensionSeries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExtensionSeries")
    }
}

impl Collector for ExtensionSeries {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let extensions: Vec<Arc<Series>> = self.lock().values().map(Arc::clone).collect();
        let mut taken = HashSet::new();
        extensions.iter().try_for_each(|series| series.encode(&mut encoder, &mut taken))
    }
}

/// What a scraper reads: the families of all collectors, in the order in which they were registered.
#[derive(Debug, Default)]
pub struct Page {
    registry: Registry,
}

impl Page {
    /// Adds families. Two collectors must not have one name: the page would not be valid.
    pub fn register(&mut self, collector: Box<dyn Collector>) {
        self.registry.register_collector(collector);
    }

    /// The page, of [`CONTENT_TYPE`].
    pub fn render(&self) -> String {
        let mut page = String::new();
        // Writing to a string fails only if a collector does, and ours do not.
        if text::encode(&mut page, &self.registry).is_err() {
            tracing::error!("the page of metrics could not be made");
        }
        page
    }

    /// The page, of [`TEXT_CONTENT_TYPE`].
    pub fn render_text(&self) -> String {
        older(&self.render())
    }
}

/// A page in the older format: a counter's family has the name of its series, and there is no mark of the end.
fn older(page: &str) -> String {
    let mut text = String::with_capacity(page.len());
    let mut help = None;
    for line in page.lines() {
        match line.split(' ').collect::<Vec<_>>().as_slice() {
            ["#", "HELP", ..] => help = Some(line),
            ["#", "TYPE", name, kind] => {
                let total = if *kind == "counter" { "_total" } else { "" };
                let words = help.take().and_then(|l| l.splitn(4, ' ').nth(3)).unwrap_or_default();
                text.push_str(&format!("# HELP {name}{total} {words}\n# TYPE {name}{total} {kind}\n"));
            }
            ["#", ..] => {}
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(labels: &[(&str, &str)]) -> Labels {
        labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    fn page(series: &Arc<ExtensionSeries>) -> String {
        let mut page = Page::default();
        page.register(Box::new(Arc::clone(series)));
        page.render()
    }

    #[test]
    fn the_page_shows_every_kind() {
        let all = Arc::new(ExtensionSeries::default());
        let series = all.of("best-of-n");
        series.count("hits_total", &labels(&[("model", "a\"b\\c\nd"), ("kind", "x")]), 1.5).unwrap();
        series.count("hits_total", &labels(&[("kind", "x"), ("model", "a\"b\\c\nd")]), 1.0).unwrap();
        series.count("misses", &[], 2.0).unwrap();
        series.gauge("open", &[], -3.0).unwrap();
        series.gauge("open", &[], 4.0).unwrap();
        for value in [0.0005, 0.001, 0.3, 100.0] {
            all.of("best-of-n").observe("wait_seconds", &labels(&[("a", "b")]), value).unwrap();
        }
        let expected = r##"# HELP wasmgate_ext_best_of_n_hits counter of an extension
# TYPE wasmgate_ext_best_of_n_hits counter
wasmgate_ext_best_of_n_hits_total{kind="x",model="a\"b\\c\nd"} 2.5
# HELP wasmgate_ext_best_of_n_misses counter of an extension
# TYPE wasmgate_ext_best_of_n_misses counter
wasmgate_ext_best_of_n_misses_total 2.0
# HELP wasmgate_ext_best_of_n_open gauge of an extension
# TYPE wasmgate_ext_best_of_n_open gauge
wasmgate_ext_best_of_n_open 4.0
# HELP wasmgate_ext_best_of_n_wait_seconds histogram of an extension
# TYPE wasmgate_ext_best_of_n_wait_seconds histogram
wasmgate_ext_best_of_n_wait_seconds_sum{a="b"} 100.3015
wasmgate_ext_best_of_n_wait_seconds_count{a="b"} 4
wasmgate_ext_best_of_n_wait_seconds_bucket{le="0.001",a="b"} 2
"##;
        let page = page(&all);
        assert!(page.starts_with(expected), "{page}");
        assert!(page.ends_with("wasmgate_ext_best_of_n_wait_seconds_bucket{le=\"+Inf\",a=\"b\"} 4\n# EOF\n"), "{page}");
        all.retain(|name| name != "best-of-n");
        assert_eq!(self::page(&all), "# EOF\n");
    }

    #[test]
    fn the_older_format_names_counters_as_their_series() {
        let page = "# HELP a counter: of an # extension\n# TYPE a counter\na_total{b=\"# c\"} 1\n# HELP g g\n# TYPE g gauge\ng 2\n# EOF\n";
        let expected =
            "# HELP a_total counter: of an # extension\n# TYPE a_total counter\na_total{b=\"# c\"} 1\n# HELP g g\n# TYPE g gauge\ng 2\n";
        assert_eq!(older(page), expected);
    }

    #[test]
    fn names_and_labels_are_checked() {
        let series = Series::new("e");
        let count = |name: &str, with: &[(&str, &str)]| series.count(name, &labels(with), 1.0).map_err(|e| e.to_string());
        for name in ["", "A", "1a", "a-b", "a b", "ä", "_total", &"a".repeat(MAX_NAME + 1)] {
            assert!(count(name, &[]).is_err_and(|e| e.contains("must begin with")), "{name}");
        }
        assert_eq!(count("_a1", &[]), Ok(()));
        let refused = |with: &[(&str, &str)]| count("a", with).unwrap_err();
        assert!(refused(&[("B", "x")]).contains("`B` must begin"));
        assert!(refused(&[("le", "1")]).contains("`a` cannot have a label `le`"));
        assert!(refused(&[("b", "x"), ("b", "y")]).contains("`a` has the label `b` twice"));
        assert!(refused(&[("b", &"x".repeat(201))]).contains("value of 201 bytes"));
        assert!(refused(&[("b", "x"); 9]).contains("`a` has 9 labels"));
    }

    #[test]
    fn values_are_checked() {
        let series = Series::new("e");
        assert_eq!(series.count("a", &[], -1.0), Err(SeriesError::Negative("a".into(), Kind::Counter, "-1".into())));
        assert_eq!(series.observe("c", &[], -1.0), Err(SeriesError::Negative("c".into(), Kind::Histogram, "-1".into())));
        for value in [f64::NAN, f64::INFINITY] {
            assert_eq!(series.count("a", &[], value), Err(SeriesError::NotFinite("a".into())));
            assert_eq!(series.gauge("b", &[], value), Err(SeriesError::NotFinite("b".into())));
            assert_eq!(series.observe("c", &[], value), Err(SeriesError::NotFinite("c".into())));
        }
        series.count("a", &[], f64::MAX).unwrap();
        assert_eq!(series.count("a", &[], f64::MAX), Err(SeriesError::NotFinite("a".into())), "sums, too");
    }

    #[test]
    fn one_name_has_one_kind() {
        let series = Series::new("e");
        series.count("a_total", &[], 1.0).unwrap();
        assert_eq!(series.count("a", &[], 1.0), Ok(()), "the ending is only a convention");
        let error = series.gauge("a", &[], 1.0).unwrap_err();
        assert_eq!(error.to_string(), "the metric `a` cannot be a gauge: `a` is a counter already");
        assert!(series.gauge("a_total", &[], 1.0).is_err());
        series.observe("b", &[], 1.0).unwrap();
        assert!(series.gauge("b_count", &[], 1.0).is_err());
        series.gauge("c_sum", &[], 1.0).unwrap();
        assert!(series.observe("c", &[], 1.0).is_err());
    }

    #[test]
    fn series_are_bounded() {
        let series = Series::new("e");
        for n in 0..MAX_SERIES {
            series.gauge("a", &labels(&[("n", &n.to_string())]), 1.0).unwrap();
        }
        assert_eq!(series.gauge("a", &labels(&[("n", "x")]), 1.0), Err(SeriesError::TooManySeries("a".into())));
        assert_eq!(series.gauge("b", &[], 1.0), Err(SeriesError::TooManySeries("b".into())));
        assert_eq!(series.gauge("a", &labels(&[("n", "0")]), 2.0), Ok(()));
    }

    #[test]
    fn two_extensions_do_not_break_the_page() {
        let all = Arc::new(ExtensionSeries::default());
        all.of("a").gauge("b_c", &[], 1.0).unwrap();
        all.of("a-b").gauge("c", &[], 2.0).unwrap();
        assert_eq!(page(&all).matches("# TYPE wasmgate_ext_a_b_c gauge").count(), 1);
    }
}
