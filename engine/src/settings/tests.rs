use super::*;

/// The example of the documentation.
const EXAMPLE: &str = r#"
[memtable]
kind = "skiplist"
size = "64MiB"
[index]
primary = "fence"
[format]
kind = "feather"
block_size = "32KiB"
compression = "none"
[[format.levels]]
from = 3
kind = "parquet"
compression = "zstd"
[filter]
kind = "bloom"
bits_per_key = 10
allocation = "monkey"
[compaction]
preset = "leveled"
[wal]
kind = "segment"
sync = "normal"
compression = "none"
[cache]
capacity = "256MiB"
"#;

fn refused(text: &str) -> Error {
    let error = Settings::from_toml(text).expect_err(text);
    assert_eq!(error.kind(), ErrorKind::InvalidSettings, "{error}");
    error
}

#[test]
fn the_documented_example_is_read() {
    let settings = Settings::from_toml(EXAMPLE).expect("valid");
    assert_eq!(settings.memtable.size, 64 << 20);
    assert_eq!(settings.filter.bits_per_key, 10.0);
    assert_eq!(settings.format_at(2).kind, "feather");
    let deep = settings.format_at(3);
    assert_eq!(
        (deep.kind.as_str(), deep.compression, deep.block_size),
        ("parquet", Compression::Zstd, Some(32 << 10))
    );
    assert_eq!(settings.wal.compress_threshold(), None);
}

#[test]
fn every_setting_survives_writing_and_reading() {
    let mut settings = Settings::from_toml(EXAMPLE).expect("valid");
    settings.filter.prefix = Some(4);
    settings.limits.memory_budget = Some(3 << 30);
    settings.wal.sync = SyncMode::Full;
    settings.wal.compression = Compression::Lz4;
    settings
        .memtable
        .options
        .insert("huge".to_owned(), OptionValue::Int(u64::MAX));
    settings.format.levels[0]
        .options
        .insert("fast".to_owned(), OptionValue::Bool(true));
    let text = settings.to_toml();
    let mut back = Settings::from_toml(&text).expect(&text);
    assert_eq!(
        back.memtable.options.remove("huge"),
        Some(OptionValue::Name(format!("{}B", u64::MAX)))
    );
    settings.memtable.options.clear();
    assert_eq!(back, settings, "{text}");
}

#[test]
fn every_field_can_be_set_from_text_and_refuses_the_wrong_type() {
    for field in FIELDS {
        let mut settings = Settings::default();
        let value = match field.get(&mut settings) {
            Some(value) => value,
            None => OptionValue::Int(1 << 20).min_of(field),
        };
        field.set(&mut settings, &value).expect(field.path);
        assert!(
            explain::same(field.get(&mut settings).as_ref(), Some(&value)),
            "{}",
            field.path
        );
        let wrong = if matches!(value, OptionValue::Bool(_)) {
            OptionValue::Int(1)
        } else {
            OptionValue::Bool(true)
        };
        let error = field.set(&mut settings, &wrong).expect_err(field.path);
        assert_eq!(error.setting(), Some(field.path));
        assert!(field.help.ends_with('.'), "{}", field.path);
    }
}

trait MinOf {
    fn min_of(self, field: &Field) -> Self;
}

impl MinOf for OptionValue {
    fn min_of(self, field: &Field) -> Self {
        if field.path == "filter.prefix" {
            OptionValue::Int(8)
        } else {
            self
        }
    }
}

#[test]
fn unknown_names_list_the_known_ones() {
    let section = refused("[memtabel]\nsize = 1");
    assert_eq!(section.setting(), Some("memtabel"));
    assert!(section.to_string().contains("memtable"), "{section}");
    let field = refused("\n[cache]\ncapacty = 1");
    assert_eq!(field.setting(), Some("cache.capacty"));
    assert!(
        field.to_string().contains("line 3") && field.to_string().contains("capacity"),
        "{field}"
    );
    let preset = refused("preset = \"fast\"");
    assert!(preset.to_string().contains("write-heavy"), "{preset}");
    let codec = refused("[[format.levels]]\nfrom = 1\ncompression = \"zip\"");
    assert!(
        codec.to_string().contains("zstd") && codec.setting() == Some("format.levels[0].compression"),
        "{codec}"
    );
}

#[test]
fn wrong_values_say_what_is_allowed() {
    for (text, needle) in [
        ("[memtable]\nsize = \"64 apples\"", "MiB"),
        ("[memtable]\nsize = \"1KiB\"", "from 64KiB"),
        ("[memtable]\nsize = -5", "whole number"),
        ("[filter]\nbits_per_key = \"ten\"", "number"),
        ("[filter]\nbits_per_key = nan", "finite"),
        ("[compaction]\nlevels = 1", "from 2 to 32"),
        ("[metrics]\nenabled = 1", "true or false"),
        ("[wal]\nsync = \"always\"", "none, normal, full"),
        ("[wal]\ncompression = \"zstd\"", "none, lz4"),
        ("[memtable]\nopts = [1]", "array"),
        ("memtable = 3", "[memtable]"),
        ("[format]\nlevels = 3", "[[format.levels]]"),
        ("[[format.levels]]\nkind = \"parquet\"", "from"),
        ("[[format.levels]]\nfrom = 2\n[[format.levels]]\nfrom = 2", "larger"),
        ("[memtable\nsize = 1", "line 1"),
        ("preset = 3", "write-heavy"),
    ] {
        let error = refused(text);
        assert!(error.to_string().contains(needle), "{text}: {error}");
    }
}

#[test]
fn a_preset_fills_and_the_file_overrides() {
    let settings = Settings::from_toml("preset = \"small-memory\"\n[cache]\ncapacity = \"9MiB\"").expect("valid");
    assert_eq!((settings.memtable.size, settings.cache.capacity), (4 << 20, 9 << 20));
    let origin = |name: &str| {
        let all = settings.explain();
        all.into_iter()
            .find(|entry| entry.setting == name)
            .expect("listed")
            .origin
    };
    assert_eq!(origin("memtable.size"), Origin::Preset("small-memory"));
    assert_eq!(origin("cache.capacity"), Origin::File(3));
    assert_eq!(origin("limits.max_key"), Origin::Default);
    for (name, _) in PRESETS {
        let preset = Settings::preset(name).expect(name);
        preset.check_ranges().expect(name);
        assert!(preset.memory_needed() <= preset.memory_budget());
    }
}

#[test]
fn values_set_in_code_are_told_apart() {
    let mut settings = Settings::from_toml("[cache]\ncapacity = 1048576\n[memtable]\nturbo = 3").expect("valid");
    let origins = |settings: &Settings| -> BTreeMap<String, Origin> {
        settings
            .explain()
            .into_iter()
            .map(|entry| (entry.setting, entry.origin))
            .collect()
    };
    assert_eq!(origins(&settings)["cache.capacity"], Origin::File(2));
    assert_eq!(origins(&settings)["memtable.turbo"], Origin::File(4));
    settings.cache.capacity = 5 << 20;
    settings.memtable.size = 1 << 20;
    assert_eq!(origins(&settings)["cache.capacity"], Origin::Code);
    assert_eq!(origins(&settings)["memtable.size"], Origin::Code);
}

#[test]
fn ranges_hold_for_values_set_in_code_too() {
    let mut settings = Settings::default();
    settings.compaction.levels = 100;
    assert_eq!(
        settings.check_ranges().expect_err("range").setting(),
        Some("compaction.levels")
    );
    let mut settings = Settings::default();
    settings.filter.bits_per_key = f64::NAN;
    assert_eq!(
        settings.check_ranges().expect_err("range").setting(),
        Some("filter.bits_per_key")
    );
    let mut settings = Settings::default();
    settings.format.levels = vec![FormatLevel {
        from: 1,
        block_size: Some(1),
        ..FormatLevel::default()
    }];
    assert_eq!(
        settings.check_ranges().expect_err("range").setting(),
        Some("format.levels[0].block_size")
    );
}

#[test]
fn options_do_not_follow_to_a_level_of_another_kind() {
    let text = "[format]\nkind = \"row\"\nrestart = 8\n[[format.levels]]\nfrom = 1\ncompression = \"lz4\"\n\
                [[format.levels]]\nfrom = 2\nkind = \"orc\"";
    let settings = Settings::from_toml(text).expect("valid");
    assert_eq!(settings.format_at(1).options.len(), 1);
    assert_eq!(settings.format_at(1).compression, Compression::Lz4);
    assert!(settings.format_at(2).options.is_empty());
    assert_eq!(settings.format_at(2).compression, Compression::Lz4);
}

#[test]
fn changes_name_what_differs_and_when_it_takes_effect() {
    let old = Settings::default();
    let mut new = old.clone();
    assert!(old.changes(&new, 7).expect("same").is_empty());
    new.format.compression = Compression::Lz4;
    new.cache.capacity = 1 << 20;
    let changes = old.changes(&new, 7).expect("allowed");
    let seen: Vec<_> = changes
        .iter()
        .map(|change| (change.setting.as_str(), change.effect))
        .collect();
    assert_eq!(
        seen,
        [("cache.capacity", Effect::Now), ("format.compression", Effect::NewRuns)]
    );
    new.compaction.levels = 3;
    assert!(old.changes(&new, 3).is_ok());
    let error = old.changes(&new, 4).expect_err("level 3 is in use");
    assert_eq!(error.setting(), Some("compaction.levels"));
}

#[test]
fn settings_can_be_part_of_a_larger_file() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Outer {
        kodiak: Settings,
    }
    let outer: Outer = toml::from_str("[kodiak.cache]\ncapacity = \"1MiB\"").expect("valid");
    assert_eq!(outer.kodiak.cache.capacity, 1 << 20);
    let text = toml::to_string(&outer).expect("written");
    assert_eq!(toml::from_str::<Outer>(&text).expect("read").kodiak, outer.kodiak);
}
