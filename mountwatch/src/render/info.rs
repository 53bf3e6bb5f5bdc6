//! Everything about one mount.

use super::json::{Json, Object};
use super::{Clock, Secrets, operation, options, rfc3339, text};
use crate::model::{Coverage, Operation, OperationId, Revision};
use crate::query::{Bind, MountInfo, Neighbour, Portrait};
use crate::wire::mountinfo::unescape;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// Neighbours that are named in a sentence; the others are counted.
const NAMED_MAX: usize = 4;

/// From where an answer is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Source<'a> {
    /// Who answered: a back end, or the interface of the kernel that was asked directly.
    pub answered_by: &'a str,
    /// The state of the index; `None` if there was none.
    pub revision: Option<Revision>,
    /// How far it can be trusted.
    pub coverage: &'a Coverage,
    /// What time it is, to say when something happened.
    pub clock: Option<Clock>,
}

impl Source<'_> {
    pub(super) fn put(&self, object: &mut Object) {
        object.put("answered_by", self.answered_by);
        object.put("revision", self.revision.map(|revision| revision.0));
        object.put("coverage", self.coverage.word());
    }
}

/// Everything about a mount, in sentences.
pub fn info_text(portrait: &Portrait, source: Source<'_>, secrets: Secrets) -> String {
    let info = &portrait.info;
    let mut lines = vec![who(info), what(info, secrets)];
    let fs_options = of_file_system(info, secrets);
    lines.push(format!(
        "Its options are {}; those of the file system are {}.",
        info.attributes,
        text::visible(&fs_options)
    ));
    lines.push(match &portrait.parent {
        Some(parent) => format!("It sits on mount {}.", named(parent, info)),
        None => format!("It sits on mount {}, which is not seen from here.", info.parent_id),
    });
    lines.extend(list("Mounted on it", &portrait.children, info));
    lines.extend(list("It hides at the same path", &portrait.covers, info));
    if let Some(top) = &portrait.covered_by {
        lines.push(format!("It is hidden: its path leads to mount {}.", named(top, info)));
    }
    lines.push(propagation(portrait));
    lines.extend(story(info, source, secrets));
    lines.extend(list("Its peer group gives to", &portrait.slaves, info));
    lines.extend(list("The same directory is shown by", &portrait.same_root, info));
    if let Some(host) = &portrait.host_path
        && host.path != info.mountpoint
    {
        let way = host.way.word().replace('_', " ");
        lines.push(format!("The host reaches it at {} ({way}).", path(&host.path)));
    }
    lines.push(match source.revision {
        Some(revision) => format!(
            "Answered by {} at revision {revision}, coverage {}.",
            source.answered_by, source.coverage
        ),
        None => {
            format!("Answered by {}: other mount namespaces are not known.", source.answered_by)
        }
    });
    lines.join("\n") + "\n"
}

fn who(info: &MountInfo) -> String {
    let unique = info.unique_id.map(|id| format!(" (unique ID {id})")).unwrap_or_default();
    let namespace = info.namespace_id.map(|id| format!(" (ID {id})")).unwrap_or_default();
    format!(
        "{} is mount {}{unique} of mount namespace {}{namespace}.",
        path(&info.mountpoint),
        info.id,
        info.namespace
    )
}

fn what(info: &MountInfo, secrets: Secrets) -> String {
    let fs_type = text::visible(&info.fs_type);
    let source = text::visible(&secrets.source(&info.source));
    let source = if source.is_empty() { String::from("without a source") } else { source };
    let shown =
        if info.root == Path::new("/") { String::from("the whole") } else { path(&info.root) };
    let bind = match info.bind {
        None => "",
        Some(Bind::Object) => ": a bind mount, of an object of the kernel",
        Some(Bind::Part) => ": a bind mount, of a part of the file system",
        Some(Bind::Again) => ": a bind mount, of what an older mount of this namespace shows",
    };
    format!("It shows {shown} of {fs_type} {source}, device {}{bind}.", info.device)
}

/// How it came to be as it is; nothing where there is no index that could know.
fn story(info: &MountInfo, source: Source<'_>, secrets: Secrets) -> Vec<String> {
    if source.revision.is_none() {
        return Vec::new();
    }
    let by = |id: OperationId, operation: Option<&Arc<Operation>>| match operation {
        Some(operation) => deed(operation, source.clock, secrets),
        None => format!("by operation {id}, which is not over or was not seen whole"),
    };
    let provenance = info.provenance;
    let mut lines = vec![match provenance.created_by {
        Some(id) => format!("It was made {}.", by(id, info.created_by.as_ref())),
        None => String::from("It was there before mountwatch, or was found by a scan."),
    }];
    if let Some(id) = provenance.copied_from() {
        lines.push(format!("It is a copy of the mount with unique ID {id}."));
    } else if let Some(id) = provenance.copied_from_id() {
        lines.push(format!("It is a copy of mount {id}."));
    }
    if let Some(id) = provenance.changed_by {
        lines.push(format!("It was changed last {}.", by(id, info.changed_by.as_ref())));
    }
    lines
}

/// When, by which call and by whom.
fn deed(operation: &Operation, clock: Option<Clock>, secrets: Secrets) -> String {
    let (task, around) = (&operation.task, &operation.surroundings);
    let at = clock.map(|clock| format!("at {} ", rfc3339(clock.wall_ns(operation.begin_ktime_ns))));
    let mut more = Vec::new();
    more.extend(around.executable.as_ref().map(|path| text::visible(path)));
    more.push(format!("user {}", task.uid));
    if let (Some(comm), Some(pid)) = (&around.parent_comm, around.parent_pid) {
        more.push(format!("child of {}[{pid}]", text::visible(comm)));
    }
    more.extend(
        around
            .container
            .as_ref()
            .map(|container| format!("container {} of {}", container.id, container.runtime.word())),
    );
    format!(
        "{}by {} of {}[{}] ({}), operation {}",
        at.unwrap_or_default(),
        operation::call_text(operation, secrets),
        text::visible(&task.comm),
        task.pid,
        more.join(", "),
        operation.id
    )
}

fn propagation(portrait: &Portrait) -> String {
    let info = &portrait.info;
    let mut parts = Vec::new();
    let among = |neighbours: &[Neighbour], some: &str, none: &str| match neighbours {
        [] => none.to_owned(),
        neighbours => format!("{some} {}", several(neighbours, info)),
    };
    if let Some(group) = info.peer_group {
        let peers = among(&portrait.peers, "with", "without others");
        parts.push(format!("shared in peer group {group}, {peers}"));
    }
    if let Some(group) = info.master {
        let masters = among(&portrait.masters, "of", "of which no member is known");
        let nearest = info.propagate_from.map(|group| format!(" (the nearest seen is {group})"));
        let nearest = nearest.unwrap_or_default();
        parts.push(format!("slave of peer group {group}{nearest}, {masters}"));
    }
    if info.unbindable {
        parts.push(String::from("unbindable"));
    }
    if parts.is_empty() {
        parts.push(String::from("private"));
    }
    format!("Its propagation is {}.", parts.join("; "))
}

fn list(what: &str, neighbours: &[Neighbour], info: &MountInfo) -> Option<String> {
    (!neighbours.is_empty()).then(|| format!("{what}: {}.", several(neighbours, info)))
}

fn several(neighbours: &[Neighbour], info: &MountInfo) -> String {
    let mut names: Vec<_> = neighbours.iter().take(NAMED_MAX).map(|one| named(one, info)).collect();
    if let Some(more) = neighbours.len().checked_sub(NAMED_MAX).filter(|more| *more > 0) {
        names.push(format!("and {more} more"));
    }
    names.join(", ")
}

fn named(one: &Neighbour, info: &MountInfo) -> String {
    let at = one.path.as_deref().map_or_else(|| String::from("no path"), path);
    let namespace = if one.namespace == info.namespace {
        String::new()
    } else {
        format!(" in namespace {}", one.namespace)
    };
    format!("{} at {at}{namespace}", one.id)
}

fn path(path: &Path) -> String {
    text::visible(path.as_os_str().as_bytes())
}

/// Field 11 of mountinfo(5) without escapes: flags, then options.
pub(crate) fn of_file_system(info: &MountInfo, secrets: Secrets) -> Vec<u8> {
    let fields = options::of_super_fields(info.super_flags, info.fs_options.as_deref(), secrets);
    unescape(&fields)
}

/// Everything about a mount as one JSON object. Keys are the columns of `list` in lower case, and the
/// mounts around it.
pub fn info_json(portrait: &Portrait, source: Source<'_>, secrets: Secrets) -> String {
    let info = &portrait.info;
    let mut object = Object::default();
    object.put_bytes("target", Some(info.mountpoint.as_os_str().as_bytes()));
    object.put_bytes("source", Some(&secrets.source(&info.source)));
    object.put_bytes("fstype", Some(&info.fs_type));
    let of_mount = info.attributes.to_string();
    let of_file_system = of_file_system(info, secrets);
    object.put_bytes("options", Some(&options::merged(of_mount.as_bytes(), &of_file_system)));
    object.put("vfs-options", of_mount);
    object.put_bytes("fs-options", info.fs_options.as_ref().map(|_| &of_file_system[..]));
    object.put("id", info.id.0);
    object.put("uniq-id", info.unique_id.map(|id| id.0));
    object.put("maj:min", info.device.to_string());
    object.put_bytes("fsroot", Some(info.root.as_os_str().as_bytes()));
    object.put("ns", info.namespace.0);
    object.put("ns-id", info.namespace_id.map(|id| id.0));
    object.put("peer-group", info.peer_group.map(|group| group.0));
    object.put("master", info.master.map(|group| group.0));
    object.put("propagate-from", info.propagate_from.map(|group| group.0));
    object.put("unbindable", info.unbindable);
    object.put("bind", info.bind.map(Bind::word));
    object.put("covered", info.is_covered);
    object.put("parent", info.parent_id.0);
    object.put("parent_mount", portrait.parent.as_ref().map(neighbour));
    object.put("covered_by", portrait.covered_by.as_ref().map(neighbour));
    for (key, mounts) in [
        ("children", &portrait.children),
        ("covers", &portrait.covers),
        ("peers", &portrait.peers),
        ("masters", &portrait.masters),
        ("slaves", &portrait.slaves),
        ("same_root", &portrait.same_root),
    ] {
        object.put(key, Json::List(mounts.iter().map(|one| neighbour(one).into()).collect()));
    }
    let provenance = info.provenance;
    let story = |operation: Option<&Arc<Operation>>| {
        operation.map(|operation| {
            let mut object = Object::default();
            operation::put(&mut object, operation, secrets);
            object
        })
    };
    object.put("created-operation", provenance.created_by.map(OperationId::get));
    object.put("created_by", story(info.created_by.as_ref()));
    object.put("changed-operation", provenance.changed_by.map(OperationId::get));
    object.put("changed_by", story(info.changed_by.as_ref()));
    object.put("from", provenance.copied_from().map(|id| id.0));
    object.put("from-id", provenance.copied_from_id().map(|id| id.0));
    let host = portrait.host_path.as_ref();
    object.put_bytes("host_path", host.map(|host| host.path.as_os_str().as_bytes()));
    object.put("host_way", host.map(|host| host.way.word()));
    source.put(&mut object);
    object.lines()
}

fn neighbour(one: &Neighbour) -> Object {
    let mut object = Object::default();
    object.put("id", one.id.0);
    object.put("uniq-id", one.unique_id.map(|id| id.0));
    object.put("ns", one.namespace.0);
    object.put_bytes("target", one.path.as_ref().map(|path| path.as_os_str().as_bytes()));
    object
}

/// Whether a path is a mount point, as a JSON object. `bind`: why the mount there is a bind mount,
/// where that was asked.
pub fn is_mountpoint_json(path: &[u8], is_one: bool, source: Source<'_>) -> String {
    let mut object = Object::default();
    object.put_bytes("path", Some(path));
    object.put("is_mountpoint", is_one);
    source.put(&mut object);
    object.line() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Index;
    use crate::model::MountId;
    use crate::query::{SnapshotView, WhichMount};

    const HOST: &str = "\
1 0 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
2 1 0:30 / /a\\040b rw,nosuid shared:2 - tmpfs lower rw,password=x
3 2 0:31 /sub /a\\040b ro unbindable - tmpfs upper rw
4 1 0:31 / /m1 rw - tmpfs upper rw
5 1 0:31 / /m2 rw - tmpfs upper rw
6 1 0:4 net:[4026531840] /netns rw - nsfs nsfs rw
";
    const CONTAINER: &str = "\
20 0 8:1 /srv/c / rw master:1 - ext4 /dev/sda1 rw
21 20 0:30 / /data rw shared:3 master:2 - tmpfs lower rw
";

    fn view(inode: u32) -> SnapshotView {
        let index = Index::new().namespace(100, HOST).unwrap();
        let index = index.namespace(200, CONTAINER).unwrap();
        let (from, host) = (index.viewpoint(inode).unwrap(), index.viewpoint(100).unwrap());
        SnapshotView::new(index.snapshot(), from).with_host(host).with_task(77)
    }

    fn portrait(inode: u32, id: u32) -> Portrait {
        let view = view(inode);
        view.portrait(view.find(WhichMount::Id(MountId(id))).unwrap()).unwrap()
    }

    fn source() -> Source<'static> {
        Source {
            answered_by: "hooks",
            revision: Some(Revision(7)),
            coverage: &Coverage::Complete,
            clock: None,
        }
    }

    fn check(inode: u32, id: u32) -> String {
        info_text(&portrait(inode, id), source(), Secrets::Hidden)
    }

    #[test]
    fn sentences() {
        insta::assert_snapshot!(check(100, 1), @r#"
        / is mount 1 (unique ID 2147483649) of mount namespace 100.
        It shows the whole of ext4 /dev/sda1, device 8:1.
        Its options are rw,relatime; those of the file system are rw,errors=remount-ro.
        It sits on mount 0, which is not seen from here.
        Mounted on it: 2 at /a b, 4 at /m1, 5 at /m2, 6 at /netns.
        Its propagation is shared in peer group 1, without others.
        It was there before mountwatch, or was found by a scan.
        Its peer group gives to: 20 at / in namespace 200.
        Answered by hooks at revision 7, coverage complete.
        "#);
        insta::assert_snapshot!(check(100, 2), @r#"
        /a b is mount 2 (unique ID 2147483650) of mount namespace 100.
        It shows the whole of tmpfs lower, device 0:30.
        Its options are rw,nosuid; those of the file system are rw,password=<hidden>.
        It sits on mount 1 at /.
        Mounted on it: 3 at /a b.
        It is hidden: its path leads to mount 3 at /a b.
        Its propagation is shared in peer group 2, without others.
        It was there before mountwatch, or was found by a scan.
        Its peer group gives to: 21 at /data in namespace 200.
        Answered by hooks at revision 7, coverage complete.
        "#);
        insta::assert_snapshot!(check(100, 3), @r#"
        /a b is mount 3 (unique ID 2147483651) of mount namespace 100.
        It shows /sub of tmpfs upper, device 0:31: a bind mount, of a part of the file system.
        Its options are ro; those of the file system are rw.
        It sits on mount 2 at /a b.
        It hides at the same path: 2 at /a b.
        Its propagation is unbindable.
        It was there before mountwatch, or was found by a scan.
        Answered by hooks at revision 7, coverage complete.
        "#);
        insta::assert_snapshot!(check(100, 5), @r#"
        /m2 is mount 5 (unique ID 2147483653) of mount namespace 100.
        It shows the whole of tmpfs upper, device 0:31: a bind mount, of what an older mount of this namespace shows.
        Its options are rw; those of the file system are rw.
        It sits on mount 1 at /.
        Its propagation is private.
        It was there before mountwatch, or was found by a scan.
        The same directory is shown by: 4 at /m1.
        Answered by hooks at revision 7, coverage complete.
        "#);
        insta::assert_snapshot!(check(100, 6), @r#"
        /netns is mount 6 (unique ID 2147483654) of mount namespace 100.
        It shows net:[4026531840] of nsfs nsfs, device 0:4: a bind mount, of an object of the kernel.
        Its options are rw; those of the file system are rw.
        It sits on mount 1 at /.
        Its propagation is private.
        It was there before mountwatch, or was found by a scan.
        Answered by hooks at revision 7, coverage complete.
        "#);
        insta::assert_snapshot!(check(200, 21), @r#"
        /data is mount 21 (unique ID 2147483656) of mount namespace 200.
        It shows the whole of tmpfs lower, device 0:30.
        Its options are rw; those of the file system are rw,password=<hidden>.
        It sits on mount 20 at /.
        Its propagation is shared in peer group 3, without others; slave of peer group 2, of 2 at /a b in namespace 100.
        It was there before mountwatch, or was found by a scan.
        The host reaches it at /proc/77/root/data (process).
        Answered by hooks at revision 7, coverage complete.
        "#);
        let bare = portrait(200, 21).without_unique_ids();
        let source = Source { answered_by: "mountinfo", revision: None, ..source() };
        insta::assert_snapshot!(info_text(&bare, source, Secrets::Hidden).lines().last().unwrap(), @r#"Answered by mountinfo: other mount namespaces are not known."#);
    }

    #[test]
    fn objects() {
        insta::assert_snapshot!(info_json(&portrait(200, 21), source(), Secrets::Hidden), @r#"
        {
          "target": "/data",
          "source": "lower",
          "fstype": "tmpfs",
          "options": "rw,password=<hidden>",
          "vfs-options": "rw",
          "fs-options": "rw,password=<hidden>",
          "id": 21,
          "uniq-id": 2147483656,
          "maj:min": "0:30",
          "fsroot": "/",
          "ns": 200,
          "ns-id": null,
          "peer-group": 3,
          "master": 2,
          "propagate-from": null,
          "unbindable": false,
          "bind": null,
          "covered": false,
          "parent": 20,
          "parent_mount": {
            "id": 20,
            "uniq-id": 2147483655,
            "ns": 200,
            "target": "/"
          },
          "covered_by": null,
          "children": [],
          "covers": [],
          "peers": [],
          "masters": [
            {
              "id": 2,
              "uniq-id": 2147483650,
              "ns": 100,
              "target": "/a b"
            }
          ],
          "slaves": [],
          "same_root": [],
          "created-operation": null,
          "created_by": null,
          "changed-operation": null,
          "changed_by": null,
          "from": null,
          "from-id": null,
          "host_path": "/proc/77/root/data",
          "host_way": "process",
          "answered_by": "hooks",
          "revision": 7,
          "coverage": "complete"
        }
        "#);
        let line = is_mountpoint_json(b"/a\xff", true, source());
        insta::assert_snapshot!(line, @r#"{"path":"/a�","path_hex":"2f61ff","is_mountpoint":true,"answered_by":"hooks","revision":7,"coverage":"complete"}"#);
    }
}
