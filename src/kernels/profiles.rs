//! The profiles that a run uses: the shipped ones with a user's over them, and which entry serves which part.

use super::nearby::Nearby;
use super::profile::{NearRow, Profile, ProfileFile};
use crate::diag::{At, Decode as _, Diagnostic, Diagnostics, Node, SourceId, Style, codes, render};
use crate::hardware::Accelerator;
use crate::measured::{CollectiveRow, Estimate, LinkRow, Measured, MemoryRow, StorageRow, ValueOrigin, values};
use std::sync::{Arc, OnceLock};

/// A decoded list of entries.
type Rows<T> = At<Vec<At<T>>>;

/// How near the measured part is to the one that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The part itself was measured.
    Own,
    /// Another part of its generation, moved by data-sheet ratio.
    Generation,
    /// A part of another generation, moved by data-sheet ratio.
    Neighbour,
}

/// Profiles in order of precedence.
#[derive(Debug, Clone)]
pub struct Profiles {
    list: Vec<Arc<Profile>>,
    /// Measured products of entries of the list.
    near: Vec<Arc<Nearby>>,
    measured: Arc<Measured>,
}

const FILES: [(&str, &str); 3] = [
    ("kernels/fitted.toml", include_str!("fitted.toml")),
    ("kernels/layers.toml", include_str!("layers.toml")),
    ("kernels/training.toml", include_str!("training.toml")),
];

/// Decodes the text of a profile file into profiles and measured entries.
fn decode(source: SourceId, diags: &mut Diagnostics) -> Option<(Vec<Arc<Profile>>, Measured)> {
    let file = read_profile(source, diags)?;
    Some((
        file.profile.value.into_iter().map(|p| Arc::new(p.value)).collect(),
        measured(file.collective, file.link, file.memory, file.storage),
    ))
}

/// Reads a profile file as it stands; `None` when it is faulty, which `diags` then holds.
pub fn read_profile(source: SourceId, diags: &mut Diagnostics) -> Option<ProfileFile> {
    let before = diags.error_count();
    let node = Node::parse(source, diags)?;
    let file = ProfileFile::decode(&node, diags)?;
    if *file.format != 1 {
        diags.push(
            Diagnostic::error(codes::UNKNOWN_FORMAT, format!("format {} is newer than this program", *file.format))
                .at(file.format.span, "unknown format")
                .hint("this program reads format 1"),
        );
    }
    for profile in &file.profile.value {
        check(&profile.value, diags);
    }
    measured(file.collective.clone(), file.link.clone(), file.memory.clone(), file.storage.clone()).check(diags);
    (diags.error_count() == before).then_some(file)
}

fn measured(collective: Rows<CollectiveRow>, link: Rows<LinkRow>, memory: Rows<MemoryRow>, storage: Rows<StorageRow>) -> Measured {
    Measured { collective: values(collective), link: values(link), memory: values(memory), storage: values(storage) }
}

/// Values that no kernel can have: rates above the data sheet, soft maxima that are none, an entry twice.
fn check(profile: &Profile, diags: &mut Diagnostics) {
    let mut shares: Vec<(&str, At<Estimate>)> = Vec::new();
    let mut exponents: Vec<At<Estimate>> = Vec::new();
    let mut keys: Vec<(String, crate::diag::Span)> = Vec::new();
    for row in &profile.gemm.value {
        shares.extend([("ec", row.ec), ("em", row.em), ("w", row.w)]);
        exponents.push(row.q);
        keys.push((format!("gemm {} {}", *row.dtype, *row.library), row.library.span));
        row.near.iter().for_each(|near| check_near(near, diags));
    }
    for row in &profile.prefill.value {
        shares.extend([("ec", row.ec), ("em", row.em)]);
        exponents.push(row.q);
        keys.push((format!("prefill {} {} {}", *row.dtype, *row.kv, *row.library), row.library.span));
    }
    for row in &profile.decode.value {
        shares.push(("em", row.em));
        exponents.push(row.q);
        keys.push((format!("decode {} {}", *row.kv, *row.library), row.library.span));
    }
    for row in &profile.moe.value {
        shares.extend([("ec", row.ec), ("em", row.em), ("w", row.w)]);
        exponents.push(row.q);
        keys.push((format!("moe {} {} {}", *row.dtype, *row.library, *row.kernel), row.kernel.span));
    }
    let plain = [
        ("memory_efficiency", profile.memory_efficiency.map(|v| (v, profile.memory_efficiency.span))),
        ("sustained_16", profile.sustained_16.map(|v| (v, profile.sustained_16.span))),
        ("sustained_8", profile.sustained_8.map(|v| (v, profile.sustained_8.span))),
    ];
    for (name, value, span) in
        shares.iter().map(|(n, e)| (*n, e.value.value, e.span)).chain(plain.iter().filter_map(|(n, v)| v.map(|(v, span)| (*n, v, span))))
    {
        if !(0.0..=1.05).contains(&value) || (name != "w" && value < 1e-3) {
            let message = format!("`{name}` is a share of the data sheet, and {value} is none");
            diags.push(
                Diagnostic::error(codes::OUT_OF_RANGE, message).at(span, "out of range").hint("write a share between 0.001 and 1.05"),
            );
        }
    }
    for e in exponents.iter().filter(|e| !(1.0..=100.0).contains(&e.value.value)) {
        let message = format!("`q` = {} is no exponent of a soft maximum", e.value.value);
        diags.push(Diagnostic::error(codes::OUT_OF_RANGE, message).at(e.span, "out of range").hint("write a number between 1 and 100"));
    }
    for (i, (key, span)) in keys.iter().enumerate() {
        if let Some((_, first)) = keys[..i].iter().find(|(k, _)| k == key) {
            let message = format!("there are two entries for {key}");
            diags.push(Diagnostic::error(codes::DUPLICATE_NAME, message).at(*span, "second one").at(*first, "first one"));
        }
    }
}

/// Measured products: some, no shape twice, a reach that is one.
fn check_near(near: &NearRow, diags: &mut Diagnostics) {
    let mut shapes: Vec<(u64, u64, u64, crate::diag::Span)> = near.products.iter().map(|p| (p.m, p.n, p.k, p.span)).collect();
    shapes.sort_by_key(|s| (s.0, s.1, s.2));
    for pair in shapes.windows(2).filter(|p| (p[0].0, p[0].1, p[0].2) == (p[1].0, p[1].1, p[1].2)) {
        let message = format!("the product {} × {} × {} is there twice", pair[0].0, pair[0].1, pair[0].2);
        diags.push(Diagnostic::error(codes::DUPLICATE_NAME, message).at(pair[1].3, "second one").at(pair[0].3, "first one"));
    }
    if shapes.is_empty() || shapes.len() > MOST_PRODUCTS {
        let message = format!("{} measured products: an entry has 1 to {MOST_PRODUCTS}", shapes.len());
        diags.push(Diagnostic::error(codes::OUT_OF_RANGE, message).at(near.products.span, "out of range").hint("leave `near` out"));
    }
    for (name, value) in [("reach", near.reach), ("own", near.own)] {
        if !(0.0..=100.0).contains(&*value) {
            let message = format!("`{name}` = {} is out of range", *value);
            diags.push(Diagnostic::error(codes::OUT_OF_RANGE, message).at(value.span, "above 100"));
        }
    }
}

/// Products of one entry: more are no longer looked through in microseconds.
const MOST_PRODUCTS: usize = 16_384;

impl Profiles {
    /// The profiles that ship with the program.
    pub fn embedded() -> &'static Self {
        static PROFILES: OnceLock<Profiles> = OnceLock::new();
        PROFILES.get_or_init(|| {
            let mut diags = Diagnostics::new();
            let mut list = Vec::new();
            for (name, text) in FILES {
                let source = diags.add_source(name, text);
                list.extend(decode(source, &mut diags).unwrap_or_default().0);
            }
            assert!(!diags.has_errors(), "the embedded kernel profiles are faulty:\n{}", render(&diags, Style::Plain));
            Self { list, near: Vec::new(), measured: Arc::default() }
        })
    }

    /// These profiles with those of a file before them; `None` when the file is faulty.
    pub fn with(&self, source: SourceId, diags: &mut Diagnostics) -> Option<Self> {
        let (mut list, mut measured) = decode(source, diags)?;
        let near = list.iter().flat_map(Nearby::of).chain(self.near.iter().cloned()).collect();
        list.extend(self.list.iter().cloned());
        measured.extend((*self.measured).clone());
        Some(Self { list, near, measured: Arc::new(measured) })
    }

    /// What was measured beside kernels.
    #[must_use]
    pub const fn measured(&self) -> &Arc<Measured> {
        &self.measured
    }

    /// Whether any value comes from a stand-in and not from a machine.
    #[must_use]
    pub fn is_synthetic(&self) -> bool {
        let kernels = self.list.iter().filter_map(|p| p.from.value.as_ref());
        kernels.chain(self.measured.stamps()).any(|s| *s.origin == ValueOrigin::Synthetic)
    }

    /// All profiles, those of the user first.
    pub fn iter(&self) -> impl Iterator<Item = &Profile> {
        self.list.iter().map(|p| &**p)
    }

    /// The profiles that may serve a part and are at most so far, nearest first.
    #[must_use]
    pub fn candidates(&self, part: &Accelerator, farthest: Origin) -> Vec<Arc<Profile>> {
        self.of(part).into_iter().filter(|(o, _)| *o <= farthest).map(|(_, p)| p).collect()
    }

    /// The measured products of an entry.
    pub(super) fn near(&self, profile: &Arc<Profile>, row: usize) -> Option<Arc<Nearby>> {
        self.near.iter().find(|n| Arc::ptr_eq(&n.profile, profile) && n.row == row).cloned()
    }

    /// The profiles that may serve a part, nearest first.
    pub(super) fn of(&self, part: &Accelerator) -> Vec<(Origin, Arc<Profile>)> {
        let mut out: Vec<(Origin, usize, Arc<Profile>)> = Vec::new();
        for profile in &self.list {
            let neighbours = neighbours(&part.generation);
            let (origin, rank) = if profile.accelerator.value == part.id.value {
                (Origin::Own, 0)
            } else if profile.generation.value == part.generation.value {
                (Origin::Generation, 0)
            } else if let Some(i) = neighbours.iter().position(|n| *n == profile.generation.value) {
                (Origin::Neighbour, i)
            } else {
                (Origin::Neighbour, neighbours.len())
            };
            out.push((origin, rank, profile.clone()));
        }
        out.sort_by_key(|(origin, rank, _)| (*origin, *rank));
        out.into_iter().map(|(origin, _, profile)| (origin, profile)).collect()
    }
}

/// Generations whose efficiencies serve a generation without measurements, nearest first. Microseconds and efficiencies move
/// better from a younger neighbour: Ada, Gaudi and Trainium take Hopper's, other AMD parts that of CDNA 3.
fn neighbours(generation: &str) -> [&'static str; 3] {
    let hopper = ["ada", "gaudi", "neuron"].iter().any(|p| generation.starts_with(p));
    match generation {
        _ if generation.starts_with("tpu") => ["tpu-v5e", "hopper", "ampere"],
        _ if generation.starts_with("blackwell") => ["blackwell", "hopper", "ampere"],
        _ if generation.starts_with("cdna") => ["cdna3", "hopper", "ampere"],
        "hopper" => ["blackwell", "ampere", "hopper"],
        _ if hopper => ["hopper", "ampere", "blackwell"],
        _ => ["ampere", "hopper", "blackwell"],
    }
}
