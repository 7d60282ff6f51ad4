//! The store in memory: the whole truth while the gateway runs.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{ENTRY_OVERHEAD, Key, Kv, KvError, MAX_BUCKET, MAX_KEY, MAX_NAMESPACE, MAX_VALUE, Swap};

/// A map, ordered so that a bucket's keys are neighbours.
#[derive(Default)]
pub struct MemoryKv {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    map: BTreeMap<Key, Vec<u8>>,
    sizes: HashMap<String, usize>,
}

impl Inner {
    fn set(&mut self, key: Key, value: Vec<u8>) -> Result<(), KvError> {
        if key.key.len() > MAX_KEY {
            return Err(KvError::KeyTooLong(key.key.len()));
        }
        if key.bucket.len() > MAX_BUCKET {
            return Err(KvError::BucketTooLong(key.bucket.len()));
        }
        if value.len() > MAX_VALUE {
            return Err(KvError::ValueTooLong(value.len()));
        }
        let old = self.map.get(&key).map_or(0, |v| cost(&key, v));
        let size = self.sizes.get(&key.namespace).copied().unwrap_or(0) - old + cost(&key, &value);
        if size > MAX_NAMESPACE {
            return Err(KvError::NamespaceFull(size));
        }
        self.sizes.insert(key.namespace.clone(), size);
        self.map.insert(key, value);
        Ok(())
    }
}

/// What an entry takes of its namespace's share.
fn cost(key: &Key, value: &[u8]) -> usize {
    key.bucket.len() + key.key.len() + value.len() + ENTRY_OVERHEAD
}

impl MemoryKv {
    /// Removes all keys but these.
    pub fn retain(&self, keep: impl Fn(&Key) -> bool) {
        let Inner { map, sizes } = &mut *self.lock();
        map.retain(|key, value| {
            let kept = keep(key);
            if !kept && let Some(size) = sizes.get_mut(&key.namespace) {
                *size -= cost(key, value);
            }
            kept
        });
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kv for MemoryKv {
    fn value(&self, key: &Key) -> Option<Vec<u8>> {
        self.lock().map.get(key).cloned()
    }

    fn set(&self, key: Key, value: Vec<u8>) -> Result<(), KvError> {
        self.lock().set(key, value)
    }

    fn delete(&self, key: &Key) {
        let mut inner = self.lock();
        if let Some(value) = inner.map.remove(key)
            && let Some(size) = inner.sizes.get_mut(&key.namespace)
        {
            *size -= cost(key, &value);
        }
    }

    fn increment(&self, key: Key, delta: i64) -> Result<i64, KvError> {
        let mut inner = self.lock();
        let old = match inner.map.get(&key) {
            None => 0,
            Some(v) => std::str::from_utf8(v).ok().and_then(|t| t.parse::<i64>().ok()).ok_or(KvError::NotANumber)?,
        };
        let sum = old.saturating_add(delta);
        inner.set(key, sum.to_string().into_bytes())?;
        Ok(sum)
    }

    fn swap(&self, key: Key, seen: Option<&[u8]>, value: Vec<u8>) -> Result<Swap, KvError> {
        let mut inner = self.lock();
        let current = inner.map.get(&key);
        if current.map(Vec::as_slice) != seen {
            return Ok(Swap::Changed(current.cloned()));
        }
        inner.set(key, value)?;
        Ok(Swap::Done)
    }

    fn keys(&self, namespace: &str, bucket: &str, after: Option<&str>, limit: usize) -> Vec<String> {
        let from = Key { namespace: namespace.into(), bucket: bucket.into(), key: after.unwrap_or_default().into() };
        let from = if after.is_some() { Bound::Excluded(from) } else { Bound::Included(from) };
        let inner = self.lock();
        let in_bucket = inner.map.range((from, Bound::Unbounded)).take_while(|(k, _)| k.namespace == namespace && k.bucket == bucket);
        in_bucket.take(limit).map(|(k, _)| k.key.clone()).collect()
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(namespace: &str, bucket: &str, key: &str) -> Key {
        Key { namespace: namespace.into(), bucket: bucket.into(), key: key.into() }
    }

    #[test]
    fn buckets_and_namespaces_are_apart() {
        let kv = MemoryKv::default();
        for (n, b, k) in [("a", "x", "2"), ("a", "x", "1"), ("a", "y", "3"), ("b", "x", "4")] {
            kv.set(key(n, b, k), b"v".to_vec()).unwrap();
        }
        assert_eq!(kv.keys("a", "x", None, 10), ["1", "2"]);
        assert_eq!(kv.keys("a", "x", Some("1"), 10), ["2"]);
        assert_eq!(kv.keys("b", "x", None, 10), ["4"]);
        kv.delete(&key("a", "x", "1"));
        assert_eq!(kv.value(&key("a", "x", "1")), None);
        assert_eq!(kv.value(&key("a", "x", "2")), Some(b"v".to_vec()));
    }

    #[test]
    fn a_swap_needs_what_was_seen() {
        let kv = MemoryKv::default();
        let swap = |seen: Option<&str>, value: &str| kv.swap(key("a", "", "k"), seen.map(str::as_bytes), value.into());
        assert_eq!(swap(Some("x"), "1"), Ok(Swap::Changed(None)));
        assert_eq!(swap(None, "1"), Ok(Swap::Done));
        assert_eq!(swap(None, "2"), Ok(Swap::Changed(Some(b"1".to_vec()))));
        assert_eq!(swap(Some("1"), "2"), Ok(Swap::Done));
    }

    #[test]
    fn counters_and_limits() {
        let kv = MemoryKv::default();
        assert_eq!(kv.increment(key("a", "", "n"), 2), Ok(2));
        assert_eq!(kv.increment(key("a", "", "n"), 3), Ok(5));
        assert_eq!(kv.increment(key("a", "", "n"), -7), Ok(-2));
        kv.set(key("a", "", "t"), b"text".to_vec()).unwrap();
        assert_eq!(kv.increment(key("a", "", "t"), 1), Err(KvError::NotANumber));
        assert_eq!(kv.set(key("a", "", &"k".repeat(MAX_KEY + 1)), vec![]), Err(KvError::KeyTooLong(MAX_KEY + 1)));
        assert_eq!(kv.set(key("a", "", "k"), vec![0; MAX_VALUE + 1]), Err(KvError::ValueTooLong(MAX_VALUE + 1)));
        let long = Key { bucket: "b".repeat(MAX_BUCKET + 1), ..key("a", "", "k") };
        assert_eq!(kv.set(long, vec![]), Err(KvError::BucketTooLong(MAX_BUCKET + 1)));
        for n in 0..63 {
            kv.set(key("a", "", &format!("{n}")), vec![0; MAX_VALUE]).unwrap();
        }
        assert!(matches!(kv.set(key("a", "", "last"), vec![0; MAX_VALUE]), Err(KvError::NamespaceFull(_))));
        assert!(kv.set(key("b", "", "last"), vec![0; MAX_VALUE]).is_ok());
        kv.set(key("a", "", "0"), vec![]).unwrap();
        assert!(kv.set(key("a", "", "last"), vec![0; MAX_VALUE - (64 + 1) * 2 * ENTRY_OVERHEAD]).is_ok());
    }
}
