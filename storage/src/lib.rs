//! Where Kodiak keeps its files: [`LocalStorage`], [`MemoryStorage`] and, for tests, [`FaultStorage`].
//!
//! # The durability model
//!
//! All three keep the promises written in [`kodiak_core::storage`]; they differ in what they show of them.
//!
//! * **Process buffer.** What goes into a `WritableFile` waits in a buffer of the process until the buffer is full, or until
//!   `flush`, `sync` or `finish`. A killed process loses it.
//! * **Operating system.** What left the buffer, and whatever a `LogFile` or its mapping wrote, survives a killed process. A
//!   power loss may take any part of it: each block of 512 or 4096 bytes by itself, the growth of a file, and each entry of
//!   a directory.
//! * **Disk.** `sync` and `sync_data` save a file's bytes and length, but not its name. `sync_dir` saves the names in one
//!   directory, but not the bytes of the files. A file is safe after both. The directories that `create_dir_all` makes are
//!   safe when it returns.
//! * **A failed sync** drops what was waiting: it can still be read, and is lost with the power, although a later sync
//!   of the same file may succeed. `LocalStorage` therefore refuses further syncs through a handle whose sync failed, while
//!   `FaultStorage` plays the worst permitted system and reports success.
//!
//! `FaultStorage` keeps both states, the running system's and the disk's, and can produce at any moment what a power loss
//! or a killed process would leave behind.

mod buffered;
mod clock;
mod copy;
mod errors;
mod fault;
mod local;
mod memory;
mod page;
mod read_only;

pub use errors::is_no_directory;
pub use fault::{BlockSize, CrashOptions, Fault, FaultPlan, FaultRule, FaultStorage, Moment, OnOp, OpEvent, OpKind};
pub use local::LocalStorage;
pub use memory::{MemoryReader, MemoryStorage};
pub use read_only::ReadOnlyStorage;
