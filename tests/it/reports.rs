//! The shipped validation pages are those of the shipped tables.

use super::{orrery, root};

#[test]
fn validation_pages_are_current() {
    for kind in ["training", "training_other"] {
        let folder = tempfile::tempdir().unwrap();
        let table = format!("tests/validation/{kind}.csv");
        let out = orrery(&["validate", "training", &table, "--out", folder.path().to_str().unwrap()]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        for page in ["report.html", "report.md"] {
            let want = std::fs::read_to_string(folder.path().join(page)).unwrap();
            let have = std::fs::read_to_string(root().join("reports/validation").join(kind).join(page)).unwrap_or_default();
            assert!(have == want, "reports/validation/{kind}/{page} is out of date: run .ci/reports");
            for word in ["src=\"http", "href=\"http", "/tmp", "<script"] {
                assert!(!have.contains(word), "{word} in {page}");
            }
        }
    }
}
