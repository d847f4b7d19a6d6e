//! Calls a verb, and converts its results for the checker.

use std::{
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use session_postgres::{AsyncStore, Error, Key, OwnedSession, Period, SessionFields};

use crate::concurrent::checker::{Answer, Verb};

/// The result of a successful call.
pub(super) enum Returned {
    Answer(Answer),
    NewKey(Key),
}

type Results = Vec<Result<Returned, Error>>;

fn done((): ()) -> Returned {
    Returned::Answer(Answer::Done)
}

fn value(text: &str) -> Returned {
    Returned::Answer(Answer::Value(text.parse().unwrap()))
}

fn expiry(ends: bool, life: Period) -> Option<Period> {
    Some(if ends { Period::ZERO } else { life })
}

/// The period of what is written, unless it ends at once, and the duration of an edit.
#[derive(Clone, Copy)]
pub(super) struct Timing {
    pub(super) life: Period,
    pub(super) edit: Duration,
}

/// Calls a verb for one key. `owner` is the owner of its family.
pub(super) async fn call<S: AsyncStore>(
    store: &S,
    verb: Verb,
    key: &Key,
    owner: &str,
    Timing { life, edit: takes }: Timing,
) -> Results {
    let result = match verb {
        Verb::Get => store.get(key).await.map(|found| value(&found.value)),
        Verb::Clear => store.clear(key).await.map(done),
        Verb::Set { value, ends } => {
            let value = value.to_string();
            store.set(key, &value, expiry(ends, life)).await.map(done)
        }
        Verb::Insert { value, ends } => {
            let value = value.map(|value| value.to_string());
            let expiry = expiry(ends, life);
            store.insert(key, value.as_deref(), expiry).await.map(done)
        }
        Verb::Touch { ends } => store.touch(key, expiry(ends, life)).await.map(done),
        Verb::Renew => {
            // It writes if another call wrote last.
            let renewed = store.renew(key, Some(life * 2)).await;
            renewed.map(|found| value(&found.value))
        }
        Verb::Rotate => store.rotate(key).await.map(Returned::NewKey),
        Verb::Login { value, ends } => {
            let value = value.to_string();
            let login = SessionFields {
                value: Some(&value),
                expiry: expiry(ends, life),
                owner: Some(owner),
            };
            store.rotate_with(key, login).await.map(Returned::NewKey)
        }
        Verb::SetOwner { is_owned } => {
            let owner = is_owned.then_some(owner);
            store.set_owner(key, owner).await.map(done)
        }
        Verb::Update { value, ends } => {
            let old = Arc::new(Mutex::new(None));
            let given = old.clone();
            let edit = move |old: Option<&str>| {
                thread::sleep(takes);
                *given.lock().unwrap() = old.map(|old| old.parse().unwrap());
                Some(value.to_string())
            };
            let updated = store.update(key, expiry(ends, life), edit).await;
            updated.map(|_| Returned::Answer(Answer::Edited(*old.lock().unwrap())))
        }
        Verb::UpdateToNone => {
            let kept = store.update(key, Some(life), |_| None).await;
            kept.map(|kept| value(&kept.value))
        }
        Verb::Generate { .. } | Verb::ClearOwned | Verb::List => {
            unreachable!("this verb is not for a known key")
        }
    };
    vec![result]
}

/// Calls a verb for many keys.
pub(super) async fn call_many<S: AsyncStore>(
    store: &S,
    verbs: &[(usize, Verb)],
    names: &[Key],
) -> Results {
    const LIFE: Period = Period::HOUR;
    let names: Vec<&Key> = names.iter().collect();
    let values: Vec<_> = verbs
        .iter()
        .map(|(_, verb)| match verb {
            Verb::Set { value, .. } => Some(value.to_string()),
            Verb::Insert { value, .. } => value.map(|value| value.to_string()),
            _ => None,
        })
        .collect();
    let values = values.iter().map(|value| value.as_deref());
    let named = names.iter().copied();
    let results = match verbs[0].1 {
        Verb::Get => {
            let found = store.get_many(&names).await.into_iter();
            return found
                .map(|found| found.map(|found| value(&found.value)))
                .collect();
        }
        Verb::Renew => {
            let calls: Vec<_> = named.map(|key| (key, Some(LIFE * 2))).collect();
            let found = store.renew_many(&calls).await.into_iter();
            return found
                .map(|found| found.map(|found| value(&found.value)))
                .collect();
        }
        Verb::Clear => store.clear_many(&names).await,
        Verb::Set { ends, .. } => {
            let calls = named.zip(values);
            let calls: Vec<_> = calls
                .map(|(key, value)| (key, value.unwrap(), expiry(ends, LIFE)))
                .collect();
            store.set_many(&calls).await
        }
        Verb::Insert { ends, .. } => {
            let calls = named.zip(values);
            let calls: Vec<_> = calls
                .map(|(key, value)| (key, value, expiry(ends, LIFE)))
                .collect();
            store.insert_many(&calls).await
        }
        Verb::Touch { ends } => {
            let calls: Vec<_> = named.map(|key| (key, expiry(ends, LIFE))).collect();
            store.touch_many(&calls).await
        }
        _ => unreachable!("this verb has no batches"),
    };
    let results = results.into_iter().map(|result| result.map(done));
    results.collect()
}

/// Creates sessions with these values, and some of them with an owner.
pub(super) async fn generate<S: AsyncStore>(
    store: &S,
    sessions: &[(u32, Option<&str>)],
    is_many: bool,
) -> Results {
    const LIFE: Option<Period> = Some(Period::HOUR);
    let values: Vec<_> = sessions
        .iter()
        .map(|(value, _)| value.to_string())
        .collect();
    let fields = values.iter().zip(sessions);
    let fields: Vec<_> = fields
        .map(|(value, (_, owner))| SessionFields {
            value: Some(value),
            expiry: LIFE,
            owner: *owner,
        })
        .collect();
    let keys = match (is_many, fields[0].owner) {
        (true, _) => store.generate_many(&fields).await,
        (false, Some(_)) => vec![store.generate_with(fields[0]).await],
        (false, None) => vec![store.generate(fields[0].value, LIFE).await],
    };
    let keys = keys.into_iter().map(|key| key.map(Returned::NewKey));
    keys.collect()
}

/// Clears the sessions of an owner.
pub(super) async fn clear_owned<S: AsyncStore>(store: &S, owner: &str) -> Result<(), Error> {
    store.clear_owned(owner, None).await.map(drop)
}

/// Returns the handles and the values of the sessions of an owner.
pub(super) async fn list<S: AsyncStore>(
    store: &S,
    owner: &str,
) -> Result<Vec<(String, Option<u32>)>, Error> {
    let entry = |session: OwnedSession| {
        let value = session.value.map(|value| value.parse().unwrap());
        (session.handle, value)
    };
    let listed = store.owned(owner).await?;
    Ok(listed.into_iter().map(entry).collect())
}
