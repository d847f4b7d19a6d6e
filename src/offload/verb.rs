//! The verbs: the methods of a store whose calls can be executed together.

use crate::{Error, Key, Method, Period, Session, SessionFields, Store};

/// A method whose calls can be executed together.
pub(super) trait Verb: Sized + Send + 'static {
    /// The arguments of a call, owned, because they cross threads.
    type Args: Send + 'static;
    type Output: Send + 'static;

    const METHOD: Method;

    /// Executes calls. If they do not wait for locks, calls for locked sessions fail with [`Error::Locked`].
    fn many<S: Store>(
        store: &S,
        args: &[&Self::Args],
        waits: bool,
    ) -> Vec<Result<Self::Output, Error>>;

    /// The size of the value that a call holds.
    fn bytes(_: &Self::Args) -> usize {
        0
    }

    /// The size of the value that a call has read, if it is a read.
    fn read(_: &Self::Output) -> Option<usize> {
        None
    }
}

/// [`SessionFields`] that cross threads.
pub(super) struct OwnedFields {
    value: Option<String>,
    expiry: Option<Period>,
    owner: Option<String>,
}

impl OwnedFields {
    pub(super) fn of(fields: SessionFields<'_>) -> OwnedFields {
        OwnedFields {
            value: fields.value.map(str::to_owned),
            expiry: fields.expiry,
            owner: fields.owner.map(str::to_owned),
        }
    }

    pub(super) fn borrow(&self) -> SessionFields<'_> {
        SessionFields {
            value: self.value.as_deref(),
            expiry: self.expiry,
            owner: self.owner.as_deref(),
        }
    }

    /// The size of the value.
    pub(super) fn bytes(&self) -> usize {
        self.value.as_ref().map_or(0, String::len)
    }
}

/// `fields`
pub(super) struct Generate;

impl Verb for Generate {
    type Args = OwnedFields;
    type Output = Key;

    const METHOD: Method = Method::Generate;

    fn many<S: Store>(store: &S, args: &[&Self::Args], _: bool) -> Vec<Result<Key, Error>> {
        let calls = args.iter().map(|fields| fields.borrow());
        store.generate_many(&calls.collect::<Vec<_>>())
    }

    fn bytes(fields: &Self::Args) -> usize {
        fields.bytes()
    }
}

/// `key`
pub(super) struct Clear;

impl Verb for Clear {
    type Args = Key;
    type Output = ();

    const METHOD: Method = Method::Clear;

    fn many<S: Store>(store: &S, keys: &[&Key], waits: bool) -> Vec<Result<(), Error>> {
        match waits {
            true => store.clear_many(keys),
            false => store.try_clear_many(keys),
        }
    }
}

/// `key`
pub(super) struct Get;

impl Verb for Get {
    type Args = Key;
    type Output = Session;

    const METHOD: Method = Method::Get;

    fn many<S: Store>(store: &S, keys: &[&Key], _: bool) -> Vec<Result<Session, Error>> {
        store.get_many(keys)
    }

    fn read(session: &Session) -> Option<usize> {
        Some(session.value.len())
    }
}

/// `(key, expiry)`
pub(super) struct Renew;

impl Verb for Renew {
    type Args = (Key, Option<Period>);
    type Output = Session;

    const METHOD: Method = Method::Renew;

    fn many<S: Store>(store: &S, args: &[&Self::Args], _: bool) -> Vec<Result<Session, Error>> {
        let calls = args.iter().map(|(key, expiry)| (key, *expiry));
        store.renew_many(&calls.collect::<Vec<_>>())
    }

    fn read(session: &Session) -> Option<usize> {
        Some(session.value.len())
    }
}

/// `(key, value, expiry)`
pub(super) struct Set;

impl Verb for Set {
    type Args = (Key, String, Option<Period>);
    type Output = ();

    const METHOD: Method = Method::Set;

    fn many<S: Store>(store: &S, args: &[&Self::Args], waits: bool) -> Vec<Result<(), Error>> {
        let calls = args
            .iter()
            .map(|(key, value, expiry)| (key, value.as_str(), *expiry));
        let calls: Vec<_> = calls.collect();
        match waits {
            true => store.set_many(&calls),
            false => store.try_set_many(&calls),
        }
    }

    fn bytes((_, value, _): &Self::Args) -> usize {
        value.len()
    }
}

/// `(key, value, expiry)`
pub(super) struct Insert;

impl Verb for Insert {
    type Args = (Key, Option<String>, Option<Period>);
    type Output = ();

    const METHOD: Method = Method::Insert;

    fn many<S: Store>(store: &S, args: &[&Self::Args], waits: bool) -> Vec<Result<(), Error>> {
        let calls = args
            .iter()
            .map(|(key, value, expiry)| (key, value.as_deref(), *expiry));
        let calls: Vec<_> = calls.collect();
        match waits {
            true => store.insert_many(&calls),
            false => store.try_insert_many(&calls),
        }
    }

    fn bytes((_, value, _): &Self::Args) -> usize {
        value.as_ref().map_or(0, String::len)
    }
}

/// `(key, expiry)`
pub(super) struct Touch;

impl Verb for Touch {
    type Args = (Key, Option<Period>);
    type Output = ();

    const METHOD: Method = Method::Touch;

    fn many<S: Store>(store: &S, args: &[&Self::Args], waits: bool) -> Vec<Result<(), Error>> {
        let calls = args.iter().map(|(key, expiry)| (key, *expiry));
        let calls: Vec<_> = calls.collect();
        match waits {
            true => store.touch_many(&calls),
            false => store.try_touch_many(&calls),
        }
    }
}
