//! Publications, because of which the server rejects UPDATE or DELETE.

use session_postgres::Store;

use super::{COLUMNS, Database};

/// `check` reports exactly the statements that the server rejects, for publications of every kind.
#[test]
fn a_publication_without_a_suitable_replica_identity_is_reported() {
    const UNIDENTIFIED: &str = "it is published without a replica identity";
    const UNFIT: &str = "the column list or the row filter of a publication";
    let database = Database::new("");
    let plain =
        format!("CREATE TABLE session ({COLUMNS}); CREATE INDEX ON session (session_key); ");
    let keyed = format!("CREATE TABLE session ({COLUMNS}, PRIMARY KEY (session_key)); ");
    let split = format!(
        "CREATE TABLE session ({COLUMNS}) PARTITION BY HASH (session_key); \
         CREATE INDEX ON session (session_key); \
         CREATE TABLE one PARTITION OF session FOR VALUES WITH (MODULUS 1, REMAINDER 0); "
    );
    let both = &["UPDATE", "DELETE"] as &[&str];
    let cases = [
        (14, &plain, "FOR TABLE session", UNIDENTIFIED, both),
        (14, &plain, "FOR ALL TABLES", UNIDENTIFIED, both),
        (
            15,
            &plain,
            "FOR TABLES IN SCHEMA public",
            UNIDENTIFIED,
            both,
        ),
        (
            14,
            &plain,
            "FOR TABLE session WITH (publish = 'update')",
            UNIDENTIFIED,
            &["UPDATE"],
        ),
        (
            14,
            &plain,
            "FOR TABLE session WITH (publish = 'delete')",
            UNIDENTIFIED,
            &["DELETE"],
        ),
        (
            14,
            &plain,
            "FOR TABLE session WITH (publish = 'insert')",
            "",
            &[],
        ),
        (
            14,
            &plain,
            "FOR TABLE session; ALTER TABLE session REPLICA IDENTITY FULL",
            "",
            &[],
        ),
        (14, &keyed, "FOR TABLE session", "", &[]),
        (
            14,
            &keyed,
            "FOR TABLE session; ALTER TABLE session REPLICA IDENTITY NOTHING",
            UNIDENTIFIED,
            both,
        ),
        (15, &keyed, "FOR TABLE session (session_data)", UNFIT, both),
        (
            15,
            &keyed,
            "FOR TABLE session WHERE (session_data IS NOT NULL)",
            UNFIT,
            both,
        ),
        (14, &split, "FOR TABLE session", UNIDENTIFIED, both),
        (14, &split, "FOR TABLE one", UNIDENTIFIED, both),
        (
            14,
            &split,
            "FOR TABLE session WITH (publish_via_partition_root)",
            UNIDENTIFIED,
            both,
        ),
        (
            14,
            &split,
            "FOR TABLE session; ALTER TABLE one REPLICA IDENTITY FULL; \
             ALTER TABLE session REPLICA IDENTITY FULL",
            "",
            &[],
        ),
    ];
    let version = database.version();
    for (since, table, publication, reason, refused) in cases {
        if version < since * 10_000 {
            continue;
        }
        database.run(&format!(
            "{table} CREATE PUBLICATION published {publication}"
        ));
        let problems = database.problems();
        assert_eq!(problems.len(), refused.len(), "{publication}: {problems:?}");
        for (problem, verb) in problems.iter().zip(refused) {
            assert!(problem.starts_with(reason), "{publication}: {problem}");
            assert!(
                problem.contains(&format!("the server refuses {verb}: ")),
                "{publication}: {problem}"
            );
        }
        let store = database.store();
        let key = store.generate(Some("lobster"), None).unwrap();
        for (verb, outcome) in [
            ("UPDATE", store.set(&key, "crab", None)),
            ("DELETE", store.clear(&key)),
        ] {
            let is_refused = refused.contains(&verb);
            assert_eq!(outcome.is_err(), is_refused, "{publication}: {outcome:?}");
        }
        database.run("DROP PUBLICATION published; DROP TABLE session");
    }
}
