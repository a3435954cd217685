//! `sockkit echo-bench`: reports, what is wrong with a server, statuses. The servers that are wrong are the tests' own.
//!
//! - `loops`: how messages follow each other
//! - `streams`, `datagrams`: what is wrong with what comes back, and how it is counted
//! - `faults`: what `serve -F` does on purpose
//! - `limits`: what is refused, what runs out, or is not there
//! - `reports`, `outputs`: what is told, in lines and in files for others
//! - `verdicts`: what a result must fulfil, and what it is compared with

mod datagrams;
mod faults;
mod limits;
mod loops;
mod outputs;
mod reports;
mod streams;
mod verdicts;

use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

use serde_json::Value;

use crate::harness::Run;

/// A server of one connection that does what `serve` says with it. Its address, and what `serve` returned.
fn tcp_server<T: Send + 'static>(serve: impl FnOnce(TcpStream) -> T + Send + 'static) -> (String, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (address, thread::spawn(move || serve(listener.accept().unwrap().0)))
}

/// A server of any number of connections that does what `serve` says with each. It ends with its test.
fn tcp_servers(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming().map(Result::unwrap) {
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// The report as JSON, and the status.
#[track_caller]
fn report(words: &str) -> (Value, i32) {
    let finished = Run::sockkit(&format!("echo-bench --json {words}")).finish();
    let text = String::from_utf8(finished.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "{words}: {text}{}", finished.stderr);
    (serde_json::from_str(&text).unwrap(), finished.code)
}
