//! Files of ASTRA-sim.

use super::*;
use crate::workload::trace::astra::{MemoryKind, Wiring, read_memory, read_network, read_system};

#[test]
fn a_network() {
    let got = read_network("ring.yml", &read_fixture("ring.yml")).unwrap();
    assert_eq!(got.dimensions.iter().map(|d| (d.wiring, d.count)).collect::<Vec<_>>(), [(Wiring::Switch, 8), (Wiring::Ring, 4)]);
    assert_eq!(got.ranks(), 32);
    assert_eq!((got.dimensions[1].bandwidth, got.dimensions[0].latency_nanos), (50.0, 936.25));
    // 50 "GB/s" are 53.69 bytes in a nanosecond.
    assert_eq!(got.dimensions[1].bytes_per_second(), 53_687_091_200.0);
    assert_eq!(got.place(13), [5, 1]);
    let block = "topology:\n  - Ring\n  - FullyConnected\nnpus_count: [\n 2,\n 3 ]\nbandwidth: [1, 2]\nlatency: ['1', \"2\"]\n";
    assert_eq!(read_network("b.yml", block.as_bytes()).unwrap().ranks(), 6);
}

#[track_caller]
fn network(text: &str, start: &str) {
    let e = read_network("n.yml", text.as_bytes()).unwrap_err().to_string();
    assert!(e.starts_with(start), "{e}");
}

#[test]
fn faults_of_networks() {
    let good = "topology: [Ring]\nnpus_count: [4]\nbandwidth: [50]\nlatency: [500]\n";
    network(&good.replace("Ring", "Torus"), "n.yml:1: `Torus` is no topology; write Ring, Switch or FullyConnected");
    network(&good.replace("[50]", "[tbd]"), "n.yml:3: `bandwidth` has the value `tbd`; write a number");
    network(&good.replace("[500]", "[1, 2]"), "n.yml:4: `latency` has 2 values and `topology` 1; ");
    network(&good.replace("latency", "delay"), "n.yml:4: `delay` is not known here; write topology, npus_count, bandwidth, latency");
    network("topology: [Ring]\n", "n.yml:1: `npus_count` is missing; ");
    network(&good.replace("[4]", "[0]"), "n.yml:2: `npus_count` is 0; write a whole number from 1");
    network(&good.replace("[4]", "[4"), "n.yml:2: the list of `npus_count`");
    network(&format!("{good}latency: [1]"), "n.yml:5: `latency` is there already, on line 4; remove one");
    network("topology", "n.yml:1: this is no `key: value`; ");
}

#[test]
fn a_system() {
    let got = read_system("system.json", &read_fixture("system.json")).unwrap();
    assert_eq!(got.scheduling_policy.as_deref(), Some("LIFO"));
    assert_eq!((got.endpoint_delay, got.preferred_dataset_splits, got.local_mem_bw), (Some(10.0), Some(4.0), Some(1600.0)));
    assert_eq!(got.all_reduce.by_dimension, ["ring", "direct4"]);
    assert_eq!(got.all_to_all.custom, ["folder/all_to_all"]);
    assert_eq!((got.roofline_enabled, got.peak_perf, got.replay_only), (Some(false), Some(900.0), None));
    assert_eq!(got.ignored, ["boost-mode"]);
    let refuses = |text: &str, want: &str| assert_eq!(read_system("s.json", text.as_bytes()).unwrap_err().to_string(), want);
    refuses(
        "{\n\"peak-perff\": 1}",
        "s.json:2: `peak-perff` is not known here; remove it, or see the page of ASTRA-sim's system file for its spelling",
    );
    refuses("{\"endpoint-delay\": \"ten\"}", "s.json:1: `endpoint-delay` is \"ten\"; write a number from 0");
    refuses("{\"scheduling-policy\": \"SJF\"}", "s.json:1: `scheduling-policy` is \"SJF\"; write LIFO, FIFO, EXPLICIT");
    let algorithm = "s.json:1: `star` is no algorithm; write ring, direct, halvingDoubling or doubleBinaryTree";
    refuses("{\"all-gather-implementation\": [\"star\"]}", algorithm);
}

#[test]
fn a_memory() {
    let text = br#"{"memory-type": "MEMORY_POOL", "remote-mem-latency": 100, "remote-mem-bw": 64, "num-nodes": 2, "num-npus-per-node": 8}"#;
    let got = read_memory("m.json", text).unwrap();
    assert_eq!(
        (got.kind, got.latency_nanos, got.bytes_per_nano, got.nodes, got.per_node),
        (MemoryKind::Pool, Some(100.0), Some(64.0), Some(2.0), Some(8.0))
    );
    assert_eq!(read_memory("m.json", br#"{"memory-type": "NO_MEMORY_EXPANSION"}"#).unwrap().kind, MemoryKind::NoExpansion);
    let e = read_memory("m.json", b"{}").unwrap_err().to_string();
    assert_eq!(e, "m.json:1: `memory-type` is missing; write \"memory-type\": \"NO_MEMORY_EXPANSION\"");
}
