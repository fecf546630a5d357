//! Files written whole or not at all: beside their place, brought to the disk, and renamed.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use tempfile::NamedTempFile;

/// Why a file could not be replaced.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceError {
    #[error("cannot read {}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is no regular file", .path.display())]
    NotAFile { path: PathBuf },
    #[error("{} has changed meanwhile and was left as it is", .path.display())]
    Changed { path: PathBuf },
    #[error("cannot write a new file beside {}, which was left as it is", .path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot give the new file the owner of {}, which was left as it is", .path.display())]
    Owner { path: PathBuf, source: io::Error },
    #[error("cannot put the new file in the place of {}, which was left as it is", .path.display())]
    Rename { path: PathBuf, source: io::Error },
}

/// Reads a file, and refuses what is none at once: a pipe may have nobody at its other end, and a device no end.
pub fn read_file(path: &Path) -> Result<Vec<u8>, ReplaceError> {
    let unreadable = |source| ReplaceError::Read { path: path.to_owned(), source };
    // So that a pipe is not waited for.
    let mut file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(ReplaceError::NotAFile { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// Puts `new` in the place of a file that still says `old`, with its owner and mode.
///
/// A link is followed to its file. Whoever reads, and whatever breaks, there is the old file or the new one.
pub fn replace_file(path: &Path, old: &[u8], new: &[u8]) -> Result<(), ReplaceError> {
    replace_with(path, old, |file| file.write_all(new))
}

fn replace_with(path: &Path, old: &[u8], write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), ReplaceError> {
    let unreadable = |source| ReplaceError::Read { path: path.to_owned(), source };
    let path = fs::canonicalize(path).map_err(unreadable)?;
    let metadata = fs::metadata(&path).map_err(unreadable)?;
    let (true, Some(folder)) = (metadata.is_file(), path.parent()) else {
        return Err(ReplaceError::NotAFile { path });
    };
    let unwritable = |source| ReplaceError::Write { path: path.clone(), source };
    let new = written_in(folder, write).map_err(unwritable)?;
    let made = new.as_file().metadata().map_err(unwritable)?;
    if (made.uid(), made.gid()) != (metadata.uid(), metadata.gid()) {
        fchown(new.as_file(), Some(metadata.uid()), Some(metadata.gid()))
            .map_err(|source| ReplaceError::Owner { path: path.clone(), source })?;
    }
    bring_to_disk(&new, metadata.permissions().mode() & 0o7777).map_err(unwritable)?;
    if fs::read(&path).map_err(unreadable)? != old {
        return Err(ReplaceError::Changed { path });
    }
    new.persist(&path).map_err(|error| ReplaceError::Rename { path: path.clone(), source: error.error })?;
    // So that the rename survives a crash too. The file is whole either way.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

/// Writes a file with this mode, in the place of another one only where that is said.
///
/// Its folder is made where there is none.
pub fn write_file(path: &Path, text: &[u8], mode: u32, overwrites: bool) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let new = written_in(folder, |file| file.write_all(text))?;
    bring_to_disk(&new, mode)?;
    let put = if overwrites { new.persist(path) } else { new.persist_noclobber(path) };
    put.map(drop).map_err(|error| error.error)
}

/// A new file, which goes away again when it is not given a place.
fn written_in(folder: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<NamedTempFile> {
    let mut new = tempfile::Builder::new().prefix(".cue-scheduler-").suffix(".new").tempfile_in(folder)?;
    write(new.as_file_mut())?;
    Ok(new)
}

fn bring_to_disk(new: &NamedTempFile, mode: u32) -> io::Result<()> {
    new.as_file().set_permissions(Permissions::from_mode(mode))?;
    new.as_file().sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<String> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn mode_owner_and_links_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::write(&file, "old").expect("a file");
        fs::set_permissions(&file, Permissions::from_mode(0o640)).expect("a mode");
        // Only root may give a file away.
        let _ = std::os::unix::fs::chown(&file, Some(1234), Some(2345));
        let before = fs::metadata(&file).expect("a file");
        symlink("real", &link).expect("a link");
        replace_file(&link, b"old", b"new").expect("it is replaced");
        let after = fs::metadata(&file).expect("a file");
        assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
        assert_ne!(after.ino(), before.ino());
        assert!(link.is_symlink());
        assert_eq!(fs::read(&file).expect("a file"), b"new");
        assert_eq!(names(folder.path()), ["link", "real"]);
    }

    #[test]
    fn a_failure_in_the_middle_leaves_the_old_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        fs::write(&file, "old").expect("a file");
        let failed = replace_with(&file, b"old", |new| {
            new.write_all(b"ne")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert!(matches!(failed, Err(ReplaceError::Write { .. })), "{failed:?}");
        let changed = replace_with(&file, b"old", |new| {
            fs::write(&file, "somebody else's")?;
            new.write_all(b"new")
        });
        assert!(matches!(changed, Err(ReplaceError::Changed { .. })), "{changed:?}");
        assert_eq!(fs::read(&file).expect("a file"), b"somebody else's");
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[test]
    fn what_is_no_file_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        for path in [folder.path(), &pipe, Path::new("/dev/zero")] {
            let refused = read_file(path);
            assert!(matches!(refused, Err(ReplaceError::NotAFile { .. })), "{refused:?}");
        }
        assert!(matches!(read_file(&folder.path().join("gone")), Err(ReplaceError::Read { .. })));
        assert!(matches!(replace_file(folder.path(), b"", b""), Err(ReplaceError::NotAFile { .. })));
        assert!(matches!(replace_file(&folder.path().join("gone"), b"", b""), Err(ReplaceError::Read { .. })));
    }
}
