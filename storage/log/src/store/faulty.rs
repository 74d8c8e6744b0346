//! The faulty object store: in memory, with refusals, lost replies and rot on demand.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::object::ObjectName;
use crate::store::Store;

/// What a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreCall {
    /// A put.
    Put,
    /// Any read.
    Get,
    /// A delete.
    Delete,
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is refused like a 503: nothing happens.
    Unavailable,
    /// It is refused like a 403: nothing happens.
    Denied,
    /// It is done, but its reply is lost.
    LostReply,
}

/// An object store in memory whose next calls can be made to fail; clones share it.
#[derive(Debug, Clone, Default)]
pub struct FaultyObjects(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    objects: InMemory,
    faults: Mutex<Faults>,
}

#[derive(Debug, Default)]
struct Faults {
    queued: VecDeque<(StoreCall, Fault)>,
    always: Option<Fault>,
    /// Calls of this kind are refused once so many have passed.
    ends: Option<(StoreCall, usize)>,
    calls: Vec<(StoreCall, String)>,
}

impl FaultyObjects {
    /// An empty store without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The store as callers use it.
    pub fn store(&self) -> Store {
        Store::from_objects(Arc::new(self.clone()), "", "memory://faulty")
    }

    /// The next call of the kind meets the fault; several are met in order.
    pub fn fail_next(&self, call: StoreCall, fault: Fault) {
        self.faults().queued.push_back((call, fault));
    }

    /// Every call meets the fault until `None` is set.
    pub fn fail_all(&self, fault: Option<Fault>) {
        self.faults().always = fault;
    }

    /// Lets so many more calls of this kind pass, and refuses all later ones like a 403, until [`FaultyObjects::heal`].
    pub fn fail_after(&self, call: StoreCall, passed: usize) {
        self.faults().ends = Some((call, passed));
    }

    /// No call fails any more.
    pub fn heal(&self) {
        let mut faults = self.faults();
        (faults.always, faults.ends) = (None, None);
        faults.queued.clear();
    }

    /// The calls so far, with the objects' paths.
    pub fn calls(&self) -> Vec<(StoreCall, String)> {
        self.faults().calls.clone()
    }

    /// Forgets the calls so far.
    pub fn clear_calls(&self) {
        self.faults().calls.clear();
    }

    /// Flips one bit of an object. `false` if there is no such byte.
    pub async fn flip_bit(&self, name: &ObjectName, offset: usize, bit: u8) -> bool {
        let path = Path::from(name.as_str());
        let Ok(found) = self.0.objects.get(&path).await else { return false };
        let Ok(bytes) = found.bytes().await else { return false };
        let mut bytes = bytes.to_vec();
        let Some(byte) = bytes.get_mut(offset) else { return false };
        *byte ^= 1 << (bit % 8);
        self.0.objects.put(&path, PutPayload::from(Bytes::from(bytes))).await.is_ok()
    }

    /// The paths of all objects, sorted.
    pub async fn paths(&self) -> Vec<String> {
        let listed: Vec<_> = self.0.objects.list(None).collect().await;
        let mut paths: Vec<String> =
            listed.into_iter().flatten().map(|meta| meta.location.to_string()).collect();
        paths.sort_unstable();
        paths
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.0.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a call; the error if it is to be refused, else whether its reply is to be lost.
    fn strike(&self, call: StoreCall, path: &Path) -> Result<bool> {
        let mut faults = self.faults();
        faults.calls.push((call, path.to_string()));
        if let Some((of, passed)) = &mut faults.ends
            && *of == call
        {
            let Some(left) = passed.checked_sub(1) else { return Err(denied(path)) };
            *passed = left;
        }
        let queued = faults.queued.iter().position(|(struck, _)| *struck == call);
        let fault =
            queued.and_then(|index| faults.queued.remove(index)).map(|(_, fault)| fault).or(faults.always);
        match fault {
            None => Ok(false),
            Some(Fault::LostReply) => Ok(true),
            Some(Fault::Unavailable) => Err(generic("503 Slow Down (injected)")),
            Some(Fault::Denied) => Err(denied(path)),
        }
    }
}

fn denied(path: &Path) -> Error {
    Error::PermissionDenied { path: path.to_string(), source: "403 Access Denied (injected)".into() }
}

fn generic(reason: &'static str) -> Error {
    Error::Generic { store: "faulty", source: reason.into() }
}

fn reply<T>(result: T, lost: bool) -> Result<T> {
    if lost { Err(generic("the reply was lost (injected)")) } else { Ok(result) }
}

impl fmt::Display for FaultyObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyObjects")
    }
}

#[async_trait]
impl ObjectStore for FaultyObjects {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let lost = self.strike(StoreCall::Put, location)?;
        reply(self.0.objects.put_opts(location, payload, options).await?, lost)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.strike(StoreCall::Put, location)?;
        self.0.objects.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let lost = self.strike(StoreCall::Get, location)?;
        reply(self.0.objects.get_opts(location, options).await?, lost)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let delete = move |location: Result<Path>| {
            let store = store.clone();
            async move {
                let location = location?;
                let lost = store.strike(StoreCall::Delete, &location)?;
                store.0.objects.delete(&location).await?;
                reply(location, lost)
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.objects.copy_opts(from, to, options).await
    }
}
