//! Collectives by size, on a fabric made for the row.

use super::gemm::part;
use super::table::{Columns, Record};
use super::training::{Shape, fabric};
use crate::collectives::{Algorithm, Communicator, Library, Op};
use crate::fabric::AcceleratorId;

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
    measured: "time_us",
};

pub(super) fn predict(record: &Record<'_>) -> Result<f64, String> {
    if !record.text("library").starts_with("nccl") {
        return Err("all-reduce kernels of serving engines are not modelled yet".into());
    }
    let op = Op::from_word(record.text("collective")).ok_or_else(|| format!("the operation `{}` is unknown", record.text("collective")))?;
    let (ranks, nodes) = (record.count("accelerators")?, record.count("nodes")?);
    let part = part(record)?;
    if part.scale_up.value.is_none() {
        return Err("PCIe boxes need a measured rate of their own".into());
    }
    let per_node = record.count("accelerators_per_node")?;
    if nodes > 1 && ranks != nodes * per_node {
        return Err("only part of each node takes part".into());
    }
    let domain = record.get::<u64>("scale_up").ok().filter(|d| *d > per_node);
    let shape = Shape {
        accelerator: part.id.value.clone(),
        nodes,
        per_node,
        domain,
        nics: record.get("nics_per_node")?,
        gbps: record.get("nic_gbps")?,
        fabric: if nodes > 1 { record.text("fabric").to_owned() } else { "none".into() },
    };
    let fabric = fabric(&shape)?;
    let group: Vec<AcceleratorId> = (0..ranks as u32).map(AcceleratorId).collect();
    let communicator = Communicator::new(&fabric, &Library::nccl(), &[group]);
    let bytes = record.get("bytes")?;
    let plan = match record.text("algorithm") {
        "auto" => communicator.plan(op, bytes),
        word => Algorithm::from_word(word)
            .and_then(|a| communicator.plan_as(op, bytes, a))
            .ok_or_else(|| format!("the algorithm `{word}` is not modelled here yet"))?,
    };
    Ok(1e6 * communicator.time_of(op, bytes, &plan))
}
