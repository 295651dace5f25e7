//! Tests of the readers: each format in a file of its own, faults, and what no input may do.

mod aicb_files;
mod any;
mod astra_files;
mod chakra_files;
mod check;
mod host_files;

use super::*;
use std::path::PathBuf;

/// A committed fixture's path.
fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/traces").join(name)
}

fn read_fixture(name: &str) -> Vec<u8> {
    std::fs::read(fixture(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn op(id: u64, deps: &[u32], kind: TraceKind) -> TraceOp {
    TraceOp { id, name: format!("op {id}"), deps: deps.to_vec(), kind }
}

fn rank(rank: u32, ops: Vec<TraceOp>) -> RankTrace {
    RankTrace { rank, count: 1, ops }
}

fn group(name: &str, ranks: &[u32]) -> TraceGroup {
    TraceGroup { name: name.to_owned(), sets: vec![Arc::from(ranks)] }
}

fn trace(ranks: Vec<RankTrace>, groups: Vec<TraceGroup>) -> Trace {
    Trace { ranks, groups, sizes: SizeConvention::RankInput, noticed: Vec::new() }
}

fn collective(op: TraceCollective, bytes: f64, group: u32) -> TraceKind {
    TraceKind::Collective { op, bytes, group, micros: None }
}

fn compute(micros: Option<f64>, flops: f64) -> TraceKind {
    TraceKind::Compute { micros, flops, bytes: 0.0, on_cpu: false }
}

#[test]
fn sizes_in_the_convention_of_nccl_tests() {
    use SizeConvention::{Gathered, RankInput};
    use TraceCollective::*;
    assert_eq!(RankInput.nccl_bytes(AllGather, 100.0, 8), 800.0);
    assert_eq!(Gathered.nccl_bytes(AllGather, 100.0, 8), 100.0);
    for convention in [RankInput, Gathered] {
        assert_eq!(convention.nccl_bytes(AllReduce, 100.0, 8), 100.0);
        assert_eq!(convention.nccl_bytes(ReduceScatter, 100.0, 8), 100.0);
        assert_eq!(convention.nccl_bytes(AllToAll, 100.0, 8), 100.0);
        assert_eq!(convention.nccl_bytes(Barrier, 100.0, 8), 0.0);
        for op in [AllGather, Gather, AllReduce, Scatter, Broadcast] {
            assert_eq!(convention.from_nccl_bytes(op, convention.nccl_bytes(op, 96.0, 8), 8), 96.0);
        }
    }
    let t = trace(vec![rank(0, vec![op(0, &[], collective(AllGather, 5.0, 0))])], vec![group("g", &[0, 1, 2])]);
    assert_eq!(t.nccl_bytes(&t.ranks[0].ops[0]), Some(15.0));
    assert_eq!(t.nccl_bytes(&op(1, &[], TraceKind::Nothing)), None);
}

#[test]
fn classes_of_folded_ranks() {
    let class = |rank, count| RankTrace { rank, count, ops: Vec::new() };
    let t = trace(vec![class(0, 4), class(8, 2)], Vec::new());
    let found: Vec<_> = [0, 3, 4, 7, 8, 9, 10].map(|r| t.class_of(r)).to_vec();
    assert_eq!(found, [Some(0), Some(0), None, None, Some(1), Some(1), None]);
    assert_eq!(t.rank_count(), 6);
}
