//! The home directory: where a node keeps its things, one daemon a home.
//!
//! | file | what |
//! |---|---|
//! | `daemon.lock` | held by the running daemon; its process id and program |
//! | `control.sock` | the daemon's socket, 0600 |
//! | `control.path` | where that socket really is: a path over [`SOCKET_PATH_BYTES_MAX`] moves to a runtime directory |
//!
//! The directory is 0700. Keys, logs of commands and in-boxes are put into it by those who own them.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use kith_common::crypto;

/// The longest path of a unix socket, in bytes: `sun_path` is 108 with its final zero
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

const LOCK_FILE: &str = "daemon.lock";
const SOCKET_FILE: &str = "control.sock";
const SOCKET_PATH_FILE: &str = "control.path";

/// The two kinds of daemon that live in a home
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Role {
    pub program: &'static str,
    /// The home's name beneath the user's own
    pub directory: &'static str,
    /// The file of settings in the home, read if it is there
    pub config_file: &'static str,
    /// The command's arguments that start a daemon, as a person would first type them
    pub start: &'static str,
}

/// The peer's: `~/.kith`
pub const PEER: Role = Role {
    program: "kith",
    directory: ".kith",
    config_file: "node.toml",
    start: "run --supernode HOST:7400 --name NAME",
};

/// The supernode's: `~/.kith-supernode`
pub const SUPERNODE: Role =
    Role { program: "kith-supernode", directory: ".kith-supernode", config_file: "supernode.toml", start: "run" };

/// Why a home cannot be used; nothing in it was changed
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Neither a flag nor the environment says where it is
    #[error("no home directory: $HOME is not set; give one with --home DIR or $KITH_HOME")]
    Unknown,
    /// A file where the directory should be
    #[error("{} is not a directory; give another one with --home DIR", .0.display())]
    NotADirectory(PathBuf),
    /// Others could read or replace what is in it
    #[error("{} belongs to another user; give a directory of your own with --home DIR", .0.display())]
    Foreign(PathBuf),
    /// It has files that others can see, and no daemon ever ran in it
    #[error("{} is open to other users and not empty; type: chmod 700 {}", .0.display(), quoted(.0))]
    Open(PathBuf),
    /// Another daemon runs in it
    #[error("{program} already runs in {}{}; stop it, or give another --home", home.display(), pid_text(*pid))]
    Locked {
        home: PathBuf,
        program: String,
        /// Its process, if it could be read
        pid: Option<u32>,
    },
    /// The other kind of daemon lives in it
    #[error("{} is the home of a {program}; give another one with --home DIR", home.display())]
    OtherRole { home: PathBuf, program: String },
    /// Even the fallback is too long
    #[error("the socket's path {} is over {SOCKET_PATH_BYTES_MAX} bytes; set $XDG_RUNTIME_DIR to a short one", .0.display())]
    SocketPath(PathBuf),
    #[error("cannot {action} {}: {error}", path.display())]
    Io { action: &'static str, path: PathBuf, error: io::Error },
}

fn pid_text(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HomeError {
    move |error| HomeError::Io { action, path: path.to_owned(), error }
}

/// A path as a shell reads it
pub(crate) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+,:@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// A node's home directory, which need not exist yet
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    role: Role,
    path: PathBuf,
    is_default: bool,
}

impl Home {
    /// The home at `given` (the flag's or the environment's), else the role's own beneath `$HOME`
    ///
    /// # Errors
    /// [`HomeError::Unknown`] if neither is known.
    pub fn resolve(role: Role, given: Option<&Path>) -> Result<Self, HomeError> {
        let user = std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        Self::beneath(role, given, user.as_deref())
    }

    fn beneath(role: Role, given: Option<&Path>, user: Option<&Path>) -> Result<Self, HomeError> {
        let path = match (given, user) {
            (Some(given), _) => given.to_owned(),
            (None, Some(user)) => user.join(role.directory),
            (None, None) => return Err(HomeError::Unknown),
        };
        let path = std::path::absolute(&path).map_err(failed("find", &path))?;
        Ok(Self { role, path, is_default: given.is_none() })
    }

    /// The directory, absolute
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn role(&self) -> Role {
        self.role
    }

    /// The path of a file in it
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// What to type to run the command on this home: `kith --home DIR send heidi hello`
    pub fn command(&self, arguments: &str) -> String {
        let program = self.role.program;
        if self.is_default {
            return format!("{program} {arguments}");
        }
        format!("{program} --home {} {arguments}", quoted(&self.path))
    }

    /// Makes the directory, 0700; one that is there and open to others is closed if it is empty or already a home
    ///
    /// # Errors
    /// [`HomeError`]; a directory with other things in it is left as it is.
    pub(crate) fn create(&self) -> Result<(), HomeError> {
        create_private(&self.path)?;
        let metadata = fs::metadata(&self.path).map_err(failed("read", &self.path))?;
        if metadata.mode() & 0o077 == 0 {
            return Ok(());
        }
        let mut entries = fs::read_dir(&self.path).map_err(failed("read", &self.path))?;
        if entries.next().is_some() && !self.file(LOCK_FILE).exists() {
            return Err(HomeError::Open(self.path.clone()));
        }
        fs::set_permissions(&self.path, fs::Permissions::from_mode(0o700)).map_err(failed("close", &self.path))
    }

    /// The program that ran here last, if it is of the other kind
    pub(crate) fn other_program(&self) -> Option<String> {
        let text = fs::read_to_string(self.file(LOCK_FILE)).ok()?;
        text.split_whitespace().nth(1).filter(|program| *program != self.role.program).map(str::to_owned)
    }

    /// Claims the home for this process until the lock is dropped; the system drops it when the process ends, however
    ///
    /// # Errors
    /// [`HomeError::Locked`] while another daemon runs, [`HomeError::OtherRole`] if the other kind of daemon ran here.
    pub(crate) fn lock(&self) -> Result<Lock, HomeError> {
        let path = self.file(LOCK_FILE);
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).clone();
        let mut file = options.open(&path).map_err(failed("open", &path))?;
        let mut text = String::new();
        (&file).take(256).read_to_string(&mut text).map_err(failed("read", &path))?;
        let mut words = text.split_whitespace();
        let pid = words.next().and_then(|word| word.parse().ok());
        let program = words.next().unwrap_or(self.role.program).to_owned();
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(HomeError::Locked { home: self.path.clone(), program, pid }),
            Err(TryLockError::Error(error)) => return Err(failed("lock", &path)(error)),
        }
        if program != self.role.program {
            return Err(HomeError::OtherRole { home: self.path.clone(), program });
        }
        let line = format!("{} {}\n", std::process::id(), self.role.program);
        let written =
            file.set_len(0).and_then(|()| io::Seek::rewind(&mut file)).and_then(|()| file.write_all(line.as_bytes()));
        written.map_err(failed("write", &path))?;
        Ok(Lock { _file: file })
    }

    /// Makes the control socket, 0600, and writes down where it is; a socket left by a killed daemon is replaced
    ///
    /// # Errors
    /// [`HomeError`] if there is no place for it.
    pub(crate) fn bind_control(&self, _lock: &Lock) -> Result<ControlSocket, HomeError> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let path = self.socket_path(runtime.as_deref());
        if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            return Err(HomeError::SocketPath(path));
        }
        if let Some(directory) = path.parent().filter(|directory| *directory != self.path) {
            create_private(directory)?;
            let mode = fs::metadata(directory).map_err(failed("read", directory))?.mode();
            if mode & 0o077 != 0 {
                return Err(HomeError::Open(directory.to_owned()));
            }
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("replace", &path)(error)),
            _ => {}
        }
        let listener = UnixListener::bind(&path).map_err(failed("listen on", &path))?;
        let socket = ControlSocket { listener, path: path.clone(), note: self.file(SOCKET_PATH_FILE) };
        // Between the two calls the directory, which is 0700, protects it.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(failed("close", &path))?;
        self.write_private(SOCKET_PATH_FILE, path.as_os_str().as_encoded_bytes())?;
        Ok(socket)
    }

    /// Where the running daemon's socket is: as it wrote down, else the usual place
    pub(crate) fn control_path(&self) -> PathBuf {
        use std::os::unix::ffi::OsStringExt;
        match fs::read(self.file(SOCKET_PATH_FILE)) {
            Ok(bytes) if !bytes.is_empty() => PathBuf::from(std::ffi::OsString::from_vec(bytes)),
            _ => self.file(SOCKET_FILE),
        }
    }

    fn socket_path(&self, runtime: Option<&Path>) -> PathBuf {
        let usual = self.file(SOCKET_FILE);
        if usual.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            return usual;
        }
        let hash = crypto::sha256(&[self.path.as_os_str().as_encoded_bytes()]);
        let name: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let own = format!("/tmp/kith-{}", rustix::process::geteuid().as_raw());
        let directory = runtime.map(|runtime| runtime.join("kith")).unwrap_or_else(|| own.into());
        directory.join(format!("{name}.sock"))
    }

    /// Replaces the file `name` by one with these bytes, 0600, whole or not at all, on disk when this returns
    ///
    /// # Errors
    /// [`HomeError::Io`]; the old file is still there.
    pub(crate) fn write_private(&self, name: &str, bytes: &[u8]) -> Result<(), HomeError> {
        let path = self.file(name);
        let draft = self.file(&format!("{name}.new"));
        let write = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(failed("write", &path))
    }
}

/// Makes a directory and those above it, 0700, and checks that it is ours: in `/tmp` somebody may have been first.
fn create_private(path: &Path) -> Result<(), HomeError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| {
        if path.exists() { HomeError::NotADirectory(path.to_owned()) } else { failed("make", path)(error) }
    })?;
    let metadata = fs::metadata(path).map_err(failed("read", path))?;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(HomeError::Foreign(path.to_owned()));
    }
    Ok(())
}

/// A claim on a home; dropped, the home is free
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// A listening control socket; dropped, the socket and the note of its place are removed
#[derive(Debug)]
pub(crate) struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    note: PathBuf,
}

impl ControlSocket {
    /// A second handle of the listener, which lives no longer than this one is of use
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub(crate) fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        for path in [&self.note, &self.path] {
            if let Err(error) = fs::remove_file(path) {
                tracing::debug!(path = %path.display(), reason = %error, "control socket not removed");
            }
        }
    }
}

#[cfg(test)]
mod tests;
