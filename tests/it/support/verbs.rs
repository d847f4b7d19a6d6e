//! Every call on the session of a key.

use session_postgres::{Error, Key, Period, PostgresStore, SessionFields, Store};

pub(crate) type Verb = (&'static str, fn(&PostgresStore, &Key) -> Result<(), Error>);

/// Calls that read or write the session of the key, or create one with a new key.
pub(crate) const VERBS: [Verb; 25] = [
    ("generate", |store, _| store.generate(None, None).map(drop)),
    ("generate_with", |store, _| {
        store.generate_with(of_owner("crab")).map(drop)
    }),
    ("generate_many", |store, _| {
        one(store.generate_many(&[of_owner("crab"), SessionFields::default()]))
    }),
    ("insert", |store, _| {
        store.insert(&Key::generate()?, None, None)
    }),
    ("insert_many", |store, _| {
        let keys = [Key::generate()?, Key::generate()?];
        one(store.insert_many(&keys.each_ref().map(|key| (key, None, None))))
    }),
    ("get", |store, key| store.get(key).map(drop)),
    ("find", |store, key| match store.find(key)? {
        Some(_) => Ok(()),
        None => Err(Error::NotFound),
    }),
    ("get_many", |store, key| {
        one(store.get_many(&[key, &Key::generate()?]))
    }),
    ("renew", |store, key| store.renew(key, None).map(drop)),
    ("renew_many", |store, key| {
        one(store.renew_many(&[(key, None), (&Key::generate()?, None)]))
    }),
    ("set", |store, key| store.set(key, "prawn", None)),
    ("set briefly", |store, key| {
        store.set(key, "prawn", Some(Period::seconds(9)))
    }),
    ("set_many", |store, key| {
        one(store.set_many(&[(key, "prawn", None), (&Key::generate()?, "", None)]))
    }),
    ("touch", |store, key| store.touch(key, None)),
    ("touch_many", |store, key| {
        one(store.touch_many(&[(key, None), (&Key::generate()?, None)]))
    }),
    ("update", |store, key| {
        store
            .update(key, None, &mut |_| Some("prawn".to_owned()))
            .map(drop)
    }),
    ("set_owner", |store, key| store.set_owner(key, Some("crab"))),
    ("owned", |store, key| {
        let owned = store.owned("crab")?;
        match owned.iter().any(|session| session.handle == key.handle()) {
            true => Ok(()),
            false => Err(Error::NotFound),
        }
    }),
    ("clear_owned", |store, key| {
        store.clear_owned("crab", Some(key)).map(drop)
    }),
    ("clear_handle", |store, _| {
        store.clear_handle("crab", &"0".repeat(32)).map(drop)
    }),
    // These three give the session to a new key and back.
    ("rotate", |store, key| {
        let new = store.rotate(key)?;
        store.rotate_to(&new, key, SessionFields::default())
    }),
    ("rotate_with", |store, key| {
        let new = store.rotate_with(key, of_owner("crab"))?;
        store.rotate_to(&new, key, SessionFields::default())
    }),
    ("rotate_to", |store, key| {
        let new = Key::generate()?;
        store.rotate_to(key, &new, SessionFields::new(Some("prawn"), None))?;
        store.rotate_to(&new, key, SessionFields::default())
    }),
    ("clear", |store, key| {
        store.get(key)?;
        store.clear(key)
    }),
    ("clear_many", |store, _| {
        one(store.clear_many(&[&Key::generate()?, &Key::generate()?]))
    }),
];

/// Fields with an owner and a value.
pub(crate) fn of_owner(owner: &str) -> SessionFields<'_> {
    SessionFields {
        value: Some("lobster"),
        expiry: None,
        owner: Some(owner),
    }
}

/// The first result.
fn one<T>(results: Vec<Result<T, Error>>) -> Result<(), Error> {
    results.into_iter().next().unwrap().map(drop)
}
