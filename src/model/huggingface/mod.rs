//! `config.json` of a model as Hugging Face keeps it: which family it is of, and its sizes as an architecture.
//!
//! Such files hold much that no time depends on, so keys that are not known are no fault. What a family needs and the file lacks is.

mod decoders;
mod hybrids;
mod keys;
mod others;

use super::architecture::Architecture;
use crate::diag::{Diagnostic, Diagnostics, Node, Span, Value, codes, nearest};
use keys::Keys;

/// Reads one family's keys.
type Family = fn(&mut Keys<'_>) -> Architecture;

/// The families by the word that `model_type` has.
const FAMILIES: &[(&str, Family)] = &[
    ("llama", decoders::llama),
    ("mistral", decoders::llama),
    ("mistral3", decoders::llama),
    ("olmo", decoders::llama),
    ("olmo2", decoders::llama),
    ("granite", decoders::llama),
    ("internlm2", decoders::llama),
    ("phi3", decoders::llama),
    ("nemotron", decoders::nemotron),
    ("qwen2", decoders::llama),
    ("qwen2_vl", decoders::llama),
    ("qwen2_5_vl", decoders::llama),
    ("qwen3", decoders::llama),
    ("gemma", decoders::gemma),
    ("gemma2", decoders::gemma),
    ("gemma3", decoders::gemma),
    ("gemma3_text", decoders::gemma),
    ("gpt2", decoders::gpt2),
    ("gptj", decoders::gptj),
    ("gpt_neox", decoders::neox),
    ("bloom", decoders::bloom),
    ("opt", decoders::opt),
    ("phi", decoders::phi),
    ("falcon", decoders::falcon),
    ("mpt", decoders::mpt),
    ("mixtral", decoders::mixtral),
    ("qwen2_moe", decoders::qwen_moe),
    ("qwen3_moe", decoders::qwen_moe),
    ("gpt_oss", decoders::gpt_oss),
    ("dbrx", decoders::dbrx),
    ("llama4", decoders::llama4),
    ("llama4_text", decoders::llama4),
    ("deepseek_v2", decoders::deepseek),
    ("deepseek_v3", decoders::deepseek),
    ("kimi_k2", decoders::deepseek),
    ("jamba", hybrids::jamba),
    ("mamba", hybrids::mamba),
    ("mamba2", hybrids::mamba2),
    ("nemotron_h", hybrids::nemotron_h),
    ("qwen3_next", hybrids::qwen3_next),
    ("minimax", hybrids::minimax),
    ("minimax_text_01", hybrids::minimax),
    ("minimax_m1", hybrids::minimax),
    ("bert", others::bert),
    ("roberta", others::bert),
    ("t5", others::t5),
    ("mt5", others::t5),
    ("vit", others::vit),
];

/// The architecture of a file that `from` names.
pub(super) fn read(file: &str, from: Span, diags: &mut Diagnostics) -> Option<Architecture> {
    let path = diags.folder_of(from.source).join(file);
    let source = diags.read_file(&path, Some(from))?;
    diags.including(from, |diags| {
        let node = Node::parse_json(source, diags)?;
        architecture(&node, diags)
    })
}

/// The architecture of a parsed file. Where it holds several models (text and images), the one of the text.
fn architecture(node: &Node, diags: &mut Diagnostics) -> Option<Architecture> {
    let Value::Table(table) = &node.value else {
        let message = format!("expected an object, found {}", node.value.kind());
        diags.push(Diagnostic::error(codes::WRONG_TYPE, message).at(node.span, "expected an object"));
        return None;
    };
    let kind = match table.entries.get("model_type").map(|e| &e.node) {
        Some(Node { value: Value::Str(kind), span }) => (kind.clone(), *span),
        Some(other) => {
            let message = format!("expected a text in quotes, found {}", other.value.kind());
            diags.push(Diagnostic::error(codes::WRONG_TYPE, message).at(other.span, "`model_type`"));
            return None;
        }
        None => {
            let start = Span { end: node.span.start, ..node.span };
            diags.push(
                Diagnostic::error(codes::MISSING_KEY, "the key `model_type` is missing")
                    .at(start, "this file")
                    .hint("the file of a model says its family, such as \"model_type\": \"llama\""),
            );
            return None;
        }
    };
    let Some((_, family)) = FAMILIES.iter().find(|(name, _)| *name == kind.0) else {
        let names = FAMILIES.iter().map(|f| f.0);
        let hint = match nearest(&kind.0, names.clone()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("known are {}", names.collect::<Vec<_>>().join(", ")),
        };
        let message = format!("no architecture is known for `model_type` \"{}\"", kind.0);
        diags.push(Diagnostic::error(codes::UNKNOWN_PART, message).at(kind.1, "unknown").hint(hint));
        return None;
    };
    let inner = match table.entries.get("text_config").map(|e| &e.node) {
        Some(text @ Node { value: Value::Table(_), .. }) => text,
        _ => node,
    };
    let title = match table.entries.get("_name_or_path").map(|e| &e.node.value) {
        Some(Value::Str(name)) if !name.trim().is_empty() && !name.chars().any(char::is_control) => name.clone(),
        _ => kind.0.clone(),
    };
    let mut keys = Keys::new(inner, &kind.0, diags);
    let model = family(&mut keys);
    keys.sound().then_some(Architecture { title, ..model })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::{Style, render};

    fn said(text: &str) -> String {
        let mut diags = Diagnostics::new();
        let source = diags.add_source("config.json", text);
        let found = Node::parse_json(source, &mut diags).and_then(|node| architecture(&node, &mut diags));
        assert!(found.is_none(), "{found:?}");
        render(&diags, Style::Plain)
    }

    #[test]
    fn faults_name_file_and_key() {
        let llama = |rest: &str| format!("{{\n \"model_type\": \"llama\"{rest}\n}}");
        let text = said(&llama(""));
        for key in ["hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size"] {
            assert!(text.contains(&format!("`{key}` is missing")) && text.contains("config.json"), "{key} in {text}");
        }
        assert!(said("{\"model_type\": \"lama\"}").contains("did you mean \"llama\"?"));
        assert!(said("{}").contains("`model_type` is missing"));
        assert!(said("[]").contains("expected an object"));
        assert!(said("{\"model_type\": 3}").contains("`model_type`"));
        let sizes = ",\n \"num_hidden_layers\": 2, \"num_attention_heads\": 3, \"intermediate_size\": 8, \"vocab_size\": 10";
        assert!(said(&llama(&format!("{sizes}, \"hidden_size\": -4"))).contains("is negative"));
        assert!(said(&llama(&format!("{sizes}, \"hidden_size\": 1e400"))).contains("not a whole number"));
        assert!(said(&llama(&format!("{sizes}, \"hidden_size\": \"64\""))).contains("`hidden_size`"));
        assert!(said(&llama(&format!("{sizes}, \"hidden_size\": 64"))).contains("no multiple of 3 heads"));
        let huge = "{\"model_type\": \"gpt2\", \"n_embd\": 1e300, \"n_layer\": 1, \"n_head\": 268435457, \"vocab_size\": 1}";
        assert!(said(huge).contains("n_head = 268435457 is absurdly large"));
    }
}
