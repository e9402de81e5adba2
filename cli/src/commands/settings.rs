use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use comfy_table::{ContentArrangement, Table, presets};
use kodiak::components::{Components, Described};
use kodiak::settings::SETTINGS_FILE;
use kodiak::{Error, Settings as EngineSettings};

use crate::arguments::SettingsArguments;
use crate::failure::Result;
use crate::output::Output;

/// `kodiak settings`
#[derive(Debug, Subcommand)]
pub enum Settings {
    /// Print every setting as it was resolved, and where it came from
    Explain(Explain),
    /// List every component with its capabilities and options
    Components(ListComponents),
    /// List the presets
    Presets,
}

/// `kodiak settings explain`
#[derive(Debug, Args)]
pub struct Explain {
    /// Explain what this database was last opened with
    db: Option<PathBuf>,
    /// Print a settings file with every setting instead
    #[arg(long)]
    toml: bool,
    #[command(flatten)]
    settings: SettingsArguments,
}

/// `kodiak settings components`
#[derive(Debug, Args)]
pub struct ListComponents {
    /// Only this family, named by its section in the settings: memtable, index, format, filter, compaction, wal
    #[arg(long)]
    family: Option<String>,
    /// Print a Markdown page instead
    #[arg(long, conflicts_with = "family")]
    markdown: bool,
}

impl Settings {
    pub fn run(self, out: &mut Output) -> Result {
        match self {
            Self::Explain(command) => command.run(out),
            Self::Components(command) => command.run(out),
            Self::Presets => show_presets(out),
        }
    }
}

impl Explain {
    fn run(self, out: &mut Output) -> Result {
        if let Some(db) = self.db.as_ref().filter(|db| !db.join(SETTINGS_FILE).is_file()) {
            let message = "there is no database, nor the settings of one";
            return Err(Error::new(kodiak::ErrorKind::NotFound, message).with_file(db).into());
        }
        let settings: EngineSettings = self.settings.resolve(self.db.as_deref())?;
        let explained = Components::new().explain(&settings)?;
        if self.toml {
            writeln!(out, "{}", settings.to_toml().trim_end())?;
            return Ok(());
        }
        let mut table = plain_table(["setting", "value", "from"]);
        for entry in explained {
            table.add_row([entry.setting, entry.value, entry.origin.to_string()]);
        }
        writeln!(out, "{}", table.trim_fmt())?;
        Ok(())
    }
}

impl ListComponents {
    fn run(self, out: &mut Output) -> Result {
        let components = Components::new();
        if self.markdown {
            write!(out, "{}", components.markdown())?;
            return Ok(());
        }
        let all = components.describe();
        let section = |component: &Described| component.setting.split('.').next().unwrap_or_default();
        let wanted = |component: &&Described| self.family.as_deref().is_none_or(|family| section(component) == family);
        if !all.iter().any(|component| wanted(&component)) {
            let mut families: Vec<_> = all.iter().map(section).collect();
            families.dedup();
            let message = format!("there is no such family; the families are: {}", families.join(", "));
            return Err(Error::invalid_input(message).into());
        }
        let mut setting = "";
        for component in all.iter().filter(wanted) {
            if component.setting != setting {
                setting = component.setting;
                // Without an index a get goes down the levels.
                let default = match setting {
                    "index.primary" => "fence, which is none, is the default",
                    _ => "the first is the default",
                };
                writeln!(out, "{setting}  ({}; {default})", component.family)?;
            }
            show(component, out)?;
        }
        Ok(())
    }
}

fn show(component: &Described, out: &mut Output) -> Result {
    writeln!(out, "  {}: {}", component.name, component.summary)?;
    let capabilities: Vec<_> = component
        .capabilities
        .iter()
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    if !capabilities.is_empty() {
        writeln!(out, "      {}", capabilities.join("; "))?;
    }
    for option in &component.options {
        let (name, default, allowed) = (option.name, &option.default, &option.allowed);
        writeln!(out, "      {name} = {default} ({allowed}): {}", option.help)?;
    }
    Ok(())
}

fn show_presets(out: &mut Output) -> Result {
    let mut table = plain_table(["preset", "for"]);
    for (name, purpose) in kodiak::settings::PRESETS {
        table.add_row([name, purpose]);
    }
    writeln!(out, "{}", table.trim_fmt())?;
    Ok(())
}

fn plain_table<const N: usize>(titles: [&str; N]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(titles);
    table
}
