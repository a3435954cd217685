//! Signals, draining, --once: nothing that has come is lost.
