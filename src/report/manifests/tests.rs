//! Manifests that are read back are what was written.

use super::yaml;
use crate::fleet::kubernetes::{Manifests, read_manifests};
use serde_json::json;

#[test]
fn yaml_is_read_back() {
    let value = json!({"kind": "Node", "metadata": {"name": "a", "labels": {"x/y": "8", "empty": "", "yes": "true", "q": "a \"b\": #c"}},
        "status": {"allocatable": {"cpu": "1500m", "memory": "2Gi", "nvidia.com/gpu": 8}}, "list": [[1, "b"], {"k": [{"z": 1.5}]}, "t"], "none": [], "nil": {}});
    let text = yaml::documents(&[value, json!({"kind": "Node", "metadata": {"name": "b"}, "status": {"allocatable": {"cpu": 1}}})]);
    let mut out = Manifests::default();
    read_manifests(&text, &mut out).unwrap_or_else(|e| panic!("{e:?}\n{text}"));
    assert_eq!((out.nodes.len(), out.nodes[0].cpus, out.nodes[0].accelerators), (2, 1.5, 8));
    assert_eq!(out.nodes[0].labels["q"], "a \"b\": #c");
    assert_eq!((out.nodes[0].labels["x/y"].as_str(), out.nodes[0].labels["empty"].as_str()), ("8", ""));
}
