//! The way through a proxy: where it is, and what it is asked for once there is a connection to it.
//!
//! Must not know how connections to it are made at scale, nor what is checked behind it. Trade-off: its own address is looked
//! up once, before anything begins, because every target waits for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Plan;
use crate::connection::proxy::of_addresses;
use crate::connection::{
    Address, Conn, Dial, Endpoint, Error, Options, Proxy, Query, Resolved, Result, Source, Transport,
};

/// A proxy, and what it takes to get there.
#[derive(Debug)]
pub struct Gateway {
    proxy: Proxy,
    place: std::result::Result<Resolved, Arc<Error>>,
    query: Query,
    options: Options,
    source: Source,
    timeout: Duration,
}

/// What it is asked for.
#[derive(Debug)]
pub enum Errand {
    /// The first of these that it can reach.
    Addresses(Vec<Address>),
    /// What has a name that only it looks up.
    Name(Endpoint),
}

impl Errand {
    /// The address, if it is only one.
    pub fn only_address(&self) -> Option<Address> {
        match self {
            Errand::Addresses(addresses) => addresses.first().filter(|_| addresses.len() == 1).cloned(),
            Errand::Name(_) => None,
        }
    }
}

/// A connection through it.
#[derive(Debug)]
pub struct Passed {
    /// To the target.
    pub conn: Conn,
    /// The address that was asked for; none if it was a name.
    pub address: Option<Address>,
    /// How long it took, the connection to the proxy included.
    pub elapsed: Duration,
}

impl Gateway {
    /// The plan's, if it has one.
    pub fn of(plan: &Plan) -> Option<Arc<Gateway>> {
        let proxy = plan.proxy.clone()?;
        let timeout = plan.deadline.map_or(plan.timeout, |deadline| deadline.min(plan.timeout));
        let query = Query {
            allowed: plan.allowed,
            transport: Transport::Tcp,
            numeric: plan.is_numeric,
            timeout: Some(timeout),
        };
        let place = proxy.locate(&query).map_err(Arc::new);
        let (options, source) = (plan.options.clone(), plan.source.clone());
        Some(Arc::new(Gateway { proxy, place, query, options, source, timeout: plan.timeout }))
    }

    /// Where it is, or why that is not known.
    pub fn place(&self) -> std::result::Result<&[Address], &Arc<Error>> {
        self.place.as_ref().map(|resolved| resolved.addresses.as_slice())
    }

    /// The protocol of what it is talked to about.
    pub fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// Asks it, over a connection that took so long.
    pub fn pass(&self, conn: Conn, spent: Duration, errand: &Errand) -> Result<Passed> {
        let begun = Instant::now().checked_sub(spent).unwrap_or_else(Instant::now);
        let destinations = match errand {
            Errand::Addresses(addresses) => of_addresses(addresses),
            Errand::Name(endpoint) => self.proxy.destinations(endpoint, &self.query)?,
        };
        let (options, source) = (&self.options, &self.source);
        let dial = Dial { transport: Transport::Tcp, options, source, timeout: self.timeout };
        let addresses = self.place().unwrap_or_default();
        let conn = self.proxy.reach(addresses, &destinations, &dial, Some((conn, begun)), |_| ())?;
        let address = conn.beyond().and_then(|beyond| beyond.destination.parse().ok()).map(Address::Inet);
        Ok(Passed { conn, address, elapsed: begun.elapsed() })
    }
}
