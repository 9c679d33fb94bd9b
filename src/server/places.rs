//! Where sockets and files of a process go.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use crate::config::{address, AdminListen, Settings};
use crate::edge::pins::Pinboard;

/// Where systemd's unit has its sockets.
const SERVICE: &str = "/run/auto-ai-router";

/// The main address.
pub fn main(settings: &Settings) -> String {
    address(&settings.server.host, settings.server.port)
}

/// Where the operator is listened to.
pub fn admin(settings: &Settings) -> AdminListen {
    match &settings.admin.listen {
        AdminListen::Default => AdminListen::Unix(admin_socket(settings.server.port)),
        chosen => chosen.clone(),
    }
}

/// The operator's socket of a router on `port`.
fn admin_socket(port: u16) -> PathBuf {
    runtime_directory().join(format!("admin-{port}.sock"))
}

/// The operators' sockets at which routers answer, in the runtime directory and in the service's.
pub fn admin_sockets() -> Vec<PathBuf> {
    let directories = BTreeSet::from([runtime_directory(), PathBuf::from(SERVICE)]);
    let entries = directories.into_iter().flat_map(fs::read_dir).flatten().flatten();
    let sockets =
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "sock"));
    sockets.filter(|path| UnixStream::connect(path).is_ok()).collect()
}

/// An operator's socket as another user finds it: where nothing is at `path`, the one of the same name of the service.
pub fn of_service(path: PathBuf) -> PathBuf {
    let service = path.file_name().map(|name| Path::new(SERVICE).join(name)).filter(|found| found.exists());
    match service {
        Some(service) if !path.exists() => service,
        _ => path,
    }
}

/// Makes room for a socket at `path`: nobody answers there, and its directory exists or can be made.
pub fn free_socket(path: &Path) -> io::Result<()> {
    if UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process answers there"));
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket is there"))
        }
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    }
}

/// Writes the number of this process beside the operator's socket. A reader finds the number before or this one, and no
/// file rather than a wrong number where none can be written.
pub fn write_pid(port: u16) {
    let path = runtime_directory().join(format!("router-{port}.pid"));
    let new = path.with_extension("new");
    let written = fs::write(&new, format!("{}\n", std::process::id())).and_then(|()| fs::rename(&new, &path));
    if let Err(why) = written {
        log::warn!("{}: {why}", path.display());
        let _ = fs::remove_file(&new).and(fs::remove_file(&path));
    }
}

/// Where sockets go: what systemd gives, else the user's runtime directory, else a private one in /tmp.
pub fn runtime_directory() -> PathBuf {
    let given = std::env::var_os("RUNTIME_DIRECTORY").map(PathBuf::from);
    let users = std::env::var_os("XDG_RUNTIME_DIR").map(|dir| PathBuf::from(dir).join("auto-ai-router"));
    let directory = given.or(users).unwrap_or_else(|| {
        let user = rustix::process::geteuid();
        std::env::temp_dir().join(format!("auto-ai-router-{}", user.as_raw()))
    });
    if !directory.exists() && fs::create_dir_all(&directory).is_ok() {
        let _ = fs::set_permissions(&directory, fs::Permissions::from_mode(0o700));
    }
    directory
}

/// Where state is kept: what the file says, what systemd gives, else the user's state directory.
fn state_directory(settings: &Settings) -> Option<PathBuf> {
    let environment =
        |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let own = "auto-ai-router";
    settings
        .state
        .dir
        .clone()
        .or_else(|| environment("STATE_DIRECTORY"))
        .or_else(|| environment("XDG_STATE_HOME").map(|dir| dir.join(own)))
        .or_else(|| environment("HOME").map(|home| home.join(".local/state").join(own)))
}

/// Where the pool's books are kept.
pub fn ledger(settings: &Settings) -> Option<PathBuf> {
    let directory = state_directory(settings)?;
    fs::create_dir_all(&directory).ok()?;
    Some(directory.join(format!("pool-{}.json", settings.server.port)))
}

/// The ids that an earlier run has pinned.
pub fn pins(settings: &Settings) -> Pinboard {
    let Some(directory) = state_directory(settings) else { return Pinboard::in_memory() };
    match fs::create_dir_all(&directory) {
        Ok(()) => Pinboard::open(&directory.join(format!("pins-{}.tsv", settings.server.port))),
        Err(why) => {
            log::warn!("{}: ids will be forgotten at a restart: {why}", directory.display());
            Pinboard::in_memory()
        }
    }
}
