//! What index files of a database say they are of: one that was put in the place of another is told by that.

use kodiak_core::batch::TableId;
use kodiak_core::compaction::RunId;

/// That of file `id` with the primary index of a table in the database of an identity, 0 if that is not known.
pub(crate) fn primary_owner((database, table): (u64, TableId), id: RunId) -> Vec<u8> {
    of_database(database, &format!("table {table}, primary index {id}"))
}

/// That of file `id` with a secondary index of a table.
pub(crate) fn secondary_owner((database, table): (u64, TableId), id: RunId) -> Vec<u8> {
    of_database(database, &format!("table {table}, secondary index {id}"))
}

/// That of a catalogue.
pub(crate) fn catalogue_owner(database: u64, number: u64) -> Vec<u8> {
    of_database(database, &format!("catalogue {number}"))
}

fn of_database(database: u64, what: &str) -> Vec<u8> {
    match database {
        0 => Vec::new(),
        known => format!("database {known:016x}, {what}").into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::{catalogue_owner, primary_owner, secondary_owner};

    #[test]
    fn the_longest_owners_fit_an_index_file() {
        let table = (u64::MAX, u32::MAX);
        for owner in [
            primary_owner(table, u64::MAX),
            secondary_owner(table, u64::MAX),
            catalogue_owner(u64::MAX, u64::MAX),
        ] {
            assert!(owner.len() <= kodiak_core::index::MAX_OWNER, "{}", owner.escape_ascii());
        }
        assert_eq!(
            primary_owner((0xAB, 7), 13),
            b"database 00000000000000ab, table 7, primary index 13"
        );
    }
}
