"""Reads data files with other tools and compares them with what the engine says is in them.

The one argument is a directory that tests/tests/interop.rs has filled: `cases.json`, which lists tables, and for each its
data files and an Arrow file of the engine's own scan. Prints one line of JSON at the end: how many comparisons were made.
"""

import json
import pathlib
import sys

import duckdb
import polars
import pyarrow
import pyarrow.feather
import pyarrow.ipc
import pyarrow.orc
import pyarrow.parquet

# What a run holds beside the table's own columns.
OWN = ["_seq", "_op"]


def with_duckdb(path):
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    # One thread and the insertion order, so that rows come as they lie in the file.
    connection.execute("SET threads = 1")
    return connection.sql("SELECT * FROM read_parquet(?)", params=[str(path)]).to_arrow_table()


READERS = {
    "feather": {
        "pyarrow": lambda path: pyarrow.feather.read_table(path, memory_map=False),
        "polars": lambda path: polars.read_ipc(path).to_arrow(),
    },
    "parquet": {
        "pyarrow": lambda path: pyarrow.parquet.ParquetFile(path).read(),
        "polars": lambda path: polars.read_parquet(path).to_arrow(),
        "duckdb": with_duckdb,
    },
    "orc": {
        "pyarrow": lambda path: pyarrow.orc.read_table(path),
    },
}


def rows(table, schema):
    """The rows as text, in order: exact, and NaN equals NaN. Tools may widen types (strings to large strings), so all are
    brought to the schema of the table first; a cast that would lose something fails."""
    table = table.select(schema.names).cast(schema)
    return [repr(row) for row in zip(*(column.to_pylist() for column in table.columns))]


def compare(name, files, reader, expected, place):
    """All files together hold every expected row once, and each file holds its rows in the engine's order."""
    missing = set(place)
    for path in files:
        table = reader(path)
        operations = set(table.column("_op").to_pylist())
        if operations - {0}:
            raise AssertionError(f"{name}: {path}: operations {operations} in a compacted table")
        if any(seq is None or seq < 0 for seq in table.column("_seq").to_pylist()):
            raise AssertionError(f"{name}: {path}: a sequence number is missing or negative")
        last = -1
        for row in rows(table.drop_columns(OWN), expected.schema):
            at = place.get(row)
            if at is None:
                raise AssertionError(f"{name}: {path}: the engine has no such row: {row}")
            if at <= last or row not in missing:
                raise AssertionError(f"{name}: {path}: out of order or twice: {row}")
            missing.remove(row)
            last = at
    if missing:
        raise AssertionError(f"{name}: {len(missing)} rows are in no file, such as {min(missing)}")


def main(directory):
    compared = 0
    for case in json.loads((directory / "cases.json").read_text()):
        with pyarrow.ipc.open_file(directory / case["expected"]) as file:
            expected = file.read_all()
        place = {row: at for at, row in enumerate(rows(expected, expected.schema))}
        if len(place) != case["rows"]:
            raise AssertionError(f"{case['name']}: {case['rows']} rows were written, {len(place)} differ from each other")
        for tool, reader in READERS[case["format"]].items():
            name = f"{case['name']} with {tool}"
            compare(name, [directory / path for path in case["files"]], reader, expected, place)
            print(f"{name}: {len(case['files'])} files, {case['rows']} rows agree")
            compared += 1
    print(json.dumps({"compared": compared}))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
