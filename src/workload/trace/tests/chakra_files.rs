//! Chakra files: committed fixtures, round trips, types of attributes, faults.

use super::super::protobuf::Writer;
use super::*;
use crate::workload::trace::chakra::{load, read, write_groups, write_rank};
use proptest::prelude::*;

/// Two pipeline stages of two tensor ranks; what the fixture `pair.*.et` holds.
fn pair() -> Trace {
    let stage = |first: u32, me: u32| {
        let (sends, other) = (first == 0, if first == 0 { me + 2 } else { me - 2 });
        let message = if sends {
            TraceKind::Send { to: other, tag: 3, bytes: 4096.0 }
        } else {
            TraceKind::Recv { from: other, tag: 3, bytes: 4096.0 }
        };
        let ops = vec![
            op(10, &[], TraceKind::Memory { load: true, bytes: 1024.0 }),
            op(2, &[0], TraceKind::Compute { micros: Some(12.0), flops: 1e9, bytes: 2e6, on_cpu: false }),
            op(30, &[1, 4], collective(TraceCollective::AllReduce, 65536.0, first / 2)),
            op(4, &[1], message),
            op(5, &[], TraceKind::Compute { micros: Some(1.5), flops: 0.0, bytes: 0.0, on_cpu: true }),
            op(60, &[2, 3], collective(TraceCollective::AllGather, 256.0, 2)),
            op(61, &[5], TraceKind::Nothing),
        ];
        rank(me, ops)
    };
    let groups = vec![group("1", &[0, 1]), group("2", &[2, 3]), group("3", &[0, 1, 2, 3])];
    trace(vec![stage(0, 0), stage(0, 1), stage(2, 2), stage(2, 3)], groups)
}

fn write_all(trace: &Trace) -> (Vec<(u32, Vec<u8>)>, String) {
    let ranks = trace.ranks.iter().flat_map(|r| r.rank..r.rank + r.count);
    (ranks.map(|r| (r, write_rank(trace, r).unwrap())).collect(), write_groups(trace))
}

fn read_all(files: &[(u32, Vec<u8>)], groups: &str) -> Result<Trace, TraceError> {
    let files: Vec<_> = files.iter().map(|(rank, bytes)| TraceFile { name: "t.et", rank: *rank, bytes }).collect();
    read(&files, Some(("groups.json", groups.as_bytes())))
}

#[test]
fn the_fixtures_are_what_we_write_and_read() {
    let (files, groups) = write_all(&pair());
    if std::env::var("INSTA_UPDATE").is_ok_and(|v| v == "always") {
        for (rank, bytes) in &files {
            std::fs::write(fixture(&format!("pair.{rank}.et")), bytes).unwrap();
        }
        std::fs::write(fixture("pair.groups.json"), &groups).unwrap();
    }
    for (rank, bytes) in &files {
        assert_eq!(&read_fixture(&format!("pair.{rank}.et")), bytes);
    }
    let got = load(&fixture("pair"), Some(&fixture("pair.groups.json"))).unwrap();
    assert_eq!(got, pair());
    assert_eq!(got.check(), []);
    assert_eq!(got.nccl_bytes(&got.ranks[0].ops[5]), Some(1024.0));
}

#[test]
fn files_that_are_not_there() {
    let e = load(&fixture("nothing"), None).unwrap_err().to_string();
    assert!(e.contains("no file has this name with `.0.et` behind it; give the path up to the rank"), "{e}");
}

/// A node with raw attributes, after the metadata.
fn file(nodes: &[Writer]) -> Vec<u8> {
    let mut out = Writer::default();
    out.delimited(&[]);
    for node in nodes {
        out.delimited(&node.bytes);
    }
    out.bytes
}

fn node(id: u64, kind: u64) -> Writer {
    let mut out = Writer::default();
    if id > 0 {
        out.number(1, id);
    }
    out.blob(2, b"n");
    out.number(3, kind);
    out
}

fn with(mut node: Writer, name: &str, value: impl FnOnce(&mut Writer)) -> Writer {
    let mut message = Writer::default();
    message.blob(1, name.as_bytes());
    value(&mut message);
    node.blob(10, &message.bytes);
    node
}

fn read_one(nodes: &[Writer]) -> Result<Trace, TraceError> {
    read(&[TraceFile { name: "a.0.et", rank: 0, bytes: &file(nodes) }], None)
}

#[test]
fn any_type_of_an_integer_will_do() {
    type Write = Box<dyn Fn(&mut Writer)>;
    let seven: [(u64, Write); 11] = [
        (7, Box::new(|w| w.number(7, 7))),
        (9, Box::new(|w| w.number(9, 7))),
        (11, Box::new(|w| w.number(11, 7))),
        (13, Box::new(|w| w.number(13, 7))),
        (15, Box::new(|w| w.number(15, 14))),
        (17, Box::new(|w| w.number(17, 14))),
        (
            21,
            Box::new(|w| {
                w.varint(21 << 3 | 1);
                w.bytes.extend(7u64.to_le_bytes());
            }),
        ),
        (
            25,
            Box::new(|w| {
                w.varint(25 << 3 | 1);
                w.bytes.extend(7i64.to_le_bytes());
            }),
        ),
        (
            19,
            Box::new(|w| {
                w.varint(19 << 3 | 5);
                w.bytes.extend(7u32.to_le_bytes());
            }),
        ),
        (29, Box::new(|w| w.blob(29, b"7"))),
        (3, Box::new(|w| w.double(3, 7.0))),
    ];
    for (field, value) in &seven {
        let send = with(with(with(node(0, 5), "comm_dst", value), "comm_tag", value), "comm_size", value);
        let got = read_one(&[send]).unwrap();
        assert_eq!(got.ranks[0].ops[0].kind, TraceKind::Send { to: 7, tag: 7, bytes: 7.0 }, "field {field}");
    }
}

#[test]
fn flags_and_tags_of_any_type() {
    for (name, value) in [("bool", 27u64), ("int32", 7)] {
        let cpu = with(node(1, 4), "is_cpu_op", |w| w.number(value, 1));
        let TraceKind::Compute { on_cpu, .. } = read_one(&[cpu]).unwrap().ranks[0].ops[0].kind else { panic!() };
        assert!(on_cpu, "{name}");
    }
    let negative = with(with(node(0, 5), "comm_dst", |w| w.number(7, 1)), "comm_tag", |w| w.number(7, (-3i64) as u64));
    assert_eq!(read_one(&[negative]).unwrap().ranks[0].ops[0].kind, TraceKind::Send { to: 1, tag: -3i64 as u64, bytes: 0.0 });
}

#[test]
fn dependencies_packed_or_not_and_absent() {
    let mut b = node(2, 1);
    b.number(4, 0);
    b.number(5, 99);
    b.blob(5, &[0, 98]);
    let got = read_one(&[b, node(0, 1)]).unwrap();
    assert_eq!(got.ranks[0].ops[0].deps, [1]);
    let faults: Vec<_> = got.check().iter().map(|f| (f.is_warning(), f.to_string())).collect();
    assert_eq!(faults, [(true, "rank 0: `n` (id 2) waits for operations that the trace does not have: 99, 98".to_owned())]);
}

#[test]
fn control_dependencies_of_converted_traces_are_a_tree() {
    let pair = |recorded: bool| {
        let (mut a, mut b) = (node(1, 4), node(2, 4));
        a.number(4, 2);
        b.number(5, 1);
        b.number(4, 77);
        [if recorded { with(a, "rf_id", |w| w.number(9, 3)) } else { a }, b]
    };
    for recorded in [true, false] {
        let got = read_one(&pair(recorded)).unwrap();
        let deps: Vec<_> = got.ranks[0].ops.iter().map(|o| o.deps.clone()).collect();
        assert_eq!(deps, [vec![], vec![0]]);
        let noticed: Vec<_> = got.check().iter().map(ToString::to_string).collect();
        assert_eq!(noticed, ["a.0.et: control dependencies are parents in a tree of PyTorch; only data dependencies count"]);
    }
    // Circles of data dependencies are the file's own fault.
    let [mut a, b] = pair(false);
    a.number(5, 2);
    let faults = read_one(&[a, b]).unwrap().check();
    assert!(matches!(faults.as_slice(), [TraceFault::AbsentDependencies { .. }, TraceFault::Cycle { .. }]), "{faults:?}");
}

#[test]
fn process_groups_in_metadata() {
    let mut init = node(1, 1);
    init.blob(2, b"## process_group:init ##");
    let mut io = Writer::default();
    io.blob(1, br#"['[{"pg_name": "0", "ranks": [], "group_size": 4}, {"pg_name": "7", "ranks": [2, 0], "group_size": 2}]']"#);
    init.blob(8, &io.bytes);
    let coll =
        |id, pg: &'static str| with(with(node(id, 7), "comm_type", |w| w.number(9, 0)), "pg_name", move |w| w.blob(29, pg.as_bytes()));
    let got = read_one(&[init, coll(2, "7"), coll(3, "0"), coll(4, "")]).unwrap();
    let sets: Vec<_> = got.groups.iter().map(|g| (g.name.as_str(), g.sets[0].to_vec())).collect();
    assert_eq!(sets, [("7", vec![2, 0]), ("0", vec![0, 1, 2, 3]), ("all ranks", vec![0, 1, 2, 3])]);
    let e = read_one(&[coll(2, "9")]).unwrap_err().to_string();
    assert_eq!(e, "a.0.et: node 2: `n` is in group `9`, which nothing defines; name its ranks in the file of groups: {\"1\": [0, 1]}");
}

#[test]
fn host_work_that_launches_a_collective() {
    let launch = with(node(1, 7), "is_cpu_op", |w| w.number(27, 1));
    assert!(matches!(read_one(&[launch]).unwrap().ranks[0].ops[0].kind, TraceKind::Compute { on_cpu: true, .. }));
    let dims = with(with(node(1, 7), "comm_type", |w| w.number(9, 0)), "involved_dim", |w| w.blob(28, &[10, 2, 1, 0]));
    let got = read_one(&[dims]).unwrap();
    assert_eq!(got.noticed[0].to_string(), "a.0.et: some collectives name dimensions in `involved_dim`; they run over the whole group");
}

#[track_caller]
fn refuses(bytes: &[u8], start: &str) {
    let e = read(&[TraceFile { name: "a.0.et", rank: 0, bytes }], None).unwrap_err().to_string();
    assert!(e.starts_with(start), "{e}");
}

#[test]
fn faults_say_where_and_what() {
    refuses(&[], "a.0.et: at byte 0: the file is empty; ");
    refuses(&[0; 1000], "a.0.et: at byte 3: two nodes have the number 0; ");
    refuses(&[5, 1, 2], "a.0.et: at byte 0: a length goes beyond the end; ");
    refuses(&[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], "a.0.et: at byte 1: a length goes beyond the end; ");
    refuses(&[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], "a.0.et: at byte 1: a number has more than 64 bits; ");
    refuses(&[0, 4, 0x12, 2, 0xff, 0xfe], "a.0.et: at byte 4: a text is not UTF-8; ");
    refuses(&file(&[node(3, 9)]), "a.0.et: at byte 2: node 3 (`n`): its type 9 is unknown; types are 0 to 7");
    refuses(&file(&[node(3, 5)]), "a.0.et: at byte 2: node 3 (`n`): it has no `comm_dst`; give the rank at the other end");
    refuses(&file(&[node(3, 7)]), "a.0.et: at byte 2: node 3 (`n`): a collective has no `comm_type`; ");
    refuses(&file(&[node(3, 1), node(3, 1)]), "a.0.et: at byte 10: two nodes have the number 3; ");
    let size = with(with(node(3, 7), "comm_type", |w| w.number(9, 0)), "comm_size", |w| w.number(9, (-5i64) as u64));
    refuses(&file(&[size]), "a.0.et: at byte 2: node 3 (`n`): `comm_size` is not a number from 0; ");
    let e = read(&[], Some(("g.json", b"{\"1\": [0, 0]}"))).unwrap_err().to_string();
    assert_eq!(e, "g.json:1: group `1` names rank 0 twice; name each rank once");
    let twice = [TraceFile { name: "a", rank: 0, bytes: &[0] }, TraceFile { name: "b", rank: 0, bytes: &[0] }];
    assert_eq!(read(&twice, None).unwrap_err().to_string(), "b: rank 0 is described by a too; give one file for each rank");
}

/// Any trace that is not folded: groups "1" to "n" of any ranks, operations that wait for any others.
fn traces() -> impl Strategy<Value = Trace> {
    let size = || prop_oneof![(0u64..1 << 50).prop_map(|b| b as f64), 0.0..1e12];
    let groups = proptest::collection::vec(proptest::collection::btree_set(0u32..9, 1..5), 1..4);
    let kind = (0u8..7, 0u32..4, any::<u64>(), size(), size(), proptest::option::of(size()), any::<bool>());
    let ops = proptest::collection::vec((kind, ".{0,12}", proptest::collection::btree_set(0u32..12, 0..4)), 0..12);
    (groups, proptest::collection::vec(ops, 1..4)).prop_map(|(groups, ranks)| {
        let count = groups.len() as u32;
        let groups = groups.into_iter().enumerate();
        let groups = groups.map(|(i, set)| group(&(i + 1).to_string(), &set.into_iter().collect::<Vec<_>>())).collect();
        let of_rank = |(r, ops): (usize, Vec<_>)| {
            let n = ops.len() as u32;
            let one = |(i, (kind, name, deps)): (usize, (_, String, std::collections::BTreeSet<u32>))| {
                let deps = deps.into_iter().filter(|d| *d < n).collect();
                TraceOp { id: (i as u64 * 37) % 101, name, deps, kind: any_kind(kind, count) }
            };
            rank(r as u32, ops.into_iter().enumerate().map(one).collect())
        };
        trace(ranks.into_iter().enumerate().map(of_rank).collect(), groups)
    })
}

fn any_kind((which, small, tag, bytes, flops, micros, flag): (u8, u32, u64, f64, f64, Option<f64>, bool), groups: u32) -> TraceKind {
    use TraceCollective::*;
    let ops = [AllReduce, Reduce, AllGather, Gather, Scatter, Broadcast, AllToAll, ReduceScatter, Barrier];
    match which {
        0 => TraceKind::Nothing,
        1 => TraceKind::Memory { load: flag, bytes },
        2 => TraceKind::Send { to: small, tag, bytes },
        3 => TraceKind::Recv { from: small, tag, bytes },
        4 => collective(ops[(tag % 9) as usize], bytes, small % groups),
        _ => TraceKind::Compute { micros, flops, bytes, on_cpu: flag },
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 2))]

    #[test]
    fn what_is_written_is_read(trace in traces()) {
        let (files, groups) = write_all(&trace);
        prop_assert_eq!(read_all(&files, &groups).unwrap(), trace);
    }
}

#[test]
fn folded_traces_are_written_unfolded() {
    let send =
        |rank, kind| RankTrace { rank, count: 2, ops: vec![op(0, &[], kind), op(1, &[0], collective(TraceCollective::AllGather, 8.0, 0))] };
    let sets = vec![Arc::from([0u32, 2]), Arc::from([1u32, 3])];
    let classes = vec![send(0, TraceKind::Send { to: 2, tag: 1, bytes: 5.0 }), send(2, TraceKind::Recv { from: 0, tag: 1, bytes: 5.0 })];
    let folded = Trace { sizes: SizeConvention::Gathered, ..trace(classes, vec![TraceGroup { name: "f".to_owned(), sets }]) };
    assert_eq!(folded.check(), []);
    let (files, groups) = write_all(&folded);
    let got = read_all(&files, &groups).unwrap();
    assert_eq!(got.check(), []);
    assert_eq!(got.ranks.len(), 4);
    assert_eq!(got.ranks[1].ops[0].kind, TraceKind::Send { to: 3, tag: 1, bytes: 5.0 });
    assert_eq!(got.ranks[3].ops[1].kind, collective(TraceCollective::AllGather, 4.0, 1));
    assert_eq!(got.groups, [group("1", &[0, 2]), group("2", &[1, 3])]);
    assert!(write_rank(&folded, 4).is_none());
}
