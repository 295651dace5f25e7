//! From what a device calls itself to a part of the catalogue.

use crate::hardware::Catalogue;

/// Words of a device's name, all of which have to be there, with the part; the first that fits counts.
const NAMES: [(&[&str], &str); 35] = [
    (&["gb300"], "gb300"),
    (&["b300"], "b300-sxm"),
    (&["gb200"], "gb200"),
    (&["b200"], "b200-sxm"),
    (&["gh200"], "gh200"),
    (&["h200", "nvl"], "h200-nvl"),
    (&["h200"], "h200-sxm"),
    (&["h100", "pcie"], "h100-pcie"),
    (&["h100", "nvl"], "h100-nvl"),
    (&["h100"], "h100-sxm"),
    (&["h800"], "h800-sxm"),
    (&["h20"], "h20"),
    (&["a800"], "a800-sxm-80gb"),
    (&["a100", "pcie"], "a100-pcie-80gb"),
    (&["a100", "40gb"], "a100-sxm-40gb"),
    (&["a100"], "a100-sxm-80gb"),
    (&["v100", "16gb"], "v100-sxm2-16gb"),
    (&["v100", "sxm2"], "v100-sxm2-32gb"),
    (&["l40s"], "l40s"),
    (&["l4"], "l4"),
    (&["a10g"], "a10g"),
    (&["a10"], "a10"),
    (&["t4"], "t4"),
    (&["4090"], "rtx-4090"),
    (&["pro", "6000"], "rtx-pro-6000-server"),
    (&["mi355x"], "mi355x"),
    (&["mi350x"], "mi350x"),
    (&["mi325x"], "mi325x"),
    (&["mi300x"], "mi300x"),
    (&["mi250x"], "mi250x"),
    (&["gaudi3"], "gaudi3"),
    (&["gaudi2"], "gaudi2"),
    (&["8480c"], "xeon-8480c"),
    (&["8480"], "xeon-8480c"),
    (&["9654"], "epyc-9654"),
];

/// The part of a device's name; `None` where no part is known by it.
#[must_use]
pub fn part_named(device: &str) -> Option<String> {
    let lower = device.to_lowercase();
    if Catalogue::embedded().accelerators.contains_key(lower.trim()) {
        return Some(lower.trim().to_owned());
    }
    let words: Vec<&str> = lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()).collect();
    let has = |wanted: &&str| words.iter().any(|w| w == wanted);
    NAMES.iter().find(|(all, _)| all.iter().all(has)).map(|(_, part)| (*part).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_parts_of_the_catalogue() {
        for (_, part) in NAMES {
            assert!(Catalogue::embedded().accelerators.contains_key(part), "{part}");
        }
        for (name, part) in [
            ("A100-SXM4-40GB", Some("a100-sxm-40gb")),
            ("NVIDIA A100-SXM4-80GB (UUID: GPU-1)", Some("a100-sxm-80gb")),
            ("NVIDIA H100 80GB HBM3", Some("h100-sxm")),
            ("NVIDIA GH200 480GB", Some("gh200")),
            ("h100-sxm", Some("h100-sxm")),
            ("EXAMPLE GPU", None),
            ("Tesla V100-PCIE-32GB", None),
        ] {
            assert_eq!(part_named(name).as_deref(), part, "{name}");
        }
    }
}
