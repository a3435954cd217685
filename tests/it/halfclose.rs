//! The half-close rules of the relay, one row each.
