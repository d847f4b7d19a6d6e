//! Calls for owners, which ask all servers.

use session_postgres::{Error, Key, Store};

use super::{key_in, own_servers::OwnServers, store_on};
use crate::support::{blocking::Blocking, wait_until};

const TEXT: &str = "version=1 a=0-9 b=10-19 c=20-29";

fn handles(store: &dyn Store, owner: &str) -> Vec<String> {
    let owned = store.owned(owner).unwrap().into_iter();
    let mut handles: Vec<_> = owned.map(|session| session.handle).collect();
    handles.sort();
    handles
}

fn sorted(keys: &[&Key]) -> Vec<String> {
    let mut handles: Vec<_> = keys.iter().map(|key| key.handle()).collect();
    handles.sort();
    handles
}

/// Fails unless server `b` is the only one that has not executed the call.
fn assert_partial<T: std::fmt::Debug>(result: Result<T, Error>) {
    match result {
        Err(
            ref error @ Error::Partial {
                ref done,
                ref failed,
            },
        ) => {
            assert_eq!(done, &["a", "c"]);
            assert!(
                matches!(&failed[..], [(name, _)] if name == "b"),
                "{failed:?}"
            );
            let text = error.to_string();
            assert!(
                text.starts_with("1 of 3 servers did not execute the call: b: "),
                "{text}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn calls_for_an_owner_name_the_server_that_is_down_and_work_on_the_others() {
    let servers = OwnServers::lock();
    let blocking = servers.blocking(TEXT, 3).build().unwrap();
    let facades = Blocking::new(|| servers.tasks(TEXT, 3));
    let stores: [&dyn Store; 2] = [&blocking, &facades];
    let owners = ["crab", "prawn"];
    let keys = owners.map(|owner| {
        [0, 10, 20, 21].map(|slot| {
            let key = key_in(slot);
            blocking.insert(&key, Some("lobster"), None).unwrap();
            blocking.set_owner(&key, Some(owner)).unwrap();
            key
        })
    });
    for (store, (owner, keys)) in stores.iter().zip(owners.iter().zip(&keys)) {
        assert_eq!(handles(*store, owner), sorted(&keys.each_ref()));
        let wrong = store.owned("");
        assert!(matches!(wrong, Err(Error::InvalidOwner(..))), "{wrong:?}");
    }
    servers.stop("b");
    for (store, (owner, keys)) in stores.iter().zip(owners.iter().zip(&keys)) {
        let [a, b, c, d] = keys;
        assert_partial(store.owned(owner));
        // The documented way to the sessions of the others.
        let answers = blocking.servers().into_iter();
        let answers = answers.filter_map(|server| server.store.owned(owner).ok());
        let on_others: Vec<_> = answers.flatten().map(|session| session.handle).collect();
        assert_eq!(on_others.len(), 3);
        assert!(!on_others.contains(&b.handle()));

        assert!(store.clear_handle(owner, &a.handle()).unwrap());
        assert!(matches!(store.get(a), Err(Error::NotFound)));
        assert_partial(store.clear_handle(owner, &b.handle()));
        assert_partial(store.clear_handle(owner, &a.handle()));
        assert_partial(store.clear_owned(owner, Some(d)));
        assert!(matches!(store.get(c), Err(Error::NotFound)));
        assert_eq!(store.get(d).unwrap().value, "lobster");
    }
    servers.start_again("b");
    for (store, (owner, keys)) in stores.iter().zip(owners.iter().zip(&keys)) {
        let [_, b, _, d] = keys;
        wait_until("the server answers", || store.owned(owner).is_ok());
        assert_eq!(handles(*store, owner), sorted(&[b, d]));
        assert_eq!(store.clear_owned(owner, Some(d)).unwrap(), 1);
        assert_eq!(store_on(&blocking, "c").owned(owner).unwrap().len(), 1);
    }
}
