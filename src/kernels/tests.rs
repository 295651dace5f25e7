//! Kernel models: closed forms, limits, order, borrowing.
