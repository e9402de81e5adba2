//! Benches run tiny among the tests, so that they cannot rot. The examples that measure do so as well, each in its own file.

use std::path::Path;

/// The names of a crate's benches that run among its tests.
fn tested(manifest: &toml::Table) -> Vec<String> {
    let benches = manifest.get("bench").and_then(toml::Value::as_array);
    let tested = benches
        .into_iter()
        .flatten()
        .filter(|bench| bench.get("test").and_then(toml::Value::as_bool) == Some(true));
    let names = tested.filter_map(|bench| bench.get("name")?.as_str());
    names.map(str::to_owned).collect()
}

#[test]
fn every_bench_runs_among_the_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = std::fs::read_to_string(root.join("Cargo.toml")).expect("the workspace");
    let workspace: toml::Table = text.parse().expect("TOML");
    let members = workspace["workspace"]["members"].as_array().expect("a list");
    let mut found = 0;
    for member in members {
        let member = member.as_str().expect("a name");
        let text = std::fs::read_to_string(root.join(member).join("Cargo.toml")).expect("a manifest");
        let tested = tested(&text.parse().expect("TOML"));
        for entry in std::fs::read_dir(root.join(member).join("benches"))
            .into_iter()
            .flatten()
        {
            let path = entry.expect("an entry").path();
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            found += 1;
            assert!(
                tested.contains(&name),
                "{member}/benches/{name}.rs does not run among the tests: its entry in {member}/Cargo.toml needs `test = true`, \
                 and it should take its size from `kodiak_core::conformance::bench::size`"
            );
        }
    }
    assert!(found > 6, "{found} benches");
}
