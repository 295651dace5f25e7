//! Closed forms: Little's law, request sizes, streams, conservation of bytes, bottlenecks.

use super::*;
use crate::diag::{Decode, Diagnostics, Node, Style, render};
use crate::fabric::{AcceleratorId, Fabric, LinkKind, Tier, TopologyInput};
use proptest::prelude::*;

fn fabric(storage: &str, nodes: u32) -> Fabric {
    let text = format!(
        "[[node]]\nname = \"dgx\"\naccelerator = \"h100-sxm\"\naccelerators = 8\nscale_up = \"nvswitch\"\nhost = \"dgx-h100\"\nnic = \"cx7-ndr400\"\nnics = 8\n\
         drive = \"nvme-gen4-3.84tb\"\ndrives = 8\n[fabric]\nkind = \"rail-optimised\"\nnodes = {nodes}\nlevels = 3\nswitch = \"qm9700\"\n{storage}"
    );
    let mut diags = Diagnostics::new();
    let source = diags.add_source("topology", text);
    let built = Node::parse(source, &mut diags).and_then(|n| TopologyInput::decode(&n, &mut diags)).and_then(|t| t.build(&mut diags));
    built.unwrap_or_else(|| panic!("{}", render(&diags, Style::Plain))).0
}

const SCRATCH: &str = "[[storage]]\nname = \"scratch\"\nkind = \"file-system\"\nservers = 10\nserver_read = \"20 GB/s\"\nserver_write = \"10 GB/s\"\nserver_read_iops = 1e6\n\
     capacity = \"5 PB\"\nclient_read = \"40 GB/s\"\nclient_iops = 1e9\nclient_opens = 1e9\n";

fn all(fabric: &Fabric, bytes: f64) -> Vec<Client> {
    (0..fabric.accelerator_count()).map(|a| Client { at: AcceleratorId(a as u32), bytes, files: 1.0 }).collect()
}

fn tier(fabric: &Fabric) -> &Tier {
    fabric.tiers().next().unwrap()
}

/// fio on one drive (facts of the page): 75.9 us, 158,000 requests a second.
#[test]
fn littles_law() {
    for depth in [1.0, 4.0, 16.0, 64.0, 256.0] {
        let (iops, time) = depth_curve(depth, 75.9e-6, 158e3);
        assert!((iops * time / depth - 1.0).abs() < 1e-12, "requests in flight are rate times time");
        assert!(iops < 158e3);
    }
    assert!((depth_curve(1.0, 75.9e-6, 158e3).0 - 12_162.0).abs() < 10.0);
    assert!(depth_curve(1e6, 75.9e-6, 158e3).0 > 0.999 * 158e3);
}

#[test]
fn small_requests_cost_more_of_a_server() {
    let fabric = fabric(SCRATCH, 2);
    let cost = |bytes| request_cost(tier(&fabric), Direction::Read, bytes);
    // 20 GB/s and 1 M requests a second: half of the bandwidth is reached at 20 kB.
    assert!((cost(20e3) - 2.0).abs() < 1e-12);
    assert!(cost(1e9) - 1.0 < 1e-4);
}

#[test]
fn servers_clients_and_ports_bind_in_turn() {
    let fabric = fabric(SCRATCH, 16);
    let id = fabric.tier_named("scratch").unwrap();
    let request = tier(&fabric).request;
    let read = transfer(&fabric, id, Direction::Read, &all(&fabric, 1e9), request).unwrap();
    // Ten servers of 20 GB/s less the cost of requests of a mebibyte; 128 clients of four stripes load ten servers unevenly by 4 %.
    let servers = 200e9 / request_cost(tier(&fabric), Direction::Read, request);
    assert!((read.rate(&fabric) / servers - 1.0).abs() < 0.05, "{}", read.rate(&fabric) / servers);
    assert_eq!(read.bottleneck(&fabric), LinkKind::Storage.name());
    let one = [Client { at: AcceleratorId(0), bytes: 1e9, files: 10.0 }];
    let alone = transfer(&fabric, id, Direction::Read, &one, request).unwrap();
    assert!(alone.rate(&fabric) <= 40e9 && alone.rate(&fabric) > 30e9, "client or one NIC: {}", alone.rate(&fabric));
    let write = transfer(&fabric, id, Direction::Write, &all(&fabric, 1e9), request).unwrap();
    assert!(write.rate(&fabric) < 0.6 * read.rate(&fabric));
}

#[test]
fn local_drives_scale_with_nodes() {
    let rate = |nodes| {
        let fabric = fabric("[[storage]]\nname = \"nvme\"\nkind = \"local-drives\"\n", nodes);
        let id = fabric.tier_named("nvme").unwrap();
        let out = transfer(&fabric, id, Direction::Write, &all(&fabric, 1e9), 1e6).unwrap();
        out.rate(&fabric)
    };
    // Eight drives of 4 GB/s, less 8 % for requests of a megabyte at 180,000 a second and drive.
    let one = rate(1);
    assert!((one / (32e9 / (1.0 + 32e9 / (1.44e6 * 1e6))) - 1.0).abs() < 1e-9, "{one}");
    assert!((rate(4) / one - 4.0).abs() < 1e-9);
}

#[test]
fn object_stores_are_streams() {
    let store = "[[storage]]\nname = \"s3\"\nkind = \"object-store\"\ngateways = 8\ngateway_bandwidth = \"100 GB/s\"\nstreams = 10\n";
    let fabric = fabric(store, 2);
    let id = fabric.tier_named("s3").unwrap();
    // 8 MiB in 0.1 s + 8 MiB / 85 MB/s: 42 MB/s a stream, ten streams a node, two nodes.
    let stream = 8_388_608.0 / (0.1 + 8_388_608.0 / 85e6);
    assert!((stream_rate(tier(&fabric), 8_388_608.0) / stream - 1.0).abs() < 1e-12);
    let out = transfer(&fabric, id, Direction::Read, &all(&fabric, 1e9), 8_388_608.0).unwrap();
    assert!((out.rate(&fabric) / (20.0 * stream) - 1.0).abs() < 1e-9);
    // Records of 114 kB: 5,500 requests a second for the one prefix.
    assert!((store_rate(tier(&fabric), Direction::Read, 114_660.0) - 5500.0 * 114_660.0).abs() < 1.0);
}

#[test]
fn a_network_of_its_own_leaves_the_nics_alone() {
    let own = format!("{SCRATCH}network = \"own\"\nport_bandwidth = \"25 GB/s\"\n");
    let fabric = fabric(&own, 2);
    let id = fabric.tier_named("scratch").unwrap();
    let out = transfer(&fabric, id, Direction::Write, &all(&fabric, 1e9), 1e6).unwrap();
    assert!(out.traffic.iter().all(|(l, _)| fabric.link(*l).kind != LinkKind::Nic));
    assert!(out.traffic.iter().any(|(l, _)| fabric.link(*l).kind == LinkKind::StorageNic));
    // Half of two ports of 25 GB/s, less a trifle for requests.
    assert!((out.rate(&fabric) / 25e9 - 1.0).abs() < 1e-4, "{}", out.rate(&fabric));
}

/// A copy to another region runs at the rate of the wide-area link, or of its requests in flight, and touches no node.
#[test]
fn a_far_copy_leaves_the_nodes_alone() {
    let far = "[[storage]]\nname = \"far\"\nkind = \"object-store\"\ngateways = 4\ngateway_bandwidth = \"20 GB/s\"\nstreams = STREAMS\nprefixes = 1000\n\
               region = \"north\"\nwan_bandwidth = \"5 GB/s\"\nwan_round_trip = \"100 ms\"\n";
    let build = |streams: &str| fabric(&format!("{SCRATCH}{}", far.replace("STREAMS", streams)), 4);
    let wide = build("256");
    let ids = |f: &Fabric| (f.tier_named("scratch").unwrap(), f.tier_named("far").unwrap());
    let copy = replicate(&wide, ids(&wide).0, ids(&wide).1, 1e12).unwrap();
    assert!((copy.rate(&wide) / 5e9 - 1.0).abs() < 1e-9, "{}", copy.rate(&wide));
    assert_eq!(copy.bottleneck(&wide), LinkKind::Wan.name());
    let kinds = [LinkKind::Wan, LinkKind::Storage];
    assert!(copy.traffic.iter().all(|(l, _)| kinds.contains(&wide.link(*l).kind)));
    let over: f64 = copy.traffic.iter().filter(|(l, _)| wide.link(*l).kind == LinkKind::Wan).map(|x| x.1).sum();
    assert!((over - 1.0).abs() < 1e-9, "every byte crosses once: {over}");
    // Ten servers with one request each in flight: parts of 8 MiB wait 0.2 s and flow at 85 MB/s.
    let narrow = build("1");
    let copy = replicate(&narrow, ids(&narrow).0, ids(&narrow).1, 1e12).unwrap();
    let one = 8_388_608.0 / (0.2 + 8_388_608.0 / 85e6);
    assert!((copy.rate(&narrow) / (10.0 * one) - 1.0).abs() < 1e-9, "{}", copy.rate(&narrow));
    // Reading it back crosses the same link and the nodes' ports.
    let read = transfer(&wide, ids(&wide).1, Direction::Read, &all(&wide, 1e9), 8_388_608.0).unwrap();
    assert!(read.rate(&wide) <= 5e9 * (1.0 + 1e-9) && read.traffic.iter().any(|(l, _)| wide.link(*l).kind == LinkKind::Nic));
}

/// Memory as a tier: the node's own at its bandwidth, a pool at the least of ports and memory; no NIC is touched.
#[test]
fn memory_tiers_are_local() {
    let text = "[[storage]]\nname = \"dram\"\nkind = \"host-memory\"\nshare = \"25 %\"\n[[storage]]\nname = \"cxl\"\nkind = \"cxl-pool\"\nnodes = 4\ncapacity = \"4 TB\"\n\
                port_bandwidth = \"50 GB/s\"\npool_bandwidth = \"120 GB/s\"\n";
    let fabric = fabric(text, 8);
    let (dram, cxl) = (fabric.tier_named("dram").unwrap(), fabric.tier_named("cxl").unwrap());
    assert!(
        (fabric.tier(cxl).capacity / 8e12 - 1.0).abs() < 1e-12
            && (fabric.tier(dram).capacity / (8.0 * 0.25 * 2_199_023_255_552.0) - 1.0).abs() < 1e-9
    );
    for direction in [Direction::Read, Direction::Write] {
        let pool = transfer(&fabric, cxl, direction, &all(&fabric, 1e9), 1e6).unwrap();
        assert!((pool.rate(&fabric) / 240e9 - 1.0).abs() < 1e-9, "two pools of 120 GB/s: {}", pool.rate(&fabric));
        let one: Vec<Client> = all(&fabric, 1e9).into_iter().take(8).collect();
        let single = transfer(&fabric, cxl, direction, &one, 1e6).unwrap();
        assert!((single.rate(&fabric) / 50e9 - 1.0).abs() < 1e-9, "one port: {}", single.rate(&fabric));
        let own = transfer(&fabric, dram, direction, &all(&fabric, 1e9), 1e6).unwrap();
        assert!(own.rate(&fabric) > 8.0 * 200e9, "{}", own.rate(&fabric));
        assert!(own.traffic.iter().chain(&pool.traffic).all(|(l, _)| fabric.link(*l).kind != LinkKind::Nic));
    }
}

proptest! {
    /// What leaves memories arrives at servers: bytes are conserved at both ends, and every cut between them carries them once.
    #[test]
    fn bytes_are_conserved(bytes in proptest::collection::vec(1u32..1_000_000, 16..=16), write in any::<bool>()) {
        let fabric = fabric(SCRATCH, 4);
        let id = fabric.tier_named("scratch").unwrap();
        let direction = if write { Direction::Write } else { Direction::Read };
        let clients: Vec<Client> = bytes.iter().enumerate()
            .map(|(i, &b)| Client { at: AcceleratorId(i as u32 * 2), bytes: f64::from(b), files: 1.0 }).collect();
        let total: f64 = clients.iter().map(|c| c.bytes).sum();
        let out = transfer(&fabric, id, direction, &clients, 1e6).unwrap();
        prop_assert!((out.bytes / total - 1.0).abs() < 1e-12);
        let cost = request_cost(tier(&fabric), direction, 1e6);
        for (kind, factor) in [(LinkKind::HostMemory, 1.0), (LinkKind::Nic, 1.0), (LinkKind::Storage, cost)] {
            let carried: f64 = out.traffic.iter().filter(|(l, _)| fabric.link(*l).kind == kind).map(|x| x.1).sum();
            prop_assert!((carried / factor - 1.0).abs() < 1e-9, "{kind:?} carries {carried}");
        }
    }
}
