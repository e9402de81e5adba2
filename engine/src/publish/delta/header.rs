//! What a log says of the table as a whole: the protocol that readers must know, and the metadata.

use kodiak_core::schema::TableSchema;
use serde_json::{Value, json};

use super::vectors::uuid;
use crate::publish::record::Record;
use crate::publish::types;

/// The feature of tables whose files may have deletion vectors.
const VECTORS: &str = "deletionVectors";
/// The feature of tables with times that have no zone.
const LOCAL_TIMES: &str = "timestampNtz";

/// The protocol of a table with this schema: features are named only if there are any, because some readers know none.
pub fn protocol(schema: &TableSchema, vectors: bool) -> Value {
    let fields = schema.columns().fields();
    let local_times = fields.iter().any(|field| types::has_local_times(field.data_type()));
    let wanted = [(VECTORS, vectors), (LOCAL_TIMES, local_times)];
    let features: Vec<&str> = wanted.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
    json!({"protocol": match features.is_empty() {
        true => json!({"minReaderVersion": 1, "minWriterVersion": 1}),
        false => json!({
            "minReaderVersion": 3,
            "minWriterVersion": 7,
            "readerFeatures": features,
            "writerFeatures": features,
        }),
    }})
}

/// True if a protocol says that files may have deletion vectors.
pub fn asks_for_vectors(protocol: &Value) -> bool {
    let features = protocol["readerFeatures"].as_array().into_iter().flatten();
    features.into_iter().any(|feature| feature == VECTORS)
}

/// The metadata of the table that a record is of.
pub fn metadata(record: &Record) -> Value {
    // The same for every publication of the table.
    let id = format!("{}{:016x}", record.database, record.table_number);
    let id: Vec<u8> = id
        .bytes()
        .map(|digit| char::from(digit).to_digit(16).unwrap_or(0) as u8)
        .collect();
    let id: Vec<u8> = id
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
        .collect();
    let configuration = match record.delta_vectors {
        Some(true) => json!({"delta.enableDeletionVectors": "true"}),
        _ => json!({}),
    };
    json!({"metaData": {
        "id": uuid(&id),
        "name": record.table,
        "format": {"provider": "parquet", "options": {}},
        "schemaString": record.delta_schema,
        "partitionColumns": [],
        "configuration": configuration,
        "createdTime": record.published_micros / 1000,
    }})
}
