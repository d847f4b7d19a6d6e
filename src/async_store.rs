//! The contract of every store for async code.

use std::future::Future;

use crate::{Error, Key, OwnedSession, Period, Session, SessionFields, ShardMap};

/// The async form of [`Store`](crate::Store).
///
/// It has the same methods and rules, but the methods return futures. A future is `Send`. It does nothing until it is
/// polled.
///
/// # Cancel safety
///
/// If a future is dropped before it is ready, its call may have been executed or not. The implementation may
/// promise more: see [`Offload`](crate::Offload).
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
    /// Does the same as [`Store::generate`](crate::Store::generate).
    fn generate(
        &self,
        value: Option<&str>,
        expiry: Option<Period>,
    ) -> impl Future<Output = Result<Key, Error>> + Send {
        self.generate_with(SessionFields::new(value, expiry))
    }

    /// Does the same as [`Store::generate_with`](crate::Store::generate_with).
    fn generate_with(
        &self,
        fields: SessionFields<'_>,
    ) -> impl Future<Output = Result<Key, Error>> + Send;

    /// Does the same as [`Store::clear`](crate::Store::clear).
    fn clear(&self, key: &Key) -> impl Future<Output = Result<(), Error>> + Send;

    /// Does the same as [`Store::get`](crate::Store::get).
    fn get(&self, key: &Key) -> impl Future<Output = Result<Session, Error>> + Send;

    /// Does the same as [`Store::find`](crate::Store::find).
    fn find(&self, key: &Key) -> impl Future<Output = Result<Option<Session>, Error>> + Send {
        async {
            match self.get(key).await {
                Ok(session) => Ok(Some(session)),
                Err(Error::NotFound) => Ok(None),
                Err(e) => Err(e),
            }
        }
    }

    /// Does the same as [`Store::renew`](crate::Store::renew).
    fn renew(
        &self,
        key: &Key,
        expiry: Option<Period>,
    ) -> impl Future<Output = Result<Session, Error>> + Send;

    /// Does the same as [`Store::set`](crate::Store::set).
    fn set(
        &self,
        key: &Key,
        value: &str,
        expiry: Option<Period>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Does the same as [`Store::insert`](crate::Store::insert).
    fn insert(
        &self,
        key: &Key,
        value: Option<&str>,
        expiry: Option<Period>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Returns whether the key of a session says on which server it is, as in a [`Sharded`](crate::Sharded) store. If so,
    /// session stores of web frameworks, which make their own keys, take the first two characters of a
    /// [`new_key`](AsyncStore::new_key).
    fn is_sharded(&self) -> bool {
        false
    }

    /// Does the same as [`insert`](AsyncStore::insert) for a key that was just drawn with [`new_key`](AsyncStore::new_key),
    /// or whose first two characters are those of such a key. Session stores of web frameworks call this.
    ///
    /// If the server of the key has failed, the error is [`Error::NotOpen`]: draw another key then. There may be a session
    /// under the first one, which no visitor must get.
    fn insert_new(
        &self,
        key: &Key,
        value: Option<&str>,
        expiry: Option<Period>,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        self.insert(key, value, expiry)
    }

    /// Does the same as [`Store::touch`](crate::Store::touch).
    fn touch(
        &self,
        key: &Key,
        expiry: Option<Period>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Does the same as [`Store::rotate`](crate::Store::rotate).
    fn rotate(&self, key: &Key) -> impl Future<Output = Result<Key, Error>> + Send {
        self.rotate_with(key, SessionFields::default())
    }

    /// Does the same as [`Store::rotate_with`](crate::Store::rotate_with).
    fn rotate_with(
        &self,
        key: &Key,
        changes: SessionFields<'_>,
    ) -> impl Future<Output = Result<Key, Error>> + Send {
        async move {
            let new = self.new_key(Some(key))?;
            self.rotate_to(key, &new, changes).await?;
            Ok(new)
        }
    }

    /// Does the same as [`Store::rotate_to`](crate::Store::rotate_to).
    fn rotate_to(
        &self,
        key: &Key,
        new: &Key,
        changes: SessionFields<'_>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Does the same as [`Store::set_owner`](crate::Store::set_owner).
    fn set_owner(
        &self,
        key: &Key,
        owner: Option<&str>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Does the same as [`Store::owned`](crate::Store::owned).
    fn owned(&self, owner: &str) -> impl Future<Output = Result<Vec<OwnedSession>, Error>> + Send;

    /// Does the same as [`Store::clear_owned`](crate::Store::clear_owned).
    fn clear_owned(
        &self,
        owner: &str,
        except: Option<&Key>,
    ) -> impl Future<Output = Result<u64, Error>> + Send;

    /// Does the same as [`Store::clear_handle`](crate::Store::clear_handle).
    fn clear_handle(
        &self,
        owner: &str,
        handle: &str,
    ) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Does the same as [`Store::update`](crate::Store::update). `edit` may be executed on another thread.
    fn update(
        &self,
        key: &Key,
        expiry: Option<Period>,
        edit: impl FnMut(Option<&str>) -> Option<String> + Send + 'static,
    ) -> impl Future<Output = Result<Session, Error>> + Send;

    /// Does the same as [`Store::default_period`](crate::Store::default_period). It never waits.
    fn default_period(&self) -> Period;

    /// Does the same as [`Store::set_default_period`](crate::Store::set_default_period). It never waits.
    fn set_default_period(&self, period: Period);

    /// Does the same as [`Store::new_key`](crate::Store::new_key). It never waits.
    ///
    /// # Errors
    ///
    /// Those of [`Store::new_key`](crate::Store::new_key).
    fn new_key(&self, moved: Option<&Key>) -> Result<Key, Error>;

    /// Does the same as [`Store::join_map`](crate::Store::join_map).
    fn join_map(
        &self,
        server: &str,
        map: &ShardMap,
    ) -> impl Future<Output = Result<Option<ShardMap>, Error>> + Send;

    /// Does the same as [`Store::prune`](crate::Store::prune).
    fn prune(&self, limit: u64) -> impl Future<Output = Result<u64, Error>> + Send;

    /// Does the same as [`Store::generate_many`](crate::Store::generate_many).
    fn generate_many(
        &self,
        calls: &[SessionFields<'_>],
    ) -> impl Future<Output = Vec<Result<Key, Error>>> + Send;

    /// Does the same as [`Store::clear_many`](crate::Store::clear_many).
    fn clear_many(&self, keys: &[&Key]) -> impl Future<Output = Vec<Result<(), Error>>> + Send;

    /// Does the same as [`Store::get_many`](crate::Store::get_many).
    fn get_many(&self, keys: &[&Key]) -> impl Future<Output = Vec<Result<Session, Error>>> + Send;

    /// Does the same as [`Store::renew_many`](crate::Store::renew_many).
    fn renew_many(
        &self,
        calls: &[(&Key, Option<Period>)],
    ) -> impl Future<Output = Vec<Result<Session, Error>>> + Send;

    /// Does the same as [`Store::set_many`](crate::Store::set_many).
    fn set_many(
        &self,
        calls: &[(&Key, &str, Option<Period>)],
    ) -> impl Future<Output = Vec<Result<(), Error>>> + Send;

    /// Does the same as [`Store::insert_many`](crate::Store::insert_many).
    fn insert_many(
        &self,
        calls: &[(&Key, Option<&str>, Option<Period>)],
    ) -> impl Future<Output = Vec<Result<(), Error>>> + Send;

    /// Does the same as [`Store::touch_many`](crate::Store::touch_many).
    fn touch_many(
        &self,
        calls: &[(&Key, Option<Period>)],
    ) -> impl Future<Output = Vec<Result<(), Error>>> + Send;
}
