//! Container IDs in `/proc/PID/cgroup`, see cgroups(7).

/// Digits of the IDs that containerd, CRI-O, Docker and Podman give.
const DIGITS: usize = 64;

/// Scopes of processes that look after a container and are not in it.
const MONITORS: [&str; 2] = ["crio-conmon-", "libpod-conmon-"];

/// The ID of the container that a process runs in, from the text of its `/proc/PID/cgroup`: that of
/// the innermost one, if they are nested. Understood are the names of the systemd driver
/// (`cri-containerd-ID.scope`, `docker-ID.scope`, `crio-ID.scope`, `libpod-ID.scope`) and of the
/// cgroupfs driver (`/docker/ID`, `/k8s.io/ID`, `/kubepods/…/ID`), with groups below it.
pub fn container_id(text: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(text);
    text.lines()
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .find_map(|path| path.rsplit('/').find_map(id_in_name))
}

/// The ID in the name of one group.
fn id_in_name(name: &str) -> Option<String> {
    if MONITORS.iter().any(|monitor| name.starts_with(monitor)) {
        return None;
    }
    let name = name.strip_suffix(".scope").unwrap_or(name);
    // A name of three parts, `slice:prefix:ID`, is how runc is told the name of a scope; crun and the
    // cgroupfs driver keep it.
    let id = name.rsplit(['-', ':']).next()?;
    let is_id = id.len() == DIGITS
        && id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    is_id.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f2a00112233445566778899aabbccddeeff00112233445566778899aabbccdd";

    #[test]
    fn names_of_runtimes() {
        for path in [
            "/system.slice/docker-ID.scope",
            "/docker/ID",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-ID.scope",
            "/kubepods.slice/kubepods-pod1.slice/crio-ID.scope/container",
            "/machine.slice/libpod-ID.scope/container/init.scope",
            "/k8s.io/ID",
            "/kubepods/besteffort/pod9c/ID",
            "/system.slice/containerd.service/kubepods-burstable-pod1.slice:cri-containerd:ID",
        ] {
            let path = path.replace("ID", ID);
            let text = format!("0::{path}\n");
            assert_eq!(container_id(text.as_bytes()).as_deref(), Some(ID), "{path}");
            let text = format!("2:cpu:{path}\n1:name=systemd:{path}\n");
            assert_eq!(container_id(text.as_bytes()).as_deref(), Some(ID), "{path}");
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
            "/docker/short",
            "/docker/IDff",
        ] {
            let text = format!("0::{}\n", path.replace("ID", ID));
            assert_eq!(container_id(text.as_bytes()), None, "{path}");
        }
        assert_eq!(container_id(b"\xff\n::\n"), None);
    }

    #[test]
    fn the_innermost_counts() {
        let inner = ID.replace('3', "4");
        let text = format!("0::/docker/{ID}/docker/{inner}\n");
        assert_eq!(container_id(text.as_bytes()), Some(inner));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(text: Vec<u8>) {
            let _ = container_id(&text);
        }
    }
}
