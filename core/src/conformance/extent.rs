//! How far tests go whose worth grows with their size: crash points, histories, damaged bits.

/// The number of things that a test tries: what the environment variable `variable` says, otherwise `quick` for a developer's run,
/// `gate` where `KODIAK_PROOF=gate` asks for what every change must pass, and `release` with `KODIAK_PROOF=release`.
///
/// # Panics
/// If either variable has a value that it does not know: a proof that was asked for must not shrink unnoticed.
pub fn extent(variable: &str, [quick, gate, release]: [u64; 3]) -> u64 {
    let proof = std::env::var("KODIAK_PROOF");
    choose(
        variable,
        std::env::var(variable).ok().as_deref(),
        proof.ok().as_deref(),
        [quick, gate, release],
    )
}

fn choose(variable: &str, given: Option<&str>, proof: Option<&str>, [quick, gate, release]: [u64; 3]) -> u64 {
    if let Some(text) = given {
        return text
            .parse()
            .unwrap_or_else(|_| panic!("{variable} is not a number: {text:?}"));
    }
    match proof {
        None | Some("quick") => quick,
        Some("gate") => gate,
        Some("release") => release,
        Some(other) => panic!("KODIAK_PROOF is {other:?}: it must be quick, gate or release"),
    }
}

#[cfg(test)]
mod tests {
    use super::choose;

    #[test]
    fn a_variable_of_its_own_goes_before_the_extent_of_all() {
        assert_eq!(choose("V", None, None, [1, 2, 3]), 1);
        assert_eq!(choose("V", None, Some("gate"), [1, 2, 3]), 2);
        assert_eq!(choose("V", None, Some("release"), [1, 2, 3]), 3);
        assert_eq!(choose("V", Some("7"), Some("release"), [1, 2, 3]), 7);
    }

    #[test]
    #[should_panic(expected = "V is not a number")]
    fn a_number_that_is_none_is_refused() {
        choose("V", Some("many"), None, [1, 2, 3]);
    }

    #[test]
    #[should_panic(expected = "must be quick, gate or release")]
    fn an_extent_that_does_not_exist_is_refused() {
        choose("V", None, Some("large"), [1, 2, 3]);
    }
}
