//! More calls than may wait.

use session_postgres::{AsyncStore, Error, OffloadBuilder};

use super::{Busy, spawn};

#[tokio::test]
async fn a_call_too_many_is_turned_away_at_once_and_the_others_are_served() {
    let busy = Busy::new(OffloadBuilder::default().max_waiting(2));
    busy.taken().await;
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            spawn(&busy.store, &busy.key, |store, key| async move {
                store.get(&key).await
            })
        })
        .collect();
    busy.waiting(2).await;
    let turned_away = busy.store.set(&busy.key, "crab", None).await;
    assert!(
        matches!(turned_away, Err(Error::Overloaded { waiting: 2 })),
        "{turned_away:?}"
    );
    let many = busy.store.get_many(&[&busy.key, &busy.key]).await;
    assert!(
        many.iter()
            .all(|result| matches!(result, Err(Error::Overloaded { .. })))
    );
    assert!(matches!(
        busy.store.run(|_| ()).await,
        Err(Error::Overloaded { .. })
    ));
    assert_eq!(busy.store.stats().overloads, 3);

    busy.gate.open();
    for call in waiting {
        assert_eq!(call.await.unwrap().unwrap().value, "lobster");
    }
    busy.store.set(&busy.key, "crab", None).await.unwrap();
}
