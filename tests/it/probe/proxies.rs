//! `sockkit probe --proxy`: what a proxy says of a target, and what its own failures do not say.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::harness::{DEADLINE, Run, Server, mask};

/// A SOCKS5 proxy for as many connections as come: it connects to addresses and answers with the system's reason; a name is
/// answered with the code that it is.
struct Socks {
    address: SocketAddr,
    served: Arc<AtomicUsize>,
}

impl Socks {
    fn start() -> Socks {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, served) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let count = served.clone();
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                count.fetch_add(1, Ordering::Relaxed);
                // A client that leaves early is its own affair.
                thread::spawn(move || drop(serve(client)));
            }
        });
        Socks { address, served }
    }
}

fn serve(mut client: TcpStream) -> std::io::Result<()> {
    client.set_read_timeout(Some(DEADLINE))?;
    client.read_exact(&mut [0; 3])?;
    client.write_all(b"\x05\0")?;
    let mut head = [0; 4];
    client.read_exact(&mut head)?;
    if head[3] == 3 {
        let mut length = [0];
        client.read_exact(&mut length)?;
        let mut name = vec![0; usize::from(length[0]) + 2];
        client.read_exact(&mut name)?;
        let code = String::from_utf8_lossy(&name[..name.len() - 2]).trim_start_matches("code").parse().unwrap_or(1);
        return client.write_all(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0]);
    }
    let mut place = [0; 6];
    client.read_exact(&mut place)?;
    let ip = Ipv4Addr::new(place[0], place[1], place[2], place[3]);
    let Ok(mut target) = TcpStream::connect((ip, u16::from_be_bytes([place[4], place[5]]))) else {
        return client.write_all(&[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]);
    };
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    let (mut from, mut to) = (client.try_clone()?, target.try_clone()?);
    thread::spawn(move || std::io::copy(&mut from, &mut to).and_then(|_| to.shutdown(Shutdown::Write)));
    std::io::copy(&mut target, &mut client)?;
    client.shutdown(Shutdown::Write)
}

#[test]
fn what_the_proxy_says_of_a_target_is_its_state() {
    let (socks, server) = (Socks::start(), Server::start("--quiet"));
    let proxy = format!("--proxy socks5h://{}", socks.address);
    Run::sockkit(&format!("probe {proxy} {} 127.0.0.1:1", server.v4()))
        .stdout(
            "127.0.0.1:PORT open TIME\n127.0.0.1:1 refused after TIME: Connection refused (ECONNREFUSED, 111); the proxy \
             answered 5, connection refused\n",
        )
        .code(111)
        .check();
    for (code, state, status) in [
        (2, "unreachable EACCES", 13),
        (3, "unreachable ENETUNREACH", 101),
        (4, "unreachable EHOSTUNREACH", 113),
        (5, "refused ECONNREFUSED", 111),
        (6, "timed_out ETIMEDOUT", 110),
        (1, "local_error EPROXY", 205),
        (8, "local_error EPROXY", 205),
    ] {
        if cfg!(not(target_os = "linux")) && code != 5 {
            continue; // The numbers are Linux's.
        }
        let came = Run::sockkit(&format!("probe {proxy} -o csv code{code}:80")).finish();
        let text = String::from_utf8_lossy(&came.stdout).into_owned();
        let row: Vec<&str> = text.lines().nth(1).unwrap().split(',').collect();
        assert_eq!((format!("{} {}", row[4], row[7]).as_str(), came.code), (state, status), "{text}");
    }
}

/// Everything goes through one window, also more than there are threads, and the checks are those of a straight way.
#[test]
fn many_targets_and_every_check_go_through_the_proxy() {
    let (socks, server) = (Socks::start(), Server::start("--quiet"));
    let (proxy, port) = (format!("--proxy socks5://{}", socks.address), server.port());
    let ports: Vec<String> = (1..=300).map(|port| port.to_string()).collect();
    let came = Run::sockkit(&format!("probe {proxy} -o grep 127.0.0.1:{},{port}", ports.join(","))).finish();
    let text = String::from_utf8_lossy(&came.stdout);
    let opens: Vec<&str> = text.lines().filter(|line| line.starts_with("open")).collect();
    assert_eq!(opens, [format!("open\ttcp\t127.0.0.1\t{port}\tOK\t127.0.0.1:{port}")]);
    assert_eq!(text.matches("refused\ttcp\t127.0.0.1\t").count(), 300, "{text}");
    assert_eq!(socks.served.load(Ordering::Relaxed), 301);
    Run::sockkit(&format!("probe {proxy} --send ping --expect ping --stable 10ms -4 localhost:{port}"))
        .stdout("localhost:PORT open TIME at 127.0.0.1:PORT\n")
        .check();
    Run::sockkit(&format!("probe {proxy} -w 200ms --send ping --expect pong {}", server.v4()))
        .stdout("127.0.0.1:PORT check failed after TIME: what was expected did not come; 4 bytes came: \"ping\"\n")
        .code(204)
        .check();
}

/// It is no answer: neither `closed` nor `down` is met by it.
#[test]
fn a_proxy_that_fails_says_nothing_of_any_target() {
    let local =
        "local error: connect proxy http://127.0.0.1:1 failed after TIME: Connection refused (ECONNREFUSED, 111)";
    Run::sockkit("probe --proxy http://127.0.0.1:1 127.0.0.1:2 127.0.0.1:3")
        .stdout(&format!("127.0.0.1:2 {local}\n127.0.0.1:3 {local}\n"))
        .code(205)
        .check();
    Run::sockkit("probe --proxy http://127.0.0.1:1 --exit-code class 127.0.0.1:2")
        .stdout(&format!("127.0.0.1:2 {local}\n"))
        .code(4)
        .check();
    Run::sockkit("probe --proxy http://127.0.0.1:1 -o errno 127.0.0.1:2").stdout("-1\n").code(205).check();
    for goal in ["closed", "down"] {
        let came = Run::sockkit(&format!(
            "probe --wait {goal} --deadline 300ms -i 50ms --proxy socks5://127.0.0.1:1 127.0.0.1:2"
        ));
        let came = came.finish();
        assert_eq!(came.code, 110, "{}", String::from_utf8_lossy(&came.stdout));
    }
    let came = Run::sockkit("probe --proxy socks5://nosuch.invalid:1 127.0.0.1:2 127.0.0.1:3").finish();
    assert_eq!(came.code, 205, "{}", came.stderr);
    let text = String::from_utf8_lossy(&came.stdout).into_owned();
    assert_eq!(text.matches("local error").count(), 2, "{text}");
}

/// Before it was asked, silence is the proxy's own; after that the target may be the silent one.
#[test]
fn a_silent_proxy_is_told_from_a_silent_target() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let clock = "no answer within the connect timeout (ETIMEDOUT, 110)";
    for (scheme, said, status) in [
        ("socks5", format!("local error: greet proxy socks5://127.0.0.1:PORT failed after TIME: {clock}\n"), 205),
        ("http", format!("timed out after TIME: {clock}; the proxy was asked, and said nothing\n"), 110),
    ] {
        let came = Run::sockkit(&format!("probe -w 0.2 --proxy {scheme}://{address} 127.0.0.1:2")).finish();
        let text = mask(&String::from_utf8_lossy(&came.stdout));
        assert_eq!(text, format!("127.0.0.1:2 {said}"));
        if cfg!(target_os = "linux") {
            assert_eq!(came.code, status, "{scheme}");
        }
    }
}

/// A port behind a proxy that is not there yet is waited for.
#[cfg(target_os = "linux")]
#[test]
fn a_proxy_that_comes_later_is_waited_for() {
    // Bound, so that nobody else is given the port, and not listening yet.
    let (keeper, name) = crate::harness::plain_socket("127.0.0.1:0", socket2::Type::STREAM);
    keeper.bind(&name).unwrap();
    let address = keeper.local_addr().unwrap().as_socket().unwrap();
    let waiting = thread::spawn(move || {
        let words = format!("probe -v --wait open -i 20ms --deadline 50s --proxy socks5h://{address} code0:1");
        Run::sockkit(&words).finish()
    });
    keeper.listen(16).unwrap();
    let (client, _) = keeper.accept().unwrap();
    serve(client.into()).unwrap();
    let came = waiting.join().unwrap();
    assert_eq!(came.code, 0, "{}", came.stderr);
}

#[test]
fn what_a_proxy_cannot_be_asked_for_is_a_usage_error() {
    for (words, said) in [
        ("--proxy socks5://h:1 a:1 udp:b:53", "--proxy is for tcp only, and b:53 is udp"),
        ("-u --proxy socks5://h:1 a:1", "--proxy is for tcp only, and a:1 is udp"),
        ("--proxy socks5://h:1 a:1 unix:/a", "--proxy is for tcp only, and unix:/a is unix"),
        (
            "--addr all --proxy http://h:1 a:1",
            "--addr all: this proxy looks names up itself; socks5:// has them looked up here",
        ),
    ] {
        Run::sockkit(&format!("probe {words}")).stderr(&format!("sockkit: {said}\n")).code(2).check();
    }
}
