//! Software stacks: what a framework of a certain age does, as data (`stacks.toml`).

use crate::diag::{Count, Decode, Diagnostics, Finite, List, Name, Node, NonNeg, Plain, Style, Text, Whole, render};
use crate::kernels::AttentionGeneration;
use crate::units::{Bytes, Seconds};
use crate::{choice, record};
use std::sync::OnceLock;

choice! {
    /// Training frameworks.
    pub enum Framework {
        /// Megatron-LM, Megatron-Core, NeMo, Megatron-Bridge.
        Megatron = "megatron",
        /// Megatron-DeepSpeed (ZeRO 0 and 1).
        MegatronDeepspeed = "megatron-deepspeed",
        /// PyTorch with replicated weights (DDP).
        PytorchDdp = "pytorch-ddp",
        /// PyTorch with fully sharded weights (FSDP, FSDP2).
        PytorchFsdp = "pytorch-fsdp",
        /// MosaicML's llm-foundry on FSDP.
        LlmFoundry = "llm-foundry",
        /// torchtitan on FSDP2.
        Torchtitan = "torchtitan",
        /// IBM's fms-fsdp.
        FmsFsdp = "fms-fsdp",
        /// DeepSpeed (ZeRO 1 to 3).
        Deepspeed = "deepspeed",
        /// MaxText on JAX.
        Maxtext = "maxtext",
        /// Horovod with PyTorch or TensorFlow: replicated weights, fused tensors.
        Horovod = "horovod",
    }
}

choice! {
    /// What selective recompute computes again.
    pub enum Selective {
        /// The attention core.
        Attention = "attention",
        /// Norms and activations.
        Modules = "modules",
        /// Element-wise kernels and every second matrix product: keys, the output of attention, one of two gated inputs (torchtitan's "op").
        AlternateProducts = "alternate-products",
        /// All but the matrix products.
        KeepProducts = "keep-products",
    }
}

choice! {
    /// How data-parallel gradients are reduced.
    pub enum DataSync {
        /// After the last backward pass, nothing hidden.
        Serial = "serial",
        /// Bucket by bucket under the last microbatches' backward; weights gathered under the next forward.
        Overlapped = "overlapped",
    }
}

choice! {
    /// How pipeline neighbours exchange activations and gradients.
    pub enum PipelineComm {
        /// Batched send and receive that both sides wait for.
        Blocking = "blocking",
        /// Sent from a side stream; only the consumer waits (with interleaved stages; else blocking).
        Overlapped = "overlapped",
    }
}

choice! {
    /// How layers that do not divide are split over stages.
    pub enum Split {
        /// Equal; else embedding and head count as one layer each; else refused.
        Equal = "equal",
        /// The smallest possible heaviest stage, filled from the left (DeepSpeed).
        Greedy = "greedy",
    }
}

choice! {
    /// How context ranks see each other's parts of a sequence.
    pub enum ContextExchange {
        /// Keys and values pass round while attention works on the part before, step by step.
        Ring = "ring",
        /// Keys and values of all ranks are gathered, then attention is one kernel.
        Gather = "gather",
        /// Every rank swaps its part of all heads for all parts of some heads, and back (DeepSpeed-Ulysses).
        AllToAll = "all-to-all",
    }
}

record! {
    /// A software stack.
    pub struct Stack {
        /// Name, such as `megatron-2022`.
        pub id: Name,
        /// Name for people.
        pub title: Name,
        /// Framework that it belongs to.
        pub framework: Framework,
        /// First month of use, as `2022-05`.
        pub since: Name,
        /// Host-launched kernels of one layer, forward.
        pub kernels_forward: Finite,
        /// Host-launched kernels of one layer, backward.
        pub kernels_backward: Finite,
        /// Host time of one kernel launch, forward (0: captured graphs).
        pub launch_forward: NonNeg<Seconds>,
        /// Host time of one kernel launch, backward.
        pub launch_backward: NonNeg<Seconds>,
        /// Host time of one tensor-parallel communication call.
        pub launch_comm: NonNeg<Seconds>,
        /// Host time of saving and restoring random state for one recomputed layer, backward.
        pub launch_checkpoint: NonNeg<Seconds>,
        /// Host time of fetching a microbatch, on the stages that need one: the first for its tokens, the last for its labels.
        pub launch_batch: NonNeg<Seconds> = Seconds::new(0.0),
        /// Multiple that sequences times heads of a rank must be for the fused kernel of masked softmax; else its parts are kernels.
        pub fused_softmax_multiple: Count = 1,
        /// Whether every tensor operation is a kernel under automatic mixed precision (eager PyTorch): in 16 bit the kernels of layers are
        /// counted from the model's public code, and the counts of this stack serve layers with states and experts, and other formats.
        pub autocast: bool = false,
        /// Memory traffic of norms, bias, dropout and residual, forward: bytes per token and hidden element.
        pub norm_bytes_forward: Finite,
        /// The same, backward.
        pub norm_bytes_backward: Finite,
        /// Memory traffic of an unfused activation on top of a fused one, forward and backward each: bytes per token and feed-forward
        /// element.
        pub activation_extra_bytes: Plain = 0.0,
        /// Memory traffic of biases and copies of queries, keys, values and context apart from kernels that fuse them, forward: bytes per
        /// token and hidden element, on the tensor split.
        pub projection_extra_bytes_forward: Plain = 0.0,
        /// The same, backward.
        pub projection_extra_bytes_backward: Plain = 0.0,
        /// Share of the element-wise traffic that compilers do not fuse into products.
        pub elementwise_share: Finite = 1.0,
        /// Whether batch norms run in one kernel with their activation.
        pub fused_norms: bool = false,
        /// What selective recompute computes again.
        pub selective: Selective = Selective::Attention,
        /// Memory that the loss takes at its peak, bytes per token and vocabulary entry: fp32 logits and their gradient in 16 bit where
        /// kernels are fused; else 16-bit logits, an fp32 copy and its logarithms.
        pub logit_kept_bytes: Finite = 6.0,
        /// Columns to whose multiple the framework pads each rank's part of the vocabulary.
        pub vocabulary_multiple: Count = 1,
        /// Memory traffic of the loss: bytes per token and vocabulary entry, forward and backward.
        pub logit_bytes: Finite,
        /// Score traffic of unfused attention, forward: bytes per score (softmax, dropout, mask).
        pub score_bytes_forward: Finite,
        /// The same, backward.
        pub score_bytes_backward: Finite,
        /// Generation of flash-attention kernels.
        pub attention: AttentionGeneration,
        /// Whether attention leaves out pairs of tokens that the causal mask hides.
        pub causal_skip: bool = true,
        /// Whether attention leaves out pairs of tokens beyond a sliding window.
        pub window_skip: bool = true,
        /// Whether context ranks take an early and a late part of every sequence, so that all have the same work.
        pub context_balanced: bool = true,
        /// How context ranks see each other's parts of a sequence.
        pub context_exchange: ContextExchange = ContextExchange::Ring,
        /// Memory traffic of one step of a ring beside attention, forward: bytes per element of the queries (results merged).
        pub ring_bytes_forward: Plain = 6.0,
        /// The same, backward: gradients of queries added, set to nothing and cast, results read again for their sums over rows.
        pub ring_bytes_backward: Plain = 20.0,
        /// Gradient reduction.
        pub data_sync: DataSync,
        /// Whether each layer gathers its weights before it computes and reduces its gradients after it (FSDP), where weights or
        /// gradients are sharded.
        pub gathers_layers: bool = false,
        /// Whether weights that are not sharded themselves are gathered right after the optimizer, nothing hidden (DeepSpeed).
        pub late_gather: bool = false,
        /// Layers whose weights are gathered ahead of the one that computes, forward.
        pub prefetch_forward: Whole = 1,
        /// The same, backward.
        pub prefetch_backward: Whole = 1,
        /// Whether sharded gradients are reduce-scattered; else they are all-reduced and only the weights are gathered.
        pub reduce_scatter: bool,
        /// Pipeline exchange.
        pub pipeline_comm: PipelineComm,
        /// Whether the tensor ranks each send a part of an activation between stages and gather it again.
        pub scatter_gather: bool,
        /// Whether tensor-parallel communication is pipelined with the products next to it (user buffers).
        pub tensor_overlap: bool,
        /// Split of layers over stages.
        pub split: Split,
        /// Bytes of a gradient element under fp16.
        pub gradient_bytes_fp16: Finite,
        /// Bytes of a gradient element under bf16 and fp8.
        pub gradient_bytes_bf16: Finite,
        /// Whether a layer that is computed again stops before its last product, whose result no gradient needs: checkpoints of PyTorch
        /// without re-entry from 2.1 on, XLA.
        pub early_stop: bool = false,
        /// Whether layer norms are PyTorch's own kernels, whose arithmetic bounds them before memory does.
        pub eager_norms: bool = false,
        /// Whether gradients of biases are sums over tokens by PyTorch's own kernel, whose arithmetic bounds it.
        pub eager_bias_sums: bool = false,
        /// Memory traffic of copying gathered weights to where products read them: bytes per local parameter and gather.
        pub gather_copy_bytes: Plain = 0.0,
        /// Whether products of weights' gradients add to their sum over microbatches (gradient accumulation fusion).
        pub adds_gradients: bool = false,
        /// Memory traffic of gradients between product and collective, fp16: sums over microbatches, casts, divisions, copies into
        /// buffers; bytes per local parameter and microbatch.
        pub accumulate_bytes_fp16: Plain,
        /// The same under bf16 and fp8.
        pub accumulate_bytes_bf16: Plain,
        /// Bytes of the weights that are kept for 8- and 4-bit products, all copies together but the optimizer's.
        pub narrow_weight_bytes: Finite,
        /// Whether casts to 8 bit read a tensor once more for the largest of its elements (scales of the tensor itself, not of its history).
        pub dynamic_scales: bool = false,
        /// Whether sequence-parallel ranks gather operands of 8-bit products in 8 bit.
        pub narrow_gathers: bool = false,
        /// Whether queries, keys and values, and the two inputs of a gate, are products of their own; else their weights are one matrix.
        pub separate_projections: bool = false,
        /// Whether sequence-parallel ranks copy what they gather and scatter: collectives join and split along the first dimension,
        /// sequences are the second.
        pub sequence_copies: bool = false,
        /// Whether inputs of activation functions are kept in 8 bit beside 8-bit products.
        pub narrow_activations: bool = false,
        /// Whether a pipeline cuts the sequences of a rank into as many microbatches as it has stages, unless told otherwise.
        pub stage_microbatches: bool = false,
        /// Memory that the runtime takes before the first tensor: driver context and libraries (1,573 MiB on A100, BigScience's trial runs).
        pub runtime_bytes: NonNeg<Bytes> = Bytes::new(1.65e9),
        /// Memory of one communicator: buffers of 10 MB for every channel and direction of NCCL's rings and trees (counted, unverified).
        pub communicator_bytes: NonNeg<Bytes> = Bytes::new(3e8),
        /// Memory of tensors that only the optimizer step has under fp16, bytes per owned parameter: one flat 16-bit gradient and its fp32
        /// copy (DeepSpeed).
        pub step_bytes_fp16: Plain = 0.0,
        /// Memory of 16-bit gradients that stay beside their fp32 sum under bf16 and fp8, bytes per parameter.
        pub gradient_kept_bytes_bf16: Plain = 0.0,
        /// Whether a bucket of gradients is copied into a buffer that stays.
        pub keeps_bucket: bool = false,
        /// Whether stages of a pipeline keep what they have sent until its backward pass.
        pub keeps_outputs: bool = false,
        /// Memory traffic of the optimizer per owned parameter.
        pub optimizer_bytes: Finite,
        /// Numbers that a trainer's metrics gather from all ranks after every step, each as a tensor a rank: the host makes room for it and copies it.
        pub metric_states: Whole = 0,
        /// Smallest gradient bucket, parameters.
        pub bucket_parameters: Count,
        /// Time between two rounds in which ranks agree on what is reduced next (tensor fusion of Horovod); 0: buckets leave when full.
        pub cycle_time: NonNeg<Seconds> = Seconds::new(0.0),
        /// Smallest gradient bucket, parameters for each data-parallel rank (Megatron-Core's rule); the larger counts.
        pub bucket_parameters_per_rank: Whole = 0,
        /// Where the figures come from.
        pub source: Text,
    }
}

record! {
    /// The stacks file.
    pub struct StackFile {
        /// Stacks.
        pub stack: List<Stack>,
    }
}

/// All stacks, oldest first within a framework.
pub fn stacks() -> &'static [Stack] {
    static STACKS: OnceLock<Vec<Stack>> = OnceLock::new();
    STACKS.get_or_init(|| {
        let mut diags = Diagnostics::new();
        let source = diags.add_source("training/stacks.toml", include_str!("stacks.toml"));
        let file = Node::parse(source, &mut diags).and_then(|node| StackFile::decode(&node, &mut diags));
        let Some(file) = file else { panic!("the embedded stacks are faulty:\n{}", render(&diags, Style::Plain)) };
        file.stack.value.into_iter().map(|s| s.value).collect()
    })
}

impl Stack {
    /// The newest stack of a framework.
    #[must_use]
    pub fn newest(framework: Framework) -> Option<&'static Self> {
        stacks().iter().rev().find(|s| *s.framework == framework)
    }
    /// A stack by its name.
    #[must_use]
    pub fn named(id: &str) -> Option<&'static Self> {
        stacks().iter().find(|s| s.id.value == id)
    }
}
