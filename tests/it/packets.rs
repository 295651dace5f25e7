//! Patterns of flows against packet-level runs of the same cases (htsim, k-ary fat tree of three levels, 400 Gb/s, 4,096-byte packets, 1 us a
//! hop, flows of 2,000,000 bytes; finish times as the sender sees them, after the last acknowledgement's way back).

use crate::fabric;
use orrery::fabric::{AcceleratorId, Fabric};
use orrery::simulate::{Pattern, Transport, run_pattern};

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

/// A window of so many packets.
fn window(packets: f64) -> Transport {
    Transport::Window(packets * PACKET)
}

/// Mean and greatest finish time in microseconds as the senders see them, over some draws.
fn seen(hosts: u32, ports: u32, policy: &str, pattern: Pattern, ranks: u32, transport: Transport) -> (f64, f64) {
    let mut fabric = tree(hosts, ports, policy);
    let ranks: Vec<AcceleratorId> = (0..ranks).map(AcceleratorId).collect();
    let (mut sum, mut count, mut most) = (0.0, 0.0, 0.0f64);
    for seed in 1..=5 {
        fabric.set_seed(seed);
        let flows = pattern.flows(&ranks, 0.0, seed);
        let finish = run_pattern(&fabric, &flows, BYTES, transport);
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
        ("permutation of 128, window of 300 packets", seen(128, 8, "spray", Pattern::Permutation, 128, window(300.0)), 54.3),
        ("permutation of 128, window of 100 packets", seen(128, 8, "spray", Pattern::Permutation, 128, window(100.0)), 70.9),
        ("permutation of 1,024, window of 100 packets", seen(1024, 16, "spray", Pattern::Permutation, 1024, window(100.0)), 73.4),
        ("incast of 16, window of 300 packets", seen(128, 8, "spray", Pattern::Incast, 17, window(300.0)), 663.4),
        ("shift, most of it inside a rack", seen(128, 8, "spray", Pattern::Shift, 4, Transport::Fair), 45.4),
    ];
    for (name, (mean, _), packets) in cases {
        assert!((mean / packets - 1.0).abs() < 0.1, "{name}: {mean} us against {packets} us");
    }
}

/// One hashed path a flow under lossless Ethernet without marks: pauses spread congestion to flows that share no full link.
#[test]
fn pauses_of_lossless_ethernet_are_within_a_tenth() {
    let pauses = Transport::Pauses(f64::INFINITY);
    for (hosts, ports, mean_of_packets) in [(128, 8, 122.0), (1024, 16, 144.8)] {
        let (fluid, _) = seen(hosts, ports, "ecmp", Pattern::Permutation, hosts, Transport::Fair);
        let (mean, _) = seen(hosts, ports, "ecmp", Pattern::Permutation, hosts, pauses);
        assert!((mean / mean_of_packets - 1.0).abs() < 0.1, "{hosts} hosts: {mean} us against {mean_of_packets} us");
        assert!(fluid < mean, "{hosts} hosts: pauses only slow down");
    }
}

/// Sixteen senders to one under pauses: ports share evenly, not flows, so the first ends in half the fair time; the last no later.
#[test]
fn incast_under_pauses_is_unfair() {
    let mut fabric = tree(128, 8, "ecmp");
    let (mut first, mut sum, mut last) = (0.0, 0.0, 0.0);
    for seed in 1..=5u64 {
        fabric.set_seed(seed);
        // The receiver and sixteen senders all over the tree; 37 has no factor with 127.
        let sender = |i: u32| AcceleratorId(1 + (i * 37 + 11 * seed as u32) % 127);
        let ranks: Vec<AcceleratorId> = std::iter::once(AcceleratorId(0)).chain((0..16).map(sender)).collect();
        let flows = Pattern::Incast.flows(&ranks, 0.0, seed);
        let mut finish = run_pattern(&fabric, &flows, BYTES, Transport::Pauses(f64::INFINITY));
        finish.sort_by(f64::total_cmp);
        let way_back = 6e-6;
        first += 1e6 * (finish[0] + way_back) / 5.0;
        sum += 1e6 * (finish.iter().sum::<f64>() / 16.0 + way_back) / 5.0;
        last += 1e6 * (finish[15] + way_back) / 5.0;
    }
    assert!((sum / 556.3 - 1.0).abs() < 0.1, "mean {sum} us against 556 us");
    assert!((last / 662.4 - 1.0).abs() < 0.05, "last {last} us against 662 us");
    assert!(first < 0.6 * last, "first {first} us: 336 us of the packets");
}

#[test]
fn uneven_all_to_all_takes_as_long_as_its_busiest_receiver() {
    let fabric = tree(16, 32, "spray");
    let ranks: Vec<AcceleratorId> = (0..16).map(AcceleratorId).collect();
    let last = |skew: f64| {
        let flows = Pattern::AllToAll.flows(&ranks, skew, 1);
        let sent: f64 = flows.iter().map(|f| f.share).sum();
        assert!((sent - 240.0).abs() < 1e-9, "the mean stands: {sent}");
        run_pattern(&fabric, &flows, 1e9, Transport::Fair).into_iter().fold(0.0, f64::max)
    };
    let (even, uneven) = (last(0.0), last(0.5));
    assert!((even / (15.0 * 1e9 / 50e9) - 1.0).abs() < 1e-3, "{even}");
    assert!((uneven / even - 1.5).abs() < 1e-3, "{uneven} and {even}");
}
