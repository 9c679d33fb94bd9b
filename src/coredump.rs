//! No picture of this program's memory leaves it: it holds every key.
//!
//! Limit zero keeps cores from being written as files, and tells those that get them by a pipe (core(5)) to drop them.
//! "Not dumpable" (prctl(2), `PR_SET_DUMPABLE`) is stronger: the kernel makes no core at all, and other processes of the
//! same user cannot attach to this one or read `/proc/PID/mem` and `environ`. It also hides open files from who runs
//! the program; so a debug build, which is there to be looked at, stays as it is.

use rustix::process::{set_dumpable_behavior, setrlimit, DumpableBehavior, Resource, Rlimit};

/// From here on, for this process. What the system refuses is said, and nothing more: a router is better than none.
pub fn forbid() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(why) = setrlimit(Resource::Core, none) {
        eprintln!("warning: core dumps cannot be switched off: {why}");
    }
    if !cfg!(debug_assertions) {
        if let Err(why) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
            eprintln!("warning: this process cannot be closed to others of its user: {why}");
        }
    }
}
