//! `wasi:keyvalue`: the extension's own namespace of the gateway's store.
//!
//! A store that several gateways share may not have been read yet. What is not found then may be there all the same, so it is an error and not
//! "nothing": otherwise a key that opens would be refused as one that nobody knows, and a document would be written over by an empty one.

use wasmtime::component::Resource;

use crate::extensions::bindings::wasi::keyvalue::{atomics, batch, store};
use crate::extensions::state::StoreState;
use crate::extensions::tape::{Content, Function, acted, taped};
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
    fn value(&mut self, key: &Key) -> Result<Option<Vec<u8>>, KvError> {
        let value = self.services.kv.known(key)?;
        self.given(value.as_ref().map_or(0, Vec::len));
        Ok(value)
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
        let value = taped!(self, Function::fact("kv.get"), (&key.bucket, &key.key), self.value(&key).map(|v| v.map(Content)));
        Ok(value.map(|v| v.map(|v| v.0)).map_err(refused))
    }

    fn set(&mut self, bucket: Resource<Bucket>, key: String, value: Vec<u8>) -> wasmtime::Result<Result<(), store::Error>> {
        self.taken(value.len());
        let key = self.key(&bucket, key)?;
        let arguments = (key.bucket.as_str(), key.key.as_str(), Content(&value));
        Ok(acted!(self, Function::effect("kv.set"), arguments, Ok(()), self.services.kv.set(key, value)).map_err(refused))
    }

    fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> wasmtime::Result<Result<(), store::Error>> {
        let key = self.key(&bucket, key)?;
        acted!(self, Function::effect("kv.delete"), (&key.bucket, &key.key), (), self.services.kv.delete(&key));
        Ok(Ok(()))
    }

    fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> wasmtime::Result<Result<bool, store::Error>> {
        let key = self.key(&bucket, key)?;
        let exists = taped!(self, Function::fact("kv.exists"), (&key.bucket, &key.key), {
            self.services.kv.known(&key).map(|value| value.is_some())
        });
        Ok(exists.map_err(refused))
    }

    fn list_keys(
        &mut self,
        bucket: Resource<Bucket>,
        cursor: Option<String>,
    ) -> wasmtime::Result<Result<store::KeyResponse, store::Error>> {
        let key = self.key(&bucket, String::new())?;
        let keys = taped!(self, Function::fact("kv.list-keys"), (&key.bucket, &cursor), {
            let kv = &self.services.kv;
            if kv.is_read() { Ok(kv.keys(&key.namespace, &key.bucket, cursor.as_deref(), PAGE)) } else { Err(KvError::Unread) }
        });
        let page = |keys: Vec<String>| {
            let cursor = keys.last().filter(|_| keys.len() == PAGE).cloned();
            store::KeyResponse { keys, cursor }
        };
        Ok(keys.map(page).map_err(refused))
    }

    fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for &mut StoreState {
    fn increment(&mut self, bucket: Resource<Bucket>, key: String, delta: i64) -> wasmtime::Result<Result<i64, store::Error>> {
        let key = self.key(&bucket, key)?;
        let arguments = (key.bucket.as_str(), key.key.as_str(), delta);
        Ok(acted!(self, Function::effect("kv.increment"), arguments, Ok(delta), self.services.kv.increment(key, delta)).map_err(refused))
    }

    fn swap(&mut self, cas: Resource<Cas>, value: Vec<u8>) -> wasmtime::Result<Result<(), atomics::CasError>> {
        self.taken(value.len());
        let Cas { key, seen } = self.table.delete(cas)?;
        let arguments = (&key.bucket, &key.key, Content(&value));
        let swapped = acted!(self, Function::effect("kv.swap"), arguments, Ok(Swap::Done), {
            self.services.kv.swap(key.clone(), seen.as_deref(), value)
        });
        match swapped {
            Ok(Swap::Done) => Ok(Ok(())),
            Ok(Swap::Changed(seen)) => Ok(Err(atomics::CasError::CasFailed(self.table.push(Cas { key, seen })?))),
            Err(e) => Ok(Err(atomics::CasError::StoreError(refused(e)))),
        }
    }
}

impl atomics::HostCas for &mut StoreState {
    fn new(&mut self, bucket: Resource<Bucket>, key: String) -> wasmtime::Result<Result<Resource<Cas>, store::Error>> {
        let key = self.key(&bucket, key)?;
        let seen = taped!(self, Function::fact("kv.cas"), (&key.bucket, &key.key), {
            self.services.kv.known(&key).map(|value| value.map(Content))
        });
        match seen {
            Ok(seen) => Ok(self.table.push(Cas { key, seen: seen.map(|v| v.0) }).map_err(no_more_handles)),
            Err(e) => Ok(Err(refused(e))),
        }
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

/// What is found under a key: the key with its value.
type Found = Option<(String, Content)>;

/// A key with its value.
type Pair = (String, Vec<u8>);

impl batch::Host for &mut StoreState {
    fn get_many(&mut self, bucket: Resource<Bucket>, keys: Vec<String>) -> wasmtime::Result<Result<Vec<Option<Pair>>, store::Error>> {
        let name = self.table.get(&bucket)?.name.clone();
        let values = taped!(self, Function::fact("kv.get-many"), (&name, &keys), self.values(&bucket, keys)?);
        let pair = |(key, value): (String, Content)| (key, value.0);
        Ok(values.map(|all| all.into_iter().map(|v| v.map(pair)).collect()).map_err(store::Error::Other))
    }

    fn set_many(&mut self, bucket: Resource<Bucket>, key_values: Vec<Pair>) -> wasmtime::Result<Result<(), store::Error>> {
        let name = self.table.get(&bucket)?.name.clone();
        let set = acted!(self, Function::effect("kv.set-many"), (&name, Pairs(&key_values)), Ok(()), {
            let mut done = Ok(());
            for (key, value) in key_values {
                self.taken(value.len());
                done = self.services.kv.set(self.key(&bucket, key)?, value);
                if done.is_err() {
                    break;
                }
            }
            done
        });
        Ok(set.map_err(refused))
    }

    fn delete_many(&mut self, bucket: Resource<Bucket>, keys: Vec<String>) -> wasmtime::Result<Result<(), store::Error>> {
        let name = self.table.get(&bucket)?.name.clone();
        acted!(self, Function::effect("kv.delete-many"), (&name, &keys), (), {
            for key in keys {
                self.services.kv.delete(&self.key(&bucket, key)?);
            }
        });
        Ok(Ok(()))
    }
}

impl StoreState {
    /// The values of many keys, or why not.
    fn values(&mut self, bucket: &Resource<Bucket>, keys: Vec<String>) -> wasmtime::Result<Result<Vec<Found>, String>> {
        let mut values = Vec::with_capacity(keys.len());
        let mut left = self.services.limits.host_call_bytes;
        for key in keys {
            let full = self.key(bucket, key)?;
            let value = match self.value(&full) {
                Ok(value) => value,
                Err(e) => return Ok(Err(e.to_string())),
            };
            // The same long value may be asked for any number of times.
            let Some(rest) = left.checked_sub(value.as_ref().map_or(0, Vec::len)) else {
                return Ok(Err(format!("the values are longer than {} bytes together", self.services.limits.host_call_bytes)));
            };
            left = rest;
            values.push(value.map(|value| (full.key, Content(value))));
        }
        Ok(Ok(values))
    }
}

/// Pairs that are shown as text.
struct Pairs<'a>(&'a [Pair]);

impl std::fmt::Debug for Pairs<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(key, value)| (key, Content(value)))).finish()
    }
}
