//! The kinds of values that keys may have: words, counts, quantities with bounds, lists and maps.

use super::{At, Decode, Diagnostic, Diagnostics, Node, Span, Value, codes, nearest};
use crate::units::{Dimension, Quantity, Ratio, UnitError, parse_count};
use indexmap::IndexMap;
use serde_json::{Value as Json, json};
use std::marker::PhantomData;

/// Any text.
pub struct Text;
/// A name: a text that is not empty and has no control characters.
pub struct Name;
/// A path of a file, relative to the file that names it.
pub struct FilePath;
/// A whole number of at least 1: an integer or a text with a suffix such as `"300 G"`.
pub struct Count;
/// A whole number of at least 0.
pub struct Whole;
/// A share from 0 to 1: a number or a text such as `"85 %"`.
pub struct Share;
/// A quantity above 0.
pub struct Pos<Q>(PhantomData<Q>);
/// A quantity of at least 0.
pub struct NonNeg<Q>(PhantomData<Q>);
/// A finite plain number above 0.
pub struct Finite;
/// A finite plain number of at least 0.
pub struct Plain;
/// An array.
pub struct List<T>(PhantomData<T>);
/// A table with free keys.
pub struct Map<T>(PhantomData<T>);

/// What is in the way of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bounds {
    /// Above 0.
    Positive,
    /// At least 0.
    NonNegative,
    /// From 0 to 1.
    Share,
}

/// The largest count that is taken: above it every product of two counts could lose its unit digit.
const LARGEST_COUNT: u64 = 1_000_000_000_000_000;
/// The largest magnitude of a quantity in its SI base (a yottabyte, ten times the age of the universe …).
const LARGEST_QUANTITY: f64 = 1e27;

fn wrong_type<T>(node: &Node, wanted: &str, diags: &mut Diagnostics) -> Option<T> {
    diags.push(
        Diagnostic::error(codes::WRONG_TYPE, format!("expected {wanted}, found {}", node.value.kind()))
            .at(node.span, format!("expected {wanted}")),
    );
    None
}

fn out_of_range<T>(span: Span, message: String, hint: &str, diags: &mut Diagnostics) -> Option<T> {
    diags.push(Diagnostic::error(codes::OUT_OF_RANGE, message).at(span, "out of range").hint(hint));
    None
}

fn bad_quantity<T>(node: &Node, error: UnitError, diags: &mut Diagnostics) -> Option<T> {
    diags.push(Diagnostic::error(codes::BAD_QUANTITY, error.message).at(node.span, "here").hint(error.hint));
    None
}

impl Decode for Text {
    type Out = String;
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<String> {
        match &node.value {
            Value::Str(text) => Some(text.clone()),
            _ => wrong_type(node, "a text in quotes", diags),
        }
    }
    fn describe() -> Json {
        json!({"type": "string"})
    }
}

impl Decode for Name {
    type Out = String;
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<String> {
        let text = Text::decode(node, diags)?;
        if text.trim().is_empty() || text.chars().any(char::is_control) {
            return out_of_range(
                node.span,
                "a name is empty or has control characters".into(),
                "write a name such as \"a100-sxm-80gb\"",
                diags,
            );
        }
        Some(text)
    }
    fn describe() -> Json {
        json!({"type": "string", "minLength": 1})
    }
}

impl Decode for FilePath {
    type Out = String;
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<String> {
        Name::decode(node, diags)
    }
    fn describe() -> Json {
        json!({"type": "string", "minLength": 1})
    }
}

impl Decode for bool {
    type Out = Self;
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<Self> {
        match node.value {
            Value::Bool(b) => Some(b),
            _ => wrong_type(node, "true or false", diags),
        }
    }
    fn describe() -> Json {
        json!({"type": "boolean"})
    }
}

impl Decode for Whole {
    type Out = u64;
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<u64> {
        let hint = "write a whole number, such as 1536 or \"300 G\" (300 billion)";
        let value = match &node.value {
            Value::Int(i) => match u64::try_from(*i) {
                Ok(value) => value,
                Err(_) => return out_of_range(node.span, format!("`{i}` is negative"), hint, diags),
            },
            Value::Str(text) => match parse_count(text) {
                Ok(value) => value,
                Err(error) => return bad_quantity(node, error, diags),
            },
            Value::Float(f) => return out_of_range(node.span, format!("`{f}` is not a whole number in range"), hint, diags),
            _ => return wrong_type(node, "a whole number", diags),
        };
        if value > LARGEST_COUNT {
            return out_of_range(node.span, format!("`{value}` is absurdly large"), "the largest count is 1e15", diags);
        }
        Some(value)
    }
    fn describe() -> Json {
        json!({"oneOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^\s*[0-9.]+([eE][+]?[0-9]+)?\s*(k|M|G|T|P|Ki|Mi|Gi|Ti)?\s*$"}]})
    }
}

impl Decode for Count {
    type Out = u64;
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<u64> {
        match Whole::decode(node, diags)? {
            0 => out_of_range(node.span, "this count is 0".into(), "write a whole number of at least 1", diags),
            value => Some(value),
        }
    }
    fn describe() -> Json {
        json!({"oneOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": r"^\s*[0-9.]+([eE][+]?[0-9]+)?\s*(k|M|G|T|P|Ki|Mi|Gi|Ti)?\s*$"}]})
    }
}

fn number(node: &Node, dimension: Dimension, diags: &mut Diagnostics) -> Option<f64> {
    let parse = |text: &str| match dimension {
        Dimension::Ratio => <Ratio as Quantity>::parse(text).map(Ratio::get),
        _ => Err(UnitError { message: format!("`{text}` is no plain number"), hint: "write a plain number without quotes".into() }),
    };
    match &node.value {
        Value::Int(i) => Some(*i as f64),
        Value::Float(f) if f.is_finite() => Some(*f),
        Value::Float(f) => out_of_range(node.span, format!("`{f}` is not a finite number"), "write a finite number", diags),
        Value::Str(text) => match parse(text) {
            Ok(value) => Some(value),
            Err(error) => bad_quantity(node, error, diags),
        },
        _ => wrong_type(node, "a number", diags),
    }
}

impl Decode for Share {
    type Out = f64;
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<f64> {
        let value = number(node, Dimension::Ratio, diags)?;
        if (0.0..=1.0).contains(&value) {
            return Some(value);
        }
        out_of_range(node.span, format!("the share {value} is not between 0 and 1"), "write a share such as 0.85 or \"85 %\"", diags)
    }
    fn describe() -> Json {
        json!({"oneOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "string", "pattern": r"^\s*[0-9.]+\s*%?\s*$"}]})
    }
}

impl Decode for Finite {
    type Out = f64;
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<f64> {
        let value = number(node, Dimension::Ratio, diags)?;
        if value > 1e-12 && value < 1e12 {
            return Some(value);
        }
        out_of_range(node.span, format!("the number {value} is not above 0 or is absurd"), "write a number above 0", diags)
    }
    fn describe() -> Json {
        json!({"oneOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string", "pattern": r"^\s*[0-9.]+\s*%?\s*$"}]})
    }
}

impl Decode for Plain {
    type Out = f64;
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<f64> {
        let value = number(node, Dimension::Ratio, diags)?;
        if (0.0..1e15).contains(&value) {
            return Some(value);
        }
        out_of_range(node.span, format!("the number {value} is negative or is absurd"), "write a number of at least 0", diags)
    }
    fn describe() -> Json {
        json!({"type": "number", "minimum": 0})
    }
}

fn quantity<Q: Quantity>(node: &Node, bounds: Bounds, diags: &mut Diagnostics) -> Option<Q> {
    let value = match &node.value {
        Value::Str(text) => match Q::parse(text) {
            Ok(value) => value.get(),
            Err(error) => return bad_quantity(node, error, diags),
        },
        Value::Int(0) => 0.0,
        Value::Int(_) | Value::Float(_) => {
            let text =
                diags.source(node.span.source).text.get(node.span.start as usize..node.span.end as usize).unwrap_or("").trim().to_owned();
            return match Q::parse(&text) {
                Ok(value) if value.get() == 0.0 => checked(node, 0.0, bounds, diags),
                Ok(_) => wrong_type(node, "a quantity in quotes", diags),
                Err(error) => bad_quantity(node, error, diags),
            };
        }
        _ => return wrong_type(node, "a quantity with a unit, in quotes", diags),
    };
    checked(node, value, bounds, diags)
}

fn checked<Q: Quantity>(node: &Node, value: f64, bounds: Bounds, diags: &mut Diagnostics) -> Option<Q> {
    let (ok, hint) = match bounds {
        Bounds::Positive => (value > 0.0, "write a quantity above 0"),
        Bounds::NonNegative => (value >= 0.0, "write a quantity of at least 0"),
        Bounds::Share => ((0.0..=1.0).contains(&value), "write a share between 0 and 1"),
    };
    if !ok {
        return out_of_range(node.span, format!("the quantity is {}", if value == 0.0 { "0" } else { "negative" }), hint, diags);
    }
    if value > LARGEST_QUANTITY || (value > 0.0 && value < 1e-30) {
        return out_of_range(node.span, "the quantity is absurdly large or small".into(), "check the unit's prefix", diags);
    }
    Some(Q::new(value))
}

fn describe_quantity(dimension: Dimension) -> Json {
    json!({"type": ["string", "integer"], "description": format!("{dimension:?} with a unit"), "pattern": r"^\s*[-+0-9.eE]+\s*\S.*$", "const": null})
}

impl<Q: Quantity> Decode for Pos<Q> {
    type Out = Q;
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<Q> {
        quantity(node, Bounds::Positive, diags)
    }
    fn describe() -> Json {
        described(Q::DIMENSION)
    }
}

impl<Q: Quantity> Decode for NonNeg<Q> {
    type Out = Q;
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<Q> {
        quantity(node, Bounds::NonNegative, diags)
    }
    fn describe() -> Json {
        described(Q::DIMENSION)
    }
}

fn described(dimension: Dimension) -> Json {
    let mut schema = describe_quantity(dimension);
    if let Json::Object(object) = &mut schema {
        object.shift_remove("const");
    }
    schema
}

impl<T: Decode> Decode for List<T> {
    type Out = Vec<At<T::Out>>;
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<Self::Out> {
        let Value::Array(items) = &node.value else { return wrong_type(node, "an array", diags) };
        let decoded: Vec<_> = items.iter().map(|item| T::decode(item, diags).map(|value| At { value, span: item.span })).collect();
        decoded.into_iter().collect()
    }
    fn describe() -> Json {
        json!({"type": "array", "items": T::describe()})
    }
}

impl<T: Decode> Decode for Map<T> {
    type Out = IndexMap<String, At<T::Out>>;
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<Self::Out> {
        let Value::Table(table) = &node.value else { return wrong_type(node, "a table", diags) };
        let decoded: Vec<_> = table
            .entries
            .iter()
            .map(|(key, entry)| T::decode(&entry.node, diags).map(|value| (key.clone(), At { value, span: entry.node.span })))
            .collect();
        decoded.into_iter().collect()
    }
    fn describe() -> Json {
        json!({"type": "object", "additionalProperties": T::describe()})
    }
}

/// Reads one of some words.
pub fn decode_word<T>(node: &Node, words: &[&'static str], from: impl Fn(&str) -> Option<T>, diags: &mut Diagnostics) -> Option<T> {
    let Value::Str(text) = &node.value else { return wrong_type(node, &format!("one of {}", words.join(", ")), diags) };
    if let Some(value) = from(text) {
        return Some(value);
    }
    let mut diagnostic =
        Diagnostic::error(codes::UNKNOWN_CHOICE, format!("`{text}` is not one of {}", words.join(", "))).at(node.span, "unknown word");
    if let Some(name) = nearest(text, words.iter().copied()) {
        diagnostic = diagnostic.hint(format!("did you mean \"{name}\"?"));
    }
    diags.push(diagnostic);
    None
}

/// Reads the word that decides which keys a table has.
pub fn decode_tag(node: &Node, tag: &'static str, words: &'static [&'static str], diags: &mut Diagnostics) -> Option<&'static str> {
    let fields = super::Fields::new(node, &[], &[tag], diags)?;
    let Some(entry) = fields.table.entries.get(tag) else {
        diags.push(
            Diagnostic::error(codes::MISSING_KEY, format!("the key `{tag}` is missing"))
                .at(Span { end: node.span.start, ..node.span }, format!("this table needs `{tag}`"))
                .hint(format!("add `{tag} = …`, one of {}", words.join(", "))),
        );
        return None;
    };
    decode_word(&entry.node, words, |text| words.iter().copied().find(|w| *w == text), diags)
}

/// The schema of one variant of a tagged table.
#[must_use]
pub fn describe_variant(tag: &str, word: &str, mut schema: Json) -> Json {
    if let Some(properties) = schema.get_mut("properties").and_then(Json::as_object_mut) {
        properties.insert(tag.into(), json!({"const": word}));
    }
    if let Some(required) = schema.get_mut("required").and_then(Json::as_array_mut) {
        required.insert(0, Json::String(tag.into()));
    }
    schema
}
