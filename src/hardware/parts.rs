//! The schema of each kind of part: what a data sheet has to say.

use crate::diag::{Count, Finite, Name, NonNeg, Pos, Share, Text, Whole};
use crate::units::{Bytes, BytesPerSecond, FlopsPerSecond, Seconds, Usd, UsdPerSecond, Watts};
use crate::{choice, record};

choice! {
    /// What an accelerator is.
    pub enum AcceleratorKind {
        /// Graphics processor.
        Gpu = "gpu",
        /// Google TPU.
        Tpu = "tpu",
        /// Another training chip.
        Asic = "asic",
        /// A chip made for inference.
        Inference = "inference",
        /// A field-programmable gate array.
        Fpga = "fpga",
        /// A CPU socket.
        Cpu = "cpu",
    }
}

choice! {
    /// A number format of matrix products.
    pub enum Dtype {
        /// IEEE single precision.
        Fp32 = "fp32",
        /// NVIDIA TensorFloat-32.
        Tf32 = "tf32",
        /// bfloat16.
        Bf16 = "bf16",
        /// IEEE half precision.
        Fp16 = "fp16",
        /// 8-bit float, one scale per tensor.
        Fp8 = "fp8",
        /// 8-bit float, scales per block of 128.
        Fp8Block = "fp8-block",
        /// 8-bit float, scales per block of 32 (MX).
        Mxfp8 = "mxfp8",
        /// 4-bit float, 16-element block scales.
        Nvfp4 = "nvfp4",
        /// 8-bit integer.
        Int8 = "int8",
        /// Weights in 8 bit, computed in 16 bit.
        W8a16 = "w8a16",
        /// Weights in 4 bit with group scales, computed in 16 bit.
        W4a16 = "w4a16",
    }
}

impl Dtype {
    /// Bytes of one element of a weight, block scales included.
    #[must_use]
    pub const fn bytes(self) -> f64 {
        match self {
            Self::Fp32 | Self::Tf32 => 4.0,
            Self::Bf16 | Self::Fp16 => 2.0,
            Self::Fp8 | Self::Fp8Block | Self::Int8 | Self::W8a16 => 1.0,
            Self::Mxfp8 => 1.03125,
            Self::Nvfp4 => 0.5625,
            Self::W4a16 => 0.53,
        }
    }
    /// Bytes of one element of the other operand.
    #[must_use]
    pub const fn input_bytes(self) -> f64 {
        match self {
            Self::W8a16 | Self::W4a16 => 2.0,
            other => other.bytes(),
        }
    }
}

record! {
    /// Dense peak rates of matrix products by number format, without sparsity.
    pub struct Peaks {
        /// IEEE single precision (vector units where there is no matrix path).
        pub fp32: Option<Pos<FlopsPerSecond>>,
        /// TensorFloat-32.
        pub tf32: Option<Pos<FlopsPerSecond>>,
        /// bfloat16 and fp16.
        pub bf16: Option<Pos<FlopsPerSecond>>,
        /// 8-bit float.
        pub fp8: Option<Pos<FlopsPerSecond>>,
        /// 4-bit float.
        pub fp4: Option<Pos<FlopsPerSecond>>,
        /// 8-bit integer.
        pub int8: Option<Pos<FlopsPerSecond>>,
    }
}

impl Peaks {
    /// The peak of a number format, if the part has a path for it.
    #[must_use]
    pub fn of(&self, dtype: Dtype) -> Option<FlopsPerSecond> {
        match dtype {
            Dtype::Fp32 => *self.fp32,
            Dtype::Tf32 => *self.tf32,
            Dtype::Bf16 | Dtype::Fp16 | Dtype::W8a16 | Dtype::W4a16 => *self.bf16,
            Dtype::Fp8 | Dtype::Fp8Block | Dtype::Mxfp8 => *self.fp8,
            Dtype::Nvfp4 => *self.fp4,
            Dtype::Int8 => *self.int8,
        }
    }
}

record! {
    /// An accelerator: GPU, TPU, training or inference chip, FPGA card, or a CPU socket used as one.
    pub struct Accelerator {
        /// Catalogue id, such as `a100-sxm-80gb`.
        pub id: Name,
        /// Name for people.
        pub name: Name,
        /// Maker.
        pub vendor: Name,
        /// What it is.
        pub kind: AcceleratorKind,
        /// Year of first sale.
        pub year: Count,
        /// Kernel profile that it uses: its generation, such as `ampere`. Parts without measurements borrow it by ratio.
        pub generation: Name,
        /// Dense matrix peaks.
        pub peak: Peaks,
        /// Share of the 16-bit peak that the best large product reaches in benchmarks, where one is published. Parts without
        /// kernel measurements borrow efficiencies in its proportion.
        pub achieved: Option<Share>,
        /// Streaming multiprocessors, compute units or cores that run tiles side by side.
        pub compute_units: Count,
        /// Memory size.
        pub memory: Pos<Bytes>,
        /// Memory bandwidth.
        pub memory_bandwidth: Pos<BytesPerSecond>,
        /// Memory technology.
        pub memory_type: Name,
        /// Last-level cache.
        pub cache: Option<Pos<Bytes>>,
        /// Scale-up link technology (an id in `links`), absent where the only way out is the host link.
        pub scale_up: Option<Name>,
        /// Scale-up bandwidth of one accelerator, one direction, all its links together.
        pub scale_up_bandwidth: Option<Pos<BytesPerSecond>>,
        /// Scale-up links of one accelerator.
        pub scale_up_links: Whole = 0,
        /// Largest scale-up domain.
        pub scale_up_domain: Count = 1,
        /// Host link technology (an id in `links`).
        pub host_link: Name,
        /// Thermal design power.
        pub tdp: Pos<Watts>,
        /// Power when idle.
        pub idle_power: Pos<Watts>,
        /// Where the figures come from.
        pub source: Text,
    }
}

record! {
    /// A link technology: what one link of it carries and costs in time.
    pub struct LinkTechnology {
        /// Catalogue id, such as `nvlink3`, `pcie4-x16`, `hdr200`.
        pub id: Name,
        /// Name for people.
        pub name: Name,
        /// Line rate of one link, one direction.
        pub bandwidth: Pos<BytesPerSecond>,
        /// Share of the line rate that large transfers reach.
        pub efficiency: Share,
        /// Latency of one hop over it.
        pub latency: NonNeg<Seconds>,
        /// Where the figures come from.
        pub source: Text,
    }
}

choice! {
    /// How a NIC talks.
    pub enum NicProtocol {
        /// InfiniBand.
        Infiniband = "infiniband",
        /// RDMA over converged Ethernet, version 2.
        Roce = "roce",
        /// AWS Elastic Fabric Adapter.
        Efa = "efa",
        /// Intel/Cornelis Omni-Path.
        OmniPath = "omni-path",
        /// HPE Slingshot.
        Slingshot = "slingshot",
        /// TCP over Ethernet.
        Tcp = "tcp",
        /// TPU inter-chip interconnect.
        Ici = "ici",
    }
}

record! {
    /// A network interface card (one port).
    pub struct Nic {
        /// Catalogue id, such as `cx6-hdr200`.
        pub id: Name,
        /// Name for people.
        pub name: Name,
        /// Protocol.
        pub protocol: NicProtocol,
        /// Line rate, one direction.
        pub bandwidth: Pos<BytesPerSecond>,
        /// Share of the line rate that large transfers reach.
        pub efficiency: Share,
        /// End-point latency: software and adapter, once per message and direction.
        pub latency: NonNeg<Seconds>,
        /// Greatest message rate, messages per second.
        pub message_rate: Finite,
        /// Power.
        pub power: NonNeg<Watts>,
        /// Where the figures come from.
        pub source: Text,
    }
}

choice! {
    /// Which fabric a switch belongs to.
    pub enum SwitchKind {
        /// InfiniBand.
        Infiniband = "infiniband",
        /// Ethernet.
        Ethernet = "ethernet",
        /// Omni-Path.
        OmniPath = "omni-path",
        /// NVLink.
        Nvlink = "nvlink",
        /// PCI Express.
        Pcie = "pcie",
    }
}

record! {
    /// A switch.
    pub struct Switch {
        /// Catalogue id, such as `qm8700`.
        pub id: Name,
        /// Name for people.
        pub name: Name,
        /// Fabric.
        pub kind: SwitchKind,
        /// Ports at full rate.
        pub ports: Count,
        /// Rate of one port, one direction.
        pub port_bandwidth: Pos<BytesPerSecond>,
        /// Port-to-port latency.
        pub latency: NonNeg<Seconds>,
        /// Whether it can reduce what passes (SHARP).
        pub in_network_reduction: bool = false,
        /// Power.
        pub power: NonNeg<Watts>,
        /// Where the figures come from.
        pub source: Text,
    }
}

record! {
    /// A host: CPU sockets with DRAM and PCIe, without accelerators, NICs and drives.
    pub struct Host {
        /// Catalogue id, such as `epyc-7742-2s`.
        pub id: Name,
        /// Name for people.
        pub name: Name,
        /// CPU sockets.
        pub sockets: Count,
        /// Cores of all sockets.
        pub cores: Count,
        /// DRAM of all sockets.
        pub memory: Pos<Bytes>,
        /// DRAM bandwidth of all sockets.
        pub memory_bandwidth: Pos<BytesPerSecond>,
        /// Bandwidth between two sockets, one direction.
        pub socket_link: Pos<BytesPerSecond>,
        /// PCIe technology (an id in `links`).
        pub pcie: Name,
        /// Time that the host takes to launch one kernel, relative to the host of the profiles' measurements (1 = the same).
        pub launch_factor: Finite = 1.0,
        /// Power of the host without accelerators under load (CPU, DRAM, fans, drives).
        pub power: Pos<Watts>,
        /// Where the figures come from.
        pub source: Text,
    }
}

record! {
    /// A drive.
    pub struct Drive {
        /// Catalogue id.
        pub id: Name,
        /// Name for people.
        pub name: Name,
        /// Size.
        pub capacity: Pos<Bytes>,
        /// Sequential read.
        pub read_bandwidth: Pos<BytesPerSecond>,
        /// Sequential write.
        pub write_bandwidth: Pos<BytesPerSecond>,
        /// Random 4 KiB reads per second.
        pub read_iops: Finite,
        /// Random 4 KiB writes per second.
        pub write_iops: Finite,
        /// Read latency.
        pub latency: NonNeg<Seconds>,
        /// Power.
        pub power: NonNeg<Watts>,
        /// Where the figures come from.
        pub source: Text,
    }
}

choice! {
    /// What is paid.
    pub enum PriceKind {
        /// Rent of one accelerator with its share of node and network, pay as you go.
        OnDemand = "on-demand",
        /// Rent under a commitment.
        Reserved = "reserved",
        /// Rent that may be taken away.
        Spot = "spot",
        /// Purchase of the part.
        Purchase = "purchase",
    }
}

record! {
    /// A price of a part.
    pub struct Price {
        /// Catalogue id of the part.
        pub part: Name,
        /// What is paid.
        pub kind: PriceKind,
        /// Rent per unit and hour (rent kinds).
        pub rent: Option<Pos<UsdPerSecond>>,
        /// Price of one unit (purchase).
        pub price: Option<Pos<Usd>>,
        /// Date of the figure, as `2025-06`.
        pub date: Name,
        /// Where the figure comes from.
        pub source: Text,
    }
}
