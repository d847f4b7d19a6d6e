//! What README repeats of other files is the same there.

const README: &str = include_str!("../../README.md");

fn without_comments(sql: &str) -> String {
    sql.lines()
        .filter(|line| !line.starts_with("--"))
        .map(|line| format!("{line}\n"))
        .collect()
}

#[test]
fn readme_has_the_table_and_the_grant_as_the_scripts_have_them() {
    let scripts = [
        include_str!("../../sql/create.sql"),
        include_str!("../../sql/grant.sql"),
    ];
    for script in scripts {
        let block = format!("```sql\n{}```", without_comments(script));
        assert!(README.contains(&block), "README lacks:\n{block}");
    }
}

#[test]
fn ci_runs_the_tests_as_readme_does() {
    let ci = include_str!("../../.ci/run");
    assert!(README.contains("tests/with-postgres cargo test\n"));
    assert!(ci.contains("tests/with-postgres cargo test"));
}
