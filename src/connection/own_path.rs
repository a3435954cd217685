//! The path of a unix socket that is ours: made by bind(2), gone when we are.
//!
//! Owns when a path that is there may be replaced, and when one is removed. Must not know what the socket is for. Trade-off:
//! a path is ours as long as it is the file that our bind made, so that whoever has put another there keeps it.

use std::io;
use std::path::{Path, PathBuf};

use super::error::kind_of;
use super::{Address, Kind, Socket, Transport, UnixName, errno};

/// bind(2). A unix path that a dead server left behind is replaced; one that answers, or is no socket, is not.
pub(super) fn bind(socket: &Socket, address: &Address, transport: Transport) -> io::Result<Option<OwnPath>> {
    let Address::Unix(UnixName::Path(path)) = address else {
        return socket.bind(address).map(|()| None);
    };
    match socket.bind(address) {
        Err(error) if kind_of(&error) == Kind::AddressInUse && is_stale(address, transport) => {
            std::fs::remove_file(path)?;
            socket.bind(address)?;
        }
        result => result?,
    }
    OwnPath::of(path).map(Some)
}

/// Whether a connect to a unix path is refused: then its server is gone for good.
fn is_stale(address: &Address, transport: Transport) -> bool {
    let asked = Socket::new(address.family(), transport, false).and_then(|socket| socket.connect(address));
    let refused = asked.err().and_then(|error| error.raw_os_error()).map(errno::name) == Some("ECONNREFUSED");
    // connect(2) to a plain file is refused as well, and that file is not ours to remove.
    let Address::Unix(UnixName::Path(path)) = address else { return false };
    refused && is_socket(path)
}

#[cfg(unix)]
fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

#[cfg(not(unix))]
fn is_socket(path: &Path) -> bool {
    // Windows shows a socket as a reparse point, which std cannot tell apart; a directory at least is none.
    path.exists() && !path.is_dir()
}

/// A unix socket's path, removed on drop if it is still the file that bind(2) made.
#[derive(Debug)]
pub struct OwnPath {
    path: PathBuf,
    identity: Identity,
}

#[cfg(unix)]
type Identity = (u64, u64);
#[cfg(not(unix))]
type Identity = Option<std::time::SystemTime>;

/// What tells a file from another of the same name.
fn identity(path: &Path) -> io::Result<Identity> {
    let metadata = std::fs::symlink_metadata(path)?;
    #[cfg(unix)]
    return Ok((std::os::unix::fs::MetadataExt::dev(&metadata), std::os::unix::fs::MetadataExt::ino(&metadata)));
    #[cfg(not(unix))]
    return Ok(metadata.created().ok());
}

impl OwnPath {
    fn of(path: &Path) -> io::Result<OwnPath> {
        Ok(OwnPath { path: path.to_owned(), identity: identity(path)? })
    }

    /// Another file of ours has taken its place.
    pub(super) fn renew(&mut self) -> io::Result<()> {
        self.identity = identity(&self.path)?;
        Ok(())
    }
}

impl Drop for OwnPath {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|now| now == self.identity) {
            // Nobody is left to tell, and a path that remains is replaced by the next server.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::connection::listen::BACKLOG;
    use crate::connection::{Options, listen};

    #[test]
    fn a_dead_servers_path_is_replaced_and_ours_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "std leaves the path behind");
        let address = Address::Unix(UnixName::Path(path.clone()));
        let addresses = std::slice::from_ref(&address);
        let listeners = listen(addresses, Transport::UnixStream, &Options::default(), BACKLOG).unwrap();
        let second = listen(addresses, Transport::UnixStream, &Options::default(), BACKLOG);
        assert_eq!(second.unwrap_err().kind(), Kind::AddressInUse, "a live server's path is not taken");
        drop(listeners);
        assert!(!path.exists());
    }

    #[test]
    fn a_plain_file_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("precious");
        std::fs::write(&path, "data").unwrap();
        let address = Address::Unix(UnixName::Path(path.clone()));
        let result = listen(&[address], Transport::UnixStream, &Options::default(), BACKLOG);
        assert_eq!(result.unwrap_err().kind(), Kind::AddressInUse);
        assert_eq!(std::fs::read(&path).unwrap(), b"data");
    }
}
