//! Patterns of flows against packet-level runs of the same cases (htsim, k-ary fat tree of three levels, 400 Gb/s, 4,096-byte packets, 1 us a
//! hop, flows of 2,000,000 bytes; finish times as the sender sees them, after the last acknowledgement's way back).

use crate::fabric;
use orrery::fabric::{AcceleratorId, Fabric};
use orrery::simulate::{Pattern, run_pattern};

const BYTES: f64 = 2e6;
const PACKET: f64 = 4096.0;

fn tree(hosts: u32, ports: u32, policy: &str) -> Fabric {
    fabric(&format!(
        "[[link]]\nid = \"pcie5-x16\"\nname = \"no bus\"\nbandwidth = \"63 GB/s\"\nefficiency = 1.0\nlatency = \"0 us\"\nsource = \"made up\"\n\
         [[nic]]\nid = \"plain\"\nname = \"plain\"\nprotocol = \"roce\"\nbandwidth = \"400 Gbps\"\nefficiency = 1.0\nlatency = \"0 us\"\nmessage_rate = 1e9\npower = \"1 W\"\nsource = \"made up\"\n\
         [[switch]]\nid = \"plain\"\nname = \"plain\"\nkind = \"ethernet\"\nports = {ports}\nport_bandwidth = \"400 Gbps\"\nlatency = \"1 us\"\npower = \"1 W\"\nsource = \"made up\"\n\
         [[node]]\nname = \"host\"\naccelerator = \"rtx-pro-6000-server\"\naccelerators = 1\nscale_up = \"pcie\"\nhost = \"dgx-h100\"\nnic = \"plain\"\nnics = 1\n\
         [fabric]\nkind = \"fat-tree\"\nnodes = {hosts}\nlevels = 3\nswitch = \"plain\"\npath_policy = \"{policy}\"\n"
    ))
}

/// Mean and greatest finish time in microseconds as the senders see them, over some draws.
fn seen(hosts: u32, ports: u32, policy: &str, pattern: Pattern, ranks: u32, packets: Option<f64>) -> (f64, f64) {
    let mut fabric = tree(hosts, ports, policy);
    let ranks: Vec<AcceleratorId> = (0..ranks).map(AcceleratorId).collect();
    let (mut sum, mut count, mut most) = (0.0, 0.0, 0.0f64);
    for seed in 1..=5 {
        fabric.set_seed(seed);
        let flows = pattern.flows(&ranks, 0.0, seed);
        let finish = run_pattern(&fabric, &flows, BYTES, packets.map(|n| n * PACKET));
        for (flow, end) in flows.iter().zip(finish) {
            let end = 1e6 * (end + fabric.route(flow.to, flow.from, 0, &mut |_, _| {}));
            (sum, count, most) = (sum + end, count + 1.0, most.max(end));
        }
    }
    (sum / count, most)
}

#[test]
fn sprayed_transport_is_within_a_tenth_in_the_mean() {
    let cases = [
        ("permutation of 128, window of 300 packets", seen(128, 8, "spray", Pattern::Permutation, 128, Some(300.0)), 54.3),
        ("permutation of 128, window of 100 packets", seen(128, 8, "spray", Pattern::Permutation, 128, Some(100.0)), 70.9),
        ("permutation of 1,024, window of 100 packets", seen(1024, 16, "spray", Pattern::Permutation, 1024, Some(100.0)), 73.4),
        ("incast of 16, window of 300 packets", seen(128, 8, "spray", Pattern::Incast, 17, Some(300.0)), 663.4),
        ("shift, most of it inside a rack", seen(128, 8, "spray", Pattern::Shift, 4, None), 45.4),
    ];
    for (name, (mean, _), packets) in cases {
        assert!((mean / packets - 1.0).abs() < 0.1, "{name}: {mean} us against {packets} us");
    }
}

/// One hashed path a flow under lossless Ethernet: pauses spread congestion to flows that share no bottleneck, which a fluid does not
/// show. It stays below the packets by as much as is documented as its limit.
#[test]
fn pauses_of_lossless_ethernet_are_the_known_gap() {
    for (hosts, ports, mean_of_packets) in [(128, 8, 122.0), (1024, 16, 144.8)] {
        let (mean, _) = seen(hosts, ports, "ecmp", Pattern::Permutation, hosts, None);
        let share = mean / mean_of_packets;
        assert!((0.70..1.0).contains(&share), "{hosts} hosts: {share} of the packets' mean");
    }
}

#[test]
fn uneven_all_to_all_takes_as_long_as_its_busiest_receiver() {
    let fabric = tree(16, 32, "spray");
    let ranks: Vec<AcceleratorId> = (0..16).map(AcceleratorId).collect();
    let last = |skew: f64| {
        let flows = Pattern::AllToAll.flows(&ranks, skew, 1);
        let sent: f64 = flows.iter().map(|f| f.share).sum();
        assert!((sent - 240.0).abs() < 1e-9, "the mean stands: {sent}");
        run_pattern(&fabric, &flows, 1e9, None).into_iter().fold(0.0, f64::max)
    };
    let (even, uneven) = (last(0.0), last(0.5));
    assert!((even / (15.0 * 1e9 / 50e9) - 1.0).abs() < 1e-3, "{even}");
    assert!((uneven / even - 1.5).abs() < 1e-3, "{uneven} and {even}");
}
