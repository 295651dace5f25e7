//! AICB workloads.

use super::*;
use crate::workload::trace::aicb::{Kind, Over, read, read_trace};

const HEAD: &str = "HYBRID_TRANSFORMER_FWD_IN_BCKWD model_parallel_NPU_group: 2 ep: 2 pp: 2 vpp: 8 ga: 3 all_gpus: 16 checkpoints: 0 \
                    checkpoint_initiates: 0 pp_comm 50331648.0";

fn text(head: &str, rows: &[&str]) -> String {
    format!("{head}\n{}\n{}\n", rows.len(), rows.join("\n"))
}

fn sets(trace: &Trace, name: &str) -> Vec<Vec<u32>> {
    let found = trace.groups.iter().find(|g| g.name == name).unwrap_or_else(|| panic!("{name}"));
    found.sets.iter().map(|s| s.to_vec()).collect()
}

#[test]
fn the_fixture_runs_one_forward_one_backward() {
    let bytes = read_fixture("small.txt");
    let workload = read("small.txt", &bytes).unwrap();
    assert_eq!((workload.tensor, workload.expert, workload.pipeline, workload.microbatches), (Some(2), 2, 2, 3));
    assert_eq!((workload.ranks, workload.pipeline_bytes, workload.layers.len()), (Some(16), 50_331_648.0, 8));
    let got = read_trace("small.txt", &bytes, None).unwrap();
    assert_eq!(got.check(), []);
    let classes: Vec<_> = got.ranks.iter().map(|r| (r.rank, r.count)).collect();
    assert_eq!(classes, [(0, 8), (8, 8)]);
    assert_eq!(sets(&got, "tensor, stage 1"), [[8, 9], [10, 11], [12, 13], [14, 15]]);
    assert_eq!(sets(&got, "data, stage 0"), [[0, 2, 4, 6], [1, 3, 5, 7]]);
    assert_eq!(sets(&got, "expert, stage 0"), [[0, 2], [1, 3], [4, 6], [5, 7]]);
    assert_eq!(sets(&got, "data of experts, stage 0"), [[0, 4], [1, 5], [2, 6], [3, 7]]);
    let order = |class: usize| -> Vec<&str> {
        let ops = got.ranks[class].ops.iter().filter(|o| o.name.starts_with("mlp") && !o.name.ends_with("communication"));
        ops.map(|o| o.name.split_once(' ').unwrap().1).collect()
    };
    let (f, w, i) = ("forward", "weight gradient", "input gradient");
    assert_eq!(order(0), [f, f, w, i, f, w, i, w, i]);
    assert_eq!(order(1), [f, w, i, f, w, i, f, w, i]);
    assert_eq!(got.ranks[0].ops.iter().filter(|o| matches!(o.kind, TraceKind::Send { to: 8, bytes: 50_331_648.0, .. })).count(), 3);
}

#[test]
fn one_stage_runs_the_list_as_it_stands() {
    let rows = ["a -1 10 ALLREDUCE 64 20 NONE 0 30 ALLREDUCE 128 5", "b -1 1 NONE 0 1 ALLGATHER 32 1 REDUCESCATTER_DP_EP 16 0"];
    let got =
        read_trace("w.txt", text("HYBRID_TRANSFORMER model_parallel_NPU_group: 2 ep: 2 all_gpus: 8", &rows).as_bytes(), None).unwrap();
    let ops = &got.ranks[0].ops;
    let said: Vec<_> = ops.iter().map(|o| (o.name.as_str(), o.deps.as_slice())).collect();
    let expected: [(&str, &[u32]); 11] = [
        ("a forward", &[]),
        ("a forward communication", &[0]),
        ("b forward", &[1]),
        ("b weight gradient", &[2]),
        ("b weight gradient communication", &[3]),
        ("b input gradient", &[3]),
        ("b input gradient communication", &[5]),
        ("a weight gradient", &[6]),
        ("a weight gradient communication", &[7]),
        ("a update", &[8]),
        ("a input gradient", &[7]),
    ];
    assert_eq!(said, expected);
    assert_eq!(ops[0].kind, compute(Some(0.01), 0.0));
    // An all-gather's size is what is gathered.
    assert_eq!(got.nccl_bytes(&ops[6]), Some(32.0));
    assert_eq!(
        got.groups.iter().map(|g| (g.name.as_str(), g.size())).collect::<Vec<_>>(),
        [("tensor", 2), ("data of experts", 2), ("data", 4)]
    );
}

#[test]
fn old_files_and_other_kinds() {
    let row = "micro_test\t-1\t1\tNONE\t0\t1\tNONE\t0\t1\tALLGATHER\t4096\t1";
    let micro = read_trace("m.txt", text("MICRO", &[row]).as_bytes(), Some(8)).unwrap();
    assert_eq!(sets(&micro, "all ranks"), [[0, 1, 2, 3, 4, 5, 6, 7]]);
    let head = "HYBRID_TRANSFORMER_FWD_IN_BCKWD\tmodel_parallel_NPU_group: 8 checkpoints: 0 checkpoint_initiates: 0";
    let old = read_trace("o.txt", text(head, &[row]).as_bytes(), Some(16)).unwrap();
    assert_eq!(sets(&old, "data").len(), 8);
    let custom =
        read("c.txt", text("HYBRID_CUSTOMIZED", &[&format!("{row} DATA"), &format!("{row} HYBRID_DATA_MODEL")]).as_bytes()).unwrap();
    let overs: Vec<_> = custom.layers.iter().map(|l| l.weight_gradient.comm.unwrap().1).collect();
    assert_eq!((custom.kind, overs), (Kind::Customized, vec![Over::All, Over::Data]));
    let dlrm = "HYBRID_DLRM DLRM_LAST_BOTTOM_LAYER: 3";
    assert_eq!(read("d.txt", text(dlrm, &[row]).as_bytes()).unwrap().kind, Kind::Dlrm);
    // Experts that do not fit into the data ranks spread over the stage.
    let wide = "HYBRID_TRANSFORMER model_parallel_NPU_group: 4 ep: 4 all_gpus: 8";
    let wide = read_trace("w.txt", text(wide, &[&row.replace("ALLGATHER", "ALLTOALL_EP")]).as_bytes(), None).unwrap();
    assert_eq!(sets(&wide, "expert"), [[0, 1, 2, 3], [4, 5, 6, 7]]);
}

#[test]
fn a_wrong_count_is_noticed() {
    let row = "a -1 1 NONE 0 1 NONE 0 1 NONE 0 1";
    let got = read_trace("w.txt", format!("MICRO\n839\n{row}\n\n{row}\n").as_bytes(), None).unwrap();
    let faults: Vec<_> = got.check().iter().map(|f| (f.is_warning(), f.to_string())).collect();
    assert_eq!(faults, [(true, "w.txt:2: the file says 839 layers and has 2; all of them are read".to_owned())]);
}

#[test]
fn layers_since_a_checkpoint_run_again() {
    let rows = ["a -1 1 NONE 0 1 NONE 0 1 NONE 0 1", "b -1 1 NONE 0 1 NONE 0 1 NONE 0 1", "c -1 1 NONE 0 1 NONE 0 1 NONE 0 1"];
    let head = "HYBRID_TRANSFORMER_FWD_IN_BCKWD model_parallel_NPU_group: 1 checkpoints: 2 0 1 checkpoint_initiates: 1 2";
    let got = read_trace("w.txt", text(head, &rows).as_bytes(), None).unwrap();
    let names: Vec<_> = got.ranks[0].ops.iter().map(|o| o.name.as_str()).collect();
    assert_eq!(names[..5], ["a forward", "b forward", "c forward", "b forward", "c weight gradient"]);
}

#[test]
fn stages_without_blocks_or_message_sizes_are_noticed() {
    let rows = ["a -1 1 NONE 0 1 NONE 0 1 NONE 0 1", "b -1 1 NONE 0 1 NONE 0 1 NONE 0 1"];
    let got = read_trace("w.txt", text("HYBRID_TRANSFORMER pp: 2 ga: 2", &rows).as_bytes(), None).unwrap();
    let noticed: Vec<_> = got.noticed.iter().map(ToString::to_string).collect();
    assert_eq!(noticed[0], "w.txt:1: `pp_comm` is missing: messages between stages are empty");
    assert_eq!(noticed[1], "w.txt:1: the layers do not repeat `ga` times: a stage runs all of them as one microbatch");
    assert!(got.check().iter().all(TraceFault::is_warning));
}

#[track_caller]
fn refuses(text: &str, ranks: Option<u32>, start: &str) {
    let e = read_trace("w.txt", text.as_bytes(), ranks).unwrap_err().to_string();
    assert!(e.starts_with(start), "{e}");
}

#[test]
fn faults() {
    let row = "a -1 1 NONE 0 1 NONE 0 1 NONE 0 1";
    refuses("", None, "w.txt:1: the file is empty; ");
    refuses("HYBRID 1", None, "w.txt:1: `HYBRID` is no kind of workload; ");
    refuses("MICRO tp: 2", None, "w.txt:1: `tp` is not known here; known are model_parallel_NPU_group, ep, ");
    refuses("MICRO ep:", None, "w.txt:1: `ep` has the value ``; write a number: `ep: 8`");
    refuses("MICRO\nmany", None, "w.txt:2: `many` is not a count of layers; ");
    refuses("MICRO\n1", None, "w.txt:2: there are no layers; ");
    refuses(&text("MICRO", &["a -1 1 NONE 0"]), None, "w.txt:3: a layer has 5 columns; write 12: ");
    refuses(&text("MICRO", &[&row.replace(" 1", " x")]), None, "w.txt:3: column 3 is `x`; write a number from 0");
    let both = row.replacen("NONE", "ALLREDUCEALLTOALL", 1);
    refuses(&text("MICRO", &[&both]), None, "w.txt:3: column 4 is `ALLREDUCEALLTOALL`, which is no collective; SimAI would run only ");
    refuses(&text("MICRO checkpoints: 1 9", &[row]), None, "w.txt:1: checkpoint layer 9 does not exist; there are 1 layers; ");
    refuses(&text(HEAD, &[row]), Some(10), "w.txt:1: 10 ranks are no multiple of 2 tensor ranks times 2 stages; use a multiple of 4 ranks");
    refuses(&text(&HEAD.replace("ep: 2", "ep: 3"), &[row]), None, "w.txt:1: `ep` is 3, which divides neither the 4 data ranks nor ");
    refuses(&text(HEAD, &[row]), Some(0), "w.txt:1: the number of ranks is out of range; ");
}
