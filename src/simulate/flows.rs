//! Flow cases: flows with sizes, start times, explicit paths and dependencies on a list of links; when does each end?
//!
//! A flow is ready at `start_s`, or, where `after` is not empty, `start_s` after the last of those ended; it waits the
//! sum of its links' latencies without using bandwidth, then transfers at its max-min fair rate.

use super::fluid::Fluid;
use crate::engine::EventQueue;
use crate::units::SimTime;
use rustc_hash::FxHashMap;
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

/// The id of a flow or link: a number or a text, given back as it came.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub enum CaseId {
    /// A whole number.
    Number(u64),
    /// A text.
    Text(String),
}

impl fmt::Display for CaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(n) => write!(f, "{n}"),
            Self::Text(t) => write!(f, "{t}"),
        }
    }
}

impl<'de> Deserialize<'de> for CaseId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct IdVisitor;
        impl Visitor<'_> for IdVisitor {
            type Value = CaseId;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an id: a whole number or a text")
            }
            fn visit_u64<E>(self, v: u64) -> Result<CaseId, E> {
                Ok(CaseId::Number(v))
            }
            fn visit_i64<E: serde::de::Error>(self, v: i64) -> Result<CaseId, E> {
                Err(E::custom(format!("the id {v} is negative")))
            }
            fn visit_str<E>(self, v: &str) -> Result<CaseId, E> {
                Ok(CaseId::Text(v.to_owned()))
            }
        }
        d.deserialize_any(IdVisitor)
    }
}

fn positive<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
    let value = f64::deserialize(d)?;
    if value > 0.0 && value.is_finite() { Ok(value) } else { Err(D::Error::custom(format!("the bandwidth {value} is not above 0"))) }
}

fn non_negative<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
    let value = f64::deserialize(d)?;
    if value >= 0.0 && value.is_finite() { Ok(value) } else { Err(D::Error::custom(format!("the value {value} is negative"))) }
}

#[derive(Deserialize)]
struct LinkInput {
    id: CaseId,
    #[serde(rename = "bw_Bps", deserialize_with = "positive")]
    bandwidth: f64,
    #[serde(rename = "lat_s", deserialize_with = "non_negative")]
    latency: f64,
}

#[derive(Deserialize)]
struct FlowInput {
    id: CaseId,
    #[serde(rename = "size_B", deserialize_with = "non_negative")]
    size: f64,
    #[serde(rename = "start_s", deserialize_with = "non_negative")]
    start: f64,
    path: Vec<CaseId>,
    #[serde(default)]
    after: Vec<CaseId>,
}

#[derive(Deserialize)]
struct CaseInput {
    links: Vec<LinkInput>,
    flows: Vec<FlowInput>,
}

/// Why a flow case is refused, with the place in the file where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowCaseError {
    /// What is wrong.
    pub message: String,
    /// Line from 1, or 0 where no place is known.
    pub line: usize,
    /// Column from 1, or 0.
    pub column: usize,
}

impl fmt::Display for FlowCaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
impl std::error::Error for FlowCaseError {}

struct Flow {
    size: f64,
    start: f64,
    latency: f64,
    path: Vec<u32>,
    after: u32,
    successors: Vec<u32>,
}

/// A checked flow case.
pub struct FlowCase {
    ids: Vec<CaseId>,
    capacities: Vec<f64>,
    flows: Vec<Flow>,
}

/// When one flow ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FlowEnd {
    /// Its id as given.
    pub id: CaseId,
    /// End of its transfer, seconds.
    pub finish_s: f64,
}

/// When every flow ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FlowOutcome {
    /// In order of the file.
    pub flows: Vec<FlowEnd>,
    /// End of the last flow, seconds.
    pub makespan_s: f64,
}

fn index(ids: impl Iterator<Item = CaseId>, what: &str) -> Result<FxHashMap<CaseId, u32>, FlowCaseError> {
    let mut out = FxHashMap::default();
    for (i, id) in ids.enumerate() {
        if out.insert(id.clone(), i as u32).is_some() {
            return Err(refuse(format!("there are two {what}s with id {id}")));
        }
    }
    Ok(out)
}

const fn refuse(message: String) -> FlowCaseError {
    FlowCaseError { message, line: 0, column: 0 }
}

impl FlowCase {
    /// Reads and checks a flow case.
    ///
    /// # Errors
    /// Says what is wrong and where.
    pub fn parse(text: &str) -> Result<Self, FlowCaseError> {
        let input: CaseInput = serde_json::from_str(text).map_err(|e| {
            let full = e.to_string();
            let message = full.rsplit_once(" at line ").map_or(full.clone(), |(m, _)| m.to_owned());
            FlowCaseError { message, line: e.line(), column: e.column() }
        })?;
        let links = index(input.links.iter().map(|l| l.id.clone()), "link")?;
        let flows = index(input.flows.iter().map(|f| f.id.clone()), "flow")?;
        let mut case = Self {
            ids: Vec::with_capacity(input.flows.len()),
            capacities: input.links.iter().map(|l| l.bandwidth).collect(),
            flows: Vec::with_capacity(input.flows.len()),
        };
        let mut edges = Vec::new();
        for (i, flow) in input.flows.into_iter().enumerate() {
            let mut path = Vec::with_capacity(flow.path.len());
            for id in &flow.path {
                let link = *links.get(id).ok_or_else(|| refuse(format!("flow {} goes over link {id}, which does not exist", flow.id)))?;
                if path.contains(&link) {
                    return Err(refuse(format!("flow {} goes over link {id} twice", flow.id)));
                }
                path.push(link);
            }
            if path.is_empty() && flow.size > 0.0 {
                return Err(refuse(format!("flow {} has bytes but no path", flow.id)));
            }
            for id in &flow.after {
                let before = *flows.get(id).ok_or_else(|| refuse(format!("flow {} waits for flow {id}, which does not exist", flow.id)))?;
                edges.push((before, i as u32));
            }
            let latency = path.iter().map(|&l| input.links[l as usize].latency).sum();
            case.flows.push(Flow {
                size: flow.size,
                start: flow.start,
                latency,
                path,
                after: flow.after.len() as u32,
                successors: Vec::new(),
            });
            case.ids.push(flow.id);
        }
        for (before, after) in edges {
            case.flows[before as usize].successors.push(after);
        }
        Ok(case)
    }

    /// Runs the case.
    ///
    /// # Errors
    /// When flows wait for each other in a circle: their ids.
    pub fn run(&self) -> Result<FlowOutcome, FlowCaseError> {
        let mut fluid = Fluid::new();
        let links: Vec<_> = self.capacities.iter().map(|&c| fluid.add_resource(c)).collect();
        let mut queue = EventQueue::new();
        let mut waiting: Vec<u32> = self.flows.iter().map(|f| f.after).collect();
        let mut finish = vec![f64::NAN; self.flows.len()];
        for (i, flow) in self.flows.iter().enumerate().filter(|(_, f)| f.after == 0) {
            queue.push(SimTime::new(flow.start + flow.latency), i as u32);
        }
        let (mut ended, mut uses) = (Vec::new(), Vec::new());
        loop {
            let now = match (queue.next_time().map(SimTime::seconds), fluid.next_finish()) {
                (Some(q), f) if f.is_none_or(|f| q <= f) => {
                    while queue.next_time().map(SimTime::seconds) == Some(q) {
                        let Some((_, i)) = queue.pop() else { break };
                        let flow = &self.flows[i as usize];
                        if flow.size > 0.0 {
                            uses.clear();
                            uses.extend(flow.path.iter().map(|&l| (links[l as usize], 1.0)));
                            fluid.start(q, flow.size, &uses, f64::INFINITY, i);
                        } else {
                            ended.push(i);
                        }
                    }
                    q
                }
                (_, Some(f)) => {
                    fluid.finish_at(f, &mut ended);
                    f
                }
                _ => break,
            };
            for i in ended.drain(..) {
                finish[i as usize] = now;
                for &next in &self.flows[i as usize].successors {
                    waiting[next as usize] -= 1;
                    if waiting[next as usize] == 0 {
                        let flow = &self.flows[next as usize];
                        queue.push(SimTime::new(now + flow.start + flow.latency), next);
                    }
                }
            }
        }
        self.outcome(&finish)
    }

    fn outcome(&self, finish: &[f64]) -> Result<FlowOutcome, FlowCaseError> {
        let stuck: Vec<String> = self.ids.iter().zip(finish).filter(|(_, f)| f.is_nan()).map(|(id, _)| id.to_string()).take(8).collect();
        if !stuck.is_empty() {
            return Err(refuse(format!("deadlock: these flows wait for each other: {}", stuck.join(", "))));
        }
        let flows = self.ids.iter().zip(finish).map(|(id, &finish_s)| FlowEnd { id: id.clone(), finish_s }).collect();
        Ok(FlowOutcome { flows, makespan_s: finish.iter().copied().fold(0.0, f64::max) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TWO: &str = r#"{"links": [{"id": 0, "bw_Bps": 1e10, "lat_s": 1e-6}], "flows": [
        {"id": "a", "size_B": 1e10, "start_s": 0, "path": [0]},
        {"id": "b", "size_B": 1e10, "start_s": 0, "path": [0], "after": ["a"]}]}"#;

    #[test]
    fn one_after_the_other() {
        let outcome = FlowCase::parse(TWO).unwrap().run().unwrap();
        assert!((outcome.makespan_s - 2.000_002).abs() < 1e-12);
    }

    #[test]
    fn circles_and_unknown_links_are_named() {
        let circle = TWO.replace(r#""path": [0]},"#, r#""path": [0], "after": ["b"]},"#);
        let error = FlowCase::parse(&circle).unwrap().run().unwrap_err();
        assert_eq!(error.message, "deadlock: these flows wait for each other: a, b");
        let unknown = TWO.replace("\"path\": [0]}", "\"path\": [7]}");
        assert_eq!(FlowCase::parse(&unknown).err().unwrap().message, "flow a goes over link 7, which does not exist");
        let zero = FlowCase::parse(&TWO.replace("1e10, \"lat_s\"", "0, \"lat_s\"")).err().unwrap();
        assert_eq!((zero.message.as_str(), zero.line), ("the bandwidth 0 is not above 0", 1));
    }

    proptest! {
        /// Several flows on one link take as long as their bytes together, whatever their sizes (bytes are conserved).
        #[test]
        fn one_link_is_always_full(sizes in proptest::collection::vec(1u32..1_000_000, 1..30)) {
            let flows: Vec<String> = sizes.iter().enumerate()
                .map(|(i, s)| format!(r#"{{"id": {i}, "size_B": {s}, "start_s": 0, "path": [0]}}"#)).collect();
            let text = format!(r#"{{"links": [{{"id": 0, "bw_Bps": 1000, "lat_s": 0}}], "flows": [{}]}}"#, flows.join(","));
            let outcome = FlowCase::parse(&text).unwrap().run().unwrap();
            let want = sizes.iter().map(|&s| f64::from(s)).sum::<f64>() / 1000.0;
            prop_assert!((outcome.makespan_s / want - 1.0).abs() < 1e-12);
        }
    }
}
