//! `sockkit probe`: verdicts and statuses.

use crate::harness::{Run, Server};

#[test]
fn an_open_and_a_closed_port() {
    let server = Server::start("--quiet");
    Run::sockkit("probe")
        .args([server.v4().as_str(), "127.0.0.1:1"])
        .stdout(
            "127.0.0.1:PORT open TIME\n\
             127.0.0.1:1 refused after TIME: Connection refused (ECONNREFUSED, 111)\n",
        )
        .code(111)
        .check();
}
