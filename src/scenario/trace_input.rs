//! The keys of `[trace]`: files of a recorded or synthetic job, and what they run on.

use crate::diag::{Count, FilePath, Finite};
use crate::hardware::Dtype;
use crate::replay::astra::Backend;
use crate::replay::{ComputeTimes, Sends};
use crate::{choice, record};

choice! {
    /// Formats of traces.
    pub enum TraceFormat {
        /// Chakra execution traces: a `.et` file for each rank.
        Chakra = "chakra",
        /// Host traces of PyTorch's execution trace observer: a JSON file for each rank.
        HostJson = "host-json",
        /// The workload text of AICB and SimAI: one file for all ranks.
        Aicb = "aicb",
    }
}

record! {
    /// ASTRA-sim's own files instead of a topology: its units, chunks, algorithms and limits are followed.
    pub struct AstraInput {
        /// Network (YAML).
        pub network: FilePath,
        /// System (JSON).
        pub system: FilePath,
        /// Memory outside the accelerators (JSON); absent: there is none.
        pub memory: Option<FilePath>,
        /// Which analytical backend is followed; absent: the unaware one.
        pub backend: Option<Backend>,
    }
}

record! {
    /// A recorded or synthetic trace of a job.
    pub struct TraceInput {
        /// Format of the files.
        pub format: TraceFormat,
        /// The file of one rank, or of all.
        pub file: Option<FilePath>,
        /// What stands before the rank in the names of files: `PREFIX.0.et`, `PREFIX.1.et` and so on.
        pub prefix: Option<FilePath>,
        /// Groups of ranks (JSON), for Chakra traces whose nodes do not define them.
        pub groups: Option<FilePath>,
        /// Ranks: of an aicb workload, or that all do what the one `file` says. Absent: what the file says.
        pub ranks: Option<Count>,
        /// Times of compute operations; absent: those recorded.
        pub compute: Option<ComputeTimes>,
        /// Number format of the roofline's peak; absent: `bf16`.
        pub precision: Option<Dtype>,
        /// Factor on compute times; absent: 1.
        pub compute_scale: Option<Finite>,
        /// When messages start; absent: when the sender has come to them.
        pub sends: Option<Sends>,
        /// Whether communication kernels slow compute down. Absent: not with durations that a profiler recorded, which hold it already.
        pub interference: Option<bool>,
        /// Files of ASTRA-sim to run on, instead of a topology.
        pub astra: Option<AstraInput>,
    }
}
