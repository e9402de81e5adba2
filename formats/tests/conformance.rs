//! Every format with every compression that it declares.

use kodiak_core::conformance::format::check;
use kodiak_formats::ALL;

#[test]
fn every_format_conforms_with_every_compression() {
    for factory in ALL {
        assert!(!factory.capabilities.compressions.is_empty());
        for &compression in factory.capabilities.compressions {
            eprintln!("{} {}", factory.component.name, compression.name());
            check(factory, compression);
        }
    }
}

#[test]
fn names_are_unique_and_feather_is_the_default() {
    let names: Vec<_> = ALL.iter().map(|factory| factory.component.name).collect();
    assert_eq!(names[0], "feather");
    assert!(
        names
            .iter()
            .enumerate()
            .all(|(index, name)| !names[..index].contains(name)),
        "{names:?}"
    );
}
