//! How engines lie on accelerators, and how many of them run prompts alone.

use super::super::question::DeploymentInput;
use crate::diag::At;

/// Greatest number of a ratio.
const MOST: u64 = 1000;
/// Engines of prompts and of answers together that ratios are made of unless they are named.
const PARTS: u64 = 4;

/// Engines of prompts to engines that decode, in lowest terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Apart {
    pub(super) prompts: u64,
    pub(super) answers: u64,
}

impl Apart {
    const fn parts(self) -> u64 {
        self.prompts + self.answers
    }
}

/// How an engine lies on accelerators, and whether prompts have engines of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Setup {
    pub(super) tensor: u64,
    pub(super) data: u64,
    pub(super) expert: u64,
    pub(super) apart: Option<Apart>,
}

impl Setup {
    pub(super) const fn ranks(&self) -> u64 {
        self.tensor * self.data
    }

    /// Engines of prompts alone and the others, of all engines on so many accelerators: in the ratio as nearly as they can, one of each at least.
    pub(super) fn split(&self, accelerators: u64) -> (u64, u64) {
        let all = accelerators / self.ranks();
        let Some(apart) = self.apart else { return (0, all) };
        let prompts = (2 * all * apart.prompts + apart.parts()) / (2 * apart.parts());
        let prompts = prompts.min(all.saturating_sub(1)).max(1);
        (prompts, all - prompts)
    }

    /// Places that a router may send a request to.
    pub(super) fn fronts(&self, accelerators: u64) -> u64 {
        let (prompts, others) = self.split(accelerators);
        if prompts > 0 { prompts * self.data } else { others * self.data }
    }

    /// Whether whole engines, in the ratio exactly, lie on all accelerators, and whole engines of each kind on those that work.
    pub(super) fn divides(&self, accelerators: u64, working: u64) -> bool {
        let (ranks, parts) = (self.ranks(), self.apart.map_or(1, Apart::parts));
        let least = if self.apart.is_some() { 2 * ranks } else { ranks };
        accelerators.is_multiple_of(ranks.saturating_mul(parts)) && working.is_multiple_of(ranks) && working >= least
    }

    /// The keys of a scenario.
    pub(super) fn keys(&self, accelerators: u64) -> Vec<(&'static str, u64)> {
        let (prompts, others) = self.split(accelerators);
        let mut out = vec![
            ("serving.parallel.tensor", self.tensor),
            ("serving.parallel.data", self.data),
            ("serving.parallel.expert", self.expert),
            ("serving.parallel.replicas", others),
        ];
        if prompts > 0 {
            out.extend([
                ("serving.prefill.parallel.tensor", self.tensor),
                ("serving.prefill.parallel.data", self.data),
                ("serving.prefill.parallel.expert", self.expert),
                ("serving.prefill.parallel.replicas", prompts),
            ]);
        }
        out
    }

    /// One engine in words.
    pub(super) fn engine(&self) -> String {
        let data = if self.data > 1 { format!(" × attention DP {}", self.data) } else { String::new() };
        let expert = if self.expert > 1 { format!(", EP {}", self.expert) } else { String::new() };
        format!("TP {}{data}{expert}", self.tensor)
    }

    /// The engines on so many accelerators in words.
    pub(super) fn words(&self, accelerators: u64) -> String {
        let (prompts, others) = self.split(accelerators);
        let engines = |n: u64| format!("{n} engine{}", if n == 1 { "" } else { "s" });
        let kind = self.engine();
        match prompts {
            0 => format!("{} of {kind}", engines(others)),
            _ => format!("{} for prompts and {others} for answers, of {kind} each", engines(prompts)),
        }
    }
}

const fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// A ratio such as `1:3`, or `together`; `None` where it is neither.
pub(in crate::plan) fn ratio(text: &str) -> Option<Option<(u64, u64)>> {
    if text == "together" {
        return Some(None);
    }
    let (prompts, answers) = text.split_once(':')?;
    let number = |s: &str| s.parse::<u64>().ok().filter(|n| (1..=MOST).contains(n));
    let (prompts, answers) = (number(prompts)?, number(answers)?);
    let common = gcd(prompts, answers);
    Some(Some((prompts / common, answers / common)))
}

/// Checked ratios of a plan; unless they are named, together and every ratio of up to four engines.
fn ratios(list: Option<&Vec<At<String>>>) -> Vec<Option<Apart>> {
    if let Some(list) = list {
        return list.iter().filter_map(|text| ratio(text)).map(|r| r.map(|(prompts, answers)| Apart { prompts, answers })).collect();
    }
    let all = (2..=PARTS).flat_map(|n| (1..n).map(move |p| (p, n - p)));
    let lowest = all.filter(|(p, a)| gcd(*p, *a) == 1).map(|(prompts, answers)| Some(Apart { prompts, answers }));
    std::iter::once(None).chain(lowest).collect()
}

/// Ways to lay out an engine in a scale-up domain of so many accelerators, unless they are named.
pub(super) fn setups(input: Option<&DeploymentInput>, domain: u64, mixture: bool) -> Vec<Setup> {
    type Counts = Option<Vec<At<u64>>>;
    let listed = |of: fn(&DeploymentInput) -> &Counts| {
        input.and_then(|i| of(i).as_ref()).map(|list| list.iter().map(|v| v.value).collect::<Vec<u64>>())
    };
    let powers = || (0..).map(|i| 1u64 << i).take_while(|t| *t <= domain).collect();
    let tensors: Vec<u64> = listed(|i| &i.tensor.value).unwrap_or_else(powers);
    let apart = ratios(input.and_then(|i| i.prefill_to_decode.value.as_ref()));
    let (datas, experts) = (listed(|i| &i.data.value), listed(|i| &i.expert.value));
    let mut out = Vec::new();
    for &tensor in &tensors {
        let wide: Vec<u64> = if mixture && domain > tensor { vec![1, domain / tensor] } else { vec![1] };
        for &data in datas.as_ref().unwrap_or(&wide) {
            let ranks = tensor.saturating_mul(data);
            let spread: Vec<u64> = if mixture && ranks > 1 { vec![1, ranks] } else { vec![1] };
            for &expert in experts.as_ref().unwrap_or(&spread) {
                out.extend(apart.iter().map(|&apart| Setup { tensor, data, expert, apart }));
            }
        }
    }
    out.sort_unstable();
    out.dedup();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_read_in_lowest_terms() {
        assert_eq!(ratio("together"), Some(None));
        assert_eq!(ratio("2:6"), Some(Some((1, 3))));
        for bad in ["", "1", "0:1", "1:0", "1:-2", "1:2:3", "a:b", "1 : 2", "1001:1", "apart"] {
            assert_eq!(ratio(bad), None, "{bad}");
        }
    }

    #[test]
    fn ratios_that_are_not_named() {
        let all: Vec<_> = ratios(None).into_iter().map(|a| a.map(|a| (a.prompts, a.answers))).collect();
        assert_eq!(all, [None, Some((1, 1)), Some((1, 2)), Some((2, 1)), Some((1, 3)), Some((3, 1))]);
        // One, two and four ranks, each together and apart in five ratios.
        assert_eq!(setups(None, 4, false).len(), 18);
    }

    #[test]
    fn engines_are_split_in_the_ratio() {
        let setup = |prompts, answers| Setup { tensor: 2, data: 1, expert: 1, apart: Some(Apart { prompts, answers }) };
        assert_eq!(setup(1, 3).split(16), (2, 6));
        assert_eq!(setup(1, 3).split(8), (1, 3));
        // One node of two is down: as nearly as they can.
        assert_eq!(setup(3, 1).split(6), (2, 1));
        assert_eq!(setup(7, 1).split(4), (1, 1));
        assert!(setup(1, 3).divides(16, 8) && !setup(1, 3).divides(12, 12) && !setup(1, 1).divides(8, 2));
        for engines in 2..40 {
            for (p, a) in [(1, 1), (1, 7), (5, 2), (9, 1)] {
                let (prompts, answers) = setup(p, a).split(2 * engines);
                assert!(prompts >= 1 && answers >= 1 && prompts + answers == engines);
                let exact = engines as f64 * p as f64 / (p + a) as f64;
                assert!((prompts as f64 - exact.clamp(1.0, (engines - 1) as f64)).abs() <= 0.5);
            }
        }
    }
}
