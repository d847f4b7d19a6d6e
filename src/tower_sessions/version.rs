//! The traits of tower-sessions. This file is compiled for each version, whose core crate is `super::this_version`.

use std::fmt;

use async_trait::async_trait;

use super::{
    super::{
        adapter::Adapter,
        idle_timeout::{self, IdleTimeout},
        records::{self, Failure, key, period_until},
    },
    this_version::{
        ExpiredDeletion, SessionStore,
        session::{Id, Record},
        session_store,
    },
};
use crate::{AsyncStore, Error, Offload, Store};

/// See the module [`tower_sessions`](crate::tower_sessions).
#[async_trait]
impl<S: Store + fmt::Debug> SessionStore for Offload<S> {
    async fn create(&self, record: &mut Record) -> session_store::Result<()> {
        create(self, record).await
    }

    async fn save(&self, record: &Record) -> session_store::Result<()> {
        save(self, record).await
    }

    async fn load(&self, id: &Id) -> session_store::Result<Option<Record>> {
        load(self, id).await
    }

    async fn delete(&self, id: &Id) -> session_store::Result<()> {
        Ok(records::delete(self, &key(id)?).await?)
    }
}

#[async_trait]
impl<A: AsyncStore + fmt::Debug> SessionStore for Adapter<A> {
    async fn create(&self, record: &mut Record) -> session_store::Result<()> {
        create(&self.store, record).await
    }

    async fn save(&self, record: &Record) -> session_store::Result<()> {
        save(&self.store, record).await
    }

    async fn load(&self, id: &Id) -> session_store::Result<Option<Record>> {
        load(&self.store, id).await
    }

    async fn delete(&self, id: &Id) -> session_store::Result<()> {
        Ok(records::delete(&self.store, &key(id)?).await?)
    }
}

#[async_trait]
impl<A: AsyncStore + fmt::Debug> SessionStore for IdleTimeout<A> {
    async fn create(&self, record: &mut Record) -> session_store::Result<()> {
        let period = self.period_until(record.expiry_date);
        Ok(records::create(&self.store, &mut record.id, &record.data, period).await?)
    }

    async fn save(&self, record: &Record) -> session_store::Result<()> {
        let (key, date) = (key(&record.id)?, record.expiry_date);
        Ok(idle_timeout::save(self, &key, &record.data, date).await?)
    }

    async fn load(&self, id: &Id) -> session_store::Result<Option<Record>> {
        to_record(id, self.store.renew(&key(id)?, Some(self.period)).await)
    }

    async fn delete(&self, id: &Id) -> session_store::Result<()> {
        Ok(records::delete(&self.store, &key(id)?).await?)
    }
}

async fn create<A: AsyncStore>(store: &A, record: &mut Record) -> session_store::Result<()> {
    let period = period_until(record.expiry_date);
    Ok(records::create(store, &mut record.id, &record.data, period).await?)
}

async fn save<A: AsyncStore>(store: &A, record: &Record) -> session_store::Result<()> {
    let period = period_until(record.expiry_date);
    Ok(records::save(store, &key(&record.id)?, &record.data, period).await?)
}

async fn load<A: AsyncStore>(store: &A, id: &Id) -> session_store::Result<Option<Record>> {
    to_record(id, store.get(&key(id)?).await)
}

fn to_record(
    id: &Id,
    found: Result<crate::Session, Error>,
) -> session_store::Result<Option<Record>> {
    let loaded = records::loaded(found)?;
    Ok(loaded.map(|(data, expiry_date)| Record {
        id: *id,
        data,
        expiry_date,
    }))
}

/// Calls [`Store::prune`] until no expired session is left.
#[async_trait]
impl<S: Store + fmt::Debug> ExpiredDeletion for Offload<S> {
    async fn delete_expired(&self) -> session_store::Result<()> {
        Ok(records::delete_expired(self).await?)
    }
}

/// Calls [`AsyncStore::prune`] until no expired session is left.
#[async_trait]
impl<A: AsyncStore + fmt::Debug> ExpiredDeletion for Adapter<A> {
    async fn delete_expired(&self) -> session_store::Result<()> {
        Ok(records::delete_expired(&self.store).await?)
    }
}

/// Calls [`AsyncStore::prune`] until no expired session is left.
#[async_trait]
impl<A: AsyncStore + fmt::Debug> ExpiredDeletion for IdleTimeout<A> {
    async fn delete_expired(&self) -> session_store::Result<()> {
        Ok(records::delete_expired(&self.store).await?)
    }
}

/// The text contains the causes, because the errors of tower-sessions have none.
impl From<Error> for session_store::Error {
    fn from(error: Error) -> session_store::Error {
        Failure::from(error).into()
    }
}

impl From<Failure> for session_store::Error {
    fn from(failure: Failure) -> session_store::Error {
        match failure {
            Failure::Encode(text) => session_store::Error::Encode(text),
            Failure::Decode(text) => session_store::Error::Decode(text),
            Failure::Backend(text) => session_store::Error::Backend(text),
        }
    }
}
