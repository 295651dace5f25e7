//! Many jobs on one cluster: queues, placement, preemption, quotas, outages, services that scale.
//!
//! A [`Fleet`] is a cluster with jobs; a [`Policy`] says who is next (`order`), what may pass (`backfill`), where jobs go (`place`) and
//! whom they may stop (`pass`). [`replay()`] runs jobs as events. What the steps of a job take on the nodes that it got comes from the
//! simulation of training (`pace`), together with those of the jobs with which it shares links.

mod attempt;
mod autoscale;
mod backfill;
mod cluster;
mod curve;
mod draw;
mod grant;
mod graph;
mod heat;
mod job;
pub mod kubernetes;
mod order;
mod outage;
mod pace;
mod pass;
mod place;
mod planned;
mod reads;
mod reclaim;
mod region;
mod replay;
mod rollout;
mod service;
mod step_times;
mod tally;
mod trace;

#[cfg(test)]
mod tests;

pub use autoscale::ElasticPool;
pub use backfill::{Backfill, Held, View, backfill};
pub use cluster::{Cluster, Condition, Node, Pool};
pub use curve::{Curve, Load, Times};
pub use draw::{JobClass, Lengths, Shares, draw_all};
pub use grant::{Ask, Grant, Part, Within};
pub use graph::{Graph, PipelineRun};
pub use heat::{Heat, HotLink};
pub use job::{BackfillKind, Elastic, Job, OrderKind, PlacementKind, Policy, Team, Work};
pub use order::{Admission, Order, Place, Queue, Usage, Walk, admission, order};
pub use outage::{Maintenance, Outages};
pub use pace::{Model, Models};
pub use place::{Placement, find, placement};
pub use reads::{Reads, Weights};
pub use reclaim::Spot;
pub use region::{Copying, Failover, RegionLoss, RegionOutage, WayBack};
pub use replay::{Fleet, Keep, Replayed, replay};
pub use rollout::{Roll, Rollout};
pub use service::{Metric, Scaling, Service, ServiceState};
pub use step_times::{NoSteps, StepTimes};
pub use tally::{Fate, Series, Stay};
pub use trace::{BadRow, NodeRow, TraceFormat, TraceJob, TraceRead, format_of, read_nodes, read_trace};
