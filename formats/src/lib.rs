//! Block formats: Feather, Parquet, ORC and rows.
