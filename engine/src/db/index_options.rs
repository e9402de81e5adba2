//! What of its indexes a table chooses for itself.

use kodiak_core::varint::{Reader, put_bytes};
use kodiak_core::{Error, Result};

use crate::settings::{FENCE, Maintenance};

/// How a table's indexes are made and kept, where that is not as the settings of the database say. What is `None` is as the
/// settings say at each opening. An index of the kind that the settings name has their options, any other its defaults.
///
/// ```
/// # fn main() -> kodiak::Result<()> {
/// # let storage = std::sync::Arc::new(kodiak::MemoryStorage::new());
/// # let db = kodiak::Builder::new(kodiak::Settings::default()).storage(storage).open("/db")?;
/// let own = kodiak::IndexOptions::new().primary("bplus").deletion_vectors(true);
/// let options = kodiak::TableOptions::new().indexes(own);
/// let orders = db.create_table_with("orders", kodiak::TableSchema::key_value(), options)?;
/// orders.put(b"7", b"a book")?;
/// orders.set_indexes(kodiak::IndexOptions::new().primary("fence"))?; // the index is dropped
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexOptions {
    /// Instead of the setting `index.primary`.
    pub primary: Option<String>,
    /// Instead of the setting `index.deletion_vectors`.
    pub deletion_vectors: Option<bool>,
    /// Instead of the setting `secondary.kind`.
    pub secondary: Option<String>,
    /// Instead of the setting `secondary.maintenance`.
    pub maintenance: Option<Maintenance>,
}

impl IndexOptions {
    /// All as the settings of the database say.
    pub fn new() -> Self {
        Self::default()
    }

    /// The primary index: `fence` for none, or the name of an index; instead of the setting `index.primary`.
    pub fn primary(mut self, kind: impl Into<String>) -> Self {
        self.primary = Some(kind.into());
        self
    }

    /// Whether there are deletion vectors, instead of the setting `index.deletion_vectors`. To have them, a table must choose its
    /// primary index, too: the settings may name none one day.
    pub fn deletion_vectors(mut self, on: bool) -> Self {
        self.deletion_vectors = Some(on);
        self
    }

    /// The index that holds secondary indexes, instead of the setting `secondary.kind`.
    pub fn secondary(mut self, kind: impl Into<String>) -> Self {
        self.secondary = Some(kind.into());
        self
    }

    /// How secondary indexes are kept up to date, instead of the setting `secondary.maintenance`.
    pub fn maintenance(mut self, maintenance: Maintenance) -> Self {
        self.maintenance = Some(maintenance);
        self
    }

    /// Fails for what contradicts itself.
    ///
    /// # Errors
    /// `InvalidSettings`.
    pub(crate) fn check(&self) -> Result<()> {
        let has_primary = self.primary.as_deref().is_some_and(|kind| kind != FENCE);
        if self.deletion_vectors == Some(true) && !has_primary {
            let message = format!(
                "a table that chooses to have deletion vectors must choose its primary index as well, and not \"{FENCE}\", which \
                 does not know what an update displaces"
            );
            return Err(Error::settings("index.deletion_vectors", message));
        }
        Ok(())
    }

    /// Appends the stored form.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.primary.as_deref().unwrap_or_default().as_bytes());
        out.push(self.deletion_vectors.map_or(0, |on| 1 + u8::from(on)));
        put_bytes(out, self.secondary.as_deref().unwrap_or_default().as_bytes());
        out.push(match self.maintenance {
            None => 0,
            Some(Maintenance::Lazy) => 1,
            Some(Maintenance::Eager) => 2,
        });
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// `Corruption` for bytes that [`encode`](Self::encode) does not write.
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let unknown = |what: &str, code: u8| Error::corruption(format!("{code} is no choice of {what}"));
        let name = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let primary = name(reader.str()?);
        let deletion_vectors = match reader.u8()? {
            0 => None,
            code @ (1 | 2) => Some(code == 2),
            code => return Err(unknown("deletion vectors", code)),
        };
        let secondary = name(reader.str()?);
        let maintenance = match reader.u8()? {
            0 => None,
            1 => Some(Maintenance::Lazy),
            2 => Some(Maintenance::Eager),
            code => return Err(unknown("maintenance", code)),
        };
        Ok(Self {
            primary,
            deletion_vectors,
            secondary,
            maintenance,
        })
    }
}
