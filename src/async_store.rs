//! The contract of every store that is called from async code.

use std::future::Future;

use crate::{Error, Key, Period, Session};

/// [`Store`](crate::Store), verb by verb, with calls that return futures.
///
/// The rules are those of [`Store`](crate::Store). The futures are `Send`, and do nothing until they
/// are polled.
///
/// # Cancel safety
///
/// A future that is dropped may have done its work or not: see the implementation, for example
/// [`Offload`](crate::Offload).
///
/// # Examples
///
/// ```
/// use session_postgres::{AsyncStore, Error, MemoryStore, Offload};
///
/// async fn visits(store: &impl AsyncStore) -> Result<String, Error> {
///     let key = store.generate(Some("1"), None).await?;
///     Ok(store.get(&key).await?.value)
/// }
///
/// # #[tokio::main]
/// # async fn main() {
/// assert_eq!(visits(&Offload::new(MemoryStore::new())).await.unwrap(), "1");
/// # }
/// ```
pub trait AsyncStore: Send + Sync + 'static {
    /// As [`Store::default_period`](crate::Store::default_period), at once.
    fn default_period(&self) -> Period;

    /// As [`Store::set_default_period`](crate::Store::set_default_period), at once.
    fn set_default_period(&self, period: Period);

    /// As [`Store::generate`](crate::Store::generate).
    fn generate(
        &self,
        value: Option<&str>,
        expiry: Option<Period>,
    ) -> impl Future<Output = Result<Key, Error>> + Send;

    /// As [`Store::clear`](crate::Store::clear).
    fn clear(&self, key: &Key) -> impl Future<Output = Result<(), Error>> + Send;

    /// As [`Store::get`](crate::Store::get).
    fn get(&self, key: &Key) -> impl Future<Output = Result<Session, Error>> + Send;

    /// As [`Store::set`](crate::Store::set).
    fn set(
        &self,
        key: &Key,
        value: &str,
        expiry: Option<Period>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// As [`Store::insert`](crate::Store::insert).
    fn insert(
        &self,
        key: &Key,
        value: Option<&str>,
        expiry: Option<Period>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// As [`Store::touch`](crate::Store::touch).
    fn touch(
        &self,
        key: &Key,
        expiry: Option<Period>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// As [`Store::rotate`](crate::Store::rotate).
    fn rotate(&self, key: &Key) -> impl Future<Output = Result<Key, Error>> + Send;

    /// As [`Store::update`](crate::Store::update); `edit` may run on another thread.
    fn update(
        &self,
        key: &Key,
        expiry: Option<Period>,
        edit: impl FnMut(Option<&str>) -> Option<String> + Send + 'static,
    ) -> impl Future<Output = Result<Session, Error>> + Send;

    /// As [`Store::generate_many`](crate::Store::generate_many).
    fn generate_many(
        &self,
        calls: &[(Option<&str>, Option<Period>)],
    ) -> impl Future<Output = Vec<Result<Key, Error>>> + Send;

    /// As [`Store::clear_many`](crate::Store::clear_many).
    fn clear_many(&self, keys: &[&Key]) -> impl Future<Output = Vec<Result<(), Error>>> + Send;

    /// As [`Store::get_many`](crate::Store::get_many).
    fn get_many(&self, keys: &[&Key]) -> impl Future<Output = Vec<Result<Session, Error>>> + Send;

    /// As [`Store::set_many`](crate::Store::set_many).
    fn set_many(
        &self,
        calls: &[(&Key, &str, Option<Period>)],
    ) -> impl Future<Output = Vec<Result<(), Error>>> + Send;

    /// As [`Store::insert_many`](crate::Store::insert_many).
    fn insert_many(
        &self,
        calls: &[(&Key, Option<&str>, Option<Period>)],
    ) -> impl Future<Output = Vec<Result<(), Error>>> + Send;

    /// As [`Store::touch_many`](crate::Store::touch_many).
    fn touch_many(
        &self,
        calls: &[(&Key, Option<Period>)],
    ) -> impl Future<Output = Vec<Result<(), Error>>> + Send;
}
