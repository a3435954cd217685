//! Bars of progress: what they look like, and the one that is on the screen.
//!
//! Must not know what is counted, nor who is looking. Trade-off: the bar is one per process, as the terminal is, so that
//! whoever prints needs no handle to step around it.

use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, WeakProgressBar};

/// Often enough to look alive, seldom enough not to disturb what is measured.
const DRAWS_PER_SECOND: u8 = 4;

/// The bar that is on the screen, as long as somebody has it.
static SHOWN: Mutex<Option<WeakProgressBar>> = Mutex::new(None);

/// The bar that is on the screen, if there is one.
pub fn shown() -> Option<ProgressBar> {
    let bar = SHOWN.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.upgrade()?;
    (!bar.is_finished()).then_some(bar)
}

/// Fills with so many steps.
pub fn of_steps(steps: u64) -> ProgressBar {
    show(Some(steps), "{bar:24} {msg}")
}

/// Of bytes that pass: with their rate, and when all of them are known, the time that is left.
pub fn of_bytes(length: Option<u64>) -> ProgressBar {
    let template = match length {
        Some(_) => "{bar:24} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left",
        None => "{binary_bytes}, {binary_bytes_per_sec}",
    };
    show(length, template)
}

fn show(length: Option<u64>, template: &str) -> ProgressBar {
    let target = ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND);
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::with_draw_target(length, target).with_style(style);
    *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.downgrade());
    bar
}
