//! PyTorch host traces.

use super::*;
use crate::workload::trace::host_json::read;

fn parse(text: &str) -> Result<Trace, TraceError> {
    read(&[TraceFile { name: "h.json", rank: 0, bytes: text.as_bytes() }])
}

/// A file of nodes, each with what stands behind its number.
fn nodes(list: &[(u64, &str)]) -> String {
    let list: Vec<String> = list.iter().map(|(id, rest)| format!("{{\"id\": {id}, {rest}}}")).collect();
    format!("{{\"schema\": \"1.1.1-chakra.0.0.4\", \"nodes\": [{}]}}", list.join(",\n"))
}

fn find<'a>(trace: &'a Trace, name: &str) -> &'a TraceOp {
    trace.ranks[0].ops.iter().find(|o| o.name == name).unwrap_or_else(|| panic!("{name}"))
}

#[test]
fn the_fixture() {
    let bytes = read_fixture("host.json");
    let got =
        read(&[TraceFile { name: "host.json", rank: 0, bytes: &bytes }, TraceFile { name: "host.json", rank: 1, bytes: &bytes }]).unwrap();
    assert_eq!(got.check(), []);
    assert_eq!(got.groups, [group("0", &[0, 1])]);
    let ops = &got.ranks[0].ops;
    let at = |id: u64| ops.iter().position(|o| o.id == id).unwrap() as u32;
    // The parameters of the collective count; the kernel mark inside it does not.
    assert_eq!(ops[at(6) as usize].kind, collective(TraceCollective::AllGather, 4096.0, 0));
    assert_eq!(got.nccl_bytes(&ops[at(6) as usize]), Some(8192.0));
    assert_eq!(ops[at(7) as usize].kind, TraceKind::Nothing);
    // The next operation of the thread does not wait for the collective; the wait does.
    assert!(!ops[at(8) as usize].deps.contains(&at(6)) && !ops[at(8) as usize].deps.contains(&at(7)));
    assert!(ops[at(9) as usize].deps.contains(&at(6)));
    assert!(ops[at(10) as usize].deps.contains(&at(9)));
}

#[test]
fn attributes_of_newer_files() {
    let comms = |name: &str, extra: &str| {
        format!(
            "\"name\": \"record_param_comms\", \"ctrl_deps\": 1, \"inputs\": {{\"values\": [[[5,6,0,8,2,\"cuda:0\"]],[3,false],[\"4\",\"tp\"],1,\"{name}\",\
             [],[],0,2,3]}}, \"attrs\": [{{\"name\": \"pg_name\", \"type\": \"string\", \"value\": \"4\"}}, {{\"name\": \"global_rank_start\", \"value\": 0}}, \
             {{\"name\": \"global_rank_stride\", \"value\": 2}}, {{\"name\": \"pg_size\", \"value\": 3}}{extra}]"
        )
    };
    let typed = ", {\"name\": \"dtype\", \"value\": \"BFloat16\"}, {\"name\": \"in_msg_nelems\", \"value\": 10}";
    let text = nodes(&[
        (2, &comms("_allgather_base", "")),
        (3, &comms("reduce_scatter_tensor_coalesced", typed)),
        (4, &comms("send", "")),
        (1, "\"name\": \"root\", \"ctrl_deps\": 1"),
    ]);
    let got = parse(&text).unwrap();
    assert_eq!(got.groups, [group("4", &[0, 2, 4])]);
    let kinds: Vec<_> = got.ranks[0].ops.iter().map(|o| o.kind).collect();
    assert_eq!(kinds[0], collective(TraceCollective::AllGather, 16.0, 0));
    assert_eq!(kinds[1], collective(TraceCollective::ReduceScatter, 20.0, 0));
    // The other end is a place in the group.
    assert_eq!(kinds[2], TraceKind::Send { to: 2, tag: 0, bytes: 16.0 });
}

#[test]
fn kernel_marks_alone_and_durations() {
    let text = nodes(&[
        (2, "\"name\": \"nccl:all_reduce\", \"ctrl_deps\": 1, \"inputs\": {\"values\": [[5,6,0,8,4,\"cuda:0\"]]}"),
        (3, "\"name\": \"aten::mm\", \"ctrl_deps\": 1, \"dur\": 2.5"),
        (4, "\"name\": \"kernel\", \"ctrl_deps\": [3], \"dur\": 9, \"stream\": 7"),
        (1, "\"name\": \"root\", \"ctrl_deps\": 1"),
    ]);
    let got = parse(&text).unwrap();
    assert_eq!(find(&got, "nccl:all_reduce").kind, collective(TraceCollective::AllReduce, 32.0, 0));
    assert_eq!(got.groups[0].name, "all ranks");
    assert_eq!(find(&got, "kernel").kind, compute(Some(9.0), 0.0));
    // A node with parts has no time of its own.
    assert_eq!(find(&got, "aten::mm").kind, TraceKind::Nothing);
    assert_eq!(find(&got, "kernel").deps, [1]);
}

#[track_caller]
fn refuses(text: &str, start: &str) {
    let e = parse(text).unwrap_err().to_string();
    assert!(e.starts_with(start), "{e}");
}

#[test]
fn faults() {
    refuses("{", "h.json:1: this is not JSON: ");
    refuses("{}", "h.json:1: there is no `schema`: this is no host trace; ");
    refuses("\n{\n \"schema\": \"2.0.0\", \"nodes\": []}", "h.json:3: schema `2.0.0` is not known; ");
    refuses("{\"schema\": \"1.0.1\", \"nodes\": []}", "h.json:1: schema `1.0.1` is not known; ");
    refuses("{\"schema\": \"1.0.3-chakra.0.0.4\"}", "h.json:1: there is no list `nodes`; ");
    refuses(&nodes(&[(1, "\"name\": \"a\""), (1, "\"name\": \"a\"")]), "h.json: node 1: two nodes have this number; ");
    refuses(&nodes(&[(1, "\"x\": 2")]), "h.json: node 1: it has no `name`; ");
}
