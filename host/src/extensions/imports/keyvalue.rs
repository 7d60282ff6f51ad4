//! `wasi:keyvalue`: the extension's own namespace of the gateway's store.

use wasmtime::component::Resource;

use crate::extensions::bindings::wasi::keyvalue::{atomics, store};
use crate::extensions::state::StoreState;
use crate::storage::{Key, KvError};

/// Keys in one page of `list-keys`.
const PAGE: usize = 256;

/// An open bucket.
pub struct Bucket {
    name: String,
}

impl StoreState {
    fn key(&self, bucket: &Resource<Bucket>, key: String) -> wasmtime::Result<Key> {
        Ok(Key { namespace: self.services.name.clone(), bucket: self.table.get(bucket)?.name.clone(), key })
    }
}

fn refused(error: KvError) -> store::Error {
    store::Error::Other(error.to_string())
}

impl store::Host for &mut StoreState {
    fn open(&mut self, identifier: String) -> wasmtime::Result<Result<Resource<Bucket>, store::Error>> {
        let name = if identifier == "default" { String::new() } else { identifier };
        Ok(self.table.push(Bucket { name }).map_err(|_| store::Error::Other("too many open handles".into())))
    }
}

impl store::HostBucket for &mut StoreState {
    fn get(&mut self, bucket: Resource<Bucket>, key: String) -> wasmtime::Result<Result<Option<Vec<u8>>, store::Error>> {
        Ok(Ok(self.services.kv.value(&self.key(&bucket, key)?)))
    }

    fn set(&mut self, bucket: Resource<Bucket>, key: String, value: Vec<u8>) -> wasmtime::Result<Result<(), store::Error>> {
        Ok(self.services.kv.set(self.key(&bucket, key)?, value).map_err(refused))
    }

    fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> wasmtime::Result<Result<(), store::Error>> {
        self.services.kv.delete(&self.key(&bucket, key)?);
        Ok(Ok(()))
    }

    fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> wasmtime::Result<Result<bool, store::Error>> {
        Ok(Ok(self.services.kv.value(&self.key(&bucket, key)?).is_some()))
    }

    fn list_keys(&mut self, bucket: Resource<Bucket>, cursor: Option<u64>) -> wasmtime::Result<Result<store::KeyResponse, store::Error>> {
        let skip = cursor.map_or(0, |c| usize::try_from(c).unwrap_or(usize::MAX));
        let key = self.key(&bucket, String::new())?;
        let keys = self.services.kv.keys(&key.namespace, &key.bucket, skip, PAGE);
        let cursor = (keys.len() == PAGE).then(|| (skip + PAGE) as u64);
        Ok(Ok(store::KeyResponse { keys, cursor }))
    }

    fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for &mut StoreState {
    fn increment(&mut self, bucket: Resource<Bucket>, key: String, delta: u64) -> wasmtime::Result<Result<u64, store::Error>> {
        Ok(self.services.kv.increment(self.key(&bucket, key)?, delta).map_err(refused))
    }
}
