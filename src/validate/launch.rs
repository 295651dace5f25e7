//! How rows of serving tables were launched: what the public scripts of the benchmark (InferenceX and its history, August 2025 to August
//! 2026, by engine and version) set beside what the table says.

use crate::serving::{Speculation, StackRow, stack};

/// A row of either table.
pub(super) struct Point {
    pub(super) engine: String,
    pub(super) hopper: bool,
    pub(super) model: String,
    pub(super) fp8: bool,
    pub(super) input: u64,
    pub(super) output: u64,
    pub(super) concurrency: u64,
    pub(super) tensor: u64,
    pub(super) data: u64,
    pub(super) expert: u64,
}

/// The version whose rows come from configurations that a tool wrote and `genai-perf` measured (AIConfigurator's evaluation).
const WRITTEN: &str = "trtllm-1.0.0rc3";

impl Point {
    pub(super) fn family(&self) -> &str {
        self.engine.split('-').next().unwrap_or("")
    }
    pub(super) fn is_mixture(&self) -> bool {
        self.model.starts_with("deepseek")
    }
    /// Whether a tool wrote its configuration.
    pub(super) fn is_written(&self) -> bool {
        self.engine == WRITTEN
    }
    const fn is_short(&self) -> bool {
        self.input == 1024 && self.output == 1024
    }

    /// The row with the layout that its script made of it: until November 2025 those of DeepSeek-V3 on TensorRT-LLM spread experts and gave
    /// ranks requests of their own by the number of clients, which the table does not hold.
    pub(super) fn launched(mut self) -> Self {
        if self.engine != "trtllm" || !self.is_mixture() || self.data * self.expert > 1 || self.tensor < 2 {
            return self;
        }
        let (clients, long, short) = (self.concurrency, self.input == 8192, self.is_short());
        let apart = match (self.hopper, self.fp8) {
            (true, _) => clients > if long { 32 } else { 64 },
            (false, true) => clients > if short { 32 } else { 64 },
            (false, false) => clients >= 256 || long && clients > 32,
        };
        let most = match (self.tensor, long) {
            (8, false) if short => 8,
            (8, false) => 16,
            _ => 32,
        };
        if self.fp8 || apart || clients > most {
            self.expert = self.tensor;
        }
        if apart {
            (self.data, self.tensor) = (self.tensor, 1);
        }
        self
    }

    /// The version that the public benchmark uses only in its speculating configurations: three guesses, one with data-parallel attention.
    /// 2.5 and 1.7 tokens a step were found on its 30 rows together, both a probability of 0.7 for each guess.
    pub(super) fn speculation(&self) -> Option<Speculation> {
        let drafts = if self.data > 1 { 1 } else { 3 };
        (self.engine == "trtllm-1.2.0rc6.post3").then_some(Speculation { drafts, acceptance: 0.7 })
    }

    /// Whether the script of version 1.2 captured graphs of prompts, cut at attention.
    fn has_prompt_graphs(&self) -> bool {
        let (clients, together) = (self.concurrency, self.data == 1);
        match (self.fp8, self.speculation().is_some()) {
            (true, true) => together && !(self.is_short() && clients <= 4 || self.input == 8192 && clients <= 16),
            (true, false) => together && clients >= if self.output == 8192 { 128 } else { 64 },
            (false, true) => self.is_short() && (matches!(clients, 32 | 64) || clients == 128 && together),
            (false, false) => self.is_short() && self.expert == 8,
        }
    }
}

fn named(id: &str) -> Result<StackRow, String> {
    stack(id).cloned().ok_or_else(|| format!("the engine `{id}` is missing"))
}

/// The engine of a closed-loop row with the settings of the public launch scripts.
pub(super) fn engine(p: &Point) -> Result<StackRow, String> {
    let mut s = match (p.family(), p.hopper) {
        ("vllm", true) => named("vllm")?,
        ("vllm", false) => named("vllm-decode-graphs")?,
        ("trtllm", _) if p.is_written() => named("trtllm-1.0rc")?,
        ("trtllm", true) => named("trtllm")?,
        ("trtllm", false) if p.engine.starts_with("trtllm-1.2") && !p.has_prompt_graphs() => named("trtllm-1.2-blackwell")?,
        ("trtllm", false) => named("trtllm-blackwell")?,
        ("sglang", _) => named("sglang")?,
        (other, _) => return Err(format!("the engine `{other}` is not modelled")),
    };
    match p.family() {
        "vllm" if p.hopper => s.max_sequences.value = p.concurrency,
        "trtllm" if p.is_written() => {
            // One slot fewer than clients: time to first token grows with the length of answers as if each waited for another's end.
            s.max_sequences.value = p.concurrency.saturating_sub(1).max(1);
            s.max_tokens.value = p.concurrency + p.input + 1500;
        }
        "trtllm" if p.is_mixture() => trtllm_mixture(&mut s, p),
        "trtllm" if p.is_short() && p.tensor < 8 => (s.wait_iterations.value, s.wait_share.value) = (20, 0.9),
        "sglang" => {
            let (budget, share, most) = match (p.fp8, p.tensor) {
                (false, _) => (16384, 0.85, 256),
                (true, 8) => (32768, 0.82, 128),
                _ => (8192, 0.95, 32),
            };
            s.max_tokens.value = budget;
            s.memory_share.value = share;
            // Sweeps with more clients than a script's limit raised it: their time per token grows with all clients.
            s.max_sequences.value = p.concurrency.max(most);
            s.read_interval.value = if p.concurrency < 16 || p.fp8 && p.tensor == 4 { 10 } else { 30 };
        }
        _ => {}
    }
    Ok(s)
}

/// DeepSeek-V3 on TensorRT-LLM.
fn trtllm_mixture(s: &mut StackRow, p: &Point) {
    let (late, drafts) = (p.engine.starts_with("trtllm-1.2"), p.speculation().map_or(0, |s| s.drafts));
    // Speculating scripts bound the batch of a rank.
    let batch = if drafts > 0 && p.data > 1 { p.concurrency / if p.fp8 { 8 } else { 4 } } else { p.concurrency }.max(1);
    if drafts > 0 {
        s.max_sequences.value = batch;
    }
    let least = if late && drafts == 0 { 8192 } else { 0 };
    s.max_tokens.value = ((1 + drafts) * batch + p.input + 64).next_multiple_of(64).max(least);
    s.memory_share.value = match (late && p.fp8, p.data > 1) {
        _ if p.hopper => 0.75,
        (true, true) => 0.7,
        (true, false) if p.input == 8192 && p.tensor == 4 && drafts == 0 => 0.75,
        _ => 0.8,
    };
    if late && drafts == 0 && p.fp8 && p.is_short() && p.concurrency >= 64 {
        (s.wait_iterations.value, s.wait_share.value) = (40, 0.8);
    }
    if p.data > 1 {
        s.balance_iterations.value = 60;
    }
}

/// The engine of an offline run.
pub(super) fn offline(p: &Point) -> Result<StackRow, String> {
    let mut s = match p.engine.as_str() {
        e if e.starts_with("tensorrt-llm") => {
            let mut s = named(if p.hopper { "trtllm" } else { "trtllm-blackwell" })?;
            (s.max_tokens.value, s.max_sequences.value, s.graph_batch.value) = (8192.max(p.input), 4096, 4096);
            s
        }
        e if e.starts_with("vllm") => named("vllm")?,
        e if e.starts_with("transformers-neuronx") => named("neuronx")?,
        other => return Err(format!("the engine `{other}` is not modelled")),
    };
    if p.engine == "vllm-2024" || p.engine.starts_with("transformers") {
        s.max_sequences.value = p.concurrency;
    }
    Ok(s)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(engine: &str, fp8: bool, lengths: (u64, u64), concurrency: u64, tensor: u64) -> Point {
        let (input, output) = lengths;
        let model = "deepseek-v3".to_owned();
        Point { engine: engine.to_owned(), hopper: false, model, fp8, input, output, concurrency, tensor, data: 1, expert: 1 }
    }

    #[test]
    fn early_scripts_choose_the_layout() {
        let layout = |fp8, lengths, clients, tensor| {
            let p = point("trtllm", fp8, lengths, clients, tensor).launched();
            (p.tensor, p.data, p.expert)
        };
        assert_eq!(layout(false, (1024, 1024), 128, 8), (8, 1, 8));
        assert_eq!(layout(false, (1024, 1024), 8, 8), (8, 1, 1));
        assert_eq!(layout(false, (1024, 8192), 256, 4), (1, 4, 4));
        assert_eq!(layout(false, (8192, 1024), 64, 8), (1, 8, 8));
        assert_eq!(layout(true, (1024, 1024), 32, 8), (8, 1, 8));
        assert_eq!(layout(true, (1024, 1024), 64, 8), (1, 8, 8));
        // Later ones are given them.
        let late = point("trtllm-1.2.0rc6.post2", false, (8192, 1024), 64, 8).launched();
        assert_eq!((late.tensor, late.data, late.expert), (8, 1, 1));
    }

    #[test]
    fn scripts_set_limits() {
        let plain = engine(&point("trtllm-1.2.0rc6.post2", true, (1024, 1024), 8, 8)).unwrap();
        assert_eq!((*plain.max_tokens, plain.eager_mixture_layer.get()), (8192, 2.5e-3));
        let graphs = engine(&point("trtllm-1.2.0rc6.post2", true, (1024, 1024), 64, 8)).unwrap();
        assert_eq!((*graphs.wait_iterations, graphs.eager_mixture_layer.get()), (40, 1.4e-3));
        let guesses = engine(&point("trtllm-1.2.0rc6.post3", false, (1024, 8192), 16, 4)).unwrap();
        assert_eq!((*guesses.max_tokens, *guesses.max_sequences), (1152, 16));
        let written = engine(&Point { model: "llama-3.1-8b".into(), hopper: true, ..point("trtllm-1.0.0rc3", false, (2048, 128), 32, 1) });
        assert_eq!(*written.unwrap().max_tokens, 3580);
    }
}
