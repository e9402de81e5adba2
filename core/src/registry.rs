//! Finding components by name.

use crate::options::OptionSpec;
use crate::{Error, Result};

/// What every factory tells about its component, whatever the family.
#[derive(Debug, Clone, Copy)]
pub struct Component {
    /// The name in the settings file: lower case, words joined by hyphens.
    pub name: &'static str,
    /// One sentence: what it is, and what it is for.
    pub summary: &'static str,
    /// Its own options.
    pub options: &'static [OptionSpec],
}

/// A factory of any family.
pub trait Factory: Sync + 'static {
    /// The family, as it is named in messages ("memtable").
    const FAMILY: &'static str;

    /// Name, summary and options.
    fn component(&self) -> &Component;

    /// The declared capabilities as `(name, value)`, for `kodiak settings components` and the documentation tables.
    fn capabilities(&self) -> Vec<(&'static str, String)>;
}

/// The factories of one family, in the order of its `ALL` list, with those registered from outside at the end.
#[derive(Debug)]
pub struct Registry<F: Factory>(Vec<&'static F>);

impl<F: Factory> Clone for Registry<F> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<F: Factory> Registry<F> {
    /// The built-in components of a family.
    pub fn new(all: &[&'static F]) -> Self {
        Self(all.to_vec())
    }

    /// Adds a component from outside.
    ///
    /// # Errors
    /// `InvalidInput` if the name is taken.
    pub fn register(&mut self, factory: &'static F) -> Result<()> {
        let name = factory.component().name;
        if self.0.iter().any(|known| known.component().name == name) {
            return Err(Error::invalid_input(format!(
                "a {} named \"{name}\" is registered already",
                F::FAMILY
            )));
        }
        self.0.push(factory);
        Ok(())
    }

    /// The component of that name.
    ///
    /// # Errors
    /// `InvalidSettings` that lists the known names.
    pub fn find(&self, name: &str) -> Result<&'static F> {
        self.0
            .iter()
            .copied()
            .find(|factory| factory.component().name == name)
            .ok_or_else(|| {
                let known: Vec<_> = self.iter().map(|factory| factory.component().name).collect();
                Error::new(
                    crate::ErrorKind::InvalidSettings,
                    format!("unknown {} \"{name}\"; known are: {}", F::FAMILY, known.join(", ")),
                )
            })
    }

    /// Every component, in order.
    pub fn iter(&self) -> impl Iterator<Item = &'static F> + '_ {
        self.0.iter().copied()
    }
}

/// Implements [`Factory`] for a factory struct with the fields `component` and `capabilities`, the latter having a
/// method `describe`.
macro_rules! impl_factory {
    ($factory:ty, $family:literal) => {
        impl $crate::registry::Factory for $factory {
            const FAMILY: &'static str = $family;

            fn component(&self) -> &$crate::registry::Component {
                &self.component
            }

            fn capabilities(&self) -> Vec<(&'static str, String)> {
                self.capabilities.describe()
            }
        }
    };
}
pub(crate) use impl_factory;
