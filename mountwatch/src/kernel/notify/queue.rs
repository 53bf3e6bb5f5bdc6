//! The queue of mount notifications: bytes of fanotify(7) into what they say.

use crate::kernel::sys;
use crate::model::UniqueMountId;
use std::fs::File;
use std::io::{self, Read};

/// Bytes of `struct fanotify_event_metadata`.
const METADATA_BYTES: usize = 24;
/// `FAN_EVENT_INFO_TYPE_MNT`.
const INFO_MOUNT: u8 = 7;
/// Room for one read: some 1,600 notifications.
const READ_BYTES: usize = 64 << 10;
/// More than a notification has. A read that leaves so much room has taken all that there was.
const NOTIFICATION_BYTES_MAX: usize = 4 << 10;

/// One notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notification {
    /// A mount was attached, detached, or both: moved.
    Mount {
        /// Which.
        id: UniqueMountId,
        /// It is in its namespace now, or was at that time.
        is_attached: bool,
        /// It left its place.
        is_detached: bool,
        /// The thread that did it; 0 if it is in another PID namespace.
        tid: u32,
    },
    /// Notifications were lost.
    Overflow,
}

/// Takes everything that is in the queue. The buffer is used again: to make one takes as long as all else
/// for a notification.
pub(super) fn read_all(
    queue: &File,
    buffer: &mut Vec<u8>,
    out: &mut Vec<Notification>,
) -> io::Result<()> {
    buffer.resize(READ_BYTES, 0);
    let mut queue = queue;
    loop {
        match queue.read(buffer) {
            Ok(0) => return Ok(()),
            Ok(bytes) => {
                parse(buffer.get(..bytes).unwrap_or_default(), out);
                if bytes + NOTIFICATION_BYTES_MAX <= READ_BYTES {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Understands what one read gave. What makes no sense counts as lost.
fn parse(bytes: &[u8], out: &mut Vec<Notification>) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let event_bytes = number(rest, 0).and_then(|bytes| usize::try_from(bytes).ok());
        let Some((event, tail)) = event_bytes
            .filter(|bytes| *bytes >= METADATA_BYTES)
            .and_then(|bytes| rest.split_at_checked(bytes))
        else {
            out.push(Notification::Overflow);
            return;
        };
        out.push(one(event).unwrap_or(Notification::Overflow));
        rest = tail;
    }
}

fn one(event: &[u8]) -> Option<Notification> {
    let mask = long(event, 8)?;
    if mask & sys::FAN_Q_OVERFLOW != 0 {
        return Some(Notification::Overflow);
    }
    let tid = number(event, 20)?;
    let start = usize::from(u16::from_ne_bytes(event.get(6..8)?.try_into().ok()?));
    let mut info = event.get(start..)?;
    loop {
        let kind = *info.first()?;
        let bytes = usize::from(u16::from_ne_bytes(info.get(2..4)?.try_into().ok()?));
        if kind == INFO_MOUNT {
            return Some(Notification::Mount {
                id: UniqueMountId(long(info, 8)?),
                is_attached: mask & sys::FAN_MNT_ATTACH != 0,
                is_detached: mask & sys::FAN_MNT_DETACH != 0,
                // Negative numbers are error codes of other kinds of queue.
                tid: if tid > i32::MAX as u32 { 0 } else { tid },
            });
        }
        if bytes == 0 {
            return None;
        }
        info = info.get(bytes..)?;
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(mask: u64, tid: i32, id: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&40u32.to_ne_bytes());
        bytes.extend_from_slice(&[3, 0]);
        bytes.extend_from_slice(&24u16.to_ne_bytes());
        bytes.extend_from_slice(&mask.to_ne_bytes());
        bytes.extend_from_slice(&(-1i32).to_ne_bytes());
        bytes.extend_from_slice(&tid.to_ne_bytes());
        bytes.extend_from_slice(&[INFO_MOUNT, 0, 16, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(&id.to_ne_bytes());
        bytes
    }

    #[test]
    fn notifications_are_understood() {
        let mut bytes = event(sys::FAN_MNT_ATTACH | sys::FAN_MNT_DETACH, 9, 0x8000_0001);
        bytes.extend(event(sys::FAN_MNT_DETACH, 10, 0x8000_0002));
        let mut out = Vec::new();
        parse(&bytes, &mut out);
        let mount = |id, is_attached, tid| Notification::Mount {
            id: UniqueMountId(id),
            is_attached,
            is_detached: true,
            tid,
        };
        assert_eq!(out, [mount(0x8000_0001, true, 9), mount(0x8000_0002, false, 10)]);
    }

    #[test]
    fn an_overflow_has_no_mount() {
        let mut bytes = event(sys::FAN_Q_OVERFLOW, 0, 0);
        bytes.truncate(24);
        bytes.splice(..4, 24u32.to_ne_bytes());
        let mut out = Vec::new();
        parse(&bytes, &mut out);
        assert_eq!(out, [Notification::Overflow]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_understood_or_lost(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            event_bytes in 0u32..64,
        ) {
            let mut out = Vec::new();
            parse(&bytes, &mut out);
            let mut bytes = bytes;
            if let Some(start) = bytes.get_mut(..4) {
                start.copy_from_slice(&event_bytes.to_ne_bytes());
            }
            parse(&bytes, &mut out);
        }
    }
}
