//! Names of files that publications make.

/// The number of the publication that a list of files, or a file of dead or merged rows or defaults, was written for, by its name.
pub fn generation_of(name: &str) -> Option<u64> {
    let (stem, rest) = name.split_once('.')?;
    let prefixes = ["merged-", "defaults-", "files-"];
    let number = match prefixes.iter().find_map(|prefix| stem.strip_prefix(prefix)) {
        Some(number) => number,
        None => rest.strip_prefix("dead-")?.split('.').next()?,
    };
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::generation_of;

    #[test]
    fn files_tell_the_publication_that_they_were_written_for() {
        assert_eq!(generation_of("merged-12.parquet"), Some(12));
        assert_eq!(generation_of("defaults-7.arrow"), Some(7));
        assert_eq!(generation_of("0000000012.dead-3.parquet"), Some(3));
        assert_eq!(generation_of("files-4.csv"), Some(4));
        for other in [
            "0000000012.parquet",
            "merged-x.orc",
            "PUBLISHED.json",
            "deletion_vector_1.bin",
            "kept",
        ] {
            assert_eq!(generation_of(other), None, "{other}");
        }
    }
}
