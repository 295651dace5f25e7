//! What is wrong with a trace as a whole.

use super::TraceOp;
use std::fmt;

/// An operation in a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpName {
    /// Number in the file.
    pub id: u64,
    /// Name in the file.
    pub name: String,
}

impl From<&TraceOp> for OpName {
    fn from(op: &TraceOp) -> Self {
        Self { id: op.id, name: op.name.clone() }
    }
}

impl fmt::Display for OpName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short: String = self.name.chars().take(60).collect();
        write!(f, "`{short}` (id {})", self.id)
    }
}

/// What is wrong with a trace as a whole.
#[derive(Debug, Clone, PartialEq)]
pub enum TraceFault {
    /// A reader tolerated something in a file.
    Tolerated {
        /// File.
        file: String,
        /// Line, from 1; 0 where it is the whole file.
        line: u64,
        /// What.
        what: String,
    },
    /// An operation waits for numbers that no operation has; the waits are dropped.
    AbsentDependencies {
        /// Rank.
        rank: u32,
        /// Operation.
        op: OpName,
        /// The numbers.
        absent: Vec<u64>,
    },
    /// More messages are sent than received, or the other way round.
    UnmatchedMessages {
        /// Sender.
        from: u32,
        /// Receiver.
        to: u32,
        /// Tag.
        tag: u64,
        /// How many are sent.
        sent: usize,
        /// How many are received.
        received: usize,
        /// The first operation without another end.
        op: OpName,
    },
    /// A message is sent with one size and received with another.
    MessageSize {
        /// Sender.
        from: u32,
        /// Receiver.
        to: u32,
        /// Tag.
        tag: u64,
        /// Bytes sent.
        sent: f64,
        /// Bytes received.
        received: f64,
        /// The operation that sends.
        send: OpName,
        /// The operation that receives.
        recv: OpName,
    },
    /// A group names ranks that the trace does not describe.
    MissingRanks {
        /// Group.
        group: String,
        /// Ranks that are missing.
        missing: Vec<u32>,
        /// A rank that waits for them.
        rank: u32,
        /// Its operation.
        op: OpName,
    },
    /// A rank communicates in a group that it is not in.
    NotMember {
        /// Group.
        group: String,
        /// Rank.
        rank: u32,
        /// Operation.
        op: OpName,
    },
    /// Two ranks of a group do something else at the same place of the group's order.
    CollectiveDiffers {
        /// Group.
        group: String,
        /// Place in the order, from 0.
        place: usize,
        /// One rank.
        rank: u32,
        /// Its operation.
        op: OpName,
        /// What it is.
        what: String,
        /// Another rank.
        other: u32,
        /// Its operation.
        other_op: OpName,
        /// What that is.
        other_what: String,
    },
    /// A rank of a group takes part more often than another.
    CollectiveCount {
        /// Group.
        group: String,
        /// The rank with more.
        rank: u32,
        /// How often it takes part.
        count: usize,
        /// Its first operation that waits for ever.
        op: OpName,
        /// The rank with less.
        other: u32,
        /// How often that takes part.
        other_count: usize,
    },
    /// Operations of a rank wait for each other in a circle.
    Cycle {
        /// Rank.
        rank: u32,
        /// The circle: each waits for the next, the last for the first.
        ops: Vec<OpName>,
    },
}

impl TraceFault {
    /// Whether the trace can run all the same.
    #[must_use]
    pub const fn is_warning(&self) -> bool {
        matches!(self, Self::Tolerated { .. } | Self::AbsentDependencies { .. })
    }
}

/// The first few items and how many more there are.
fn few<T: fmt::Display>(items: &[T]) -> String {
    let mut text = items.iter().take(8).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if items.len() > 8 {
        text.push_str(&format!(" and {} more", items.len() - 8));
    }
    text
}

impl fmt::Display for TraceFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tolerated { file, line: 0, what } => write!(f, "{file}: {what}"),
            Self::Tolerated { file, line, what } => write!(f, "{file}:{line}: {what}"),
            Self::AbsentDependencies { rank, op, absent } => {
                write!(f, "rank {rank}: {op} waits for operations that the trace does not have: {}", few(absent))
            }
            Self::UnmatchedMessages { from, to, tag, sent, received, op } => {
                let (rank, end) = if sent > received { (from, "receive") } else { (to, "send") };
                write!(
                    f,
                    "rank {rank}: {op} has no matching {end}: rank {from} sends {sent} messages with tag {tag} to rank {to}, which \
                     receives {received}"
                )
            }
            Self::MessageSize { from, to, tag, sent, received, send, recv } => {
                write!(f, "rank {from}: {send} sends {sent} bytes with tag {tag} to rank {to}, whose {recv} receives {received}")
            }
            Self::MissingRanks { group, missing, rank, op } => {
                write!(f, "rank {rank}: {op} waits for ranks of group `{group}` that the trace does not have: {}", few(missing))
            }
            Self::NotMember { group, rank, op } => write!(f, "rank {rank}: {op} is in group `{group}`, which does not have this rank"),
            Self::CollectiveDiffers { group, place, rank, op, what, other, other_op, other_what } => write!(
                f,
                "group `{group}`, collective {place}: rank {rank} does {what} in {op}, rank {other} does {other_what} in {other_op}"
            ),
            Self::CollectiveCount { group, rank, count, op, other, other_count } => write!(
                f,
                "rank {rank}: {op} waits for ever: rank {rank} takes part in {count} collectives of group `{group}`, rank {other} in \
                 {other_count}"
            ),
            Self::Cycle { rank, ops } => write!(f, "rank {rank}: operations wait for each other in a circle: {}", few(ops)),
        }
    }
}
