//! Batches whose calls go to several servers.

use session_postgres::{Error, Key, MemoryStore, Offload, Store};

use super::{builder, in_memory, key_in, own_servers::OwnServers};
use crate::support::blocking::Blocking;

const TEXT: &str = "version=1 a=0-9 b=10-19 c=20-29 retired=30";

/// Slots of all servers, in no order, and two that no server has.
const SLOTS: [u16; 12] = [21, 3, 12, 40, 0, 25, 11, 30, 2, 10, 20, 1];

/// The places of the batch at which no session is.
const ABSENT: [usize; 2] = [3, 7];

#[test]
fn the_results_of_a_batch_are_in_the_order_of_its_calls() {
    let stores: [Box<dyn Store>; 2] = [
        Box::new(in_memory::<3>(TEXT)),
        Box::new(Blocking::connect(async || {
            let facades = [(); 3].map(|()| Offload::new(MemoryStore::new()));
            builder(TEXT, facades).build_async().await.unwrap()
        })),
    ];
    for store in stores {
        results_are_in_order(&*store);
    }
}

fn results_are_in_order(store: &dyn Store) {
    let keys = SLOTS.map(key_in);
    let texts: Vec<String> = (0..keys.len())
        .map(|place| format!("value {place}"))
        .collect();
    let is_absent = |place: &usize| ABSENT.contains(place);
    let inserts: Vec<_> = (keys.iter().zip(&texts))
        .map(|(key, text)| (key, Some(&**text), None))
        .collect();
    for (place, inserted) in store.insert_many(&inserts).into_iter().enumerate() {
        match is_absent(&place) {
            true => assert!(matches!(inserted, Err(Error::NotOpen { .. })), "{place}"),
            false => inserted.unwrap(),
        }
    }
    let again = store.try_insert_many(&inserts[..3]);
    assert!(again.iter().all(|e| matches!(e, Err(Error::KeyExists))));

    // Each key twice, so that the second call of a server is not its last.
    let twice: Vec<&Key> = keys.iter().chain(&keys).collect();
    let renews: Vec<_> = twice.iter().map(|key| (*key, None)).collect();
    for read in [store.get_many(&twice), store.renew_many(&renews)] {
        assert_eq!(read.len(), twice.len());
        for (place, session) in read.into_iter().enumerate() {
            let place = place % keys.len();
            match is_absent(&place) {
                true => assert!(matches!(session, Err(Error::NotFound)), "{place}"),
                false => assert_eq!(session.unwrap().value, texts[place]),
            }
        }
    }
    let values: Vec<String> = texts.iter().map(|text| format!("new {text}")).collect();
    let sets: Vec<_> = (keys.iter().zip(&values))
        .map(|(key, value)| (key, &**value, None))
        .collect();
    let touches: Vec<_> = keys.iter().map(|key| (key, None)).collect();
    for written in [
        store.set_many(&sets),
        store.try_set_many(&sets),
        store.touch_many(&touches),
        store.try_touch_many(&touches),
    ] {
        for (place, written) in written.into_iter().enumerate() {
            assert_eq!(matches!(written, Err(Error::NotFound)), is_absent(&place));
            assert_eq!(written.is_ok(), !is_absent(&place));
        }
    }
    let first_half: Vec<_> = keys[..6].iter().collect();
    assert!(store.clear_many(&first_half).iter().all(Result::is_ok));
    let cleared = store.try_clear_many(&[&keys[6], &keys[3]]);
    assert!(cleared.iter().all(Result::is_ok));
    for (place, session) in store
        .get_many(&keys.iter().collect::<Vec<_>>())
        .iter()
        .enumerate()
    {
        match place < 7 || is_absent(&place) {
            true => assert!(matches!(session, Err(Error::NotFound)), "{place}"),
            false => assert_eq!(session.as_ref().unwrap().value, values[place]),
        }
    }
    assert!(store.get_many(&[]).is_empty() && store.generate_many(&[]).is_empty());
}

#[test]
fn a_server_that_is_down_fails_only_its_calls_of_a_batch() {
    let servers = OwnServers::lock();
    let blocking = servers.blocking(TEXT, 3).build().unwrap();
    let facades = Blocking::new(|| servers.tasks(TEXT, 3));
    let keys = SLOTS.map(key_in);
    let keys: Vec<&Key> = keys.iter().collect();
    for key in &keys {
        _ = blocking.insert(key, Some("lobster"), None);
    }
    servers.stop("b");
    for store in [&facades as &dyn Store, &blocking] {
        let sets: Vec<_> = keys.iter().map(|key| (*key, "crab", None)).collect();
        let touches: Vec<_> = keys.iter().map(|key| (*key, None)).collect();
        let is_expected = |place: usize, result: Result<(), Error>| match SLOTS[place] {
            10..20 => assert!(
                !matches!(result, Ok(()) | Err(Error::NotFound)),
                "{result:?}"
            ),
            30 | 40 => assert!(matches!(result, Err(Error::NotFound)), "{result:?}"),
            _ => result.unwrap(),
        };
        let got = store.get_many(&keys).into_iter().map(|got| got.map(drop));
        got.enumerate()
            .for_each(|(place, got)| is_expected(place, got));
        for written in [store.set_many(&sets), store.touch_many(&touches)] {
            (written.into_iter().enumerate())
                .for_each(|(place, result)| is_expected(place, result));
        }
    }
}
