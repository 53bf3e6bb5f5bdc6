//! Bytes with a descriptor, over a unix socket.

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Sends a short message whole, with a descriptor. A socket that has no room for it is an error.
pub fn send(stream: impl AsFd, bytes: &[u8], file: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let files: Vec<_> = file.into_iter().collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(&files));
    }
    let bytes_sent =
        rustix::net::sendmsg(stream, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    if bytes_sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Receives what is there, and a descriptor if one comes. At the end of the stream an error.
pub fn receive_some(stream: impl AsFd, bytes: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let got =
        rustix::net::recvmsg(&stream, &mut [IoSliceMut::new(bytes)], &mut ancillary, flags)?.bytes;
    let mut file = None;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(files) = message {
            file = files.last().or(file);
        }
    }
    if got == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok((got, file)) }
}

/// Receives a message of a fixed size, with a descriptor if one comes.
pub(crate) fn receive<const N: usize>(stream: impl AsFd) -> io::Result<([u8; N], Option<OwnedFd>)> {
    let mut bytes = [0; N];
    let (mut got, mut file) = (0, None);
    while let Some(rest) = bytes.get_mut(got..).filter(|rest| !rest.is_empty()) {
        let (more, given) = receive_some(&stream, rest)?;
        got += more;
        file = given.or(file);
    }
    Ok((bytes, file))
}
