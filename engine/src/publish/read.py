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


def arrow_type(name):
    """The type of this name: one of those whose units and zones not every file keeps."""
    import pyarrow

    kind, _, parameters = name.rstrip("]").partition("[")
    return getattr(pyarrow, kind)(*filter(None, parameters.split(", tz=")))


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

    def plain(field):
        if field.name in published["types"]:
            return field.with_type(arrow_type(published["types"][field.name]))
        # Views cannot be filtered.
        if pyarrow.types.is_string_view(field.type):
            return field.with_type(pyarrow.string())
        if pyarrow.types.is_binary_view(field.type):
            return field.with_type(pyarrow.binary())
        return field

    parts = []
    for path, kind, dead in files(published):
        part = read[kind](path).select(columns)
        for at, field in enumerate(part.schema):
            if plain(field) != field:
                part = part.set_column(at, plain(field), part.column(at).cast(plain(field).type))
        if dead is not None:
            rows = pyarrow.parquet.read_table(dead)["row"]
            alive = pyarrow.compute.is_in(pyarrow.array(range(part.num_rows), pyarrow.int64()), rows)
            part = part.filter(pyarrow.compute.invert(alive))
        parts.append(part)
    return pyarrow.concat_tables(parts, promote_options="permissive")


def polars_values(name, kind):
    """The values of a column that lies in Parquet files as integers."""
    import polars

    column = polars.col(name).cast(polars.Int64)
    kind, _, parameters = kind.rstrip("]").partition("[")
    unit, _, zone = parameters.partition(", tz=")
    if kind == "time32":
        return (column * 1_000_000_000).cast(polars.Time).alias(name)
    # Polars has no seconds.
    column, unit = (column * 1000, "ms") if unit == "s" else (column, unit or "ms")
    if kind == "duration":
        return column.cast(polars.Duration(unit)).alias(name)
    instants = column.cast(polars.Datetime(unit, "UTC" if zone else None))
    return (instants.dt.convert_time_zone(zone) if zone else instants).alias(name)


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
        if kind == "parquet":
            held = part.collect_schema()
            integers = {name: kind for name, kind in published["types"].items() if name in columns and held[name].is_integer()}
            part = part.with_columns(polars_values(name, kind) for name, kind in integers.items())
        parts.append(part.select(columns))
    return polars.concat(parts)
