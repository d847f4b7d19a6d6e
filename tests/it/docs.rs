//! The README and the guides repeat parts of other files. The copies must be equal.

const README: &str = include_str!("../../README.md");
const GUIDE: &str = include_str!("../../src/guide/table.md");

fn without_comments(sql: &str) -> String {
    sql.lines()
        .filter(|line| !line.starts_with("--"))
        .map(|line| format!("{line}\n"))
        .collect()
}

#[test]
fn the_guide_shows_the_table_and_the_grant_of_the_scripts() {
    let scripts = [
        include_str!("../../sql/create.sql"),
        include_str!("../../sql/grant.sql"),
    ];
    for script in scripts {
        let block = format!("```sql\n{}```", without_comments(script));
        assert!(GUIDE.contains(&block), "the guide lacks:\n{block}");
    }
}

#[test]
fn ci_runs_the_tests_as_the_readme_does() {
    let ci = include_str!("../../.ci/run");
    assert!(README.contains("tests/with-postgres cargo test\n"));
    assert!(ci.contains("tests/with-postgres cargo test"));
}
