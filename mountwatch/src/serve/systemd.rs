//! The protocol of sd_notify(3): a datagram to the socket that the service manager names.

use std::env;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The service manager, if there is one that wants to know.
#[derive(Debug)]
pub(super) struct Manager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// How often it wants a sign of life.
    pub(super) watchdog: Option<Duration>,
}

impl Manager {
    /// As the environment says.
    pub(super) fn from_env() -> Self {
        let name = env::var_os("NOTIFY_SOCKET").unwrap_or_default();
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name).ok(),
            [b'/', ..] => SocketAddr::from_pathname(&name).ok(),
            _ => None,
        };
        let number = |name| env::var(name).ok()?.parse::<u64>().ok();
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|us| *us > 0 && is_ours);
        Self {
            socket: UnixDatagram::unbound().ok().zip(address),
            watchdog: watchdog.map(Duration::from_micros),
        }
    }

    /// Tells it something. Never waits; that it is gone is no failure of ours.
    pub(super) fn tell(&self, state: &str) {
        if let Some((socket, address)) = &self.socket {
            let sent = socket
                .set_nonblocking(true)
                .and_then(|()| socket.send_to_addr(state.as_bytes(), address));
            if let Err(error) = sent {
                log::warn!("cannot tell the service manager {state:?}: {error}");
            }
        }
    }
}
