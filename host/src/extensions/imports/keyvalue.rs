//! `wasi:keyvalue`: the extension's own namespace of the gateway's store.

use wasmtime::component::Resource;

use crate::extensions::bindings::wasi::keyvalue::{atomics, batch, store};
use crate::extensions::state::StoreState;
use crate::storage::{Key, KvError, Swap};

/// Keys in one page of `list-keys`.
const PAGE: usize = 256;

/// An open bucket.
pub struct Bucket {
    name: String,
}

/// A value that was looked at.
pub struct Cas {
    key: Key,
    seen: Option<Vec<u8>>,
}

impl StoreState {
    fn key(&self, bucket: &Resource<Bucket>, key: String) -> wasmtime::Result<Key> {
        Ok(Key { namespace: self.services.name.clone(), bucket: self.table.get(bucket)?.name.clone(), key })
    }

    /// The value of a key, counted as given to the guest.
    fn value(&mut self, key: &Key) -> Option<Vec<u8>> {
        let value = self.services.kv.value(key);
        self.given(value.as_ref().map_or(0, Vec::len));
        value
    }
}

fn refused(error: KvError) -> store::Error {
    store::Error::Other(error.to_string())
}

fn no_more_handles<T>(_: T) -> store::Error {
    store::Error::Other("too many open handles".into())
}

impl store::Host for &mut StoreState {
    fn open(&mut self, identifier: String) -> wasmtime::Result<Result<Resource<Bucket>, store::Error>> {
        let name = if identifier == "default" { String::new() } else { identifier };
        Ok(self.table.push(Bucket { name }).map_err(no_more_handles))
    }
}

impl store::HostBucket for &mut StoreState {
    fn get(&mut self, bucket: Resource<Bucket>, key: String) -> wasmtime::Result<Result<Option<Vec<u8>>, store::Error>> {
        let key = self.key(&bucket, key)?;
        Ok(Ok(self.value(&key)))
    }

    fn set(&mut self, bucket: Resource<Bucket>, key: String, value: Vec<u8>) -> wasmtime::Result<Result<(), store::Error>> {
        self.taken(value.len());
        Ok(self.services.kv.set(self.key(&bucket, key)?, value).map_err(refused))
    }

    fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> wasmtime::Result<Result<(), store::Error>> {
        self.services.kv.delete(&self.key(&bucket, key)?);
        Ok(Ok(()))
    }

    fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> wasmtime::Result<Result<bool, store::Error>> {
        Ok(Ok(self.services.kv.value(&self.key(&bucket, key)?).is_some()))
    }

    fn list_keys(
        &mut self,
        bucket: Resource<Bucket>,
        cursor: Option<String>,
    ) -> wasmtime::Result<Result<store::KeyResponse, store::Error>> {
        let key = self.key(&bucket, String::new())?;
        let keys = self.services.kv.keys(&key.namespace, &key.bucket, cursor.as_deref(), PAGE);
        let cursor = keys.last().filter(|_| keys.len() == PAGE).cloned();
        Ok(Ok(store::KeyResponse { keys, cursor }))
    }

    fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for &mut StoreState {
    fn increment(&mut self, bucket: Resource<Bucket>, key: String, delta: i64) -> wasmtime::Result<Result<i64, store::Error>> {
        Ok(self.services.kv.increment(self.key(&bucket, key)?, delta).map_err(refused))
    }

    fn swap(&mut self, cas: Resource<Cas>, value: Vec<u8>) -> wasmtime::Result<Result<(), atomics::CasError>> {
        self.taken(value.len());
        let Cas { key, seen } = self.table.delete(cas)?;
        match self.services.kv.swap(key.clone(), seen.as_deref(), value) {
            Ok(Swap::Done) => Ok(Ok(())),
            Ok(Swap::Changed(seen)) => Ok(Err(atomics::CasError::CasFailed(self.table.push(Cas { key, seen })?))),
            Err(e) => Ok(Err(atomics::CasError::StoreError(refused(e)))),
        }
    }
}

impl atomics::HostCas for &mut StoreState {
    fn new(&mut self, bucket: Resource<Bucket>, key: String) -> wasmtime::Result<Result<Resource<Cas>, store::Error>> {
        let key = self.key(&bucket, key)?;
        let seen = self.services.kv.value(&key);
        Ok(self.table.push(Cas { key, seen }).map_err(no_more_handles))
    }

    fn current(&mut self, cas: Resource<Cas>) -> wasmtime::Result<Result<Option<Vec<u8>>, store::Error>> {
        let seen = self.table.get(&cas)?.seen.clone();
        self.given(seen.as_ref().map_or(0, Vec::len));
        Ok(Ok(seen))
    }

    fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        self.table.delete(cas)?;
        Ok(())
    }
}

/// A key with its value.
type Pair = (String, Vec<u8>);

impl batch::Host for &mut StoreState {
    fn get_many(&mut self, bucket: Resource<Bucket>, keys: Vec<String>) -> wasmtime::Result<Result<Vec<Option<Pair>>, store::Error>> {
        let mut values = Vec::with_capacity(keys.len());
        let mut left = self.services.limits.host_call_bytes;
        for key in keys {
            let full = self.key(&bucket, key)?;
            let value = self.value(&full);
            // The same long value may be asked for any number of times.
            let Some(rest) = left.checked_sub(value.as_ref().map_or(0, Vec::len)) else {
                return Ok(Err(store::Error::Other(format!(
                    "the values are longer than {} bytes together",
                    self.services.limits.host_call_bytes
                ))));
            };
            left = rest;
            values.push(value.map(|value| (full.key, value)));
        }
        Ok(Ok(values))
    }

    fn set_many(&mut self, bucket: Resource<Bucket>, key_values: Vec<Pair>) -> wasmtime::Result<Result<(), store::Error>> {
        for (key, value) in key_values {
            self.taken(value.len());
            if let Err(e) = self.services.kv.set(self.key(&bucket, key)?, value) {
                return Ok(Err(refused(e)));
            }
        }
        Ok(Ok(()))
    }

    fn delete_many(&mut self, bucket: Resource<Bucket>, keys: Vec<String>) -> wasmtime::Result<Result<(), store::Error>> {
        for key in keys {
            self.services.kv.delete(&self.key(&bucket, key)?);
        }
        Ok(Ok(()))
    }
}
