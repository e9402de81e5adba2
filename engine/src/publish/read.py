"""Reads the table that is published in this directory, exactly: with pyarrow, or lazily with Polars.

    table = read.table()          # a pyarrow.Table
    frame = read.frame()          # a polars.LazyFrame; not for ORC files

Made by `kodiak publish`. `PUBLISHED.json` says which files there are, and which of their rows are not the table's.
"""

import json
import pathlib

HERE = pathlib.Path(__file__).resolve().parent


def publication():
    """What is published: files, numbers of rows, the sequence number."""
    return json.loads((HERE / "PUBLISHED.json").read_text(encoding="utf-8"))


def files(published):
    """Every data file, with its format and the file of its dead rows, if there is one."""
    all_files = published["files"] + ([published["merged"]] if published["merged"] else [])
    return [(HERE / file["file"], file["kind"], HERE / file["dead"] if file["dead"] else None) for file in all_files]


def table(columns=None):
    """The rows of the table as a pyarrow.Table, in no particular order."""
    import pyarrow
    import pyarrow.compute
    import pyarrow.feather
    import pyarrow.orc
    import pyarrow.parquet

    published = publication()
    columns = published["columns"] if columns is None else columns
    read = {
        "parquet": lambda path: pyarrow.parquet.ParquetFile(path).read(columns=columns),
        "feather": lambda path: pyarrow.feather.read_table(path, columns=columns, memory_map=False),
        "orc": lambda path: pyarrow.orc.read_table(path, columns=columns),
    }
    parts = []
    for path, kind, dead in files(published):
        part = read[kind](path).select(columns)
        if dead is not None:
            rows = pyarrow.parquet.read_table(dead)["row"]
            alive = pyarrow.compute.is_in(pyarrow.array(range(part.num_rows), pyarrow.int64()), rows)
            part = part.filter(pyarrow.compute.invert(alive))
        parts.append(part)
    return pyarrow.concat_tables(parts, promote_options="permissive")


def frame(columns=None):
    """The rows of the table as a polars.LazyFrame, in no particular order."""
    import polars

    published = publication()
    columns = published["columns"] if columns is None else columns
    scan = {"parquet": polars.scan_parquet, "feather": polars.scan_ipc}
    parts = []
    for path, kind, dead in files(published):
        part = scan[kind](path)
        if dead is not None:
            rows = polars.scan_parquet(dead)
            number = polars.int_range(polars.len(), dtype=polars.Int64).alias("_row")
            part = part.with_columns(number).join(rows, left_on="_row", right_on="row", how="anti")
        parts.append(part.select(columns))
    return polars.concat(parts)
