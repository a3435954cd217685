//! The file of a record: readable by its owner only, because it holds payloads, and never overwritten unasked.
//!
//! Must not know what is written. Trade-off: what is no regular file (a pipe, a device) has nothing to lose and is simply
//! written to.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::Path;

/// Makes the file. One that is there is an error, unless it is to be replaced.
pub fn create(path: &Path, replaces: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(OWNER_ONLY);
    }
    match options.clone().create_new(true).open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        result => return result,
    }
    let is_regular = path.metadata().is_ok_and(|metadata| metadata.is_file());
    if !is_regular {
        return options.open(path);
    }
    if !replaces {
        return Err(io::Error::new(ErrorKind::AlreadyExists, "it is there already, and --force replaces it"));
    }
    let file = options.open(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.set_permissions(std::fs::Permissions::from_mode(OWNER_ONLY))?;
    }
    file.set_len(0)?;
    Ok(file)
}

/// Read and write for the owner, nothing for anybody else.
#[cfg(unix)]
const OWNER_ONLY: u32 = 0o600;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_file_is_replaced_only_when_that_is_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record");
        for (replaces, is_made) in [(false, true), (false, false), (true, true)] {
            let made = create(&path, replaces);
            assert_eq!(made.is_ok(), is_made, "{made:?}");
            if let Ok(mut file) = made {
                file.write_all(if replaces { b"new" } else { b"old, and longer" }).unwrap();
            }
        }
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert!(create(&folder.path().join("nowhere/record"), true).is_err());
        assert!(create(folder.path(), true).is_err(), "a folder");
    }

    #[cfg(unix)]
    #[test]
    fn only_its_owner_may_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (new, old) = (folder.path().join("new"), folder.path().join("old"));
        std::fs::write(&old, "").unwrap();
        std::fs::set_permissions(&old, std::fs::Permissions::from_mode(0o644)).unwrap();
        for path in [new, old] {
            let file = create(&path, true).unwrap();
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, OWNER_ONLY, "{path:?}");
        }
        assert!(create(Path::new("/dev/null"), false).is_ok(), "a device has nothing to lose");
    }
}
