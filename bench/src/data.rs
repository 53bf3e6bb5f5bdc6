//! Mounts as a node with many containers has them, in a mount namespace of our own.
//!
//! Of each ten mounts three are overlays at paths of containerd, three are projected volumes (tmpfs),
//! three are bind mounts of volumes and one is a sandbox's shm: some 122 bytes of path, and 900 bytes
//! of options for an overlay, which is what a line of mountinfo costs most for.

use anyhow::{Context as _, Result};
use rustix::fs::CWD;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount,
    mount_bind, mount_change, move_mount, open_tree, unmount,
};
use std::ffi::CString;
use std::fs;

/// Below here everything is.
const BASE: &str = "/mnt";
/// How many mounts a namespace may have.
const MOUNT_MAX: &str = "/proc/sys/fs/mount-max";

/// What was made.
pub(crate) struct Data {
    /// The paths of the mounts.
    pub(crate) paths: Vec<String>,
    /// A mount with ten others on it.
    pub(crate) parent: String,
    /// A directory with ten mounts below it, and no mount itself.
    pub(crate) directory: String,
    /// Where nothing is mounted, for what comes and goes.
    pub(crate) spare: String,
    /// What is bound there, on a mount of its own: a bind of a mount with N others on it costs N.
    pub(crate) source: String,
    /// Whether overlays are among them.
    pub(crate) has_overlay: bool,
    limit: Limit,
}

/// The machine's limit of mounts, raised while this lives.
struct Limit(Option<String>);

impl Limit {
    fn raised_for(count: usize) -> Result<Self> {
        let before = fs::read_to_string(MOUNT_MAX).context("cannot read fs.mount-max")?;
        let wanted = count + 10_000;
        if before.trim().parse::<usize>().is_ok_and(|max| max >= wanted) {
            return Ok(Self(None));
        }
        fs::write(MOUNT_MAX, wanted.to_string()).context("cannot raise fs.mount-max")?;
        Ok(Self(Some(before)))
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        if let Some(before) = &self.0
            && let Err(error) = fs::write(MOUNT_MAX, before)
        {
            eprintln!("vm-bench: fs.mount-max stays raised: {error}");
        }
    }
}

/// Makes the mounts. The process has to be in a mount namespace of its own.
pub(crate) fn make(count: usize) -> Result<Data> {
    let limit = Limit::raised_for(count)?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .context("cannot make the mounts private")?;
    fs::create_dir_all(BASE)?;
    tmpfs(BASE)?;
    let source = format!("{BASE}/src");
    fs::create_dir(&source)?;
    tmpfs(&source)?;
    for name in ["a", "b"] {
        fs::create_dir(format!("{source}/{name}"))?;
    }
    let has_overlay = make_overlay(&source).is_ok();
    let mut paths = Vec::with_capacity(count);
    for number in 0..count {
        let path = format!("{BASE}{}", path(number));
        fs::create_dir_all(&path)?;
        make_one(&path, number % 10, &source, has_overlay)
            .with_context(|| format!("cannot mount {path}"))?;
        paths.push(path);
    }
    let parent = format!("{BASE}/parent-of-ten");
    let directory = format!("{BASE}/directory-of-ten");
    fs::create_dir(&parent)?;
    tmpfs(&parent)?;
    for number in 0..10 {
        for above in [&parent, &directory] {
            let path = format!("{above}/child-{number}");
            fs::create_dir_all(&path)?;
            mount_bind(format!("{source}/a"), path)?;
        }
    }
    let spare = format!("{BASE}/spare");
    fs::create_dir(&spare)?;
    let source = format!("{source}/b");
    Ok(Data { paths, parent, directory, spare, source, has_overlay, limit })
}

impl Data {
    /// Takes everything away, at once, and puts the limit back.
    pub(crate) fn end(self) -> Result<()> {
        unmount(BASE, UnmountFlags::DETACH).context("cannot unmount everything")?;
        drop(self.limit);
        Ok(())
    }
}

fn make_one(path: &str, kind: usize, source: &str, has_overlay: bool) -> Result<()> {
    match kind {
        0..=2 if has_overlay => {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            let clone = open_tree(CWD, format!("{source}/overlay"), flags)?;
            move_mount(clone, "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        }
        3..=5 | 9 => tmpfs(path)?,
        _ => mount_bind(format!("{source}/a"), path)?,
    }
    Ok(())
}

fn tmpfs(path: &str) -> Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    Ok(mount("tmpfs", path, "tmpfs", flags, c"size=64m,mode=755")?)
}

/// One overlay with eight layers at paths as long as containerd's.
fn make_overlay(source: &str) -> Result<()> {
    let layer = |number: usize| {
        let id = "0123456789abcdef".repeat(4);
        format!("{source}/snapshots/{number}-{id}/fs")
    };
    let layers: Vec<_> = (0..8).map(layer).collect();
    let (upper, work) = (layer(90), layer(91));
    for directory in layers.iter().chain([&upper, &work]) {
        fs::create_dir_all(directory)?;
    }
    let at = format!("{source}/overlay");
    fs::create_dir(&at)?;
    let options = format!("lowerdir={},upperdir={upper},workdir={work}", layers.join(":"));
    let options = CString::new(options)?;
    Ok(mount("overlay", at, "overlay", MountFlags::empty(), &*options)?)
}

fn path(number: usize) -> String {
    let hex = |seed: u64| format!("{:016x}", (number as u64 + 1).wrapping_mul(seed | 1));
    let seeds = [0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f, 0x1656_67b1_9e37_79f9, 7];
    let id = seeds.map(hex).concat();
    let uuid =
        format!("{}-{}-{}-{}-{}", &id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..32]);
    let pod = format!("/var/lib/kubelet/pods/{uuid}/volumes");
    let containerd = "/run/containerd/io.containerd";
    match number % 10 {
        0..=2 => format!("{containerd}.runtime.v2.task/k8s.io/{id}/rootfs"),
        3..=5 => format!("{pod}/kubernetes.io~projected/kube-api-access-{}", &id[..5]),
        6..=8 => format!("{pod}/kubernetes.io~csi/pvc-{uuid}/mount"),
        _ => format!("{containerd}.grpc.v1.cri/sandboxes/{id}/shm"),
    }
}
