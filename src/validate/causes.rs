//! What a measured step is about, and which mechanism is suspected where its prediction is far off.
//!
//! Suspicions rest on what separates rows that are far off from their neighbours of the same source; none changes a prediction.

use super::summary::About;
use super::table::Record;
use super::training::architecture;
use crate::model::{Architecture, Preset};

/// A class of sizes, by parameters.
fn size(parameters: Option<f64>) -> String {
    let billions = parameters.unwrap_or(0.0) / 1e9;
    let class =
        [(0.0, "unknown"), (1.0, "below 1 B"), (10.0, "1 to 10 B"), (40.0, "10 to 40 B"), (120.0, "40 to 120 B"), (300.0, "120 to 300 B")];
    class.iter().find(|c| billions <= c.0).map_or("above 300 B", |c| c.1).to_owned()
}

fn about(record: &Record<'_>, parameters: Option<f64>, cause: &'static str) -> About {
    let framework = record.text("framework");
    // Releases of one framework are one group.
    let release = framework.char_indices().find(|(i, c)| *c == '-' && framework[i + 1..].starts_with(|d: char| d.is_ascii_digit()));
    let framework = release.map_or(framework, |(i, _)| &framework[..i]);
    About { accelerator: record.text("accelerator").to_owned(), framework: framework.to_owned(), size: size(parameters), cause }
}

/// A row that states its layout.
pub(super) fn of_layout(record: &Record<'_>) -> About {
    let parameters = architecture(record).ok().map(|a| a.parameters());
    about(record, parameters, layout_cause(record))
}

fn layout_cause(record: &Record<'_>) -> &'static str {
    let number = |column: &str| record.get::<u64>(column).unwrap_or(0);
    let (tensor, context) = (number("tensor_parallel"), number("context_parallel"));
    match record.text("source") {
        "bloom" if number("head_dim") % 8 != 0 => "batched products with a head size that is no multiple of 8: one factor for all sizes",
        "bloom" if tensor == 8 => "collectives inside that site's nodes under load; noise between runs of one layout is up to 12 %",
        "bloom" => "noise between runs of one layout (up to 12 %, stages of unequal layers)",
        "vtrain-multi" if tensor == 2 || tensor == 4 => {
            "tensor parallelism over part of a node measures 19 to 36 % slower than none at the same size; no mechanism found"
        }
        "vtrain-multi" if tensor > 8 => "tensor parallelism across nodes: all-reduces of every layer over shared NICs under load",
        "vtrain-multi" => "noise of the source: layouts that differ in the microbatch alone scatter by 10 % and more",
        "vtrain-single" if tensor > 1 => "host launches of small kernels with tensor parallelism: one figure for all sizes",
        "vtrain-single" => "host launches of small kernels: one figure for all sizes",
        "mbridge" if number("experts") > 0 => "software of the expert layers: one configuration drifts by up to 77 % over releases",
        "mbridge" => "releases drift by 6 % in the median; fusions of the release are not stated",
        "mosaicml" if record.text("accelerator").ends_with("40gb") => {
            "memory pressure near the capacity of 40 GB parts (allocator retries)"
        }
        "mosaicml" if number("accelerators") >= 128 => {
            "runs of January 2024 are slower than smaller ones with less software; no mechanism found"
        }
        "mosaicml" => "memory pressure, or first-generation attention at long sequences",
        "megascale" => "level: vocabulary, microbatch and recompute of the source are assumptions",
        "torchtitan" if context > 1 => "whether that build balanced causal attention over context ranks is not known",
        "torchtitan" | "torchtitan-a100" => "attention kernels and fusions of an early release; part with another power limit",
        "torchtitan-asynctp" => "small 8-bit products with tensorwise scales cost more than modelled",
        "tpurecipes-v6e" => "one sustained rate for both formats; quantisation of int8 training is not modelled",
        "maxtext-v4" => "attention without a fused kernel in that release",
        "mlperf40" => "two submissions of one job differ by 25 % with microbatch and overlap settings",
        "mlperf51" => "4-bit recipe: which layers stay in 8 bit is not stated",
        _ => "not known",
    }
}

/// A row that says what is trained, but not the layout.
pub(super) fn of_other(record: &Record<'_>) -> About {
    let name = record.text("model");
    let preset = Preset::named(name.split("-lora").next().unwrap_or(name));
    about(record, preset.map(Preset::architecture).as_ref().map(Architecture::parameters), other_cause(record))
}

fn other_cause(record: &Record<'_>) -> &'static str {
    let many = record.get::<u64>("accelerators").is_ok_and(|n| n >= 64);
    match record.text("source") {
        _ if record.text("accelerator") == "l40s" => "peer copies that share one PCIe tree (measured on boxes of 8 parts)",
        _ if record.text("model").contains("lora") && many => "one sequence over 8 and more ranks: layout and overlap are not stated",
        _ if record.text("model").contains("lora") => "layout, packing and recompute are not stated",
        "dle-bert" => "how much of the padding it computes is not stated",
        "dle-resnet" => "input pipeline and graph capture are not stated",
        _ if record.text("model") == "resnet-50" => "small batches a part: host and input pipeline at the limit",
        _ => "packing of samples and unpadded kernels differ between submissions",
    }
}
