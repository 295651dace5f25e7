//! Collectives by size, on a fabric made for the row.

use super::cluster::{Shape, fabric, has_no_switch, measured};
use super::gemm::part;
use super::table::{Columns, Record};
use crate::collectives::{Algorithm, Communicator, Engine, Launch, Library, Op};
use crate::fabric::AcceleratorId;
use crate::kernels::Profiles;

pub(super) const COLUMNS: Columns = Columns {
    needed: &[
        "id",
        "source",
        "accelerator",
        "accelerators",
        "nodes",
        "accelerators_per_node",
        "nics_per_node",
        "nic_gbps",
        "fabric",
        "library",
        "algorithm",
        "collective",
        "bytes",
    ],
    measured: &["time_us"],
};

/// The engine whose kernels a row measured: the `library` column, or for `engine` what the source names.
fn engine(record: &Record<'_>) -> Result<Engine, String> {
    let (library, source) = (record.text("library"), record.text("source"));
    if library != "engine" {
        return Engine::from_word(library.split('-').next().unwrap_or(library))
            .ok_or_else(|| format!("the library `{library}` is unknown"));
    }
    let known = [Engine::SglangTrtllm, Engine::Sglang, Engine::Vllm, Engine::Trtllm];
    known.into_iter().find(|e| source.contains(e.word())).ok_or_else(|| format!("the source `{source}` names no engine"))
}

/// How a row was launched: the column `launch` where there is one. Kernel tables (`aic-`) hold device time inside a graph, and nccl-tests
/// started by MPI queues its launches behind each other, so that none shows (two nodes of H100: 28 to 32 us); vTrain's
/// tables and the old A100 listing are nccl-tests in one process; the other listings of that site wait for every call of a framework.
fn launch(record: &Record<'_>) -> Result<Launch, String> {
    let (word, source) = (record.text("launch"), record.text("source"));
    if !word.is_empty() {
        return Launch::from_word(word).ok_or_else(|| format!("the launch `{word}` is unknown"));
    }
    Ok(match source {
        s if s.starts_with("vtrain-") || s == "mle-a100" => Launch::SingleProcess,
        s if s.starts_with("mle-") => Launch::Eager,
        _ => Launch::Graph,
    })
}

/// Accelerators of the greatest box: parts that join no more are joined inside a node alone.
const BOX: u64 = 8;

/// Accelerators of one scale-up domain where it spans nodes: as many as the part joins, in equal domains.
fn domain(record: &Record<'_>, most: u64, ranks: u64, per_node: u64) -> Option<u64> {
    let given = record.get::<u64>("scale_up_domain").ok();
    // Boxes end at their switch, however few of their accelerators take part.
    let most = given.or_else(|| Some(most).filter(|m| *m > BOX))?;
    if most <= per_node || !ranks.is_multiple_of(per_node) {
        return None;
    }
    let domains = ranks.div_ceil(most);
    let size = ranks.div_ceil(domains).next_multiple_of(per_node);
    ranks.is_multiple_of(size).then_some(size).filter(|s| *s > per_node)
}

pub(super) fn predict(record: &Record<'_>, profiles: &Profiles) -> Result<f64, String> {
    let library = Library::of(engine(record)?);
    let op = Op::from_word(record.text("collective"))
        .filter(|op| !op.moves_tokens())
        .ok_or_else(|| format!("the operation `{}` is unknown", record.text("collective")))?;
    let (ranks, nodes) = (record.count("accelerators")?, record.count("nodes")?);
    let part = part(record)?;
    let per_node = record.count("accelerators_per_node")?;
    if ranks > nodes * per_node {
        return Err("more accelerators than its nodes hold".into());
    }
    let shape = Shape {
        domain: domain(record, *part.scale_up_domain, ranks, per_node),
        nics: record.get("nics_per_node")?,
        gbps: record.get("nic_gbps")?,
        fabric: if nodes > 1 { record.text("fabric").to_owned() } else { "none".into() },
        direct: has_no_switch(&part.id.value, per_node),
        ..Shape::of(&part.id.value, nodes, per_node)
    };
    let fabric = measured(fabric(&shape)?, profiles);
    // Part of each node takes part: its first accelerators.
    let each = ranks.div_ceil(nodes);
    let member = |r: u64| AcceleratorId((r / each * per_node + r % each) as u32);
    let group: Vec<AcceleratorId> = (0..ranks).map(member).collect();
    let communicator = Communicator::new(&fabric, &library, &[group]);
    let bytes = record.get("bytes")?;
    let auto = record.text("algorithm") == "auto";
    if let Some(seconds) = communicator.measured_seen(op, bytes, launch(record)?).filter(|_| auto) {
        return Ok(1e6 * seconds);
    }
    let plan = match record.text("algorithm") {
        "auto" => communicator.plan(op, bytes),
        word => Algorithm::from_word(word)
            .and_then(|a| communicator.plan_as(op, bytes, a))
            .ok_or_else(|| format!("the algorithm `{word}` has no such form"))?,
    };
    let seconds = communicator.time_of(op, bytes, &plan);
    Ok(1e6 * launch(record)?.seen(seconds, ranks as usize))
}
