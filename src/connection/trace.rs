//! Every socket call as it is made: its arguments, result, errno and duration, in the words of the manual pages.
//!
//! Owns the form of a trace line and the one switch. Must not know who calls or where the lines go: `output` hands in a
//! writer. Trade-off: the switch is one per process, as strace's is, so that no connection carries a handle for it and a
//! call that is not traced costs one relaxed load.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::errno;
use crate::printable;
use crate::units::microseconds;

/// How a call is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `0.000123 connect(3, 127.0.0.1:80) = -1 ECONNREFUSED (Connection refused) <0.000041>`
    Text,
    /// One JSON object a line, `"schema":"sockkit.trace/1"`.
    Json,
}

struct Sink {
    start: Instant,
    form: Form,
    /// The writer, until a write to it fails; then the failure, kept for [`finish`].
    writer: Mutex<io::Result<Box<dyn Write + Send>>>,
}

static ON: AtomicBool = AtomicBool::new(false);
static SINK: OnceLock<Sink> = OnceLock::new();

/// Starts the trace. Times count from now, on the monotonic clock.
pub fn start(form: Form, writer: Box<dyn Write + Send>) {
    let sink = Sink { start: Instant::now(), form, writer: Mutex::new(Ok(writer)) };
    if SINK.set(sink).is_ok() {
        ON.store(true, Ordering::Release);
    }
}

/// Ends the trace and says whether all of it was written.
pub fn finish() -> io::Result<()> {
    ON.store(false, Ordering::Release);
    let Some(sink) = SINK.get() else { return Ok(()) };
    let mut writer = sink.writer.lock().unwrap_or_else(PoisonError::into_inner);
    match &mut *writer {
        Ok(writer) => writer.flush(),
        Err(failure) => Err(errno::again(failure)),
    }
}

/// What a call gives back, as the number that C would see.
pub(super) trait Returned {
    /// A count, a descriptor, or 0.
    fn number(&self) -> i64;
}

impl Returned for () {
    fn number(&self) -> i64 {
        0
    }
}

impl Returned for usize {
    fn number(&self) -> i64 {
        i64::try_from(*self).unwrap_or(i64::MAX)
    }
}

impl<T: Returned, U> Returned for (T, U) {
    fn number(&self) -> i64 {
        self.0.number()
    }
}

/// Makes a call, and writes it down if the trace is on. `arguments` sees what the call filled in.
#[inline]
pub(super) fn call<T: Returned>(
    name: &'static str,
    arguments: impl FnOnce(Option<&T>) -> String,
    run: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    if !ON.load(Ordering::Relaxed) {
        return run();
    }
    let begun = Instant::now();
    let result = run();
    let elapsed = begun.elapsed();
    let arguments = arguments(result.as_ref().ok());
    record(name, &arguments, result.as_ref().map(Returned::number), begun, elapsed);
    result
}

/// A message, as an argument of a call.
pub(super) fn quoted(bytes: &[u8]) -> String {
    /// As many as strace shows: enough to recognise a message, little enough for one line.
    const SHOWN_BYTES_MAX: usize = 32;
    printable::quoted(bytes, SHOWN_BYTES_MAX)
}

#[derive(Serialize)]
struct Line<'a> {
    schema: &'static str,
    /// Seconds since the trace began, monotonic.
    time_s: f64,
    call: &'a str,
    arguments: &'a str,
    result: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errname: Option<&'static str>,
    elapsed_us: f64,
}

/// Out of line: the path that is taken only while tracing.
#[cold]
fn record(call: &str, arguments: &str, result: Result<i64, &io::Error>, begun: Instant, elapsed: Duration) {
    let Some(sink) = SINK.get() else { return };
    // Divided from whole nanoseconds: then the number has no more digits than the clock.
    let time_s = begun.saturating_duration_since(sink.start).as_nanos() as f64 / 1e9;
    let errno = result.err().and_then(io::Error::raw_os_error);
    let text = match sink.form {
        Form::Json => {
            let line = Line {
                schema: "sockkit.trace/1",
                time_s,
                call,
                arguments,
                result: result.unwrap_or(-1),
                errno,
                errname: errno.map(errno::name),
                elapsed_us: microseconds(elapsed),
            };
            serde_json::to_string(&line).unwrap_or_default()
        }
        Form::Text => {
            let result = match result {
                Ok(number) => number.to_string(),
                Err(error) => format!("-1 {} ({})", errno.map_or("EUNKNOWN", errno::name), errno::words(error)),
            };
            format!("{time_s:.6} {call}({arguments}) = {result} <{:.6}>", elapsed.as_secs_f64())
        }
    };
    write_line(sink, text);
}

fn write_line(sink: &Sink, mut text: String) {
    text.push('\n');
    let mut writer = sink.writer.lock().unwrap_or_else(PoisonError::into_inner);
    // One write a line: lines of several threads must not be torn, and each is there when the program is killed.
    if let Ok(open) = &mut *writer
        && let Err(failure) = open.write_all(text.as_bytes())
    {
        *writer = Err(failure);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_is_not_traced_makes_no_text() {
        let result =
            call("connect", |_: Option<&()>| panic!("nobody looks"), || Err(io::ErrorKind::ConnectionRefused.into()));
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
