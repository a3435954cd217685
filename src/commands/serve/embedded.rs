//! A server inside another command: `echo-bench` without a target measures this one.
//!
//! Owns its thread. Must not know what is done to it. Trade-off: a thread of the same process and not a process of its own,
//! so that nothing is left behind however the command ends; to the kernel's scheduler both are the same.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::mpsc;

use super::engine::{Settings, Wish, prepare, serve};
use super::events::Events;
use super::faults::Faults;
use super::limits::Limits;
use super::passing::Passing;
use super::service::Service;
use crate::cli::FaultArgs;
use crate::cli::faults::tell_options;
use crate::connection::{Address, Allowed, Options, Transport, UnixName, listen, listen::BACKLOG};
use crate::fault::{Place, Side};

/// A running echo server, ended on drop.
#[derive(Debug)]
pub struct Embedded {
    address: Address,
    /// Dropped to end it.
    stop: Option<mpsc::UnboundedSender<Wish>>,
    thread: Option<JoinHandle<()>>,
}

impl Embedded {
    /// Starts it on loopback, on a port that the system chooses; or on a path of its own.
    ///
    /// With faults, if there are any rules, that draw from the seed.
    pub fn start(
        transport: Transport,
        allowed: Allowed,
        options: &Options,
        (rules, seed): (&FaultArgs, u64),
    ) -> Result<Embedded> {
        let mut options = options.clone();
        let place = Place { transport, side: Side::Serves };
        let faults = rules.is_typed().then(|| Faults::with_seed(rules, seed, false, place)).transpose()?;
        if let Some(faults) = &faults {
            tell_options(&faults.set(), transport, &mut options)?;
        }
        if transport == Transport::Tcp {
            options.nodelay.get_or_insert(true);
        }
        let mut listeners = listen(&[own_address(transport, allowed)], transport, &options, BACKLOG)?;
        if let Some(faults) = &faults {
            prepare(&mut listeners, faults)?;
        }
        let address = listeners[0].local().clone();
        let (stop, stops) = mpsc::unbounded_channel();
        // Its clients are gone before it is: there is nothing to wait for.
        let settings = Settings {
            service: Service::Echo,
            limits: Limits::default(),
            grace: Duration::ZERO,
            threads: 1,
            access: Arc::default(),
            readiness: Arc::default(),
            recorder: None,
            record_file: None,
            faults: faults.map(Arc::new),
            has_proxy_header: false,
            expected: None,
            metrics: Vec::new(),
            passing: Passing::default(),
        };
        let thread = std::thread::Builder::new().name("server".to_owned()).spawn(move || {
            // What fails here the clients see, and report.
            let _ = serve(listeners, settings, Events::none(), stops);
        })?;
        Ok(Embedded { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has panicked, if anything: then that has been printed.
            let _ = thread.join();
        }
    }
}

fn own_address(transport: Transport, allowed: Allowed) -> Address {
    if transport.is_unix() {
        let name = format!("sockkit-{}", std::process::id());
        return Address::Unix(if cfg!(target_os = "linux") {
            UnixName::Abstract(name.into_bytes())
        } else {
            UnixName::Path(std::env::temp_dir().join(name))
        });
    }
    Address::Inet(match allowed {
        Allowed::V6 => SocketAddr::from((Ipv6Addr::LOCALHOST, 0)),
        Allowed::Any | Allowed::V4 => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
    })
}
