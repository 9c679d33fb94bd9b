//! How little of the program lies in memory while it has nothing to do.
//!
//! To read and check a configuration takes code that no request needs: of 9 MiB of the program's file that are mapped
//! after a start, 7 are never used again until the next reload. They are clean pages of a file, which the kernel could
//! drop, and does not as long as memory is plenty; so they are given back here, as soon as an edge is at work. What is
//! needed again comes back from the page cache, sixteen pages at a time. Smaller code was tried first, and brought less
//! than a tenth (`tests/FIGURES.md`).
//!
//! The only unsafe code of this program: nobody offers this system call (madvise(2), `MADV_DONTNEED`) as a safe function.

use std::fs;
use std::path::Path;

use rustix::mm::{madvise, Advice};

/// Gives back the pages of the program's file that are mapped: a system call that fails changes nothing.
pub fn trim() {
    let Ok(program) = fs::read_link("/proc/self/exe") else { return };
    let Ok(maps) = fs::read_to_string("/proc/self/maps") else { return };
    for (start, length) in maps.lines().filter_map(|line| unwritten(line, &program)) {
        // SAFETY: the range is code, or the first segment of the file, both mapped without the right to write: no page
        // of it can differ from the file (the program is linked position-independent, without relocations of its text),
        // and the kernel reads from there whatever is touched next.
        let _ = unsafe { madvise(start as *mut _, length, Advice::LinuxDontNeed) };
    }
}

/// Where a line of `/proc/self/maps` (proc_pid_maps(5)) speaks of a part of `program` that is as it is in the file: its
/// start and its length, in bytes. What is relocated at the start lies in other segments, or behind the first one.
fn unwritten(line: &str, program: &Path) -> Option<(usize, usize)> {
    let (range, rest) = line.split_once(' ')?;
    let mut fields = rest.split_ascii_whitespace();
    let (rights, offset) = (fields.next()?, fields.next()?);
    let is_fixed = rights == "r-xp" || (rights == "r--p" && offset.trim_matches('0').is_empty());
    let path = rest.find('/').and_then(|at| rest.get(at..))?;
    let (start, end) = range.split_once('-')?;
    let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
    (is_fixed && Path::new(path) == program).then(|| (start, end.saturating_sub(start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_as_in_the_file_is_given_back() {
        let program = Path::new("/usr/bin/auto ai router (deleted)");
        let of = |line: &str| unwritten(line, program);
        let code = "55d0a0001000-55d0a0005000 r-xp 00001000 fe:00 4711    /usr/bin/auto ai router (deleted)";
        assert_eq!(of(code), Some((0x55d0_a000_1000, 0x4000)));
        assert_eq!(of(&code.replace("r-xp 00001000", "r--p 00000000")), Some((0x55d0_a000_1000, 0x4000)));
        assert_eq!(of(&code.replace("r-xp", "r--p")), None, "what was relocated");
        assert_eq!(of(&code.replace("r-xp", "rw-p")), None, "what is written");
        assert_eq!(of(&code.replace("auto ai", "another")), None, "another file");
        assert_eq!(of("7ffd1c5f4000-7ffd1c5f6000 r-xp 00000000 00:00 0    [vdso]"), None);
    }

    #[test]
    fn a_trimmed_program_goes_on() {
        let before: Vec<u64> = (0..1000).map(|n: u64| n.pow(2)).collect();
        trim();
        let after: Vec<u64> = (0..1000).map(|n: u64| n.pow(2)).collect();
        assert_eq!(before, after);
    }
}
