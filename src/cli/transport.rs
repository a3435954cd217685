//! The flags that say over what, and from where.
//!
//! Owns the transport, the families, the lookups and the source. Must not know the target: that is `places`'. Trade-off: the
//! transport follows from flags and endpoint together, so that a unix path needs no flag.

use std::time::Duration;

use clap::{Args, ValueHint};

use super::UsageError;
use crate::connection::{Allowed, Endpoint, Query, Role, Source, Transport};

/// Which transport and family: the same in serve, connect, probe and echo-bench.
#[derive(Debug, Clone, Default, Args)]
pub struct TransportArgs {
    /// IPv4 only
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    pub ipv4: bool,
    /// IPv6 only
    #[arg(short = '6', long)]
    pub ipv6: bool,
    /// Datagrams: UDP, or with -U unix datagrams
    #[arg(short = 'u', long)]
    pub udp: bool,
    /// A unix socket: the target is its PATH, or @NAME for an abstract one
    #[arg(short = 'U', long)]
    pub unix: bool,
}

/// The third kind of unix sockets: the same in serve and connect.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct SeqpacketArgs {
    /// A unix socket with connections whose messages stay whole
    ///
    /// One send is one receive there, as with datagrams, and each direction has an end, as with streams. SOCK_SEQPACKET,
    /// unix(7).
    #[arg(long, conflicts_with = "udp")]
    pub seqpacket: bool,
}

impl SeqpacketArgs {
    /// The protocol, if it is that of a unix socket.
    pub fn to(self, transport: Transport) -> Result<Transport, UsageError> {
        match (self.seqpacket, transport) {
            (false, transport) => Ok(transport),
            (true, Transport::UnixStream) => Ok(Transport::UnixSeqpacket),
            (true, other) => Err(UsageError(format!("--seqpacket is for unix sockets, and this is {other}: add -U"))),
        }
    }
}

/// How names are looked up: the same in serve, connect and probe; echo-bench counts its messages with `-n`.
#[derive(Debug, Clone, Default, Args)]
pub struct LookupArgs {
    /// No name lookups: hosts are addresses
    #[arg(short = 'n', long)]
    pub numeric: bool,
}

impl TransportArgs {
    /// The protocol for an endpoint: a unix one needs no `-U`.
    pub fn to(&self, endpoint: &Endpoint) -> Transport {
        self.transport(matches!(endpoint, Endpoint::Unix(_)))
    }

    /// The protocol, over unix sockets or over IP.
    pub fn transport(&self, is_unix: bool) -> Transport {
        match (is_unix, self.udp) {
            (false, false) => Transport::Tcp,
            (false, true) => Transport::Udp,
            (true, false) => Transport::UnixStream,
            (true, true) => Transport::UnixDatagram,
        }
    }

    /// What to ask the resolver for.
    pub fn query(&self, transport: Transport, numeric: bool, timeout: Option<Duration>) -> Query {
        Query { allowed: self.allowed(), transport, numeric, timeout }
    }

    /// The families that `-4` and `-6` leave.
    pub fn allowed(&self) -> Allowed {
        match (self.ipv4, self.ipv6) {
            (true, _) => Allowed::V4,
            (_, true) => Allowed::V6,
            _ => Allowed::Any,
        }
    }
}

/// Where a connection comes from: the same in connect and probe.
#[derive(Debug, Clone, Default, Args)]
pub struct SourceArgs {
    /// Address to connect from (unix datagrams: our own PATH)
    #[arg(short = 's', long = "source", value_name = "ADDRESS", value_hint = ValueHint::Hostname)]
    pub address: Option<String>,
    /// Port to connect from
    #[arg(short = 'p', long = "source-port", value_name = "PORT", value_parser = parse_port)]
    pub port: Option<u16>,
}

fn parse_port(text: &str) -> Result<u16, String> {
    let port = text.parse().ok().filter(|port| *port > 0);
    port.ok_or_else(|| format!("{text:?} is no port: 1 to 65535"))
}

impl SourceArgs {
    /// What it means for a protocol.
    pub fn source(&self, transport: Transport) -> Result<Source, UsageError> {
        if transport.is_unix() {
            return self.unix_source();
        }
        let parse = |address: &String| {
            address.parse().map_err(|_| UsageError(format!("-s \"{address}\" is not an IP address")))
        };
        let address = self.address.as_ref().map(parse).transpose()?;
        Ok(Source { address, port: self.port.unwrap_or(0), path: None })
    }

    fn unix_source(&self) -> Result<Source, UsageError> {
        if let Some(port) = self.port {
            return Err(UsageError(format!("-p {port} has no meaning for a unix socket")));
        }
        let Some(path) = &self.address else { return Ok(Source::default()) };
        match Endpoint::parse(&[path], Role::Listen, true).map_err(UsageError)? {
            Endpoint::Unix(name) => Ok(Source { path: Some(name), ..Source::default() }),
            Endpoint::Inet { .. } => Err(UsageError(format!("-s \"{path}\" is not a path"))),
        }
    }
}
