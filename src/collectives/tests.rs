//! Closed forms of algorithms, switch points of the library, conservation of bytes.
