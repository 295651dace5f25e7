//! How published training rows were launched, where the history of the project's scripts says so and the table does not.

use super::table::Record;
use crate::training::{ContextExchange, ExpertStack, expert_stacks};

/// Which of its scripts launched a row of llm-foundry's benchmark tables, as the history of the tables shows: those of A100 40 GB, and of
/// A100 80 GB from 8,192 tokens on, stand since May 2023 (PyTorch 1.13, gradients reduced in 16 bit); H100 from 128 parts on came in January
/// 2024; the rest was measured in October 2023.
pub(super) fn foundry(accelerator: &str, date: &str, tokens: u64, accelerators: u64) -> &'static str {
    let ampere = accelerator.starts_with("a100");
    let first = ampere && (accelerator.contains("40gb") || tokens >= 8192);
    match date < "2024" {
        true if first => "llm-foundry-2023",
        true if ampere || accelerators < 128 => "llm-foundry-0.3",
        _ => "llm-foundry-0.4",
    }
}

/// Tensor-parallel degree of submissions that train adapters, by the public configurations of MLPerf Training: NVIDIA's of 4.0 (H100 and L40S 4,
/// H200 2) and 5.0 (Blackwell 1, context ranks take the rest of the accelerators of a sequence), Dell's and Cisco's on one node of H200 (1), Krai's
/// on several (4; HPE's four nodes with 2 hold a batch of 32, which no row has), MangoBoost's on MI300X (1). Other parts may have any.
pub(super) fn adapter_tensor(accelerator: &str, date: &str, nodes: u64) -> Option<u64> {
    match accelerator {
        a if a.starts_with("h100") || a.starts_with("l40s") => Some(4),
        a if a.starts_with("h200") && date < "2025" => Some(2),
        a if a.starts_with("h200") => Some(if nodes == 1 { 1 } else { 4 }),
        a if a.starts_with('b') || a.starts_with("gb") || a.starts_with("mi3") => Some(1),
        _ => None,
    }
}

/// How context ranks of adapters exchange: NVIDIA's configurations of 5.0 swap sequences for heads (`cp_comm_type`, a2a unless set); those of 4.0
/// and AMD's, which started from them, know no other way than a ring.
pub(super) fn adapter_exchange(accelerator: &str, date: &str) -> ContextExchange {
    if date < "2025" || accelerator.starts_with("mi") { ContextExchange::Ring } else { ContextExchange::AllToAll }
}

/// Whether adapters keep inputs of activation functions in 8 bit: all that were read of 5.0 and 5.1 do (`FP8_ACT`, `FP8_ACTIVATION`: Dell, ASUSTeK,
/// GigaComputing, MangoBoost), NVIDIA's of 4.0 do not.
pub(super) fn adapters_keep_narrow(date: &str) -> bool {
    date >= "2025"
}

/// Layers that the same configurations compute again (`ACM=block`, `ACL=21` of 80): MangoBoost's of 5.1 on MI300X, on one node and on two; none
/// on MI325X with its larger memory.
pub(super) fn adapter_layers(accelerator: &str) -> Option<u64> {
    (accelerator == "mi300x").then_some(21)
}

/// How a row ran its experts: `scripts/performance` of the release of Megatron-Bridge that it names (25.11 to 26.08), by model and part.
/// Rows of other frameworks, and recipes that are not there, are any of the stacks.
pub(super) fn experts(record: &Record<'_>) -> Result<Vec<&'static ExpertStack>, String> {
    let Some(release) = record.text("framework").strip_prefix("megatron-bridge-") else { return Ok(expert_stacks().iter().collect()) };
    let part = record.text("accelerator");
    let recipe = Recipe {
        release,
        racks: part.starts_with("gb"),
        hopper: part.starts_with('h'),
        narrow: record.text("dtype") != "bf16",
        spread: record.count("expert_parallel")?,
        microbatch: record.count("microbatch")?,
    };
    Ok(ExpertStack::named(recipe.stack(record.text("model"))).into_iter().collect())
}

/// What recipes go by.
struct Recipe<'a> {
    release: &'a str,
    racks: bool,
    hopper: bool,
    narrow: bool,
    spread: u64,
    microbatch: u64,
}

impl Recipe<'_> {
    fn stack(&self, model: &str) -> &'static str {
        // Whole iterations are captured on racks from 26.06 on, in 8 bit, but for latent attention.
        let captured = self.racks && self.narrow && self.release >= "26.06";
        let first = self.release < "26";
        match model {
            m if m.starts_with("deepseek") => match (first, self.spread > 8) {
                _ if self.racks => "partial-graph",
                (_, true) => "deepep-overlap",
                (true, false) => "eager",
                (false, false) => "hybridep",
            },
            _ if captured => "full-graph",
            m if m.starts_with("qwen3-235b") => match () {
                () if self.racks => "partial-graph",
                () if self.hopper || first => "eager-overlap",
                () => "eager",
            },
            m if m.starts_with("qwen3-30b") => match () {
                () if self.racks || self.microbatch > 1 => "partial-graph",
                () => "router-graph",
            },
            m if m.starts_with("gpt-oss") && !first => match self.release < "26.06" {
                true => "hybridep-overlap",
                false => "eager-overlap",
            },
            _ => "eager",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Recipe, foundry};
    use crate::training::ExpertStack;

    #[test]
    fn rows_of_llm_foundry_run_on_what_measured_them() {
        for (accelerator, date, tokens, count, want) in [
            ("a100-sxm-40gb", "2023", 2048, 8, "llm-foundry-2023"),
            ("a100-sxm-80gb", "2023", 8192, 8, "llm-foundry-2023"),
            ("a100-sxm-80gb", "2023", 2048, 8, "llm-foundry-0.3"),
            ("h100-sxm", "2023", 65536, 64, "llm-foundry-0.3"),
            ("h100-sxm", "2023", 2048, 128, "llm-foundry-0.4"),
            ("a100-sxm-40gb", "2024-03", 2048, 8, "llm-foundry-0.4"),
        ] {
            assert_eq!(foundry(accelerator, date, tokens, count), want, "{accelerator} {date} {tokens} {count}");
        }
    }

    #[test]
    fn recipes_follow_their_release() {
        let b200 = |release, spread, microbatch| Recipe { release, racks: false, hopper: false, narrow: true, spread, microbatch };
        let racks = |release, narrow| Recipe { release, racks: true, hopper: false, narrow, spread: 64, microbatch: 4 };
        for (recipe, model, want) in [
            (b200("25.11", 8, 1), "deepseek-v3", "eager"),
            (b200("26.04", 8, 1), "deepseek-v3", "hybridep"),
            (b200("26.04.01", 32, 1), "deepseek-v3", "deepep-overlap"),
            (b200("26.02", 8, 1), "qwen3-30b-a3b", "router-graph"),
            (b200("26.04.01", 8, 4), "qwen3-30b-a3b", "partial-graph"),
            (b200("26.04.01", 32, 1), "qwen3-235b-a22b", "eager"),
            (racks("26.08", true), "gpt-oss-120b", "full-graph"),
            (racks("26.04.01", false), "gpt-oss-120b", "hybridep-overlap"),
            (racks("25.11", false), "gpt-oss-120b", "eager"),
        ] {
            assert_eq!(recipe.stack(model), want, "{model} {}", recipe.release);
            assert!(ExpertStack::named(want).is_some());
        }
    }
}
