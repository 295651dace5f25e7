//! Declared input: decoding, faults, overrides, schema; nothing panics on any text.

use super::*;
use crate::units::BytesPerSecond;
use crate::{choice, record, tagged};
use proptest::prelude::*;

choice! {
    /// A colour.
    pub enum Colour {
        /// Red.
        Red = "red",
        /// Blue.
        Blue = "blue",
    }
}

record! {
    /// A circle.
    pub struct Circle {
        /// Its radius.
        pub radius: Finite,
    }
}

tagged! {
    /// A shape.
    pub enum Shape by kind {
        /// Round.
        Circle(Circle) = "circle",
    }
}

record! {
    /// A thing.
    pub struct Thing {
        /// Its name.
        pub name: Name,
        /// How many.
        pub count: Count = 3,
        /// How fast.
        pub speed: Option<Pos<BytesPerSecond>>,
        /// Its colour.
        pub colour: Colour = Colour::Red,
        /// Its shapes.
        pub shape: List<Shape> = Vec::new(),
        /// Part of it.
        pub share: Share = 1.0,
    }
}

fn read(text: &str, set: &[&str]) -> Result<Thing, String> {
    let mut diags = Diagnostics::new();
    let source = diags.add_source("thing.toml", text);
    let mut node = Node::parse(source, &mut diags);
    if let Some(node) = &mut node {
        set.iter().for_each(|s| node.set(s, &mut diags));
    }
    let thing = node.and_then(|n| Thing::decode(&n, &mut diags));
    match thing {
        Some(thing) if !diags.has_errors() => Ok(thing),
        _ => Err(render(&diags, Style::Plain)),
    }
}

#[test]
fn values_defaults_and_overrides() {
    let thing =
        read("name = 'x'\nspeed = '8 Gbps'\n[[shape]]\nkind = 'circle'\nradius = 2", &["colour=blue", "shape.0.radius=3.5", "share=50 %"])
            .unwrap();
    assert_eq!((*thing.count, *thing.colour, thing.speed.map_or(0.0, BytesPerSecond::get)), (3, Colour::Blue, 1e9));
    assert_eq!((thing.name.as_str(), thing.shape[0].word()), ("x", "circle"));
    let Shape::Circle(circle) = &thing.shape[0].value;
    assert_eq!((*circle.radius, *thing.share), (3.5, 0.5));
}

#[test]
fn all_faults_at_once() {
    let said = read("nam = 'x'\ncount = 0\nspeed = 5\ncolour = 'blu'\nshare = 2\nshape = [{kind = 'box'}]", &[]).unwrap_err();
    for part in [
        "E0103",
        "E0102",
        "did you mean `name`",
        "this count is 0",
        "`5` has no unit",
        "did you mean \"blue\"",
        "is not between 0 and 1",
        "`box` is not one of circle",
    ] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    assert!(said.contains("6 errors") || said.contains("7 errors"), "{said}");
}

#[test]
fn odd_files_are_refused_not_feared() {
    for text in [
        "",
        "\u{feff}",
        "name = ",
        "name = '\u{0}'",
        "a.b.c = 1\na.b = 2",
        "name = 1979-05-27",
        "name = ''",
        "[[[[1]]]]",
        &"[".repeat(5000),
        &format!("name = '{}", "x".repeat(100_000)),
    ] {
        assert!(read(text, &[]).is_err(), "{}", &text[..text.len().min(20)]);
    }
    assert!(read("name = 'a'\r\ncount = 2\r\n", &[]).is_ok());
    assert!(
        read("name = 'x'", &["name.x=1"]).is_err()
            && read("name = 'x'", &["nonsense"]).is_err()
            && read("name = 'x'", &["a..b=1"]).is_err()
    );
}

#[test]
fn a_fault_in_an_included_file_names_both() {
    let mut diags = Diagnostics::new();
    let outer = diags.add_source("outer.toml", "topology = 'inner.toml'");
    let inner = diags.add_source("inner.toml", "x = 1");
    let place = Span { source: outer, start: 11, end: 23 };
    diags.including(place, |d| d.push(Diagnostic::error(codes::UNKNOWN_KEY, "wrong").at(Span { source: inner, start: 0, end: 1 }, "here")));
    let text = render(&diags, Style::Plain);
    assert!(text.contains("inner.toml:1:1") && text.contains("outer.toml:1:12") && text.contains("included here"), "{text}");
}

#[test]
fn schema_of_a_record() {
    let schema = Thing::describe();
    assert_eq!(schema["required"], serde_json::json!(["name"]));
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["properties"]["colour"]["enum"], serde_json::json!(["red", "blue"]));
    assert_eq!(schema["properties"]["shape"]["items"]["oneOf"][0]["properties"]["kind"]["const"], "circle");
}

proptest! {
    /// Any text is read or refused; what is refused names the file and a line.
    #[test]
    fn no_text_panics(text in "(name = '[a-z]*'\n)?([a-z]{1,6} ?= ?[-0-9a-z'\"\\[\\]{}., ]{0,12}\n){0,5}\\PC{0,8}") {
        if let Err(said) = read(&text, &[]) {
            prop_assert!(said.contains("thing.toml:"), "{}", said);
        }
    }
}
