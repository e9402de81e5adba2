//! What there is to choose from, for `kodiak settings components` and the documentation.

use std::collections::BTreeSet;
use std::fmt::Write;

use kodiak_core::Result;
use kodiak_core::options::{OptionKind, OptionSpec, Options};
use kodiak_core::registry::{Factory, Registry};

use super::{Components, Resolved};
#[cfg(test)]
use crate::settings::FIELDS;
use crate::settings::units::format_size;
use crate::settings::{Explained, Origin};

/// One component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Its family ("memtable").
    pub family: &'static str,
    /// The setting that picks it ("memtable.kind").
    pub setting: &'static str,
    /// Its name.
    pub name: &'static str,
    /// One sentence: what it is, and what it is for.
    pub summary: &'static str,
    /// Its declared capabilities.
    pub capabilities: Vec<(&'static str, String)>,
    /// Its own options.
    pub options: Vec<DescribedOption>,
}

/// One option of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedOption {
    /// Its key in the component's section.
    pub name: &'static str,
    /// Its default.
    pub default: String,
    /// What it may be.
    pub allowed: String,
    /// One sentence of help.
    pub help: &'static str,
}

pub(super) fn describe(components: &Components) -> Vec<Described> {
    let mut all = Vec::new();
    family(&mut all, &components.memtables, "memtable.kind");
    family(&mut all, &components.formats, "format.kind");
    family(&mut all, &components.filters, "filter.kind");
    family(&mut all, &components.indexes, "index.primary");
    family(&mut all, &components.policies, "compaction.preset");
    family(&mut all, &components.wals, "wal.kind");
    all
}

fn family<F: Factory>(all: &mut Vec<Described>, registry: &Registry<F>, setting: &'static str) {
    all.extend(registry.iter().map(|factory| {
        let component = factory.component();
        Described {
            family: F::FAMILY,
            setting,
            name: component.name,
            summary: component.summary,
            capabilities: factory.capabilities(),
            options: component.options.iter().map(option).collect(),
        }
    }));
}

fn option(spec: &OptionSpec) -> DescribedOption {
    let (default, allowed) = match spec.kind {
        OptionKind::Int { default, range } => (default.to_string(), format!("{} to {}", range.0, range.1)),
        OptionKind::Bytes { default, range } => (
            format_size(default),
            format!("{} to {}", format_size(range.0), format_size(range.1)),
        ),
        OptionKind::Float { default, range } => (default.to_string(), format!("{} to {}", range.0, range.1)),
        OptionKind::Bool { default } => (default.to_string(), "true or false".to_owned()),
        OptionKind::Name { names } => (names[0].to_owned(), names.join(", ")),
    };
    DescribedOption {
        name: spec.name,
        default,
        allowed,
        help: spec.help,
    }
}

pub(super) fn explain(resolved: &Resolved) -> Result<Vec<Explained>> {
    let mut all = resolved.settings.explain();
    let named: BTreeSet<String> = all.iter().map(|entry| entry.setting.clone()).collect();
    let format = resolved.format_at(0);
    let none = Options::default();
    let (specs, options) = match &resolved.index {
        Some(index) => (index.factory.component.options, &index.options),
        None => (&[][..], &none),
    };
    let options: [(&str, &[OptionSpec], &Options); 7] = [
        ("index", specs, options),
        (
            "secondary",
            resolved.secondary.factory.component.options,
            &resolved.secondary.options,
        ),
        (
            "memtable",
            resolved.memtable.factory.component.options,
            &resolved.memtable.options,
        ),
        ("format", format.factory.component.options, &format.write.options),
        (
            "filter",
            resolved.filter.factory.component.options,
            &resolved.filter.options,
        ),
        (
            "compaction",
            resolved.policy.factory.component.options,
            &resolved.policy.options,
        ),
        ("wal", resolved.wal.factory.component.options, &resolved.wal.options),
    ];
    for (section, specs, options) in options {
        let after = all
            .iter()
            .rposition(|entry| entry.setting.starts_with(&format!("{section}.")));
        let mut at = after.map_or(all.len(), |index| index + 1);
        for (name, value) in options.iter() {
            let setting = format!("{section}.{name}");
            let of_level = section == "format" && named.contains(&format!("format.levels[0].{name}"));
            if named.contains(&setting) || of_level {
                continue;
            }
            let bytes = specs
                .iter()
                .any(|spec| spec.name == name && matches!(spec.kind, OptionKind::Bytes { .. }));
            let value = if bytes {
                format_size(options.int(name))
            } else {
                value.to_string()
            };
            all.insert(
                at,
                Explained {
                    setting,
                    value,
                    origin: Origin::Default,
                },
            );
            at += 1;
        }
    }
    Ok(all)
}

pub(super) fn markdown(all: &[Described]) -> String {
    let mut out = String::from(
        "# Components\n\nGenerated from the registries; a test compares it. The first of each family is its default, but for\n\
         indexes: tables have no primary one (`fence`) unless the settings say so, and secondary ones are `fractal`.\n",
    );
    let mut family = "";
    for component in all {
        if component.family != family {
            family = component.family;
            let _ = write!(out, "\n## {} (`{}`)\n", capitalised(family), component.setting);
        }
        let _ = write!(out, "\n### `{}`\n\n{}\n\n", component.name, component.summary);
        let _ = writeln!(out, "| capability | |\n|---|---|");
        for (name, value) in &component.capabilities {
            let _ = writeln!(out, "| {name} | {} |", cell(value));
        }
        if component.options.is_empty() {
            continue;
        }
        let _ = writeln!(out, "\n| option | default | allowed | |\n|---|---|---|---|");
        for option in &component.options {
            let (default, allowed) = (cell(&option.default), cell(&option.allowed));
            let _ = writeln!(
                out,
                "| `{}` | {default} | {allowed} | {} |",
                option.name,
                cell(option.help)
            );
        }
    }
    out
}

/// The table of all settings, as `docs/settings.md` has it.
#[cfg(test)]
pub(super) fn settings_table() -> String {
    let mut out = String::from("| setting | default | allowed | |\n|---|---|---|---|\n");
    let mut settings = crate::settings::Settings::default();
    for field in FIELDS {
        let default = field
            .get(&mut settings)
            .map_or_else(|| "not set".to_owned(), |value| value.to_string());
        let _ = writeln!(
            out,
            "| `{}` | {default} | {} | {} |",
            field.path,
            cell(&field.allowed()),
            cell(field.help)
        );
    }
    out
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().collect::<String>() + chars.as_str()
    })
}
