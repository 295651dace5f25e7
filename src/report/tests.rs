//! Formats: contract keys, well-formed pages, no requests.
