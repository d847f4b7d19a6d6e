//! A handle comes from a form, so it can be any text.

use session_postgres::Store;

rules! {
    a_handle_with_a_nul_character_removes_no_session
}

fn a_handle_with_a_nul_character_removes_no_session(store: &dyn Store) {
    assert!(!store.clear_handle("ann", "a\0b").unwrap());
}
