//! The list of diagnostic codes. Each is stable and has a page under `docs/errors/`, shown by `orrery explain`.

/// A stable diagnostic code such as `E0101`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Code(
    /// The code's text.
    pub &'static str,
);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        $($(#[$doc])* pub const $name: Code = Code($code);)*
        /// Every code with its page.
        pub const ALL: &[(Code, &str)] = &[$(($name, include_str!(concat!("../../docs/errors/", $code, ".md")))),*];
    };
}

codes! {
    /// A file cannot be opened or read.
    CANNOT_READ = "E0001";
    /// A file is not UTF-8 text.
    NOT_UTF8 = "E0002";
    /// A file is too large to be meant.
    FILE_TOO_LARGE = "E0003";
    /// An output cannot be written.
    CANNOT_WRITE = "E0004";
    /// A server cannot be reached.
    CANNOT_SEND = "E0005";
    /// The text is no TOML.
    SYNTAX = "E0101";
    /// A key that nothing reads.
    UNKNOWN_KEY = "E0102";
    /// A key that is needed is not there.
    MISSING_KEY = "E0103";
    /// A value of the wrong type.
    WRONG_TYPE = "E0104";
    /// A word that is none of the choices.
    UNKNOWN_CHOICE = "E0105";
    /// A format version that this program does not know.
    UNKNOWN_FORMAT = "E0106";
    /// A `--set` that cannot be applied.
    BAD_OVERRIDE = "E0107";
    /// A quantity whose text is wrong: no unit, wrong unit, no number.
    BAD_QUANTITY = "E0201";
    /// A number outside its range: zero, negative, NaN, infinite, absurd.
    OUT_OF_RANGE = "E0202";
    /// A name used twice.
    DUPLICATE_NAME = "E0203";
    /// A part that is in no catalogue.
    UNKNOWN_PART = "E0204";
    /// Two keys that exclude each other, or a key that does nothing here.
    CONFLICT = "E0205";
    /// The fabric is not connected.
    DISCONNECTED = "E0301";
    /// The fabric's counts do not fit each other.
    BAD_TOPOLOGY = "E0302";
    /// The parallel degrees do not multiply to the number of accelerators.
    LAYOUT_SIZE = "E0401";
    /// A size that a parallel degree does not divide.
    NOT_DIVISIBLE = "E0402";
    /// More pipeline stages than layers.
    TOO_MANY_STAGES = "E0403";
    /// The batch does not divide into microbatches over the data-parallel ranks.
    BATCH = "E0404";
    /// Something that the model does not cover yet.
    UNSUPPORTED = "E0405";
    /// What has to lie in an accelerator's memory does not.
    NO_ROOM = "E0406";
    /// The work is larger than the limit.
    TOO_MUCH_WORK = "E0501";
    /// The simulation stopped while work remained.
    DEADLOCK = "E0502";
    /// A folder of results that belongs to another sweep, or is in use.
    FOREIGN_RESULTS = "E0503";
    /// A measurement table that cannot be read.
    BAD_TABLE = "E0601";
    /// A flow case that cannot be read.
    BAD_FLOW_CASE = "E0602";
    /// A trace that cannot be read or cannot run.
    BAD_TRACE = "E0603";
    /// A log of a measuring tool that cannot be read.
    BAD_LOG = "E0604";
    /// Values of a stand-in where measured ones are wanted.
    SYNTHETIC = "E0605";
    /// Measurements that cannot be made here.
    CANNOT_MEASURE = "E0606";
}
