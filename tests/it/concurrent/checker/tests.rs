//! The checker accepts what can happen, and refuses what cannot.

use super::{Answer, Event, Verb, fits_some_order, fits_within};

/// Calls on one key, each with its answer, its beginning and its end; moved sessions go to key 1.
fn is_possible(calls: &[(Verb, Answer, u64, u64)]) -> bool {
    let events: Vec<_> = calls
        .iter()
        .map(|&(verb, answer, began, ended)| Event {
            thread: 0,
            key: 0,
            verb,
            answer,
            began,
            ended,
        })
        .collect();
    fits_some_order(&events, 2)
}

const fn insert(value: u32) -> Verb {
    Verb::Insert {
        value: Some(value),
        ends: false,
    }
}

const fn set(value: u32) -> Verb {
    Verb::Set { value, ends: false }
}

const fn update(value: u32) -> Verb {
    Verb::Update { value, ends: false }
}

#[test]
fn the_checker_accepts_possible_histories() {
    use Answer::{Done, Edited, KeyExists, Moved, NotFound, Value};
    assert!(is_possible(&[]));
    // The read is at the same time as the write, and may see it or not.
    for seen in [1, 2] {
        assert!(is_possible(&[
            (insert(1), Done, 0, 1),
            (set(2), Done, 2, 5),
            (Verb::Get, Value(seen), 3, 4),
        ]));
    }
    // What ended last came first.
    assert!(is_possible(&[
        (insert(1), Done, 0, 9),
        (insert(2), KeyExists, 1, 2),
        (Verb::Rotate, Moved(1), 3, 8),
        (Verb::Get, Value(1), 4, 5),
        (Verb::Get, NotFound, 6, 7),
    ]));
    // What was cleared while it was being made.
    assert!(is_possible(&[
        (insert(1), Done, 0, 5),
        (Verb::Clear, Done, 1, 6),
        (Verb::Get, NotFound, 7, 8),
    ]));
    // The later of two updates at the same time builds on the earlier, whichever that is.
    assert!(is_possible(&[
        (insert(1), Done, 0, 1),
        (update(2), Edited(Some(3)), 2, 5),
        (update(3), Edited(Some(1)), 3, 4),
        (Verb::Get, Value(2), 6, 7),
    ]));
}

#[test]
fn the_checker_refuses_impossible_histories() {
    use Answer::{Done, Edited, Moved, NotFound, Value};
    // A read of what had been overwritten.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (set(2), Done, 2, 3),
        (Verb::Get, Value(1), 4, 5),
    ]));
    // A write seen, and then not.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (set(2), Done, 2, 7),
        (Verb::Get, Value(2), 3, 4),
        (Verb::Get, Value(1), 5, 6),
    ]));
    // Two that both made the session.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 3),
        (insert(2), Done, 1, 2),
    ]));
    // An update that was lost.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (update(2), Edited(Some(1)), 2, 5),
        (update(3), Edited(Some(1)), 3, 4),
    ]));
    // A session that is where it was moved from, and one that was moved from nowhere.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (Verb::Rotate, Moved(1), 2, 3),
        (Verb::Get, Value(1), 4, 5),
    ]));
    assert!(!is_possible(&[(Verb::Rotate, Moved(1), 0, 1)]));
    // A session that ended at once, and lives.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (Verb::Touch { ends: true }, Done, 2, 3),
        (Verb::Get, Value(1), 4, 5),
    ]));
    // A session that was not there for a moment, although no call ended it.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (set(2), Done, 2, 5),
        (Verb::Get, NotFound, 3, 4),
    ]));
}

#[test]
fn the_checker_accepts_calls_of_unknown_outcome_that_took_effect_once_or_never() {
    use Answer::{Done, KeyExists, NoEffect, NotFound, Unknown, Value};
    // It took effect, or did not.
    for seen in [1, 2] {
        assert!(is_possible(&[
            (insert(1), Done, 0, 1),
            (set(2), Unknown, 2, 3),
            (Verb::Get, Value(seen), 4, 5),
        ]));
    }
    // It took effect after its answer, and after another read.
    assert!(is_possible(&[
        (insert(1), Done, 0, 1),
        (set(2), Unknown, 2, 3),
        (Verb::Get, Value(1), 4, 5),
        (Verb::Get, Value(2), 6, 7),
    ]));
    // A session is gone, or gone later.
    let ends = [
        Verb::Clear,
        Verb::Rotate,
        Verb::Touch { ends: true },
        Verb::Set {
            value: 2,
            ends: true,
        },
        Verb::Update {
            value: 2,
            ends: true,
        },
    ];
    for end in ends {
        assert!(is_possible(&[
            (insert(1), Done, 0, 1),
            (end, Unknown, 2, 3),
            (Verb::Get, Value(1), 4, 5),
            (Verb::Get, NotFound, 6, 7),
        ]));
        // It began before there was a session.
        assert!(is_possible(&[
            (end, Unknown, 0, 1),
            (insert(1), Done, 2, 3),
            (Verb::Get, NotFound, 4, 5),
        ]));
    }
    // A failed call.
    assert!(is_possible(&[
        (insert(1), Done, 0, 1),
        (Verb::Clear, NoEffect, 2, 3),
        (Verb::Get, Value(1), 4, 5),
    ]));
    // What was made was never seen, and is in the way.
    assert!(is_possible(&[
        (insert(1), Unknown, 0, 1),
        (insert(2), KeyExists, 2, 3),
        (set(3), Done, 4, 5),
        (Verb::Get, Value(3), 6, 7),
    ]));
}

#[test]
fn the_checker_refuses_calls_of_unknown_outcome_that_took_effect_twice_or_too_early() {
    use Answer::{Done, Edited, NoEffect, NotFound, Unknown, Value};
    // A write seen again after it was overwritten.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (set(2), Unknown, 2, 3),
        (Verb::Get, Value(2), 4, 5),
        (set(3), Done, 6, 7),
        (Verb::Get, Value(3), 8, 9),
        (Verb::Get, Value(2), 10, 11),
    ]));
    // A session that was cleared once, and is gone twice.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (Verb::Clear, Unknown, 2, 3),
        (Verb::Get, NotFound, 4, 5),
        (insert(2), Done, 6, 7),
        (Verb::Get, NotFound, 8, 9),
    ]));
    // A write seen before it began.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (Verb::Get, Value(2), 2, 3),
        (set(2), Unknown, 4, 5),
    ]));
    // A value under a key that nothing was ever under.
    assert!(!is_possible(&[
        (set(2), Unknown, 0, 1),
        (Verb::Get, Value(2), 2, 3),
    ]));
    // A session that is gone before the only call that can have ended it began.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (Verb::Get, NotFound, 2, 3),
        (Verb::Rotate, Unknown, 4, 5),
    ]));
    // A failed write that was seen, or that ended a session.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (set(2), NoEffect, 2, 3),
        (Verb::Get, Value(2), 4, 5),
    ]));
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (Verb::Clear, NoEffect, 2, 3),
        (Verb::Get, NotFound, 4, 5),
    ]));
    // An update that lost another.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (update(2), Unknown, 2, 3),
        (Verb::Get, Value(2), 4, 5),
        (update(3), Edited(Some(1)), 6, 7),
    ]));
}

#[test]
fn the_checker_gives_up_after_so_many_steps() {
    let calls = [(insert(1), Answer::Done), (Verb::Get, Answer::Value(1))];
    let event = |(place, (verb, answer)): (u64, (Verb, Answer))| Event {
        thread: 0,
        key: 0,
        verb,
        answer,
        began: 2 * place,
        ended: 2 * place + 1,
    };
    let events: Vec<_> = (0..).zip(calls).map(event).collect();
    assert_eq!(fits_within(&events, 1, 0), None);
    assert_eq!(fits_within(&events, 1, 2), Some(true));
}
