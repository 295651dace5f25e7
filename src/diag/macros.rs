//! The macros that declare checked input once: structure, checks, messages and schema.

/// Declares a table of a TOML file.
///
/// Every field is a key; its type says which values are allowed ([`Decode`](crate::diag::Decode)), `= value` gives a
/// default. The struct holds `At<Out>` for each field, so that later checks can point into the file.
///
/// ```
/// use orrery::{diag::{Count, Text}, record};
/// record! {
///     /// A thing.
///     pub struct Thing {
///         /// How it is called.
///         pub title: Text,
///         /// How many there are.
///         pub count: Count = 1,
///         /// A remark.
///         pub note: Option<Text>,
///     }
/// }
/// ```
#[macro_export]
macro_rules! record {
    ($(#[doc = $sdoc:literal])* pub struct $name:ident {
        $($(#[doc = $fdoc:literal])* pub $field:ident : $ty:ty $(= $default:expr)?,)*
    }) => {
        $(#[doc = $sdoc])*
        #[derive(Debug, Clone)]
        #[allow(unreachable_pub)]
        pub struct $name {
            $($(#[doc = $fdoc])* pub $field: $crate::diag::At<<$ty as $crate::diag::Decode>::Out>,)*
        }
        #[allow(unreachable_pub)]
        impl $name {
            /// Reads the table; keys in `known` are left to somebody else.
            pub fn decode_with(
                node: &$crate::diag::Node,
                known: &[&'static str],
                diags: &mut $crate::diag::Diagnostics,
            ) -> Option<Self> {
                let mut fields = $crate::diag::Fields::new(node, known, &[$(stringify!($field)),*], diags)?;
                $(
                    #[allow(unused_mut, unused_assignments)]
                    let mut default: Option<<$ty as $crate::diag::Decode>::Out> = None;
                    $(default = Some($default);)?
                    let $field = $crate::diag::take_field::<$ty>(&mut fields, (stringify!($field), concat!($($fdoc),*)), default, diags);
                )*
                if !$crate::diag::finish_table(&fields, diags) {
                    return None;
                }
                Some(Self { $($field: $field?,)* })
            }
        }
        impl $crate::diag::Decode for $name {
            type Out = Self;
            fn decode(node: &$crate::diag::Node, diags: &mut $crate::diag::Diagnostics) -> Option<Self> {
                Self::decode_with(node, &[], diags)
            }
            fn describe() -> serde_json::Value {
                let doc = $crate::diag::join_docs(&[$($sdoc),*]);
                $crate::diag::describe_table(&doc, vec![$($crate::diag::KeyInfo {
                    name: stringify!($field),
                    doc: $crate::diag::join_docs(&[$($fdoc),*]),
                    required: {
                        #[allow(unused_mut, unused_assignments)]
                        let mut required = <$ty as $crate::diag::Decode>::absent().is_none();
                        $(let _ = stringify!($default); required = false;)?
                        required
                    },
                    schema: <$ty as $crate::diag::Decode>::describe(),
                }),*])
            }
        }
    };
}

/// Declares a set of words that a key may have: `choice! { pub enum Colour { Red = "red", Blue = "blue", } }`.
#[macro_export]
macro_rules! choice {
    ($(#[doc = $edoc:literal])* pub enum $name:ident { $($(#[doc = $vdoc:literal])* $variant:ident = $word:literal,)* }) => {
        $(#[doc = $edoc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(unreachable_pub)]
        pub enum $name { $($(#[doc = $vdoc])* $variant,)* }
        #[allow(unreachable_pub)]
        impl $name {
            /// The words of all choices.
            pub const WORDS: &'static [&'static str] = &[$($word),*];
            /// The word in files.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
            /// The choice of a word.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.word())
            }
        }
        impl $crate::diag::Decode for $name {
            type Out = Self;
            fn decode(node: &$crate::diag::Node, diags: &mut $crate::diag::Diagnostics) -> Option<Self> {
                $crate::diag::decode_word(node, Self::WORDS, Self::from_word, diags)
            }
            fn describe() -> serde_json::Value {
                serde_json::json!({"enum": Self::WORDS})
            }
        }
    };
}

/// Declares a table whose other keys depend on one word:
/// `tagged! { pub enum Shape by kind { Circle(Circle) = "circle", Box(Rect) = "box", } }`.
#[macro_export]
macro_rules! tagged {
    ($(#[doc = $edoc:literal])* pub enum $name:ident by $tag:ident { $($(#[doc = $vdoc:literal])* $variant:ident($inner:ty) = $word:literal,)* }) => {
        $(#[doc = $edoc])*
        #[derive(Debug, Clone)]
        #[allow(unreachable_pub)]
        pub enum $name { $($(#[doc = $vdoc])* $variant($inner),)* }
        #[allow(unreachable_pub)]
        impl $name {
            /// The words of all variants.
            pub const WORDS: &'static [&'static str] = &[$($word),*];
            /// The word in files.
            #[must_use]
            pub const fn word(&self) -> &'static str {
                match self { $(Self::$variant(_) => $word,)* }
            }
        }
        impl $crate::diag::Decode for $name {
            type Out = Self;
            fn decode(node: &$crate::diag::Node, diags: &mut $crate::diag::Diagnostics) -> Option<Self> {
                match $crate::diag::decode_tag(node, stringify!($tag), Self::WORDS, diags)? {
                    $($word => <$inner>::decode_with(node, &[stringify!($tag)], diags).map(Self::$variant),)*
                    _ => None,
                }
            }
            fn describe() -> serde_json::Value {
                serde_json::json!({"oneOf": [$($crate::diag::describe_variant(stringify!($tag), $word, <$inner as $crate::diag::Decode>::describe())),*]})
            }
        }
    };
}
