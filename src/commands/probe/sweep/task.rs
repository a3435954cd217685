//! A target whose turn has come: where it is, and what became of it so far.
//!
//! Owns what a target carries from one attempt to the next. Must not know when there is one, nor what is dialled.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::names::Located;
use super::super::targets::Target;
use super::super::verdict::Verdict;
use crate::connection::{Address, Error};

/// A target whose turn has come, or will come again.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) target: Target,
    pub(super) located: Located,
    /// Which of its addresses, where each is a target of its own.
    pub(super) only: Option<Address>,
    /// Which attempt is next or under way, from 1.
    pub(super) attempt: u64,
    /// When this attempt was due.
    pub(super) due: Instant,
    /// When the first began.
    pub(super) begun: Instant,
    /// What the last attempt failed with.
    pub(super) last: Option<Arc<Error>>,
    /// Whether any attempt was as wanted.
    pub(super) was_wanted: bool,
}

impl Task {
    pub(super) fn verdict(&self, elapsed: Duration, error: Option<Arc<Error>>) -> Verdict {
        Verdict {
            target: self.target.clone(),
            address: None,
            only: self.only.clone(),
            local: None,
            resolve: self.resolve_time(),
            elapsed,
            first_byte: None,
            received: None,
            attempt: self.attempt,
            error,
            is_wanted: false,
        }
    }

    pub(super) fn resolve_time(&self) -> Duration {
        match &self.located {
            Ok(resolved) => resolved.elapsed,
            Err(error) => error.elapsed,
        }
    }
}
