//! Unix sockets: bound so that nobody else's is replaced and nobody else may connect.

#[cfg(target_os = "linux")]
mod stream;

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::net::sockopt::set_socket_send_buffer_size;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::Instant;

use super::NEAR_SEND_BUFFER;
use super::line::{Course, Duplex, Line};
use crate::error::Phase;
use crate::lock_file::LockFile;
use crate::security::Identity;

/// Opens a connection to the socket at this path.
pub(super) async fn dial(path: &Path) -> io::Result<Line> {
    let mut course = Course {
        chosen: "a Unix socket, as the endpoint says".to_owned(),
        ..Course::default()
    };
    let since = Instant::now();
    let stream = UnixStream::connect(path).await?;
    course.step(Phase::Dial, since);
    Ok(Line {
        is_private: true,
        identity: Identity::Uid(stream.peer_cred()?.uid()),
        course,
        ..Line::new(duplex(stream)?)
    })
}

/// Asks the kernel whose process it is.
pub(super) fn admit(stream: UnixStream) -> io::Result<Line> {
    let uid = stream.peer_cred()?.uid();
    Ok(Line {
        is_private: true,
        identity: Identity::Uid(uid),
        ..Line::new(duplex(stream)?)
    })
}

fn duplex(stream: UnixStream) -> io::Result<impl Duplex> {
    set_socket_send_buffer_size(&stream, NEAR_SEND_BUFFER)?;
    // Only Linux tells of room each time.
    #[cfg(target_os = "linux")]
    let stream = stream::Stream::new(stream)?;
    Ok(stream)
}

/// Returns whether this user may come in: one of these, or where none is named our own and root.
pub(super) fn may_enter(uid: u32, allowed: &[u32]) -> bool {
    if allowed.is_empty() {
        is_ours(uid)
    } else {
        allowed.contains(&uid)
    }
}

/// Returns whether a listener of this user may be shown a password: our own, root, and who is named. Another one may
/// have put its socket where ours was to be.
pub(super) fn may_see(uid: u32, allowed: &[u32]) -> bool {
    is_ours(uid) || allowed.contains(&uid)
}

fn is_ours(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

/// A bound socket file; removed when dropped, if it is still ours.
#[derive(Debug)]
pub(crate) struct Listener {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode, to know the file again.
    identity: (u64, u64),
    /// Held as long as we listen.
    _lock: LockFile,
}

impl Listener {
    /// Binds the path, for our own user or for others too: who they are is asked when they connect. A socket file that somebody left is replaced only if it is a socket, ours, and nobody
    /// answers.
    pub(super) async fn bind(path: &Path, for_others: bool) -> io::Result<Self> {
        let lock = lock(path)?;
        clear(path).await?;
        let mode = if for_others { 0o666 } else { 0o600 };
        let listener = bind_privately(path, mode)?;
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            identity: (metadata.dev(), metadata.ino()),
            _lock: lock,
        })
    }

    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        Ok(self.listener.accept().await?.0)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "socket file not removed");
        }
    }
}

/// Takes the lock beside the socket: two starters cannot both find the path free.
fn lock(path: &Path) -> io::Result<LockFile> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    LockFile::take(Path::new(&name), io::ErrorKind::AddrInUse, "listens there")
}

/// Removes what an earlier life of ours left; refuses to remove anything else.
async fn clear(path: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !metadata.file_type().is_socket() {
        return Err(in_use(
            "there is a file that is not a socket; it is left as it is",
        ));
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(in_use(
            "there is a socket of another user; it is left as it is",
        ));
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(in_use("another process listens there")),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Binds inside a fresh directory that nobody else can enter, gives the socket its mode, and moves it to its
/// place: so there is no moment at which another user could connect, and the process's umask stays alone.
fn bind_privately(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let parent = path.parent().unwrap_or_else(|| Path::new("/"));
    let private = parent.join(format!(".ww{:08x}", rand::random::<u32>()));
    DirBuilder::new().mode(0o700).create(&private)?;
    let result = bind_inside(&private).and_then(|listener| {
        let socket = private.join(SOCKET);
        fs::set_permissions(&socket, fs::Permissions::from_mode(mode))?;
        fs::rename(&socket, path)?;
        Ok(listener)
    });
    if let Err(error) = fs::remove_dir_all(&private) {
        tracing::warn!(path = %private.display(), %error, "directory not removed");
    }
    result
}

/// The name inside the private directory.
const SOCKET: &str = "s";

/// A path through the directory's descriptor is short, however long the real one is.
#[cfg(target_os = "linux")]
fn bind_inside(directory: &Path) -> io::Result<UnixListener> {
    use std::os::fd::AsRawFd;
    let directory = fs::File::open(directory)?;
    UnixListener::bind(format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd()))
}

#[cfg(not(target_os = "linux"))]
fn bind_inside(directory: &Path) -> io::Result<UnixListener> {
    UnixListener::bind(directory.join(SOCKET))
}

fn in_use(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::AddrInUse, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn a_socket_is_for_its_user_and_root_or_exactly_for_those_who_are_named() {
        let ours = rustix::process::geteuid().as_raw();
        let strange = ours + 4711;
        assert!(may_enter(ours, &[]) && may_enter(0, &[]));
        assert!(!may_enter(strange, &[]));
        assert!(may_enter(strange, &[1, strange]));
        assert!(!may_enter(ours, &[strange]) || ours == strange);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_system_holds_more_of_what_is_sent_than_it_would_by_itself() {
        use std::pin::Pin;
        use std::task::{Context, Poll, Waker};

        use tokio::io::AsyncWrite;

        let directory = directory();
        let path = directory.path().join("s");
        let listener = Listener::bind(&path, false).await.unwrap();
        let (untouched, _peer) = UnixStream::pair().unwrap();
        let usual = rustix::net::sockopt::socket_send_buffer_size(&untouched).unwrap();
        let (dialled, accepted) = tokio::join!(dial(&path), listener.accept());
        let mut lines = [dialled.unwrap(), admit(accepted.unwrap()).unwrap()];
        for line in &mut lines {
            let mut held = 0;
            let mut cx = Context::from_waker(Waker::noop());
            let mut write = || Pin::new(&mut line.stream).poll_write(&mut cx, &[7; 16 * 1024]);
            while let Poll::Ready(written) = write() {
                held += written.unwrap();
            }
            assert!(held > usual, "{held}, usual {usual}");
        }
    }

    #[tokio::test]
    async fn a_lock_that_is_a_link_is_not_followed() {
        let directory = directory();
        let path = directory.path().join("s");
        let elsewhere = directory.path().join("elsewhere");
        std::os::unix::fs::symlink(&elsewhere, directory.path().join("s.lock")).unwrap();
        assert!(Listener::bind(&path, false).await.is_err());
        assert!(!elsewhere.exists() && !path.exists());
    }

    #[tokio::test]
    async fn a_live_socket_is_never_replaced() {
        let directory = directory();
        let path = directory.path().join("s");
        let first = Listener::bind(&path, false).await.unwrap();
        assert_eq!(
            Listener::bind(&path, false).await.unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        drop(first);
        assert!(!path.exists(), "removed when dropped");
        // One that somebody else serves, without our lock beside it.
        let foreign = UnixListener::bind(&path).unwrap();
        assert_eq!(
            Listener::bind(&path, false).await.unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        assert!(UnixStream::connect(&path).await.is_ok());
        drop(foreign);
        assert!(path.exists());
        Listener::bind(&path, false).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_not_a_socket_is_left_alone() {
        let directory = directory();
        let path = directory.path().join("precious");
        fs::write(&path, "data").unwrap();
        assert_eq!(
            Listener::bind(&path, false).await.unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        assert_eq!(fs::read(&path).unwrap(), b"data");
    }

    #[tokio::test]
    async fn the_socket_is_for_its_owner_only_and_leaves_nothing_beside_it_but_the_lock() {
        let directory = directory();
        let path = directory.path().join("s");
        let _listener = Listener::bind(&path, false).await.unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let mut names: Vec<_> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["s", "s.lock"]);
    }

    #[tokio::test]
    async fn another_listener_at_the_path_is_not_unlinked_on_drop() {
        let directory = directory();
        let path = directory.path().join("s");
        let ours = Listener::bind(&path, false).await.unwrap();
        fs::remove_file(&path).unwrap();
        let _theirs = UnixListener::bind(&path).unwrap();
        drop(ours);
        assert!(UnixStream::connect(&path).await.is_ok());
    }

    #[tokio::test]
    async fn the_longest_path_can_be_bound() {
        let directory = directory();
        let name = "n".repeat(107 - directory.path().as_os_str().len() - 1);
        let path = directory.path().join(name);
        assert_eq!(path.as_os_str().len(), 107);
        let listener = Listener::bind(&path, false).await.unwrap();
        UnixStream::connect(&path).await.unwrap();
        listener.accept().await.unwrap();
    }
}
