//! Exchanges of tokens with the ranks of their experts, on a fabric made for the row.

use super::cluster::{Shape, fabric, has_no_switch};
use super::gemm::part;
use super::table::{Columns, Record};
use crate::collectives::{Algorithm, Communicator, Library, Op, Routing};
use crate::fabric::AcceleratorId;

pub(super) const COLUMNS: Columns = Columns {
    needed: &[
        "id",
        "source",
        "accelerator",
        "nodes",
        "accelerators_per_node",
        "nics_per_node",
        "nic_gbps",
        "fabric",
        "operation",
        "algorithm",
        "hidden",
        "experts",
        "per_token",
        "tokens",
        "compute_units",
    ],
    measured: &["time_us"],
};

pub(super) fn predict(record: &Record<'_>) -> Result<f64, String> {
    let word = record.text("operation");
    let op = Op::from_word(word).filter(|op| op.moves_tokens()).ok_or_else(|| format!("the operation `{word}` exchanges no tokens"))?;
    let word = record.text("algorithm");
    let algorithm = Algorithm::from_word(word).ok_or_else(|| format!("the algorithm `{word}` is unknown"))?;
    let (nodes, per_node) = (record.count("nodes")?, record.count("accelerators_per_node")?);
    let ranks = nodes.checked_mul(per_node).filter(|n| *n <= 1 << 16).ok_or("more than 65,536 ranks")?;
    let shape = Shape {
        nics: record.get("nics_per_node")?,
        gbps: record.get("nic_gbps")?,
        fabric: if nodes > 1 { record.text("fabric").to_owned() } else { "none".into() },
        direct: has_no_switch(&part(record)?.id.value, per_node),
        ..Shape::of(&part(record)?.id.value, nodes, per_node)
    };
    let fabric = fabric(&shape)?;
    let routing = Routing {
        hidden: record.count("hidden")?,
        experts: record.count("experts")?,
        per_token: record.count("per_token")?,
        groups: None,
        // The tables send 8 bit with scales.
        dispatch_bytes: 1.0,
        compute_units: record.count("compute_units")? as f64,
    };
    if !routing.is_sound() {
        return Err("a token visits more experts than there are".into());
    }
    let group: Vec<AcceleratorId> = (0..ranks as u32).map(AcceleratorId).collect();
    let communicator = Communicator::new(&fabric, &Library::nccl(), &[group]).with_routing(routing);
    let bytes = record.count("tokens")? as f64 * routing.row(op, algorithm);
    let plan = communicator.plan_as(op, bytes, algorithm).ok_or_else(|| format!("{op} has no form `{algorithm}`"))?;
    Ok(1e6 * communicator.time_of(op, bytes, &plan))
}
