//! What the process says of itself.

use crate::metrics::Process;
use rustix::time::ClockId;
use std::fs;

/// Time, memory and descriptors of this process, from proc_pid_stat(5); zeros for what cannot be
/// read.
pub fn own_process() -> Process {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name may hold blanks, and is in parentheses.
    let fields: Vec<u64> = stat
        .rsplit_once(") ")
        .map(|(_, rest)| rest.split(' ').map(|field| field.trim().parse().unwrap_or(0)).collect())
        .unwrap_or_default();
    let field = |number: usize| fields.get(number.saturating_sub(3)).copied().unwrap_or(0);
    #[expect(
        clippy::cast_precision_loss,
        reason = "clock ticks, of which there are less than 2^52"
    )]
    let seconds = |ticks: u64| ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
    Process {
        cpu_seconds: seconds(field(14) + field(15)),
        resident_bytes: field(24) * rustix::param::page_size() as u64,
        // The one that lists them is open too.
        open_fds: fs::read_dir("/proc/self/fd").map_or(0, |all| all.count() as u64 - 1),
        start_seconds: booted_at() + seconds(field(22)),
    }
}

/// When the machine started, in seconds since 1970.
fn booted_at() -> f64 {
    let read = |clock| {
        let time = rustix::time::clock_gettime(clock);
        #[expect(
            clippy::cast_precision_loss,
            reason = "seconds, of which there are less than 2^52"
        )]
        let seconds = time.tv_sec as f64;
        #[expect(clippy::cast_precision_loss, reason = "less than 2^52")]
        let part = time.tv_nsec as f64 / 1e9;
        seconds + part
    };
    read(ClockId::Realtime) - read(ClockId::Boottime)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn the_process_knows_itself() {
        let own = own_process();
        assert!(own.resident_bytes > 1 << 20 && own.open_fds >= 3, "{own:?}");
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!(now - own.start_seconds < 3_600.0 && own.start_seconds <= now + 1.0, "{own:?}");
    }
}
