//! What guesses cost.

use super::{Batch, Cost};

impl Cost<'_> {
    /// What guesses cost: a model of their own, or one layer of the model with its output projection for every guess, and beside the prompts
    /// once.
    pub(super) fn draft(&mut self, model: f64, own: u64, decodes: u64, batches: &[Batch]) -> f64 {
        if let Some(draft) = &mut self.draft_model {
            let of = |decodes: bool, b: &Batch| Batch {
                width: 1,
                decodes: if decodes { b.decodes } else { 0 },
                context: if decodes { b.context } else { 0 },
                ..if decodes { Batch::default() } else { *b }
            };
            let mut seconds = 0.0;
            for (times, decoding) in [(self.drafts as f64, true), (1.0, false)] {
                let own: Vec<Batch> = batches.iter().map(|b| of(decoding, b)).collect();
                if own.iter().any(|b| b.decodes > 0 || b.chunks > 0) {
                    let p = draft.parts(&own);
                    seconds += times * (p.layers + p.head).max(p.floor);
                }
            }
            return seconds;
        }
        let layer = 1.0 / self.shape.layers as f64;
        let prompts = if batches.iter().any(|b| b.chunks > 0) && own > 0 { model * layer } else { 0.0 };
        if decodes == 0 {
            return prompts;
        }
        let tokens = self.layers_by_tokens(decodes, batches.iter().map(|b| b.decodes).sum(), false) + self.exchanges(decodes, false);
        let attention = batches.iter().filter(|b| b.decodes > 0).map(|b| (b.decodes, b.context)).collect::<Vec<_>>();
        let attention = attention.into_iter().map(|(n, context)| self.decode_attention(n, context, false)).fold(0.0, f64::max);
        prompts + self.drafts as f64 * ((tokens + attention) * layer + self.head(decodes))
    }
}
