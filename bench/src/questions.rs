//! Questions about mounts as they are, to the index and to the kernel.

use crate::data::Data;
use crate::measure::{Row, Way, rounds, way};
use crate::peers::{self, Statmount, lines};
use crate::sys;
use anyhow::{Result, ensure};
use mountwatch::agent::Tracker;
use mountwatch::model::UniqueMountId;
use mountwatch::query::{Binds, MountQueries as _, SnapshotView, WhichMount};
use std::cell::{Cell, RefCell};
use std::path::Path;
use std::time::Duration;

/// How far apart the paths are that are asked about in turn: no two of them are close in memory.
pub(crate) const STRIDE: usize = 7_919;
/// What the tracker takes at most until it looks after itself.
const TURN: Duration = Duration::from_secs(1);
/// Mounts below the parent and below the directory, those two not counted.
const TEN: usize = 10;

/// Asks everything.
pub(crate) fn ask(tracker: &Tracker, data: &Data) -> Result<Vec<Row>> {
    let first = tracker.view_of_task(std::process::id())?;
    for path in &data.paths {
        ensure!(first.is_mount_point(Path::new(path), Binds::Count)?.value, "not there");
    }
    // After that many questions the tracker keeps paths: it sees to that at its next turn.
    std::thread::sleep(TURN);
    let view = tracker.view_of_task(std::process::id())?;
    let paths = Paths::new(data);
    let asker = Asker { view: &view, data, text: RefCell::default(), paths };
    let mut rows = asker.point(&first)?;
    rows.extend(asker.info()?);
    rows.extend(asker.by_id()?);
    rows.extend(asker.subtree()?);
    rows.extend(asker.directory()?);
    rows.extend(asker.listing()?);
    rows.extend(rounds(
        "barrier with nothing pending",
        vec![way("mountwatch", || {
            ensure!(tracker.now()?.revision().0 > 0, "no snapshot");
            Ok(())
        })],
    )?);
    Ok(rows)
}

/// Paths of mounts, another one each time.
pub(crate) struct Paths<'a> {
    data: &'a Data,
    at: Cell<usize>,
}

impl<'a> Paths<'a> {
    pub(crate) fn new(data: &'a Data) -> Self {
        Self { data, at: Cell::default() }
    }

    pub(crate) fn next(&self) -> &'a str {
        self.at.set((self.at.get() + STRIDE) % self.data.paths.len());
        &self.data.paths[self.at.get()]
    }
}

struct Asker<'a> {
    view: &'a SnapshotView,
    data: &'a Data,
    text: RefCell<Vec<u8>>,
    paths: Paths<'a>,
}

impl Asker<'_> {
    fn path(&self) -> &str {
        self.paths.next()
    }

    /// Reads mountinfo, and looks at each line.
    fn mountinfo(&self, mut look: impl FnMut(&peers::Line<'_>)) -> Result<usize> {
        let mut text = self.text.borrow_mut();
        peers::read_mountinfo(&mut text)?;
        let mut count = 0;
        for line in lines(&text) {
            ensure!(line.words >= 10, "a line of mountinfo has too few words");
            look(&line);
            count += 1;
        }
        Ok(count)
    }

    fn statmount(&self) -> Option<Statmount> {
        Statmount::new(&self.data.parent)
    }

    /// `first`: what somebody has who asks seldom.
    fn point(&self, first: &SnapshotView) -> Result<Vec<Row>> {
        let one = self.path();
        let ways = vec![
            way("mountwatch", || {
                let path = Path::new(self.path());
                ensure!(self.view.is_mount_point(path, Binds::Count)?.value, "not there");
                Ok(())
            }),
            way("mountwatch, one path again", || {
                ensure!(self.view.is_mount_point(Path::new(one), Binds::Count)?.value, "not there");
                Ok(())
            }),
            way("mountwatch, asked seldom", || {
                let path = Path::new(self.path());
                ensure!(first.is_mount_point(path, Binds::Count)?.value, "not there");
                Ok(())
            }),
            way("statx", || {
                ensure!(peers::is_mount_root(self.path())?, "not there");
                Ok(())
            }),
            way("mountinfo", || {
                let path = self.path().as_bytes();
                let mut is_one = false;
                self.mountinfo(|line| is_one |= line.mountpoint == path)?;
                ensure!(is_one, "not there");
                Ok(())
            }),
            way("procfs crate", || {
                let path = Path::new(self.path());
                let process = procfs::process::Process::myself()?;
                ensure!(
                    process.mountinfo()?.0.iter().any(|one| one.mount_point == path),
                    "not there"
                );
                Ok(())
            }),
        ];
        rounds("is P a mount point", ways)
    }

    fn info(&self) -> Result<Vec<Row>> {
        let mut statmount = self.statmount();
        let mut ways = vec![way("mountwatch", || {
            ensure!(self.view.mount_at(Path::new(self.path()))?.value.is_some(), "not there");
            Ok(())
        })];
        if let Some(statmount) = &mut statmount {
            ways.push(way("statx+statmount", || statmount.of(self.path(), sys::STATMOUNT_ALL)));
        }
        ways.push(way("mountinfo", || {
            let path = self.path().as_bytes();
            let mut found = 0;
            self.mountinfo(|line| found += usize::from(line.mountpoint == path))?;
            ensure!(found > 0, "not there");
            Ok(())
        }));
        rounds("everything about the mount at P", ways)
    }

    fn by_id(&self) -> Result<Vec<Row>> {
        let snapshot = self.view.snapshot();
        let ids: Vec<UniqueMountId> = snapshot
            .list(self.view.viewpoint())
            .iter()
            .filter_map(|one| one.mount.unique_id)
            .collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let at = Cell::new(0);
        let next = || {
            at.set((at.get() + STRIDE) % ids.len());
            ids[at.get()]
        };
        let mut buffer = vec![0; 4 << 10];
        let mut ways = vec![way("mountwatch", || {
            ensure!(self.view.find(WhichMount::UniqueId(next())).is_some(), "not there");
            Ok(())
        })];
        if self.statmount().is_some() {
            ways.push(way("statmount", || {
                Ok(sys::statmount(next().0, sys::STATMOUNT_BASIC, &mut buffer)?)
            }));
        }
        rounds("a mount by its ID", ways)
    }

    fn subtree(&self) -> Result<Vec<Row>> {
        let parent = &self.data.parent;
        let mut statmount = self.statmount();
        let mut ways = vec![self.below("mountwatch", parent, TEN + 1)];
        if let Some(statmount) = &mut statmount {
            ways.push(way("statx+listmount+statmount", || {
                ensure!(statmount.below(parent)? == TEN, "another number");
                Ok(())
            }));
        }
        ways.push(self.filter(parent, TEN + 1));
        rounds("all mounts below a mount (10)", ways)
    }

    fn directory(&self) -> Result<Vec<Row>> {
        let directory = &self.data.directory;
        let mut statmount = self.statmount();
        let mut ways = vec![self.below("mountwatch", directory, TEN)];
        if let Some(statmount) = &mut statmount {
            ways.push(way("listmount+statmount", || {
                ensure!(statmount.with_prefix(directory)? == TEN, "another number");
                Ok(())
            }));
        }
        ways.push(self.filter(directory, TEN));
        rounds("all mounts below a directory (10)", ways)
    }

    fn below<'a>(&'a self, name: &'static str, path: &'a str, count: usize) -> Way<'a> {
        let snapshot = self.view.snapshot();
        way(name, move || {
            let found = snapshot.below(path.as_bytes(), self.view.viewpoint());
            ensure!(found.len() == count, "{} mounts, not {count}", found.len());
            Ok(())
        })
    }

    fn filter<'a>(&'a self, path: &'a str, count: usize) -> Way<'a> {
        way("mountinfo", move || {
            let mut found = 0;
            self.mountinfo(|line| {
                found += usize::from(line.mountpoint.starts_with(path.as_bytes()));
            })?;
            ensure!(found == count, "{found} mounts, not {count}");
            Ok(())
        })
    }

    fn listing(&self) -> Result<Vec<Row>> {
        let least = self.data.paths.len();
        let mut statmount = self.statmount();
        let snapshot = self.view.snapshot();
        let mut ways = vec![
            way("mountwatch", || {
                ensure!(snapshot.list(self.view.viewpoint()).len() >= least, "too few");
                Ok(())
            }),
            way("mountwatch, with everything", || {
                ensure!(self.view.list()?.value.len() >= least, "too few");
                Ok(())
            }),
            way("mountinfo", || {
                let mut last = 0;
                let count = self.mountinfo(|line| last = line.id.len())?;
                ensure!(count >= least && last > 0, "too few");
                Ok(())
            }),
            way("procfs crate", || {
                let process = procfs::process::Process::myself()?;
                ensure!(process.mountinfo()?.0.len() >= least, "too few");
                Ok(())
            }),
        ];
        if let Some(statmount) = &mut statmount {
            ways.push(way("listmount+statmount", || {
                ensure!(statmount.all()? >= least, "too few");
                Ok(())
            }));
        }
        if peers::has_findmnt() {
            ways.push(way("findmnt (a process)", peers::findmnt));
        }
        rounds("every mount", ways)
    }
}
