//! What the documentation says is so: paths exist, settings resolve, names are those of the code.

use std::collections::BTreeSet;
use std::fs::{read_dir, read_to_string};
use std::path::{Path, PathBuf};

use kodiak::{Components, Settings};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .to_owned()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every Markdown page of the repository that is documentation.
fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"]
        .map(PathBuf::from)
        .into();
    for folder in ["docs", "docs/formats"] {
        for entry in read_dir(root().join(folder)).expect(folder) {
            let name = entry.expect(folder).file_name();
            let path = Path::new(folder).join(name);
            if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    assert!(pages.len() > 15, "{pages:?}");
    pages
}

/// What stands between `open` and `close`, at every place, within a line.
fn between<'a>(text: &'a str, open: &str, close: &str) -> Vec<&'a str> {
    let line = |line: &'a str| -> Vec<&'a str> {
        let mut rest = line;
        let mut found = Vec::new();
        while let Some((_, after)) = rest.split_once(open) {
            let Some((inside, after)) = after.split_once(close) else {
                break;
            };
            found.push(inside);
            rest = after;
        }
        found
    };
    text.lines().flat_map(line).collect()
}

/// The text without its fenced blocks, and the blocks with their languages.
fn split_blocks(text: &str) -> (String, Vec<(String, String)>) {
    let (mut prose, mut blocks, mut open) = (String::new(), Vec::new(), None::<(String, String)>);
    for line in text.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(language), None) => open = Some((language.to_owned(), String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some((_, block))) => *block += &format!("{line}\n"),
            (None, None) => prose += &format!("{line}\n"),
        }
    }
    assert!(open.is_none(), "a block is not closed");
    (prose, blocks)
}

#[test]
fn links_between_pages_lead_somewhere() {
    for page in pages() {
        let (prose, _) = split_blocks(&read(&page));
        for link in between(&prose, "](", ")")
            .into_iter()
            .filter(|link| !link.contains("://") && !link.starts_with('#'))
        {
            let file = link.split('#').next().expect("split yields one at least");
            let target = root().join(page.parent().expect("a folder")).join(file);
            assert!(target.exists(), "{}: {link} leads nowhere", page.display());
        }
    }
}

#[test]
fn every_path_that_a_page_names_exists() {
    let folders: BTreeSet<String> = read_dir(root())
        .expect("the workspace")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    let mut seen = 0;
    for page in pages() {
        let (prose, _) = split_blocks(&read(&page));
        for name in between(&prose, "`", "`") {
            // A path from the root of the repository: its first part is there, and the rest is no pattern or code.
            let first = name.split('/').next().expect("split yields one at least");
            let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
            if !plain || !name.contains('/') || !folders.contains(first) || first == "target" {
                continue;
            }
            // What the reader is to write.
            if name.ends_with("/mine.rs") {
                continue;
            }
            assert!(root().join(name).exists(), "{}: there is no {name}", page.display());
            seen += 1;
        }
    }
    assert!(seen > 60, "only {seen} paths were found");
}

#[test]
fn every_crate_and_folder_is_on_the_architecture_page() {
    let page = read("ARCHITECTURE.md");
    let manifest: toml::Table = read("Cargo.toml").parse().expect("TOML");
    for key in ["members", "exclude"] {
        for member in manifest["workspace"][key].as_array().expect("a list") {
            let member = member.as_str().expect("a name");
            assert!(
                page.contains(&format!("| `{member}` |")),
                "ARCHITECTURE.md does not name {member}"
            );
        }
    }
    for entry in read_dir(root().join("engine/src"))
        .expect("the engine")
        .map(|entry| entry.expect("an entry"))
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        let named = page.contains(&format!("`engine/src/{name}`"));
        assert!(
            named || !entry.path().is_dir(),
            "ARCHITECTURE.md does not name engine/src/{name}"
        );
    }
}

#[test]
fn settings_in_the_documentation_resolve() {
    let mut seen = 0;
    for page in pages() {
        let (_, blocks) = split_blocks(&read(&page));
        for (_, text) in blocks
            .iter()
            .filter(|(language, text)| language == "toml" && !text.contains("[dependencies]"))
        {
            let settings = Settings::from_toml(text).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
            Components::new()
                .resolve(&settings)
                .unwrap_or_else(|error| panic!("{}: {error}", page.display()));
            seen += 1;
        }
    }
    assert!(seen >= 2, "only {seen} were found");
}

#[test]
fn the_gate_runs_the_tests_as_the_readme_says() {
    let (_, blocks) = split_blocks(&read("README.md"));
    let test = blocks
        .iter()
        .find(|(_, text)| text.contains("test"))
        .expect("a command");
    assert_eq!(test.1.trim(), "bash ./test.sh");
    assert!(read(".ci/run").lines().any(|line| line.trim() == "step bash ./test.sh"));
}

#[test]
fn metrics_are_those_of_the_code() {
    fn collect(folder: &Path, names: &mut BTreeSet<String>) {
        for entry in read_dir(folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").path())
        {
            if entry.is_dir() {
                collect(&entry, names);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                let text = read_to_string(&entry).expect("a source file");
                for kind in ["counter!(\"", "gauge!(\"", "histogram!(\""] {
                    names.extend(between(&text, kind, "\"").into_iter().map(str::to_owned));
                }
            }
        }
    }
    let mut used = BTreeSet::new();
    for folder in ["engine/src", "wal/src", "storage/src"] {
        collect(&root().join(folder), &mut used);
    }
    let page = read("docs/metrics.md");
    let documented: BTreeSet<String> = between(&page, "| `kodiak_", "`")
        .into_iter()
        .map(|name| format!("kodiak_{name}"))
        .collect();
    assert!(used.len() > 10, "{used:?}");
    assert_eq!(documented, used);
}

#[test]
fn the_index_of_formats_is_complete() {
    let index = read("docs/README.md");
    for page in pages()
        .iter()
        .filter(|page| page.starts_with("docs") && !page.ends_with("README.md"))
    {
        let link = page.strip_prefix("docs").expect("just checked");
        assert!(
            index.contains(&format!("({})", link.display())),
            "docs/README.md does not link {}",
            link.display()
        );
    }
}
