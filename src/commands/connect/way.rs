//! The way to the peer: straight, or through a proxy, and the header of the PROXY protocol that goes ahead.
//!
//! Must not know what is relayed. Trade-off: the header is none of the relay's bytes: it is in no count, dump or hash, because
//! a server behind a proxy does not count it either.

use std::net::SocketAddr;

use anyhow::Result;
use clap::ValueEnum;

use super::Plan;
use super::attempts::{Attempts, tell_attempts};
use crate::cli::UsageError;
use crate::connection::dial::Failed;
use crate::connection::proxy_protocol::{Header, Version};
use crate::connection::{Address, Conn, Dial, Proxy, Transport, dial, resolve};
use crate::output::Output;

/// What goes ahead of everything.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct HeaderArgs {
    /// Send a header of the PROXY protocol first
    ///
    /// As a proxy in front of the server would. It names our own address as the client's, and the server's as the one that
    /// the client connected to.
    #[arg(long, value_name = "VERSION")]
    pub proxy_protocol: Option<HeaderVersion>,
    /// Name this as the client's address in the header
    #[arg(long, value_name = "ADDRESS:PORT", requires = "proxy_protocol")]
    pub proxy_protocol_source: Option<SocketAddr>,
}

/// The form of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HeaderVersion {
    /// A line of text
    V1,
    /// A binary block
    V2,
}

/// The header that is to be sent.
#[derive(Debug, Clone, Copy)]
pub struct Preamble {
    version: Version,
    source: Option<SocketAddr>,
}

impl HeaderArgs {
    /// What it means for a protocol.
    pub fn preamble(&self, transport: Transport) -> Result<Option<Preamble>, UsageError> {
        let Some(version) = self.proxy_protocol else { return Ok(None) };
        if transport.keeps_boundaries() {
            return Err(UsageError(format!("--proxy-protocol goes ahead of a stream, and this is {transport}")));
        }
        if let Some(source) = self.proxy_protocol_source.filter(|_| transport.is_unix()) {
            let why = format!("--proxy-protocol-source {source} is no client of a unix socket: leave it out");
            return Err(UsageError(why));
        }
        let version = if version == HeaderVersion::V1 { Version::V1 } else { Version::V2 };
        Ok(Some(Preamble { version, source: self.proxy_protocol_source }))
    }
}

impl Preamble {
    fn header(self, conn: &Conn) -> Header {
        let source = self.source.map_or_else(|| conn.local().clone(), Address::Inet);
        // Behind a proxy only an address that it was asked for is known.
        let destination = match conn.beyond() {
            None => Some(conn.peer().clone()),
            Some(beyond) => beyond.destination.parse().ok().map(Address::Inet),
        };
        destination.map_or(Header::Unknown, |destination| Header::of(conn.transport(), source, destination))
    }
}

/// The connection, ready to be relayed; `tried` has the addresses that were tried for it.
pub fn establish(plan: &Plan, tried: &Attempts, output: Output) -> Result<Conn> {
    let conn = match &plan.proxy {
        None => straight(plan, tried, output)?,
        Some(proxy) => through(proxy, plan, output)?,
    };
    output.detail(format_args!("connected to {conn} from {}: {}", conn.local(), conn.effective_options()));
    conn.set_blocking()?;
    if let Some(preamble) = plan.preamble {
        let header = preamble.header(&conn);
        conn.send_all(&header.encode(preamble.version))?;
        output.detail(format_args!("sent a PROXY header ({}): {header}", preamble.version));
    }
    Ok(conn)
}

fn way_out(plan: &Plan) -> Dial<'_> {
    let Plan { query, options, source, timeout, .. } = plan;
    Dial { transport: query.transport, options, source, timeout: *timeout }
}

fn straight(plan: &Plan, tried: &Attempts, output: Output) -> Result<Conn> {
    let resolved = resolve(&plan.endpoint, &plan.query)?;
    if let Some(group) = resolved.addresses.iter().find(|address| is_group(address, plan)) {
        return Ok(way_out(plan).gather(group)?);
    }
    let outcome = dial(&resolved.addresses, &way_out(plan));
    let attempts = outcome.as_ref().map_or_else(|failed| &failed.attempts, |dialed| &dialed.attempts);
    tell_attempts(attempts, output);
    tried.are(attempts);
    let conn = outcome.map_err(Failed::into_error)?.conn;
    conn.hear_of_losses()?;
    Ok(conn)
}

/// Whether many may hear what is sent there. Which addresses are a network's broadcast only the network knows: they are those
/// that broadcasts are allowed for.
fn is_group(address: &Address, plan: &Plan) -> bool {
    let Some(ip) = address.ip().filter(|_| plan.query.transport == Transport::Udp) else { return false };
    ip.is_multicast() || (ip.is_ipv4() && plan.options.broadcast == Some(true))
}

fn through(proxy: &Proxy, plan: &Plan, output: Output) -> Result<Conn> {
    let destinations = proxy.destinations(&plan.endpoint, &plan.query)?;
    let place = proxy.locate(&plan.query)?;
    let told = |error: &_| output.detail(error);
    Ok(proxy.reach(&place.addresses, &destinations, &way_out(plan), None, told)?)
}
