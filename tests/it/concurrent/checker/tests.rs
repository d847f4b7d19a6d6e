//! The checker accepts answers that are possible, and refuses those that are not.

mod owners;

use super::{Answer, Event, Verb, fits_some_order, fits_within};

/// Whether the checker accepts these calls on one key. Each has an answer, a start and an end. A rotation
/// moves the session to key 1.
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
    // A read during a write may see it or not.
    for seen in [1, 2] {
        assert!(is_possible(&[
            (insert(1), Done, 0, 1),
            (set(2), Done, 2, 5),
            (Verb::Get, Value(seen), 3, 4),
        ]));
    }
    // The call that ended last took effect first.
    assert!(is_possible(&[
        (insert(1), Done, 0, 9),
        (insert(2), KeyExists, 1, 2),
        (Verb::Rotate, Moved(1), 3, 8),
        (Verb::Get, Value(1), 4, 5),
        (Verb::Get, NotFound, 6, 7),
    ]));
    // A session was cleared while it was being created.
    assert!(is_possible(&[
        (insert(1), Done, 0, 5),
        (Verb::Clear, Done, 1, 6),
        (Verb::Get, NotFound, 7, 8),
    ]));
    // One of two concurrent updates gets the value of the other, in either order.
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
    // A read saw a value that had been overwritten.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (set(2), Done, 2, 3),
        (Verb::Get, Value(1), 4, 5),
    ]));
    // A write was seen, and later not.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (set(2), Done, 2, 7),
        (Verb::Get, Value(2), 3, 4),
        (Verb::Get, Value(1), 5, 6),
    ]));
    // Two inserts succeeded.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 3),
        (insert(2), Done, 1, 2),
    ]));
    // An update was lost.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (update(2), Edited(Some(1)), 2, 5),
        (update(3), Edited(Some(1)), 3, 4),
    ]));
    // A session was found under its old key, and an absent session was moved.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (Verb::Rotate, Moved(1), 2, 3),
        (Verb::Get, Value(1), 4, 5),
    ]));
    assert!(!is_possible(&[(Verb::Rotate, Moved(1), 0, 1)]));
    // A session that expired was found.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (Verb::Touch { ends: true }, Done, 2, 3),
        (Verb::Get, Value(1), 4, 5),
    ]));
    // A session was absent for a moment, although no call ended it.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (set(2), Done, 2, 5),
        (Verb::Get, NotFound, 3, 4),
    ]));
}

#[test]
fn the_checker_accepts_calls_of_unknown_outcome_that_took_effect_once_or_never() {
    use Answer::{Done, KeyExists, NoEffect, NotFound, Unknown, Value};
    // The write took effect, or did not.
    for seen in [1, 2] {
        assert!(is_possible(&[
            (insert(1), Done, 0, 1),
            (set(2), Unknown, 2, 3),
            (Verb::Get, Value(seen), 4, 5),
        ]));
    }
    // The write took effect after its answer and after a read.
    assert!(is_possible(&[
        (insert(1), Done, 0, 1),
        (set(2), Unknown, 2, 3),
        (Verb::Get, Value(1), 4, 5),
        (Verb::Get, Value(2), 6, 7),
    ]));
    // A call ended the session after its answer.
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
        // It began before the session was created.
        assert!(is_possible(&[
            (end, Unknown, 0, 1),
            (insert(1), Done, 2, 3),
            (Verb::Get, NotFound, 4, 5),
        ]));
    }
    // A call failed and had no effect.
    assert!(is_possible(&[
        (insert(1), Done, 0, 1),
        (Verb::Clear, NoEffect, 2, 3),
        (Verb::Get, Value(1), 4, 5),
    ]));
    // A session was created, but never seen until another insert failed.
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
    // A write was seen again after it was overwritten.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (set(2), Unknown, 2, 3),
        (Verb::Get, Value(2), 4, 5),
        (set(3), Done, 6, 7),
        (Verb::Get, Value(3), 8, 9),
        (Verb::Get, Value(2), 10, 11),
    ]));
    // A session was cleared once, but was absent twice.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (Verb::Clear, Unknown, 2, 3),
        (Verb::Get, NotFound, 4, 5),
        (insert(2), Done, 6, 7),
        (Verb::Get, NotFound, 8, 9),
    ]));
    // A write was seen before it began.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (Verb::Get, Value(2), 2, 3),
        (set(2), Unknown, 4, 5),
    ]));
    // A set created a session.
    assert!(!is_possible(&[
        (set(2), Unknown, 0, 1),
        (Verb::Get, Value(2), 2, 3),
    ]));
    // A session was absent before the only call that can have ended it began.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (Verb::Get, NotFound, 2, 3),
        (Verb::Rotate, Unknown, 4, 5),
    ]));
    // A failed write was seen, and a failed clear ended a session.
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
    // An update overwrote another one that it had not seen.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (update(2), Unknown, 2, 3),
        (Verb::Get, Value(2), 4, 5),
        (update(3), Edited(Some(1)), 6, 7),
    ]));
}

#[test]
fn the_checker_gives_up_after_the_given_number_of_steps() {
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
