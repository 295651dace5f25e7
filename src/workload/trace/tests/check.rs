//! Faults of whole traces: each names the rank and the operation.

use super::*;
use TraceCollective::{AllGather, AllReduce, AllToAll};

fn send(to: u32, tag: u64, bytes: f64) -> TraceKind {
    TraceKind::Send { to, tag, bytes }
}
fn recv(from: u32, tag: u64, bytes: f64) -> TraceKind {
    TraceKind::Recv { from, tag, bytes }
}

#[track_caller]
fn check(trace: &Trace, expected: &[&str]) {
    let got: Vec<String> = trace.check().iter().map(ToString::to_string).collect();
    assert_eq!(got, expected);
    assert!(trace.check().iter().all(|f| !f.is_warning()));
}

#[test]
fn good_traces_have_no_faults() {
    let a = rank(0, vec![op(1, &[], send(1, 7, 10.0)), op(2, &[0], collective(AllReduce, 4.0, 0))]);
    let b = rank(1, vec![op(5, &[1], collective(AllReduce, 4.0, 0)), op(6, &[], recv(0, 7, 10.0))]);
    check(&trace(vec![a, b], vec![group("g", &[0, 1])]), &[]);
}

#[test]
fn messages() {
    let a = rank(0, vec![op(1, &[], send(1, 7, 10.0)), op(2, &[], send(1, 7, 20.0)), op(3, &[], send(1, 8, 5.0))]);
    let b = rank(1, vec![op(1, &[], recv(0, 7, 11.0)), op(2, &[], recv(0, 9, 5.0))]);
    check(
        &trace(vec![a, b], Vec::new()),
        &[
            "rank 0: `op 1` (id 1) sends 10 bytes with tag 7 to rank 1, whose `op 1` (id 1) receives 11",
            "rank 0: `op 2` (id 2) has no matching receive: rank 0 sends 2 messages with tag 7 to rank 1, which receives 1",
            "rank 0: `op 3` (id 3) has no matching receive: rank 0 sends 1 messages with tag 8 to rank 1, which receives 0",
            "rank 1: `op 2` (id 2) has no matching send: rank 0 sends 0 messages with tag 9 to rank 1, which receives 1",
        ],
    );
}

#[test]
fn groups() {
    let a = rank(0, vec![op(1, &[], collective(AllReduce, 4.0, 0))]);
    let b = rank(5, vec![op(2, &[], collective(AllReduce, 4.0, 0))]);
    check(
        &trace(vec![a, b], vec![group("g", &[0, 1, 2]), group("unused", &[7, 8])]),
        &[
            "rank 0: `op 1` (id 1) waits for ranks of group `g` that the trace does not have: 1, 2",
            "rank 5: `op 2` (id 2) is in group `g`, which does not have this rank",
        ],
    );
}

#[test]
fn orders_and_sizes() {
    let a = rank(0, vec![op(1, &[], collective(AllReduce, 4.0, 0)), op(2, &[0], collective(AllGather, 8.0, 0))]);
    let b = rank(1, vec![op(1, &[1], collective(AllReduce, 4.0, 0)), op(2, &[], collective(AllGather, 8.0, 0))]);
    let c = rank(2, vec![op(1, &[], collective(AllReduce, 4.0, 0)), op(2, &[0], collective(AllGather, 9.0, 0))]);
    let d = rank(3, vec![op(1, &[], collective(AllReduce, 4.0, 0))]);
    check(
        &trace(vec![a, b, c, d], vec![group("g", &[0, 1, 2, 3])]),
        &[
            "group `g`, collective 0: rank 0 does all-reduce of 4 bytes in `op 1` (id 1), rank 1 does all-gather of 8 bytes in `op 2` (id 2)",
            "group `g`, collective 1: rank 0 does all-gather of 8 bytes in `op 2` (id 2), rank 2 does all-gather of 9 bytes in `op 2` (id 2)",
            "rank 0: `op 2` (id 2) waits for ever: rank 0 takes part in 2 collectives of group `g`, rank 3 in 1",
        ],
    );
}

#[test]
fn uneven_all_to_all_is_fine() {
    let a = rank(0, vec![op(1, &[], collective(AllToAll, 4.0, 0))]);
    let b = rank(1, vec![op(1, &[], collective(AllToAll, 6.0, 0))]);
    check(&trace(vec![a, b], vec![group("g", &[0, 1])]), &[]);
}

#[test]
fn circles() {
    let nothing = TraceKind::Nothing;
    // 0 waits for the circle 1 → 2 → 3 → 1, which is not its own fault.
    let a = rank(4, vec![op(10, &[1], nothing), op(11, &[2], nothing), op(12, &[3], nothing), op(13, &[1], nothing)]);
    check(
        &trace(vec![a], Vec::new()),
        &["rank 4: operations wait for each other in a circle: `op 11` (id 11), `op 12` (id 12), `op 13` (id 13)"],
    );
    check(
        &trace(vec![rank(0, vec![op(1, &[0], nothing)])], Vec::new()),
        &["rank 0: operations wait for each other in a circle: `op 1` (id 1)"],
    );
}

#[test]
fn what_readers_tolerate_is_a_warning() {
    let absent = TraceFault::AbsentDependencies { rank: 3, op: OpName { id: 4, name: "x".to_owned() }, absent: (0..10).collect() };
    assert!(absent.is_warning());
    let text = "rank 3: `x` (id 4) waits for operations that the trace does not have: 0, 1, 2, 3, 4, 5, 6, 7 and 2 more";
    assert_eq!(absent.to_string(), text);
    let noticed = vec![absent.clone()];
    assert_eq!(Trace { noticed, ..trace(Vec::new(), Vec::new()) }.check(), [absent]);
}

#[test]
fn folded_families() {
    // Two sets at the same time on one class; the second class lacks the collective.
    let class = |rank, ops| RankTrace { rank, count: 2, ops };
    let sets = vec![Arc::from([0u32, 2]), Arc::from([1u32, 3])];
    let ops = vec![op(1, &[], collective(AllReduce, 4.0, 0))];
    let t = trace(vec![class(0, ops), class(2, Vec::new())], vec![TraceGroup { name: "f".to_owned(), sets }]);
    check(&t, &["rank 0: `op 1` (id 1) waits for ever: rank 0 takes part in 1 collectives of group `f`, rank 2 in 0"]);
}
