//! The privileges that a store needs.

use session_postgres::Error;

use super::every_verb;
use crate::support::{database::Schema, role::Role};

const GRANT: &str = include_str!("../../../sql/grant.sql");

#[test]
fn the_four_granted_privileges_are_enough_for_every_verb() {
    let schema = Schema::new();
    schema.store();
    let role = Role::new(&schema);
    role.grant(GRANT);
    let store = role.store();
    store.check().unwrap();
    store.create_table().unwrap();
    every_verb(&store);

    // The role has no other privileges.
    let denied = store
        .with_client(|client| client.batch_execute("TRUNCATE session"))
        .unwrap();
    assert!(denied.is_err());
}

#[test]
fn a_check_says_which_privilege_is_missing() {
    let schema = Schema::new();
    schema.store();
    let role = Role::new(&schema);
    role.grant("GRANT SELECT, INSERT ON session TO web");
    match role.store().check() {
        Err(Error::UnfitTable { problems, .. }) => {
            assert_eq!(problems.len(), 2, "{problems:?}");
            assert!(problems[0].contains("UPDATE") && problems[1].contains("DELETE"));
        }
        other => panic!("{other:?}"),
    }
}
