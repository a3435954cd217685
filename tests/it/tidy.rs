//! The source keeps the invariants of `src/lib.rs`.
