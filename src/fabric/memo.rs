//! What rooms above found about a fabric and keep with it, so that it goes when the fabric does.

use std::any::Any;
use std::fmt;
use std::sync::OnceLock;

/// A place for one value of a kind of the caller's choice. A copy of a fabric starts empty, as it may be changed.
#[derive(Default)]
pub struct Memo(OnceLock<Box<dyn Any + Send + Sync>>);

impl Memo {
    /// The value, made when first asked for; `None` where the place holds another kind.
    #[must_use]
    pub fn of<T: Default + Any + Send + Sync>(&self) -> Option<&T> {
        self.0.get_or_init(|| Box::new(T::default())).downcast_ref()
    }
}

impl Clone for Memo {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl fmt::Debug for Memo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memo")
    }
}
