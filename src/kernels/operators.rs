//! Operators that memory bounds: how many bytes they move in how many kernels.
//!
//! Every count follows from what the kernel reads and writes; nothing is fitted.

use super::attention::Pass;
use crate::choice;

choice! {
    /// Optimizers by what they keep for one parameter.
    pub enum OptimizerKind {
        /// Adam or AdamW: master weight and two moments in fp32.
        Adam = "adam",
        /// Adam with 8-bit moments and fp32 master weights.
        Adam8bit = "adam-8bit",
        /// Adam with 16-bit moments and fp32 master weights (DeepSeek-V3).
        Adam16bit = "adam-16bit",
        /// LAMB: Adam, and one more pass for the norms of weight and update.
        Lamb = "lamb",
        /// Stochastic gradient descent with momentum.
        Momentum = "momentum",
        /// Plain stochastic gradient descent.
        Sgd = "sgd",
    }
}

impl OptimizerKind {
    /// Bytes that it keeps for one parameter: fp32 master weight and moments.
    #[must_use]
    pub const fn state_bytes(self) -> f64 {
        match self {
            Self::Adam | Self::Lamb => 12.0,
            Self::Adam8bit => 6.0,
            Self::Adam16bit => 8.0,
            Self::Momentum => 8.0,
            Self::Sgd => 4.0,
        }
    }
    /// Bytes moved for one parameter: state read and written, gradient read, 16-bit weight written.
    #[must_use]
    pub const fn bytes_per_parameter(self, gradient_bytes: f64) -> f64 {
        let state = match self {
            Self::Adam => 24.0,
            Self::Adam8bit => 12.0,
            Self::Adam16bit => 16.0,
            Self::Lamb => 24.0 + 12.0,
            Self::Momentum => 16.0,
            Self::Sgd => 8.0,
        };
        state + gradient_bytes + 2.0
    }
}

/// A memory-bound operator. Counts are elements; `bytes` is the width of one activation element.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Operator {
    /// Layer norm or RMS norm: reads and writes every element; backward also reads the saved input and writes its gradient.
    Norm {
        /// Elements.
        elements: f64,
        /// Bytes of one.
        bytes: f64,
        /// Direction.
        pass: Pass,
    },
    /// An activation such as GELU or SiLU on `elements` outputs; gated ones read two inputs.
    Activation {
        /// Elements of the output.
        elements: f64,
        /// Bytes of one.
        bytes: f64,
        /// Whether a gate is multiplied in.
        gated: bool,
        /// Direction.
        pass: Pass,
    },
    /// Rotary embedding of queries and keys, in place.
    Rotary {
        /// Elements of queries and keys.
        elements: f64,
        /// Bytes of one.
        bytes: f64,
    },
    /// Softmax over rows, read once and written once (fused with mask and scale); unfused frameworks read and write three times.
    Softmax {
        /// Elements.
        elements: f64,
        /// Bytes of one.
        bytes: f64,
        /// Whether mask, scale and softmax are one kernel.
        fused: bool,
        /// Direction.
        pass: Pass,
    },
    /// Rows of an embedding table gathered; backward adds fp32 gradients at the rows that were read.
    Embedding {
        /// Tokens.
        tokens: f64,
        /// Width.
        width: f64,
        /// Bytes of one element.
        bytes: f64,
        /// Direction.
        pass: Pass,
    },
    /// Cross entropy over a vocabulary from 16-bit logits; unfused it keeps them in fp32 and passes over them five times.
    CrossEntropy {
        /// Tokens.
        tokens: f64,
        /// Columns on this rank.
        vocabulary: f64,
        /// Whether one kernel does it.
        fused: bool,
        /// Direction.
        pass: Pass,
    },
    /// Dropout with a one-byte mask, added to a residual.
    Dropout {
        /// Elements.
        elements: f64,
        /// Bytes of one.
        bytes: f64,
        /// Direction.
        pass: Pass,
    },
    /// A residual sum.
    Add {
        /// Elements.
        elements: f64,
        /// Bytes of one.
        bytes: f64,
    },
    /// An optimizer step in one fused kernel, or as separate passes.
    Optimizer {
        /// Parameters on this rank.
        parameters: f64,
        /// Which.
        kind: OptimizerKind,
        /// Bytes of a gradient element.
        gradient_bytes: f64,
    },
    /// A cast or quantisation step; block-scaled formats need no pass for the scale, per-tensor ones read the input once more.
    Cast {
        /// Elements.
        elements: f64,
        /// Bytes of one before.
        from: f64,
        /// Bytes of one after.
        to: f64,
        /// Whether a transposed copy is written too (training).
        transposed: bool,
        /// Whether the scale is found in a pass of its own.
        amax_pass: bool,
    },
    /// Batch norm with statistics of the batch: one pass for them, one to apply; backward two passes over two inputs.
    BatchNorm {
        /// Elements.
        elements: f64,
        /// Bytes of one.
        bytes: f64,
        /// Direction.
        pass: Pass,
    },
    /// Pooled lookups in embedding tables (recommendation): rows are read at 64-byte granularity, the sum is written.
    EmbeddingBag {
        /// Samples.
        samples: f64,
        /// Tables on this rank.
        tables: f64,
        /// Rows of a sample and table.
        lookups: f64,
        /// Width of a row.
        width: f64,
        /// Bytes of one element.
        bytes: f64,
        /// Direction.
        pass: Pass,
    },
}

impl Operator {
    /// Bytes moved.
    #[must_use]
    pub fn bytes(&self) -> f64 {
        let back = |pass: Pass, forward: f64, backward: f64| if pass == Pass::Forward { forward } else { backward };
        match *self {
            Self::Norm { elements, bytes, pass } => elements * bytes * back(pass, 2.0, 3.0),
            Self::Activation { elements, bytes, gated, pass } => {
                elements * bytes * if gated { back(pass, 3.0, 5.0) } else { back(pass, 2.0, 3.0) }
            }
            Self::Rotary { elements, bytes } => 2.0 * elements * bytes,
            Self::Softmax { elements, bytes, fused, pass } => {
                let passes = if fused { 1.0 } else { 3.0 };
                elements * bytes * passes * back(pass, 2.0, 3.0)
            }
            Self::Embedding { tokens, width, bytes, pass } => tokens * width * back(pass, 2.0 * bytes, bytes + 8.0),
            Self::CrossEntropy { tokens, vocabulary, fused, pass } => {
                let each = if fused { back(pass, 2.0, 4.0) } else { back(pass, 2.0 + 5.0 * 4.0, 4.0 + 4.0 + 2.0) };
                tokens * vocabulary * each
            }
            Self::Dropout { elements, bytes, pass } => elements * back(pass, 3.0 * bytes + 1.0, 2.0 * bytes + 1.0),
            Self::Add { elements, bytes } => 3.0 * elements * bytes,
            Self::Optimizer { parameters, kind, gradient_bytes } => parameters * kind.bytes_per_parameter(gradient_bytes),
            Self::Cast { elements, from, to, transposed, amax_pass } => {
                let copies = if transposed { 2.0 } else { 1.0 };
                elements * (from * if amax_pass { 2.0 } else { 1.0 } + copies * to)
            }
            Self::BatchNorm { elements, bytes, pass } => elements * bytes * back(pass, 3.0, 5.0),
            Self::EmbeddingBag { samples, tables, lookups, width, bytes, pass } => {
                let row = (width * bytes / 64.0).ceil() * 64.0;
                // Backward reads the sum's gradient and reads and writes every row that was looked up.
                samples * tables * back(pass, lookups * (row + 8.0) + width * bytes, width * bytes + lookups * (2.0 * row + 8.0))
            }
        }
    }

    /// Kernels launched.
    #[must_use]
    pub const fn kernels(&self) -> f64 {
        match self {
            Self::Softmax { fused: false, .. } => 3.0,
            Self::CrossEntropy { fused: false, .. } => 6.0,
            Self::Cast { amax_pass: true, .. } | Self::BatchNorm { .. } => 2.0,
            Self::Optimizer { kind: OptimizerKind::Lamb, .. } => 2.0,
            _ => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_by_hand() {
        let f = Pass::Forward;
        assert_eq!(Operator::Norm { elements: 10.0, bytes: 2.0, pass: f }.bytes(), 40.0);
        assert_eq!(Operator::Activation { elements: 10.0, bytes: 2.0, gated: true, pass: f }.bytes(), 60.0);
        // Adam with fp32 gradients: 24 + 4 + 2 bytes; the training facts say 30 to 32 with clearing.
        let adam = Operator::Optimizer { parameters: 1e9, kind: OptimizerKind::Adam, gradient_bytes: 4.0 };
        assert_eq!(adam.bytes(), 30e9);
        let cast = Operator::Cast { elements: 8.0, from: 2.0, to: 1.0, transposed: true, amax_pass: false };
        assert_eq!(cast.bytes(), 32.0);
        // A row of 8 bytes costs a sector of 64.
        let bag = Operator::EmbeddingBag { samples: 1.0, tables: 1.0, lookups: 2.0, width: 2.0, bytes: 4.0, pass: f };
        assert_eq!(bag.bytes(), 2.0 * 72.0 + 8.0);
        for pass in [Pass::Forward, Pass::Backward] {
            let fused = Operator::CrossEntropy { tokens: 5.0, vocabulary: 100.0, fused: true, pass };
            let plain = Operator::CrossEntropy { tokens: 5.0, vocabulary: 100.0, fused: false, pass };
            assert!(fused.bytes() < plain.bytes() && fused.kernels() < plain.kernels());
        }
    }
}
