//! Which row of several libraries serves a wanted one.

/// The family of a library: its name up to the version.
fn family(library: &str) -> &str {
    library.split('-').next().unwrap_or(library)
}

/// Whether two libraries are versions of one.
pub(super) fn same_family(a: &str, b: &str) -> bool {
    family(a) == family(b)
}

/// The numbers of a version, such as 1.3 and 0 and 20 in `trtllm-1.3.0rc20`.
fn version(library: &str) -> Vec<u64> {
    let text = library.split_once('-').map_or("", |(_, v)| v);
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect()
}

/// The row of the wanted library: the same version; else the newest that is not newer; else the oldest that is. Without a
/// version the newest of the family, without the family the first row.
pub(super) fn nearest_library<'a, R>(rows: &[&'a R], wanted: Option<&str>, library: impl Fn(&'a R) -> &'a str) -> Option<&'a R> {
    let Some(wanted) = wanted else { return rows.first().copied() };
    let mut own: Vec<&R> = rows.iter().copied().filter(|r| same_family(library(r), wanted)).collect();
    own.sort_by_key(|r| version(library(r)));
    let target = version(wanted);
    if target.is_empty() {
        return own.last().or_else(|| rows.first()).copied();
    }
    // The first of equal versions: callers put their preference first, and the sort is stable.
    let at_most = own.iter().rev().find(|r| version(library(r)) <= target).map(|r| version(library(r)));
    let best = at_most.or_else(|| own.first().map(|r| version(library(r))));
    own.into_iter().find(|r| Some(version(library(r))) == best).or_else(|| rows.first().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_a_family() {
        let names = ["sglang-0.5.10", "vllm-0.22.0", "vllm-0.24.0"];
        let rows: Vec<&&str> = names.iter().collect();
        let pick = |wanted| *nearest_library(&rows, wanted, |r| r).unwrap();
        assert_eq!(pick(Some("vllm-0.24.0")), "vllm-0.24.0");
        assert_eq!(pick(Some("vllm-0.23.1")), "vllm-0.22.0");
        assert_eq!(pick(Some("vllm-0.9.0")), "vllm-0.22.0");
        assert_eq!(pick(Some("vllm")), "vllm-0.24.0");
        assert_eq!(pick(Some("trtllm-1.0")), "sglang-0.5.10");
        assert_eq!(pick(None), "sglang-0.5.10");
    }
}
