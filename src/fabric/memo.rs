//! What rooms above found about a fabric and keep with it, so that it goes when the fabric does.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// A place for one value of each kind of the callers' choice. A copy of a fabric starts empty, as it may be changed.
#[derive(Default)]
pub struct Memo(Mutex<Vec<Arc<dyn Any + Send + Sync>>>);

impl Memo {
    /// The value of a kind, made when first asked for.
    #[must_use]
    pub fn of<T: Default + Any + Send + Sync>(&self) -> Arc<T> {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = kinds.iter().find_map(|kind| Arc::clone(kind).downcast().ok()) {
            return found;
        }
        let made = Arc::new(T::default());
        kinds.push(Arc::<T>::clone(&made));
        made
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
