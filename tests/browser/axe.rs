//! Checks the accessibility of pages with axe-core.

use std::{env, fs};

use serde_json::Value;

use super::chromium::Visitor;

/// The rules of WCAG 2.2 on the levels A and AA, and the best practices of axe-core: headings, landmarks and so on.
const RUN: &str = "axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] })
    .then(({ violations, passes }) => ({ passes: passes.length, violations: violations.flatMap(rule =>
        rule.nodes.map(node => `${rule.id}: ${node.html}\\n${node.failureSummary}`)) }))";

/// The script axe-core.
pub(crate) struct Axe(String);

impl Axe {
    /// Reads the file that `AXE` names. Returns `None` if it is not set.
    pub(crate) fn read() -> Option<Axe> {
        let file = env::var_os("AXE")?;
        let script = fs::read_to_string(&file);
        Some(Axe(script.unwrap_or_else(|e| panic!("AXE, {file:?}: {e}"))))
    }

    /// Fails if the visitor's page breaks a rule, in light or dark colors.
    pub(crate) fn check(&self, visitor: &Visitor<'_>) {
        visitor.run(&self.0);
        for scheme in ["light", "dark"] {
            visitor.prefer(scheme);
            let mut found = visitor.run(RUN);
            let violations = found["violations"].take();
            let violations = violations.as_array().expect("a result of axe-core");
            let texts: Vec<&str> = violations.iter().filter_map(Value::as_str).collect();
            let page = format!("{} in {scheme} colors", visitor.path());
            assert!(texts.is_empty(), "{page}:\n{}\n", texts.join("\n\n"));
            assert!(
                found["passes"].as_u64() > Some(0),
                "{page}: no rule applies"
            );
        }
    }
}
