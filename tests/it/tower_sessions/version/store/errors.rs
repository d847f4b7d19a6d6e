//! The text of errors.

use super::super::tower_sessions::session::Id;

use super::{
    super::{Fixture, data},
    SECRET,
};

#[test]
fn errors_and_debug_output_contain_no_id_and_no_data() {
    let on = Fixture::new();
    let created = on.created(SECRET);
    let mut errors = Vec::new();
    on.schema.run(&format!(
        "ALTER TABLE session ADD CHECK (session_data NOT LIKE '%{SECRET}!%')"
    ));
    let mut rejected = created.clone();
    rejected.data = data(&format!("{SECRET}!"));
    errors.push(on.save(&rejected).unwrap_err());
    rejected.id = Id::default();
    errors.push(on.create(&mut rejected.clone()).unwrap_err());
    assert!(
        errors.iter().all(|e| e.to_string().contains("23514")),
        "{errors:?}"
    );
    errors.push(on.save(&rejected).unwrap_err());
    on.schema.run("DROP TABLE session");
    errors.push(on.load(&created.id).unwrap_err());
    errors.push(on.delete(&created.id).unwrap_err());
    errors.push(on.save(&created).unwrap_err());
    errors.push(on.create(&mut created.clone()).unwrap_err());
    let texts: Vec<_> = errors.iter().map(|e| format!("{e} {e:?}")).collect();
    for text in texts
        .iter()
        .chain([&format!("{:?} {:#?}", on.store, on.store)])
    {
        for secret in [SECRET, &created.id.to_string(), &rejected.id.to_string()] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    assert!(texts[3].contains("does not exist"), "{}", texts[3]);
}

#[test]
fn an_error_contains_the_message_of_its_cause() {
    let on = Fixture::new();
    on.schema.run("DROP TABLE session");
    let error = on.load(&Id::default()).unwrap_err();
    assert!(error.to_string().contains(": PostgreSQL: "), "{error}");
}
