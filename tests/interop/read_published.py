"""Reads what `kodiak publish` has published with other tools and compares it with what the engine reads.

The one argument is a directory that tests/tests/published.rs has filled: `cases.json`, which lists publications, and for each
an Arrow file of the engine's own scan. Prints one line of JSON at the end: how many comparisons were made.
"""

import collections
import importlib.util
import json
import pathlib
import sys

import deltalake
import duckdb
import polars
import pyarrow
import pyarrow.ipc


def snippet(directory):
    spec = importlib.util.spec_from_file_location("read", directory / "read.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def with_duckdb(directory, name):
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute((directory / "view.sql").read_text())
    quoted = name.replace('"', '""')
    return connection.sql(f'SELECT * FROM "{quoted}"').to_arrow_table()


def with_deltalake(directory, name):
    table = deltalake.DeltaTable(str(directory))
    builder = deltalake.QueryBuilder().register("published", table)
    return pyarrow.table(builder.execute("SELECT * FROM published").read_all())


READERS = {
    "pyarrow": lambda directory, name: snippet(directory).table(),
    "polars": lambda directory, name: snippet(directory).frame().collect().to_arrow(),
    "duckdb": with_duckdb,
    "deltalake": with_deltalake,
    "polars, delta": lambda directory, name: polars.scan_delta(str(directory)).collect().to_arrow(),
}


def rows(table, schema):
    """The rows as text, each as often as it is there: exact, and NaN equals NaN. Tools may widen types (strings to large
    strings), so all are brought to the schema of the table first; a cast that would lose something fails."""
    table = table.select(schema.names).cast(schema)
    return collections.Counter(repr(row) for row in zip(*(column.to_pylist() for column in table.columns)))


def main(directory):
    compared = 0
    for case in json.loads((directory / "cases.json").read_text()):
        with pyarrow.ipc.open_file(directory / case["expected"]) as file:
            expected = file.read_all()
        expected_rows = rows(expected, expected.schema)
        if expected_rows.total() != case["rows"]:
            raise AssertionError(f"{case['name']}: {case['rows']} rows were written, not {expected_rows.total()}")
        for tool in case["tools"]:
            found = rows(READERS[tool](directory / case["published"], case["table"]), expected.schema)
            if found != expected_rows:
                extra, missing = found - expected_rows, expected_rows - found
                raise AssertionError(
                    f"{case['name']} with {tool}: {extra.total()} rows too many, such as {next(iter(extra), None)}; "
                    f"{missing.total()} missing, such as {next(iter(missing), None)}"
                )
            print(f"{case['name']} with {tool}: {case['rows']} rows agree")
            compared += 1
    print(json.dumps({"compared": compared}))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
