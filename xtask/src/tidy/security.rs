//! The tests that the page on security names.

use super::{Rule, Tree, Violation};

pub const NAMED_TESTS: Rule = Rule {
    name: "named-tests",
    reason: "an attack or a limit whose test does not exist is a promise that nobody keeps",
    check: named_tests,
};

const PAGE: &str = "docs/security.md";

fn named_tests(tree: &Tree) -> Vec<Violation> {
    let Some(page) = tree.files.iter().find(|file| file.path == PAGE) else {
        return vec![Violation { path: PAGE.into(), line: 0, what: "is missing".into() }];
    };
    let mut violations = Vec::new();
    let mut in_table = false;
    for (index, line) in page.text.lines().enumerate() {
        let is_row = line.starts_with("| ");
        // The first row of a table says what the columns are.
        if is_row && in_table {
            let named: Vec<(&str, &str)> = line.split('`').skip(1).step_by(2).filter_map(|name| name.split_once("::")).collect();
            let missing = named.iter().filter(|(module, test)| !exists(tree, module, test));
            let missing = missing.map(|(module, test)| format!("there is no test `{module}::{test}`"));
            let none = named.is_empty().then(|| "this row names no test".to_owned());
            violations.extend(missing.chain(none).map(|what| Violation { path: PAGE.into(), line: index + 1, what }));
        }
        in_table = line.starts_with('|');
    }
    violations
}

/// Whether a module of this name has such a test.
fn exists(tree: &Tree, module: &str, test: &str) -> bool {
    let is_module = |path: &str| path.ends_with(&format!("/{module}.rs")) || path.contains(&format!("/{module}/"));
    let is_test = |text: &str| text.contains(&format!("fn {test}("));
    tree.files.iter().any(|file| is_module(&file.path) && is_test(&file.text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::check_rule;

    #[test]
    fn every_row_names_tests_that_exist() {
        let page = "| what | test |\n|---|---|\n| a | `limits::a` |\n| b | `limits::b` |\n| c | none |\n";
        check_rule(
            &NAMED_TESTS,
            &[("docs/security.md", page), ("tests/black_box/limits.rs", "fn a() {}")],
            &["docs/security.md:4: there is no test `limits::b`", "docs/security.md:5: this row names no test"],
        );
        check_rule(&NAMED_TESTS, &[], &["docs/security.md: is missing"]);
    }
}
