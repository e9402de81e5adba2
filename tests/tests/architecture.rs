//! The rules of the house, checked: which crate may know which, what may be called where, how large files may be.
//!
//! Where the present falls short of a rule, `tests/ratchet.toml` says by how much. Those numbers may only fall; running with
//! `KODIAK_UPDATE_RATCHET=1` writes down an improvement (it never writes down a worsening).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const FAMILIES: [&str; 6] = ["memtables", "indexes", "formats", "wal", "filters", "compaction"];
/// Longest file without an entry in the ratchet, in lines.
const LONGEST: usize = 350;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .to_owned()
}

fn toml(path: &str) -> toml::Table {
    let text = std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    text.parse().unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The crates of the workspace, by their folders.
fn members() -> Vec<String> {
    let workspace = toml("Cargo.toml");
    let members = workspace["workspace"]["members"].as_array().expect("a list");
    members
        .iter()
        .map(|member| member.as_str().expect("a path").to_owned())
        .collect()
}

/// Kodiak's own crates among the dependencies of a crate, as `engine`, `core`, `wal`.
fn own_dependencies(member: &str, section: &str) -> Vec<String> {
    let manifest = toml(&format!("{member}/Cargo.toml"));
    let Some(section) = manifest.get(section).and_then(toml::Value::as_table) else {
        return Vec::new();
    };
    let short = |name: &String| match name.as_str() {
        "kodiak" => Some("engine".to_owned()),
        name => name.strip_prefix("kodiak-").map(str::to_owned),
    };
    section.keys().filter_map(short).collect()
}

#[test]
fn arrows_between_crates_point_one_way() {
    let allowed = |member: &str| -> Vec<&str> {
        match member {
            "core" => vec![],
            "storage" => vec!["core"],
            family if FAMILIES.contains(&family) => vec!["core"],
            "engine" => [&["core", "storage"], FAMILIES.as_slice()].concat(),
            "bench-harness" | "sql" => [&["core", "storage", "engine"], FAMILIES.as_slice()].concat(),
            "cli" | "tests" => [
                &["core", "storage", "engine", "bench-harness", "sql"],
                FAMILIES.as_slice(),
            ]
            .concat(),
            other => panic!("the crate {other} has no place in the house yet: give it one here and in ARCHITECTURE.md"),
        }
    };
    for member in members() {
        let mut allowed = allowed(&member);
        for dependency in own_dependencies(&member, "dependencies") {
            assert!(
                allowed.contains(&dependency.as_str()),
                "{member} must not depend on {dependency}"
            );
        }
        // Tests may use the storages, and the suites in core.
        allowed.extend(["storage", "core"]);
        for dependency in own_dependencies(&member, "dev-dependencies") {
            assert!(
                allowed.contains(&dependency.as_str()),
                "the tests of {member} must not depend on {dependency}"
            );
        }
    }
}

#[test]
fn every_crate_takes_its_versions_and_lints_from_the_workspace() {
    for member in members() {
        let manifest = toml(&format!("{member}/Cargo.toml"));
        assert!(
            manifest.get("lints").and_then(|lints| lints.get("workspace")).is_some(),
            "{member}/Cargo.toml lacks [lints] workspace = true"
        );
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(section) = manifest.get(section).and_then(toml::Value::as_table) else {
                continue;
            };
            for (name, value) in section {
                assert!(
                    value.get("workspace").is_some(),
                    "{member}: {name} has a version of its own"
                );
            }
        }
    }
}

/// One source file of a crate.
struct Source {
    /// Its path from the root of the repository.
    path: String,
    text: String,
}

impl Source {
    /// Lines of code with their numbers, without comments and without what comes after `#[cfg(test)]` on a module in the file.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines: Vec<&str> = self.text.lines().collect();
        let inline = |at: usize| {
            lines[at].trim() == "#[cfg(test)]"
                && lines
                    .get(at + 1)
                    .is_some_and(|next| next.contains("mod ") && next.trim_end().ends_with('{'))
        };
        let end = (0..lines.len()).find(|&at| inline(at)).unwrap_or(lines.len());
        let code = lines.into_iter().take(end).enumerate().map(|(at, line)| (at + 1, line));
        code.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// True for files that only tests, benches and examples compile.
    fn is_test(&self) -> bool {
        let in_tests = ["/tests/", "/benches/", "/examples/", "/conformance/"]
            .iter()
            .any(|part| self.path.contains(part));
        in_tests || self.path.ends_with("/tests.rs") || self.path.starts_with("tests/")
    }
}

fn sources() -> Vec<Source> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        let Ok(entries) = std::fs::read_dir(dir) else { return };
        for entry in entries {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = root();
    let mut found = Vec::new();
    for member in members() {
        for part in ["src", "tests", "benches", "examples"] {
            walk(&root.join(&member).join(part), &mut found);
        }
    }
    found.sort();
    let read = |path: PathBuf| Source {
        text: std::fs::read_to_string(&path).unwrap_or_default(),
        path: path
            .strip_prefix(&root)
            .expect("below the root")
            .to_string_lossy()
            .into_owned(),
    };
    let sources: Vec<_> = found.into_iter().map(read).collect();
    assert!(sources.len() > 100, "only {} source files were found", sources.len());
    sources
}

#[test]
fn only_the_engines_components_name_implementations() {
    // The cost model is no implementation: the engine shares filter bits out by it.
    let shared = "kodiak_compaction::model";
    for source in sources()
        .iter()
        .filter(|source| source.path.starts_with("engine/src/") && !source.is_test())
    {
        if source.path.starts_with("engine/src/components") {
            continue;
        }
        for (line, text) in source.code() {
            for family in FAMILIES {
                let named = text.contains(&format!("kodiak_{family}::")) && !text.contains(shared);
                assert!(
                    !named,
                    "{}:{line} names kodiak_{family}: only the components may",
                    source.path
                );
            }
        }
    }
}

#[test]
fn files_clock_and_threads_of_the_system_are_used_where_they_belong() {
    let rules = [
        // What is forbidden, and the beginnings of the paths of those that may.
        (
            "std::fs",
            &["storage/", "cli/", "bench-harness/", "engine/src/settings/mod.rs"][..],
        ),
        ("SystemTime::now", &["storage/", "cli/", "bench-harness/"]),
        ("Instant::now", &["storage/", "cli/", "bench-harness/"]),
        ("process::exit", &["cli/"]),
        ("println!", &["cli/", "bench-harness/"]),
    ];
    for source in sources().iter().filter(|source| !source.is_test()) {
        for (line, text) in source.code() {
            for (what, places) in rules {
                let allowed = places.iter().any(|place| source.path.starts_with(place));
                assert!(
                    allowed || !text.contains(what),
                    "{}:{line} uses {what}: go through core's Storage",
                    source.path
                );
            }
        }
    }
}

#[test]
fn nothing_is_left_to_be_done() {
    // Put together, so that this file does not contain them.
    let marks = [
        ["to", "do!("],
        ["unimple", "mented!("],
        ["FIX", "ME"],
        ["XX", "X"],
        ["db", "g!("],
    ]
    .map(|parts| parts.concat());
    for source in sources() {
        for (at, line) in source.text.lines().enumerate() {
            for mark in &marks {
                assert!(!line.contains(mark), "{}:{} has {mark}", source.path, at + 1);
            }
        }
    }
}

#[test]
fn names_of_machines_and_their_paths_do_not_appear() {
    let marks = [["/wo", "rk/"], ["/ro", "ot/"]].map(|parts| parts.concat());
    for source in sources() {
        for mark in &marks {
            assert!(!source.text.contains(mark), "{} has {mark}", source.path);
        }
    }
}

/// What falls short of the rules, by rule and file.
type Ratchet = BTreeMap<String, BTreeMap<String, usize>>;

fn now() -> Ratchet {
    let mut now = Ratchet::from([
        ("lines".to_owned(), BTreeMap::new()),
        ("unsafe".to_owned(), BTreeMap::new()),
    ]);
    for source in sources() {
        let lines = source.text.lines().count();
        if lines > LONGEST {
            now.get_mut("lines")
                .expect("made above")
                .insert(source.path.clone(), lines);
        }
        let count = source.text.lines().filter(|line| is_unsafe(line)).count();
        if count > 0 {
            now.get_mut("unsafe")
                .expect("made above")
                .insert(source.path.clone(), count);
        }
    }
    now
}

fn is_unsafe(line: &str) -> bool {
    let line = line.trim_start();
    let after = ["{", "fn", "impl", "trait", "extern"].map(|what| ["unsafe", what].join(" "));
    !line.starts_with("//") && after.iter().any(|start| line.contains(start))
}

#[test]
fn files_and_unsafe_code_only_shrink() {
    let path = root().join("tests/ratchet.toml");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let allowed: Ratchet = toml::from_str(&text).expect("tests/ratchet.toml");
    let now = now();
    if std::env::var_os("KODIAK_UPDATE_RATCHET").is_some() {
        let mut better = now.clone();
        // Without a file, the present is written down as it is.
        for (rule, files) in better.iter_mut().filter(|_| !allowed.is_empty()) {
            let before = |file: &String| allowed.get(rule).and_then(|files| files.get(file)).copied();
            files.retain(|file, count| before(file).inspect(|before| *count = *before.min(count)).is_some());
        }
        std::fs::write(&path, toml::to_string(&better).expect("serialises")).expect("the file can be written");
        return;
    }
    let mut worse = Vec::new();
    for (rule, files) in &now {
        for (file, count) in files {
            let limit = allowed.get(rule).and_then(|files| files.get(file)).copied();
            let limit = limit.unwrap_or(if rule == "lines" { LONGEST } else { 0 });
            if *count > limit {
                worse.push(format!("{file}: {count} {rule}, at most {limit} are allowed"));
            }
        }
    }
    assert!(
        worse.is_empty(),
        "split the file, or do without unsafe code:\n{}",
        worse.join("\n")
    );
}

#[test]
fn unsafe_code_says_why_it_is_sound() {
    for source in sources() {
        let lines: Vec<&str> = source.text.lines().collect();
        for at in (0..lines.len()).filter(|&at| is_unsafe(lines[at])) {
            // A note stands before it, or in the documentation of an unsafe function; several blocks may share one.
            let before = &lines[at.saturating_sub(12)..=at];
            let noted = before
                .iter()
                .any(|line| line.contains("SAFETY") || line.contains("# Safety"));
            assert!(noted, "{}:{} is unsafe without a SAFETY note near", source.path, at + 1);
        }
    }
}

#[test]
fn every_stored_form_has_a_page() {
    let pages = root().join("docs/formats");
    let fixed = ["wal", "manifest", "sidecar", "filters", "index", "keys", "rows"].map(str::to_owned);
    let components = kodiak::Components::new();
    let formats = components
        .formats()
        .iter()
        .map(|factory| factory.component.name.to_owned());
    for name in fixed.into_iter().chain(formats) {
        let page = pages.join(format!("{name}.md"));
        let text = std::fs::read_to_string(&page).unwrap_or_else(|_| panic!("docs/formats/{name}.md is missing"));
        assert!(text.len() > 300, "docs/formats/{name}.md says nothing");
    }
    let page = std::fs::read_to_string(pages.join("filters.md")).expect("checked above");
    for filter in components.filters().iter().map(|factory| factory.component.name) {
        assert!(
            page.contains(filter),
            "docs/formats/filters.md does not speak of {filter}"
        );
    }
}
