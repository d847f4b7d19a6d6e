//! Histories with owners, logins and renewals.

use super::{Answer, Verb, insert, is_possible, set};

const OWN: Verb = Verb::SetOwner { is_owned: true };
const DISOWN: Verb = Verb::SetOwner { is_owned: false };
const LOGIN: Verb = Verb::Login {
    value: 9,
    ends: false,
};

#[test]
fn the_checker_accepts_possible_histories_with_owners() {
    use Answer::{Done, Listed, Moved, NotFound, NotListed, Value};
    assert!(is_possible(&[
        (insert(1), Done, 0, 1),
        (OWN, Done, 2, 3),
        (Verb::List, Listed(Some(1)), 4, 5),
        (Verb::ClearOwned, Done, 6, 7),
        (Verb::List, NotListed, 8, 9),
        (OWN, NotFound, 10, 11),
    ]));
    // The session got its owner too late for the call that clears.
    assert!(is_possible(&[
        (insert(1), Done, 0, 1),
        (OWN, Done, 2, 5),
        (Verb::ClearOwned, Done, 3, 4),
        (Verb::Renew, Value(1), 6, 7),
    ]));
    // An owner that was set again at the end stays.
    assert!(is_possible(&[
        (insert(1), Done, 0, 1),
        (OWN, Done, 2, 3),
        (OWN, Done, 4, 9),
        (DISOWN, Done, 5, 6),
        (Verb::List, Listed(Some(1)), 10, 11),
    ]));
    // A login moves the session, and so does one of unknown outcome.
    for answer in [Moved(1), Answer::Unknown] {
        assert!(is_possible(&[
            (insert(1), Done, 0, 1),
            (LOGIN, answer, 2, 3),
            (Verb::Get, NotFound, 4, 5),
        ]));
    }
    // Calls of unknown outcome took effect late, or never.
    for listed in [Listed(Some(2)), NotListed] {
        assert!(is_possible(&[
            (insert(1), Done, 0, 1),
            (set(2), Answer::Unknown, 2, 3),
            (OWN, Answer::Unknown, 4, 5),
            (Verb::List, NotListed, 6, 7),
            (Verb::List, listed, 8, 9),
        ]));
    }
    for found in [Value(1), NotFound] {
        assert!(is_possible(&[
            (insert(1), Done, 0, 1),
            (OWN, Done, 2, 3),
            (Verb::ClearOwned, Answer::Unknown, 4, 5),
            (Verb::Get, Value(1), 6, 7),
            (Verb::Get, found, 8, 9),
        ]));
    }
}

#[test]
fn the_checker_refuses_impossible_histories_with_owners() {
    use Answer::{Done, Listed, Moved, NotFound, NotListed, Value};
    // A session was listed without its owner, and one with its owner was not.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (Verb::List, Listed(Some(1)), 2, 3),
    ]));
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (OWN, Done, 2, 3),
        (set(2), Done, 4, 5),
        (Verb::List, NotListed, 6, 7),
    ]));
    // The list had an old value.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (OWN, Done, 2, 3),
        (set(2), Done, 4, 5),
        (Verb::List, Listed(Some(1)), 6, 7),
    ]));
    // A cleared session was found, or one of no owner was cleared.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (OWN, Done, 2, 3),
        (Verb::ClearOwned, Done, 4, 5),
        (Verb::Renew, Value(1), 6, 7),
    ]));
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (Verb::ClearOwned, Done, 2, 3),
        (Verb::Get, NotFound, 4, 5),
    ]));
    // A removed owner came back.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (OWN, Done, 2, 3),
        (DISOWN, Done, 4, 5),
        (Verb::List, Listed(Some(1)), 6, 7),
    ]));
    // A session that was logged in was found under its old key, and an absent one was logged in.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (LOGIN, Moved(1), 2, 3),
        (Verb::Get, Value(1), 4, 5),
    ]));
    assert!(!is_possible(&[(LOGIN, Moved(1), 0, 1)]));
    // A renewal wrote an old value.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (set(2), Done, 2, 3),
        (Verb::Renew, Value(1), 4, 5),
    ]));
    // A call of unknown outcome cleared the session twice.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (OWN, Done, 2, 3),
        (Verb::ClearOwned, Answer::Unknown, 4, 5),
        (Verb::Get, NotFound, 6, 7),
        (insert(2), Done, 8, 9),
        (OWN, Done, 10, 11),
        (Verb::Get, NotFound, 12, 13),
    ]));
}
