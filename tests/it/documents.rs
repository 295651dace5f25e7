//! Every file says what it owns, every code, model and format has its page, schemas are up to date.

use super::{files, orrery, root};

#[test]
fn every_source_file_opens_with_a_comment_and_is_not_too_long() {
    for file in files("src", ".rs") {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("//!"), "{} does not say what it owns", file.display());
        assert!(text.lines().count() <= 800, "{} has more than 800 lines", file.display());
    }
}

#[test]
fn every_code_has_a_page_with_a_wrong_and_a_right_example() {
    for (code, page) in orrery::diag::codes::ALL {
        assert!(page.starts_with(&format!("# {}: ", code.0)), "{} has no title", code.0);
        assert!(page.contains("Wrong:") && page.contains("Right:"), "{} lacks an example", code.0);
    }
}

#[test]
fn every_model_page_has_its_headings() {
    let pages = files("docs/models", ".md");
    assert!(pages.len() >= 7);
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        for heading in ["## Description", "## Scope and limits", "## Parameters", "## Equations", "## Validation", "## References"] {
            assert!(text.contains(heading), "{} lacks `{heading}`", page.display());
        }
    }
}

#[test]
fn schemas_are_up_to_date() {
    for kind in ["scenario", "topology", "profile", "sweep", "plan", "plan-output", "output"] {
        let out = orrery(&["schema", kind]);
        let want = String::from_utf8(out.stdout).unwrap();
        let path = root().join(format!("schema/{kind}.schema.json"));
        let have = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(have == want, "schema/{kind}.schema.json is out of date: orrery schema {kind} > schema/{kind}.schema.json");
    }
}

#[test]
fn every_shipped_file_names_its_schema_and_says_why_it_is_there() {
    for file in files("scenarios", ".toml").into_iter().chain(files("topologies", ".toml")) {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("#:schema "), "{}", file.display());
        let schema = text.lines().next().unwrap().trim_start_matches("#:schema ").trim();
        assert!(file.parent().unwrap().join(schema).exists(), "{}: {schema} does not exist", file.display());
        for word in ["# Question:", "# Sources:", "# Expected:"] {
            assert!(text.contains(word), "{} lacks `{word}`", file.display());
        }
    }
}

#[test]
fn readme_is_short_and_its_files_exist() {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    assert!(text.lines().count() <= 150);
    for word in text.split(|c: char| c.is_whitespace() || "`()|".contains(c)) {
        if ["scenarios/", "topologies/", "docs/", "tests/", "schema/"].iter().any(|p| word.starts_with(p)) && !word.contains('*') {
            let path = root().join(word.trim_end_matches(['.', ',', ';', ':']));
            assert!(path.exists(), "README names {word}, which does not exist");
        }
    }
}
