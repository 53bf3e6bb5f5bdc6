//! Mounts and what answers rest on.

use super::operation::{operation_of, to_operation};
use super::{Malformed, v1};
use crate::model::{
    Coverage, Device, MountAttributes, MountId, NamespaceId, NamespaceInode, Operation,
    OperationId, PeerGroupId, Provenance, Revision, SuperFlags, UniqueMountId, propagation_type,
};
use crate::query::{Answer, Bind, HostPath, HostWay, MountInfo};
use crate::render::{Secrets, of_file_system, redacted};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes for people.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn path_buf(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
}

/// What an answer rests on.
pub(crate) fn as_of(instance: u64, revision: Revision, coverage: &Coverage) -> v1::AsOf {
    v1::AsOf {
        position: Some(v1::Position { instance, revision: revision.0, events: None }),
        coverage: Some(to_coverage(coverage)),
    }
}

/// An answer of ours.
pub(crate) fn answer_of<T>(as_of: Option<v1::AsOf>, value: T) -> Result<Answer<T>, Malformed> {
    let as_of = as_of.ok_or(Malformed("as_of"))?;
    let position = as_of.position.ok_or(Malformed("position"))?;
    let coverage = coverage_of(as_of.coverage)?;
    Ok(Answer { value, revision: Revision(position.revision), coverage })
}

pub(crate) fn to_coverage(coverage: &Coverage) -> v1::Coverage {
    use v1::coverage::Kind;
    let kind = match coverage {
        Coverage::Complete => Kind::Complete,
        Coverage::Stale => Kind::Stale,
        Coverage::Blind(_) => Kind::Blind,
        Coverage::Polling(_) => Kind::Polling,
    };
    v1::Coverage { kind: kind.into(), blind: coverage.blind().to_vec() }
}

pub(crate) fn coverage_of(coverage: Option<v1::Coverage>) -> Result<Coverage, Malformed> {
    use v1::coverage::Kind;
    let coverage = coverage.ok_or(Malformed("coverage"))?;
    match Kind::try_from(coverage.kind) {
        Ok(Kind::Complete) => Ok(Coverage::Complete),
        Ok(Kind::Stale) => Ok(Coverage::Stale),
        Ok(Kind::Blind) => Ok(Coverage::Blind(coverage.blind.into())),
        Ok(Kind::Polling) => Ok(Coverage::Polling(coverage.blind.into())),
        Ok(Kind::Unspecified) | Err(_) => Err(Malformed("coverage.kind")),
    }
}

fn to_bind(bind: Option<Bind>) -> v1::mount::Bind {
    match bind {
        None => v1::mount::Bind::None,
        Some(Bind::Object) => v1::mount::Bind::Object,
        Some(Bind::Part) => v1::mount::Bind::Part,
        Some(Bind::Again) => v1::mount::Bind::Again,
    }
}

fn bind_of(bind: i32) -> Result<Option<Bind>, Malformed> {
    Ok(match v1::mount::Bind::try_from(bind).map_err(|_| Malformed("bind"))? {
        v1::mount::Bind::None => None,
        v1::mount::Bind::Object => Some(Bind::Object),
        v1::mount::Bind::Part => Some(Bind::Part),
        v1::mount::Bind::Again => Some(Bind::Again),
    })
}

/// A mount of an answer.
pub(crate) fn mount_of_info(
    info: &MountInfo,
    mountpoint_in_parent: Option<Vec<u8>>,
    secrets: Secrets,
) -> v1::Mount {
    let (root, mountpoint) = (info.root.as_os_str(), info.mountpoint.as_os_str());
    let source = secrets.source(&info.source);
    let (peer_group, master) = (info.peer_group, info.master);
    let propagation = propagation_type(peer_group.is_some(), master.is_some(), info.unbindable);
    let operation =
        |done: Option<&Operation>| done.map(|done| to_operation(&redacted(done, secrets), 0));
    let super_options = info.fs_options.is_some().then(|| of_file_system(info, secrets));
    v1::Mount {
        id: info.id.0,
        unique_id: info.unique_id.map(|id| id.0),
        parent_id: info.parent_id.0,
        parent_unique_id: info.parent_unique_id.map(|id| id.0),
        namespace: Some(info.namespace.0),
        namespace_id: info.namespace_id.map(|id| id.0),
        device_major: info.device.major(),
        device_minor: info.device.minor(),
        root_text: text(root.as_bytes()),
        root: Some(root.as_bytes().to_vec()),
        mountpoint_text: text(mountpoint.as_bytes()),
        mountpoint: Some(mountpoint.as_bytes().to_vec()),
        mountpoint_in_parent,
        attributes: info.attributes.bits(),
        options: info.attributes.to_string(),
        peer_group: peer_group.map(|group| group.0),
        master: master.map(|group| group.0),
        propagate_from: info.propagate_from.map(|group| group.0),
        unbindable: info.unbindable,
        propagation: propagation.to_owned(),
        fs_type_text: text(&info.fs_type),
        fs_type: Some(info.fs_type.to_vec()),
        source_text: text(&source),
        source,
        super_flags: info.super_flags.bits(),
        fs_options: info.fs_options.as_deref().map(|options| secrets.options(options)),
        super_options,
        bind: to_bind(info.bind).into(),
        is_covered: info.is_covered,
        created_by_id: info.provenance.created_by.map_or(0, OperationId::get),
        changed_by_id: info.provenance.changed_by.map_or(0, OperationId::get),
        copied_from: info.provenance.original(),
        created_by: operation(info.created_by.as_deref()),
        changed_by: operation(info.changed_by.as_deref()),
    }
}

/// A mount of an answer, as ours.
pub(crate) fn to_info(mount: v1::Mount) -> Result<MountInfo, Malformed> {
    let operation =
        |done: Option<v1::Operation>| done.map(|done| operation_of(done).map(Arc::new)).transpose();
    let [created_by, changed_by] = [mount.created_by_id, mount.changed_by_id].map(OperationId::new);
    Ok(MountInfo {
        id: MountId(mount.id),
        unique_id: mount.unique_id.map(UniqueMountId),
        parent_id: MountId(mount.parent_id),
        parent_unique_id: mount.parent_unique_id.map(UniqueMountId),
        namespace: NamespaceInode(mount.namespace.ok_or(Malformed("namespace"))?),
        namespace_id: mount.namespace_id.map(NamespaceId),
        device: Device::new(mount.device_major, mount.device_minor),
        root: path_buf(mount.root.unwrap_or_default()),
        mountpoint: path_buf(mount.mountpoint.ok_or(Malformed("mountpoint"))?),
        attributes: MountAttributes::from_bits_retain(mount.attributes),
        peer_group: mount.peer_group.map(PeerGroupId),
        master: mount.master.map(PeerGroupId),
        propagate_from: mount.propagate_from.map(PeerGroupId),
        unbindable: mount.unbindable,
        fs_type: mount.fs_type.unwrap_or_default().into(),
        source: mount.source.into(),
        super_flags: SuperFlags::from_bits_retain(mount.super_flags),
        fs_options: mount.fs_options.map(Into::into),
        bind: bind_of(mount.bind)?,
        is_covered: mount.is_covered,
        provenance: Provenance::new(created_by, changed_by, mount.copied_from),
        created_by: operation(mount.created_by)?,
        changed_by: operation(mount.changed_by)?,
    })
}

pub(crate) fn to_host_path(found: &HostPath) -> v1::HostPath {
    use v1::host_path::Way;
    let (way, pid) = match found.way {
        HostWay::SameMount => (Way::SameMount, 0),
        HostWay::SameDirectory => (Way::SameDirectory, 0),
        HostWay::Process(pid) => (Way::Process, pid),
    };
    let path = found.path.as_os_str().as_bytes();
    v1::HostPath { way: way.into(), path: path.to_vec(), path_text: text(path), pid }
}

pub(crate) fn host_path_of(found: v1::HostPath) -> Result<HostPath, Malformed> {
    use v1::host_path::Way;
    let way = match Way::try_from(found.way) {
        Ok(Way::SameMount) => HostWay::SameMount,
        Ok(Way::SameDirectory) => HostWay::SameDirectory,
        Ok(Way::Process) => HostWay::Process(found.pid),
        Ok(Way::Unspecified) | Err(_) => return Err(Malformed("way")),
    };
    Ok(HostPath { path: path_buf(found.path), way })
}
