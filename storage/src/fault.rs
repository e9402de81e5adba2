//! A file system in memory that fails when told to, and can show what a crash would leave.
//!
//! It keeps two states of everything: what the running system sees and what the disk holds (the crate's documentation says
//! which call moves what from one to the other). [`FaultStorage::crash_image`] makes a new, independent storage of what a
//! power loss at this moment would leave; [`FaultStorage::kill_image`], of what a killed process would. Both share
//! memory with their origin until either writes, so that thousands are cheap.
//!
//! A harness that crashes at every step runs its script once to count the mutations, and then takes an image at each: with
//! [`FaultStorage::crash_at`], or in a callback ([`FaultStorage::on_op`]). An image is a full `FaultStorage`: recovery in it
//! can be crashed again.

mod content;
mod handles;
mod image;
mod plan;
mod system;
#[cfg(test)]
mod tests;
mod tree;

use std::path::Path;
use std::sync::Arc;

use kodiak_core::Result;
use kodiak_core::storage::{Lock, LogFile, ReadableFile, Storage, WritableFile};
use parking_lot::Mutex;
use rustix::io::Errno;

use self::content::FileState;
use self::handles::{FaultFile, FaultLog, FaultSink};
pub use self::image::{BlockSize, CrashOptions};
pub use self::plan::{Fault, FaultPlan, FaultRule, Moment, OpEvent, OpKind};
pub use self::system::OnOp;
use self::system::{Op, System};
use self::tree::FileRef;
use crate::buffered::Buffered;
use crate::clock;
use crate::errors::{io_error, locked, no_lock_file};
use crate::memory::MemoryLock;

/// A file system in memory that models durability and fails as planned. Clones are handles of the same system.
#[derive(Debug, Clone)]
pub struct FaultStorage {
    system: Arc<System>,
}

impl Default for FaultStorage {
    fn default() -> Self {
        Self::new()
    }
}

impl FaultStorage {
    /// An empty, healthy file system with a running clock and arbitrary random numbers.
    pub fn new() -> Self {
        Self {
            system: Arc::new(System::new(None)),
        }
    }

    /// An empty, healthy file system whose clock stands still and whose random numbers follow from `seed`.
    pub fn with_seed(seed: u64) -> Self {
        Self {
            system: Arc::new(System::new(Some(seed))),
        }
    }

    /// Replaces the plan of failures; its counting starts now.
    pub fn set_plan(&self, plan: impl Into<FaultPlan>) {
        self.system.state.lock().plan = plan.into();
    }

    /// How many operations the present plan has made fail or fall short.
    pub fn faults_fired(&self) -> u64 {
        self.system.state.lock().plan.fired
    }

    /// How many operations were asked for so far, failed ones included.
    pub fn operations(&self) -> u64 {
        self.system.operations()
    }

    /// How many of them were mutating ([`OpKind::mutates`]).
    pub fn mutations(&self) -> u64 {
        self.system.mutations()
    }

    /// How many operations of one kind were asked for so far.
    pub fn count(&self, kind: OpKind) -> u64 {
        self.system.state.lock().counts.get(&kind).copied().unwrap_or(0)
    }

    /// What a power loss now would leave, as a storage of its own: healthy, without plan, trace, callback or locks.
    pub fn crash_image(&self, options: &CrashOptions) -> Self {
        Self {
            system: Arc::new(self.system.crash_image(&self.system.state.lock(), options)),
        }
    }

    /// What killing the process now would leave: all that the system was handed, what is not synced being still at risk.
    /// Bytes in the buffers of files being written are gone, and locks free.
    pub fn kill_image(&self) -> Self {
        Self {
            system: Arc::new(self.system.kill_image(&self.system.state.lock())),
        }
    }

    /// Arms a crash image just before or after the mutation with this number (from 1; see [`mutations`](Self::mutations)).
    /// Replaces one armed before.
    pub fn crash_at(&self, mutation: u64, moment: Moment, options: CrashOptions) {
        self.system.state.lock().arm(mutation, moment, options);
    }

    /// The image that [`crash_at`](Self::crash_at) asked for, once, if that mutation has come.
    pub fn take_crash_image(&self) -> Option<Self> {
        self.system.state.lock().take_image().map(|system| Self {
            system: Arc::new(system),
        })
    }

    /// Calls `callback` before and after each operation, on the thread that asked for it and without holding any lock, so
    /// that it may take images and ask questions. Its own operations on this storage call it again.
    pub fn on_op(&self, callback: Option<OnOp>) {
        self.system.set_callback(callback);
    }

    /// Starts (with an empty trace) or stops recording operations.
    pub fn record_trace(&self, on: bool) {
        self.system.record(on);
    }

    /// The operations since recording started, in the order in which they took effect.
    pub fn trace(&self) -> Vec<OpEvent> {
        self.system.state.lock().trace.clone().unwrap_or_default()
    }

    /// True if a power loss now would leave this file, or directory, under this name with all its bytes. Bytes that are still
    /// in a writer's buffer are not known here.
    pub fn is_durable(&self, path: &Path) -> bool {
        self.entry_is_durable(path) && self.data_is_durable(path)
    }

    /// True if the name, and those of the directories above, are on the disk and mean this very file or directory.
    pub fn entry_is_durable(&self, path: &Path) -> bool {
        self.system.state.lock().tree.entry_is_durable(path)
    }

    /// True if all bytes of the file that were handed to the system are on the disk, and none was dropped by a failed sync.
    /// Directories have none to lose; false if there is nothing of this name.
    pub fn data_is_durable(&self, path: &Path) -> bool {
        let state = self.system.state.lock();
        match state.tree.file(path) {
            Ok(file) => file.lock().is_durable(),
            Err(_) => state.tree.dir(path).is_ok(),
        }
    }

    /// Stops the wall clock at `micros` since 1970.
    pub fn freeze_clock(&self, micros: u64) {
        self.system.clock.freeze(micros);
    }

    /// Moves the wall clock, running or not, by `micros`.
    pub fn jump_clock(&self, micros: i64) {
        self.system.clock.jump(micros);
    }

    /// Lets the wall clock show the system's time again.
    pub fn run_clock(&self) {
        self.system.clock.run();
    }

    fn new_file(&self, op: Op<'_>, len: u64, what: &str) -> Result<FileRef> {
        let path = op.path;
        let made = self.system.run(op, |state, _| {
            let file = Arc::new(Mutex::new(FileState::zeroed(len)));
            state.tree.add(path, file.clone())?;
            Ok(file)
        });
        made.map_err(|error| io_error(what, path, error))
    }

    fn find(&self, path: &Path) -> Result<FileRef> {
        let found = self
            .system
            .run(Op::new(OpKind::Open, path), |state, _| Ok(state.tree.file(path)?));
        found.map_err(|error| io_error("open the file", path, error))
    }
}

impl Storage for FaultStorage {
    fn create(&self, path: &Path) -> Result<Box<dyn WritableFile>> {
        let file = self.new_file(Op::new(OpKind::Create, path), 0, "create the file")?;
        Ok(Box::new(Buffered::new(FaultSink::new(self.system.clone(), path, file))))
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn ReadableFile>> {
        Ok(Arc::new(FaultFile::new(self.system.clone(), path, self.find(path)?)))
    }

    fn create_log(&self, path: &Path, len: u64) -> Result<Arc<dyn LogFile>> {
        let what = format!("allocate {len} bytes for a log file");
        let file = self.new_file(Op::new(OpKind::CreateLog, path).range(0, len), len, &what)?;
        Ok(Arc::new(FaultLog::new(self.system.clone(), path, file)))
    }

    fn open_log(&self, path: &Path) -> Result<Arc<dyn LogFile>> {
        Ok(Arc::new(FaultLog::new(self.system.clone(), path, self.find(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let op = Op::new(OpKind::Rename, from).to(to);
        let renamed = self.system.run(op, |state, _| Ok(state.tree.rename(from, to)?));
        renamed.map_err(|error| io_error(&format!("rename the file to {}", to.display()), from, error))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<()> {
        let linked = self.system.run(Op::new(OpKind::Link, from).to(to), |state, _| {
            let file = state.tree.file(from)?;
            Ok(state.tree.add(to, file)?)
        });
        linked.map_err(|error| io_error(&format!("link the file to {}", from.display()), to, error))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        let removed = self
            .system
            .run(Op::new(OpKind::Remove, path), |state, _| Ok(state.tree.remove(path)?));
        removed.map_err(|error| io_error("remove the file", path, error))
    }

    fn create_dir_all(&self, path: &Path) -> Result<()> {
        let made = self.system.run(Op::new(OpKind::MkDir, path), |state, _| {
            Ok(state.tree.create_dir_all(path)?)
        });
        made.map_err(|error| io_error("create the directory", path, error))
    }

    fn remove_dir_all(&self, path: &Path) -> Result<()> {
        let op = Op::new(OpKind::RemoveDir, path);
        let removed = self.system.run(op, |state, _| Ok(state.tree.remove_dir_all(path)?));
        removed.map_err(|error| io_error("remove the directory", path, error))
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        let listed = self.system.run(Op::new(OpKind::List, dir), |state, _| {
            let entries = state.tree.dir(dir)?;
            let mut names: Vec<String> = entries
                .lock()
                .current
                .keys()
                .map(|name| name.to_string_lossy().into_owned())
                .collect();
            names.sort_unstable();
            Ok(names)
        });
        listed.map_err(|error| io_error("list the directory", dir, error))
    }

    fn len(&self, path: &Path) -> Result<Option<u64>> {
        let len = self
            .system
            .run(Op::new(OpKind::Len, path), |state, _| match state.tree.file(path) {
                Ok(file) => Ok(Some(file.lock().current.len)),
                Err(Errno::NOENT | Errno::ISDIR | Errno::NOTDIR) => Ok(None),
                Err(error) => Err(error.into()),
            });
        len.map_err(|error| io_error("look at the file", path, error))
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        let synced = self.system.run(Op::new(OpKind::SyncDir, dir), |state, _| {
            state.tree.dir(dir)?.lock().sync();
            Ok(())
        });
        synced.map_err(|error| io_error("sync the directory", dir, error))
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>> {
        let file = self
            .system
            .run(Op::new(OpKind::Lock, path), |state, _| match state.tree.file(path) {
                Err(Errno::NOENT) => {
                    let file = FileRef::default();
                    state.tree.add(path, file.clone())?;
                    Ok(file)
                }
                result => Ok(result?),
            });
        let file = file.map_err(
            |error| match error.raw_os_error() == Some(Errno::ISDIR.raw_os_error()) {
                true => no_lock_file(path, "a directory"),
                false => io_error("lock the file", path, error),
            },
        )?;
        let lock = MemoryLock::acquire(&file.lock().locked);
        lock.map(|lock| Box::new(lock) as _).ok_or_else(|| locked(path))
    }

    fn now_micros(&self) -> u64 {
        self.system.clock.now()
    }

    fn monotonic_nanos(&self) -> u64 {
        clock::monotonic_nanos()
    }

    fn random(&self) -> u64 {
        self.system.random.next()
    }
}
