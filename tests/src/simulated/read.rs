//! What a reader asks of the simulated kernel: descriptors of namespaces, one line of mountinfo
//! after the other, options of one mount.

use super::kernel::{File, FileKey, Kernel, Ns, Open};

impl Kernel {
    /// The namespace with this inode.
    pub(super) fn namespace_of_inode(&self, inode: u32) -> Option<Ns> {
        let mut living = self.all_namespaces().filter(|(_, namespace)| !namespace.is_anon);
        living.find(|(_, namespace)| namespace.inum == inode).map(|(key, _)| key)
    }

    /// Opens a namespace, so that it stays.
    pub(super) fn open_namespace(&mut self, ns: Ns) -> (FileKey, u32) {
        let file = FileKey(self.key());
        self.files.insert(file, File { open: Open::Namespace(ns), count: 1 });
        (file, self[ns].inum)
    }

    /// Opens every namespace that tasks can have.
    pub(super) fn open_namespaces(&mut self) -> Vec<(FileKey, Ns, u32)> {
        let living: Vec<Ns> = self
            .all_namespaces()
            .filter(|(_, namespace)| !namespace.is_anon)
            .map(|(key, _)| key)
            .collect();
        let open = |ns| {
            let (file, inode) = self.open_namespace(ns);
            (file, ns, inode)
        };
        living.into_iter().map(open).collect()
    }

    /// Closes a namespace: it may die of it.
    pub(super) fn close_namespace(&mut self, file: FileKey) {
        self.fput(file);
        self.reap();
    }

    /// Shows the first line of a namespace's mountinfo from this unique mount ID on, and gives the
    /// ID of the mount that it is about.
    pub(super) fn show_next(&mut self, ns: Ns, from: u64) -> Option<u64> {
        let (unique, mnt) = self[ns].mounts.range(from..).next().map(|(id, mnt)| (*id, *mnt))?;
        self.hook_scan(mnt);
        Some(unique)
    }

    /// The options of a mount that is in a namespace.
    pub(super) fn statmount_options(&self, unique: u64) -> Option<Vec<u8>> {
        let (_, namespace) =
            self.all_namespaces().find(|(_, namespace)| namespace.mounts.contains_key(&unique))?;
        let mnt = namespace.mounts.get(&unique)?;
        Some(self.show_options(self[*mnt].mnt_sb))
    }
}
