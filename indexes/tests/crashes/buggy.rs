//! Planted bugs: a storage, or an index, that does one thing wrong, as the page store and the trees would.

mod index;
mod storage;

pub use index::BuggyIndex;
pub use storage::BuggyStorage;

/// What is done wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// The file is never synced.
    NotSynced,
    /// Every third sync is left out.
    SyncedSometimes,
    /// A new file gets its name before its bytes are on the disk.
    DraftNotSynced,
    /// The name of a new file is not made to survive.
    DirNotSynced,
    /// Every fourth write is made after the one that follows it.
    WritesSwapped,
    /// The root slot of a large commit is written before its pages are on the disk.
    RootBeforePages,
    /// A root slot says that its commit is on the disk before that is certain.
    SaysSynced,
    /// An opening does not read what the last commit wrote, and so no checksums of it.
    NotChecked,
    /// The newest commit is written over the one before, to both slots.
    WithoutAlternate,
    /// Pages that the last commit needs are used before the next one counts.
    PagesReusedEarly,
    /// What an opening found is not made to survive before something is written over the commit before.
    NotSettled,
    /// Every seventeenth piece is not written.
    WriteLost,
    /// The tree: a change gets lost on its way down.
    MessageLost,
    /// A root that is needed is given up with another one.
    ReleasedTooMuch,
    /// A root that was released stays.
    NotReleased,
    /// Going back to an older root keeps the later ones.
    ResetForgotten,
    /// A commit returns before it has begun.
    AcknowledgedEarly,
    /// A rollback keeps what was changed.
    RollbackForgotten,
    /// A view reads the newest root.
    ViewMoves,
}

impl Bug {
    pub const ALL: [Self; 19] = [
        Self::NotSynced,
        Self::SyncedSometimes,
        Self::DraftNotSynced,
        Self::DirNotSynced,
        Self::WritesSwapped,
        Self::RootBeforePages,
        Self::SaysSynced,
        Self::NotChecked,
        Self::WithoutAlternate,
        Self::PagesReusedEarly,
        Self::NotSettled,
        Self::WriteLost,
        Self::MessageLost,
        Self::ReleasedTooMuch,
        Self::NotReleased,
        Self::ResetForgotten,
        Self::AcknowledgedEarly,
        Self::RollbackForgotten,
        Self::ViewMoves,
    ];

    /// True if it only shows where a commit is large.
    pub fn is_of_large_commits(self) -> bool {
        self == Self::RootBeforePages
    }

    /// True if not the storage has it.
    pub fn is_of_the_tree(self) -> bool {
        matches!(
            self,
            Self::MessageLost
                | Self::ReleasedTooMuch
                | Self::NotReleased
                | Self::ResetForgotten
                | Self::AcknowledgedEarly
                | Self::RollbackForgotten
                | Self::ViewMoves
        )
    }
}
