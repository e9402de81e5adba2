use std::path::PathBuf;

use kodiak_core::filter::{Filter, FilterCapabilities, FilterFactory, hash_key};
use kodiak_core::registry::Component;
use kodiak_core::{Error, ErrorKind};

use super::*;

fn refused(text: &str) -> Error {
    let settings = Settings::from_toml(text).expect(text);
    let error = Components::new().resolve(&settings).expect_err(text);
    assert_eq!(error.kind(), ErrorKind::InvalidSettings, "{error}");
    error
}

#[test]
fn the_defaults_and_every_preset_resolve() {
    for (name, _) in crate::settings::PRESETS {
        let settings = Settings::preset(name).expect(name);
        let resolved = Components::new().resolve(&settings).expect(name);
        assert_eq!(resolved.settings, settings);
        let again = Settings::from_toml(&settings.to_toml()).expect(name);
        assert_eq!(again, settings);
    }
}

#[test]
fn every_registered_component_resolves_by_name() {
    let components = Components::new();
    for described in components.describe() {
        let (section, key) = described.setting.split_once('.').expect("dotted");
        let text = format!(
            "[filter]\nallocation = \"uniform\"\n[{section}]\n{key} = \"{}\"\n",
            described.name
        );
        let text = if section == "filter" {
            text.replacen("[filter]\n", "", 2)
        } else {
            text
        };
        let text = if section == "filter" {
            format!("[filter]\n{text}")
        } else {
            text
        };
        let settings = Settings::from_toml(&text).expect(&text);
        components.resolve(&settings).expect(&text);
    }
}

#[test]
fn unknown_components_list_the_known_ones() {
    for (text, setting) in [
        ("[memtable]\nkind = \"heap\"", "memtable.kind"),
        ("[format]\nkind = \"csv\"", "format.kind"),
        ("[[format.levels]]\nfrom = 2\nkind = \"csv\"", "format.levels[0].kind"),
        ("[filter]\nkind = \"cuckoo\"", "filter.kind"),
        ("[compaction]\npreset = \"lazy\"", "compaction.preset"),
        ("[wal]\nkind = \"tape\"", "wal.kind"),
        ("[index]\nprimary = \"hash\"", "index.primary"),
    ] {
        let error = refused(text);
        assert_eq!(error.setting(), Some(setting));
        assert!(error.message().contains("known are: "), "{error}");
    }
    let error = refused("[index]\nprimary = \"hash\"");
    assert!(error.message().ends_with("bplus, fractal, or fence"), "{error}");
}

#[test]
fn unknown_options_list_settings_and_options() {
    let error = refused("[compaction]\nl0_triger = 3");
    assert_eq!(error.setting(), Some("compaction.l0_triger"));
    assert!(
        error.message().contains("l0_trigger") && error.message().contains("target_run_size"),
        "{error}"
    );
    let error = refused("[compaction]\nl0_trigger = \"many\"");
    assert_eq!(error.setting(), Some("compaction.l0_trigger"));
}

#[test]
fn contradictions_name_both_settings_and_the_choices() {
    for (text, needles) in [
        (
            "[[format.levels]]\nfrom = 1\nkind = \"row\"\n[format]\ncompression = \"none\"\n[compaction]\nlevels = 2\n\
             [wal]\nkind = \"none\"\nsync = \"full\"",
            ["wal.sync", "wal.kind"],
        ),
        (
            "[backpressure]\nl0_slowdown = 30\nl0_stop = 20",
            ["backpressure.l0_stop", "backpressure.l0_slowdown"],
        ),
        (
            "[backpressure]\nl0_slowdown = 1",
            ["backpressure.l0_slowdown", "compaction.preset"],
        ),
        (
            "[backpressure]\npending_slowdown = \"2GiB\"\npending_stop = \"1GiB\"",
            ["backpressure.pending_stop", "backpressure.pending_slowdown"],
        ),
        (
            "[limits]\nmemory_budget = \"100MiB\"",
            ["limits.memory_budget", "memtable.size"],
        ),
        (
            "[filter]\nkind = \"none\"\nprefix = 4",
            ["filter.prefix", "filter.kind"],
        ),
        (
            "[filter]\nprefix = 100\n[limits]\nmax_key = 50",
            ["filter.prefix", "limits.max_key"],
        ),
        (
            "[[format.levels]]\nfrom = 9",
            ["format.levels[0].from", "compaction.levels"],
        ),
        (
            "[index]\nprimary = \"fractal\"\npool = \"1MiB\"",
            ["index.pool", "index.primary"],
        ),
        (
            "[publish]\ncontinuous = true\n[[format.levels]]\nfrom = 2\nkind = \"row\"\n[format]\nkind = \"parquet\"",
            ["publish.continuous", "feather"],
        ),
        ("[index]\npage_size = \"8KiB\"", ["index.page_size", "\"fence\""]),
        (
            "[index]\nprimary = \"bplus\"\n[limits]\nmemory_budget = \"500MiB\"",
            ["limits.memory_budget", "64MiB for primary indexes"],
        ),
    ] {
        let error = refused(text);
        for needle in needles {
            assert!(error.to_string().contains(needle), "{text}: {error}");
        }
    }
}

/// A filter whose size is given by its structure.
#[derive(Debug)]
struct Fixed;

impl Filter for Fixed {
    fn may_contain(&self, hash: u64) -> bool {
        hash == hash_key(b"k")
    }

    fn memory(&self) -> usize {
        0
    }
}

static FIXED: FilterFactory = FilterFactory {
    component: Component {
        name: "fixed",
        summary: "For a test.",
        options: &[],
    },
    capabilities: FilterCapabilities {
        adjustable_bits: false,
        typical_bits_per_key: 9.0,
        cache_lines_per_probe: "1",
    },
    build: |_, _, _| Ok(Some(vec![1])),
    open: |_| Ok(Box::new(Fixed)),
    false_positive_rate: |_| 0.01,
};

#[test]
fn a_component_from_outside_is_found_and_checked() {
    let mut components = Components::new();
    components.register_filter(&FIXED).expect("free name");
    assert!(components.register_filter(&FIXED).is_err(), "the name is taken");
    let mut settings = Settings::default();
    settings.filter.kind = "fixed".to_owned();
    let error = components.resolve(&settings).expect_err("monkey needs adjustable bits");
    assert!(
        error.to_string().contains("filter.allocation") && error.to_string().contains("filter.kind"),
        "{error}"
    );
    assert!(error.to_string().contains("bloom"), "{error}");
    settings.filter.allocation = crate::settings::Allocation::Uniform;
    let resolved = components.resolve(&settings).expect("valid");
    assert_eq!(resolved.filter.factory.component.name, "fixed");
}

#[test]
fn a_compression_that_a_format_lacks_is_refused() {
    let components = Components::new();
    for factory in components.formats().iter() {
        for compression in Compression::ALL {
            let mut settings = Settings::default();
            settings.format.kind = factory.component.name.to_owned();
            settings.format.compression = compression;
            let result = components.resolve(&settings);
            if factory.capabilities.compressions.contains(&compression) {
                assert_eq!(result.expect("offered").format_at(0).compression(), compression);
            } else {
                let error = result.expect_err("not offered");
                assert!(error.to_string().contains("format.kind"), "{error}");
                assert_eq!(error.setting(), Some("format.compression"));
            }
        }
    }
}

#[test]
fn each_level_has_its_format() {
    let text = "[format]\nkind = \"feather\"\n[[format.levels]]\nfrom = 3\nkind = \"parquet\"\ncompression = \"zstd\"\n\
                block_size = \"1MiB\"";
    let resolved = Components::new()
        .resolve(&Settings::from_toml(text).expect("valid"))
        .expect("valid");
    assert_eq!(resolved.format_at(2).factory.component.name, "feather");
    for level in [3, 6, 60] {
        let format = resolved.format_at(level);
        let size = format.block_size(&TableSchema::key_value());
        assert_eq!((format.factory.component.name, size), ("parquet", 1 << 20));
    }
    assert!(
        Arc::ptr_eq(&resolved.format_at(0).format, &resolved.format_at(2).format),
        "made once"
    );
}

#[test]
fn explanations_hold_the_options_that_nobody_gave() {
    let settings = Settings::from_toml("[compaction]\nl0_trigger = 5").expect("valid");
    let explained = Components::new().explain(&settings).expect("valid");
    let find = |name: &str| explained.iter().find(|entry| entry.setting == name).expect(name);
    assert_eq!(find("compaction.l0_trigger").origin, crate::settings::Origin::File(2));
    assert_eq!(find("compaction.size_ratio").origin, crate::settings::Origin::Default);
    let mut names: Vec<_> = explained.iter().map(|entry| &entry.setting).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "each once");
}

/// Compares a committed page (or the part of it between markers) with what is generated, or rewrites it if
/// `KODIAK_UPDATE_DOCS` is set.
fn compare(page: &str, marked: bool, generated: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page);
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let wanted = if marked {
        let (begin, end) = ("<!-- generated: begin -->\n", "<!-- generated: end -->");
        let (before, rest) = committed.split_once(begin).expect("the page has a begin marker");
        let (_, after) = rest.split_once(end).expect("the page has an end marker");
        format!("{before}{begin}{generated}{end}{after}")
    } else {
        generated.to_owned()
    };
    if std::env::var_os("KODIAK_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &wanted).expect("the page can be written");
    } else {
        assert!(
            committed == wanted,
            "docs/{page} differs from the code: run the tests with KODIAK_UPDATE_DOCS=1"
        );
    }
}

#[test]
fn the_documentation_is_what_the_code_says() {
    compare("components.md", false, &Components::new().markdown());
    compare("settings.md", true, &describe::settings_table());
}
