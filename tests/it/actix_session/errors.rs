//! The text of errors.

use super::{Fixture, SECRET, state};
use session_postgres::Period;

#[test]
fn errors_and_debug_output_contain_no_key_and_no_state() {
    let on = Fixture::new();
    let key = on.saved(SECRET);
    let mut texts = Vec::new();
    on.schema.run(&format!(
        "ALTER TABLE session ADD CHECK (session_data NOT LIKE '%{SECRET}!%')"
    ));
    let rejected = state(&format!("{SECRET}!"));
    texts.push(format!("{:?}", on.save(rejected.clone()).unwrap_err()));
    texts.push(format!("{:?}", on.update(&key, rejected).unwrap_err()));
    assert!(texts.iter().all(|text| text.contains("23514")), "{texts:?}");
    let absent = "x".repeat(40);
    texts.push(format!(
        "{:?}",
        on.update(&absent, state(SECRET)).unwrap_err()
    ));
    texts.push(on.touch(&absent, Period::HOUR).unwrap_err());
    on.schema.run("DROP TABLE session");
    let failed = texts.len();
    texts.push(format!("{:?}", on.load(&key).unwrap_err()));
    texts.push(format!("{:?}", on.save(state(SECRET)).unwrap_err()));
    texts.push(format!("{:?}", on.update(&key, state(SECRET)).unwrap_err()));
    texts.push(on.delete(&key).unwrap_err());
    texts.push(format!("{:?}", on.adapter));
    for text in &texts {
        for secret in [SECRET, &key, &absent] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    for text in &texts[failed..failed + 3] {
        assert!(text.contains("does not exist"), "{text}");
    }
}
