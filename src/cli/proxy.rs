//! `--proxy` and where its password is.
//!
//! Owns the flags, and the reading of the file and the environment. Must not know what is said to a proxy. Trade-off: no flag
//! takes a password, because every user of the machine can read a command line.

use std::env::VarError;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, ValueHint};

use super::UsageError;
use crate::connection::Proxy;

/// The way to a target: the same in connect and probe.
// The help's brackets are no links.
#[allow(rustdoc::broken_intra_doc_links)]
#[derive(Debug, Clone, Default, Args)]
pub struct ProxyArgs {
    /// Connect through a proxy: SCHEME://[USER@]HOST:PORT
    ///
    /// The schemes are socks5 and socks4, which have the target's name looked up here, socks5h and socks4a, which leave it to
    /// the proxy, and http, which is the CONNECT of HTTP and leaves it to the proxy too. A password is no part of it:
    /// USER:PASSWORD is read from SOCKKIT_PROXY_AUTH or from a file. What the proxy says of the target is an answer of the
    /// target's; when the proxy itself fails, nothing is known of the target.
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub proxy: Option<String>,
    /// Read the proxy's USER:PASSWORD from the first line of FILE
    ///
    /// Nobody else may be allowed to read it. Without it, SOCKKIT_PROXY_AUTH is used.
    #[arg(long, value_name = "FILE", requires = "proxy", value_hint = ValueHint::FilePath)]
    pub proxy_auth_file: Option<PathBuf>,
}

/// Where the proxy's USER:PASSWORD is looked for without a file: an environment is not shown to other users.
const PROXY_SECRET: &str = "SOCKKIT_PROXY_AUTH";

impl ProxyArgs {
    /// The proxy, with its secret.
    pub fn proxy(&self) -> anyhow::Result<Option<Proxy>> {
        let Some(url) = &self.proxy else { return Ok(None) };
        let secret = match &self.proxy_auth_file {
            Some(file) => Some(secret_in(file)?),
            None => match std::env::var(PROXY_SECRET) {
                Ok(secret) => Some(secret).filter(|secret| !secret.is_empty()),
                Err(VarError::NotPresent) => None,
                Err(VarError::NotUnicode(_)) => {
                    return Err(UsageError(format!("{PROXY_SECRET} is not UTF-8")).into());
                }
            },
        };
        let proxy = Proxy::parse(url, secret.as_deref());
        Ok(Some(proxy.map_err(|why| UsageError(format!("--proxy: {why}")))?))
    }
}

/// The first line of a file that only its owner can read. What is no regular file, such as a pipe, has its own guards.
fn secret_in(file: &Path) -> anyhow::Result<String> {
    let shown = file.display();
    let opened = File::open(file).with_context(|| format!("open {shown}"))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let metadata = opened.metadata().with_context(|| format!("open {shown}"))?;
        let mode = metadata.permissions().mode() & 0o777;
        if metadata.is_file() && mode & 0o077 != 0 {
            let why = format!("others may read {shown} (mode {mode:03o}), and a password is in it: chmod 600 it");
            return Err(anyhow::Error::msg(why));
        }
    }
    let mut line = String::new();
    // Nobody has a longer one, and a device may have no end.
    let limit = 4096;
    BufReader::new(opened.take(limit)).read_line(&mut line).with_context(|| format!("read {shown}"))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
