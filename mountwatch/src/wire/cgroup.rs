//! Containers by the names of cgroups, see cgroups(7).

use crate::model::{Container, Runtime};

/// Digits of the IDs that containerd, CRI-O, Docker and Podman give.
const DIGITS: usize = 64;

/// Scopes of processes that look after a container and are not in it.
const MONITORS: [&str; 2] = ["crio-conmon-", "libpod-conmon-"];

/// What stands before the ID in the name of a scope, or as the second part of `slice:prefix:ID`, and
/// who names it so.
const PREFIXES: &[(&str, Runtime)] = &[
    ("docker", Runtime::Docker),
    ("cri-containerd", Runtime::Containerd),
    ("nerdctl", Runtime::Containerd),
    ("crio", Runtime::CriO),
    ("libpod", Runtime::Podman),
];

/// Groups in which the name of a container is an ID alone, and whose they are.
const PARENTS: &[(&str, Runtime)] = &[
    ("docker", Runtime::Docker),
    ("k8s.io", Runtime::Containerd),
    ("moby", Runtime::Docker),
    ("libpod_parent", Runtime::Podman),
    ("crio", Runtime::CriO),
];

/// Beginnings of groups with names that people give, their ends, and whose they are.
const NAMED: &[(&str, &str, Runtime)] = &[
    ("systemd-nspawn@", ".service", Runtime::SystemdNspawn),
    ("machine-", ".scope", Runtime::SystemdNspawn),
    ("lxc.payload.", "", Runtime::Lxc),
];
/// Virtual machines, which are no containers, have such names too.
const MACHINES: &str = "machine-qemu";

/// The container that a process runs in, from the text of its `/proc/PID/cgroup`.
pub fn container_of_text(text: &[u8]) -> Option<Container> {
    let text = String::from_utf8_lossy(text);
    text.lines().filter_map(|line| line.splitn(3, ':').nth(2)).find_map(innermost)
}

/// The container of a cgroup, from its path: the innermost one, if they are nested. Understood are the
/// names of the systemd driver (`cri-containerd-ID.scope`, `docker-ID.scope`, `crio-ID.scope`,
/// `libpod-ID.scope`), of the cgroupfs driver (`/docker/ID`, `/k8s.io/ID`, `/kubepods/…/ID`), of
/// systemd-nspawn and of LXC, with groups below them.
pub fn container_of_path(path: &[u8]) -> Option<Container> {
    innermost(&String::from_utf8_lossy(path))
}

fn innermost(path: &str) -> Option<Container> {
    let mut rest = path;
    while let Some((above, name)) = rest.rsplit_once('/') {
        let parent = above.rsplit('/').next().unwrap_or_default();
        if let Some(found) = in_name(name, parent) {
            return Some(found);
        }
        rest = above;
    }
    None
}

/// The container in the name of one group, with that of the group around it.
fn in_name(name: &str, parent: &str) -> Option<Container> {
    if MONITORS.iter().any(|monitor| name.starts_with(monitor)) {
        return None;
    }
    for (begin, end, runtime) in NAMED {
        let id = name.strip_prefix(begin).and_then(|rest| rest.strip_suffix(end));
        if let Some(id) = id.filter(|id| !id.is_empty() && !name.starts_with(MACHINES)) {
            return Some(Container { id: id.to_owned(), runtime: *runtime });
        }
    }
    let bare = name.strip_suffix(".scope").unwrap_or(name);
    // A name of three parts, `slice:prefix:ID`, is how runc is told the name of a scope; crun and the
    // cgroupfs driver keep it.
    let (before, id) = bare.rsplit_once(['-', ':']).unwrap_or(("", bare));
    let is_id = id.len() == DIGITS
        && id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let prefix = before.rsplit(':').next().unwrap_or_default();
    let of = |table: &[(&str, Runtime)], word: &str| {
        table.iter().find(|(known, _)| *known == word).map(|(_, runtime)| *runtime)
    };
    let runtime = of(PREFIXES, prefix).or_else(|| of(PARENTS, parent)).unwrap_or(Runtime::Unknown);
    is_id.then(|| Container { id: id.to_owned(), runtime })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f2a00112233445566778899aabbccddeeff00112233445566778899aabbccdd";

    fn check(path: &str, expected: Option<(&str, Runtime)>) {
        let path = path.replace("ID", ID);
        let expected =
            expected.map(|(id, runtime)| Container { id: id.replace("ID", ID), runtime });
        assert_eq!(container_of_path(path.as_bytes()), expected, "{path}");
        let text = format!("0::{path}\n");
        assert_eq!(container_of_text(text.as_bytes()), expected, "{path}");
        let text = format!("2:cpu:{path}\n1:name=systemd:{path}\n");
        assert_eq!(container_of_text(text.as_bytes()), expected, "{path}");
    }

    #[test]
    fn names_of_runtimes() {
        use Runtime::{Containerd, CriO, Docker, Lxc, Podman, SystemdNspawn, Unknown};
        for (path, id, runtime) in [
            ("/system.slice/docker-ID.scope", "ID", Docker),
            ("/docker/ID", "ID", Docker),
            ("/docker/ID/init", "ID", Docker),
            (
                "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-ID.scope",
                "ID",
                Docker,
            ),
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-ID.scope",
                "ID",
                Containerd,
            ),
            ("/system.slice/nerdctl-ID.scope", "ID", Containerd),
            ("/k8s.io/ID", "ID", Containerd),
            (
                "/system.slice/containerd.service/kubepods-burstable-pod1.slice:cri-containerd:ID",
                "ID",
                Containerd,
            ),
            ("/kubepods.slice/kubepods-pod1.slice/crio-ID.scope/container", "ID", CriO),
            ("/kubepods.slice:crio:ID", "ID", CriO),
            ("/machine.slice/libpod-ID.scope/container/init.scope", "ID", Podman),
            ("/libpod_parent/ID", "ID", Podman),
            ("/kubepods/besteffort/pod9c/ID", "ID", Unknown),
            ("/ID", "ID", Unknown),
            ("/machine.slice/systemd-nspawn@web.service/payload", "web", SystemdNspawn),
            ("/machine.slice/machine-web.scope", "web", SystemdNspawn),
            ("/lxc.payload.web/init.scope", "web", Lxc),
            ("/docker/ID/system.slice/docker-ID.scope/init.scope", "ID", Docker),
        ] {
            check(path, Some((id, runtime)));
        }
    }

    #[test]
    fn others_are_in_no_container() {
        for path in [
            "/",
            "/init.scope",
            "/user.slice/user-1000.slice/session-2.scope",
            "/machine.slice/libpod-conmon-ID.scope",
            "/kubepods.slice/crio-conmon-ID.scope",
            "/machine.slice/machine-qemu\\x2d1\\x2dvm.scope",
            "/docker/short",
            "/docker/IDff",
        ] {
            check(path, None);
        }
        assert_eq!(container_of_text(b"\xff\n::\n"), None);
        assert_eq!(container_of_path(b""), None);
    }

    #[test]
    fn the_innermost_counts() {
        let inner = ID.replace('3', "4");
        check(&format!("/docker/ID/libpod-{inner}.scope"), Some((&inner, Runtime::Podman)));
        check("/lxc.payload.web/docker/ID", Some(("ID", Runtime::Docker)));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(text: Vec<u8>) {
            let _ = container_of_text(&text);
            let _ = container_of_path(&text);
        }
    }
}
