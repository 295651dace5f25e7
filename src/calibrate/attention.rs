//! Attention: prefill and decode kernels, every library and format by itself.

use super::fit::Group;
use super::solve::Parameter;
use super::{Deal, Entry, FEW, FEWEST, List, PRIOR, Points, deal, sheet, too_few};
use crate::hardware::{Catalogue, Dtype};
use crate::kernels::{
    AttentionCall, AttentionForm, DecodeConstants, DecodeRow, Origin, PrefillConstants, PrefillRow, Profiles, Sheet, attention_of_row,
};
use crate::measured::ValueOrigin;
use crate::tables::Table;
use indexmap::IndexMap;
use rayon::prelude::*;

/// Parameters of prefill in the order of [`prefill`].
const PREFILL: [Parameter; 7] = [
    p("t0", 0.5, 200.0, 10.0),
    p("ec", 0.05, 1.0, 0.6),
    p("em", 0.1, 1.0, 0.5),
    p("lon", 0.05, 3.0, 0.8),
    p("tt", 0.01, 20.0, 1.0),
    p("q", 1.3, 30.0, 1.6),
    p("qk", 0.01, 20.0, 0.5),
];

/// Parameters of decode in the order of [`decode`].
const DECODE: [Parameter; 6] = [
    p("t0", 0.5, 200.0, 8.0),
    p("em", 0.1, 1.0, 0.85),
    p("ts", 0.1, 30.0, 3.0),
    p("tt", 0.1, 20.0, 2.0),
    p("bc", 0.5, 30.0, 4.0),
    p("q", 1.3, 30.0, 3.0),
];

const fn p(name: &'static str, low: f64, high: f64, centre: f64) -> Parameter {
    Parameter { name, low, high, centre, firm: 1.0 }
}

fn prefill(v: &[f64]) -> PrefillConstants {
    PrefillConstants { t0: 1e-6 * v[0], ec: v[1], em: v[2], lon: v[3], tt: 1e-6 * v[4], q: v[5], qk: v[6] }
}

fn decode(v: &[f64]) -> DecodeConstants {
    DecodeConstants { t0: 1e-6 * v[0], em: v[1], ts: 1e-6 * v[2], tt: 1e-6 * v[3], bc: v[4], q: v[5] }
}

/// One measured call.
type Call = (AttentionCall, AttentionForm);

pub(super) fn fit(tables: &[Table]) -> (Vec<Entry>, IndexMap<String, usize>) {
    let Deal { entries, skipped } = deal(tables, |r| {
        let (query, kv, call, form) = attention_of_row(r)?;
        let (kv, library) = (("kv", kv.word().to_owned()), ("library", r.text("framework").to_owned()));
        let keys = match call {
            AttentionCall::Prefill(_) => vec![("dtype", query.word().to_owned()), kv, library],
            AttentionCall::Decode(_) => vec![kv, library],
        };
        Ok((keys, (call, form)))
    });
    let all: Vec<_> = entries.into_iter().collect();
    (all.par_iter().map(|((part, _), points)| entry(part, points)).collect(), skipped)
}

fn entry(part: &str, points: &Points<Call>) -> Entry {
    let of_prefill = points.keys[0].0 == "dtype";
    let list = if of_prefill { List::Prefill } else { List::Decode };
    if points.measured.len() < FEWEST {
        return too_few(part, list, points);
    }
    let format = if of_prefill { Dtype::from_word(&points.keys[0].1) } else { None };
    let sheet = sheet(part, format.unwrap_or(Dtype::Bf16));
    let library = points.keys.last().map_or("", |k| k.1.as_str());
    let mut apart = if of_prefill { PREFILL.to_vec() } else { DECODE.to_vec() };
    let few = points.measured.len() < FEW;
    if few {
        lean(part, points, &mut apart);
    }
    let predict = |i: usize, v: &[f64]| time(&sheet, library, &points.shapes[i], v);
    let shape = |c: &Call| match c {
        (AttentionCall::Prefill(a), f) => format!("{}x{}x{}x{}", a.batch, a.tokens, f.prefix, a.heads),
        (AttentionCall::Decode(a), _) => format!("{}x{}x{}", a.batch, a.context, a.heads),
    };
    let group = Group {
        shared: Vec::new(),
        apart,
        entries: 1,
        entry: vec![0; points.measured.len()],
        shape: points.shapes.iter().map(shape).collect(),
        measured: points.measured.clone(),
        predict: &predict,
        prior: if few { PRIOR.1 } else { PRIOR.0 },
    };
    let fit = group.fit().remove(0);
    Entry {
        accelerator: part.into(),
        list,
        keys: points.keys.clone(),
        sources: points.sources.clone(),
        origin: ValueOrigin::Imported,
        fit: Ok(fit),
    }
}

fn time(sheet: &Sheet, library: &str, call: &Call, v: &[f64]) -> f64 {
    match call {
        (AttentionCall::Prefill(a), form) => prefill(v).time(sheet, *a, *form),
        (AttentionCall::Decode(a), form) => decode(v).time(sheet, *a, *form, DecodeRow::shares_keys(library, a.heads, a.kv_heads)),
    }
}

/// Moves the centres to the constants that the shipped profiles borrow for the part.
fn lean(part: &str, points: &Points<Call>, parameters: &mut [Parameter]) {
    let part = &Catalogue::embedded().accelerators[part];
    let profiles = Profiles::embedded().candidates(part, Origin::Neighbour);
    let key = |name: &str| points.keys.iter().find(|k| k.0 == name).and_then(|k| Dtype::from_word(&k.1));
    let kv = key("kv").unwrap_or(Dtype::Bf16);
    let same = |r: &&PrefillRow| Some(*r.dtype) == key("dtype") && *r.kv == kv;
    let prefill = profiles.iter().flat_map(|p| p.prefill.iter().map(|r| &r.value)).find(same);
    let decode = profiles.iter().flat_map(|p| p.decode.iter().map(|r| &r.value)).find(|r| *r.kv == kv);
    let values: Vec<f64> = match (key("dtype"), prefill, decode) {
        (Some(_), Some(r), _) => {
            [r.t0.value, r.ec.value, r.em.value, r.lon.value, r.tt.value, r.q.value, r.qk.value].iter().map(|e| e.value).collect()
        }
        (None, _, Some(r)) => [r.t0.value, r.em.value, r.ts.value, r.tt.value, r.bc.value, r.q.value].iter().map(|e| e.value).collect(),
        _ => return,
    };
    for (p, value) in parameters.iter_mut().zip(values).filter(|(_, v)| *v > 0.0) {
        p.centre = value.clamp(p.low, p.high);
    }
}
