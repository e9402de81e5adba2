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
    """Every data file, with its format, the file of its dead rows, if there is one, and the columns that it lacks, because its rows
    are older, and null in them. If any file lacks columns, the first one has them all."""
    all_files = ([published["merged"]] if published["merged"] else []) + published["files"]
    dead = [HERE / file["dead"] if "dead" in file else None for file in all_files]
    return [(HERE / file["file"], file["kind"], rows, file.get("lacks", [])) for file, rows in zip(all_files, dead)]


def arrow_type(name):
    """The type of this name: one of those whose units and zones not every file keeps."""
    import pyarrow

    kind, _, parameters = name.rstrip("]").partition("[")
    return getattr(pyarrow, kind)(*filter(None, parameters.split(", tz=")))


def whole_type(found, told):
    """The type that a column of the type `found` has in the table: lists differ from file to file, units and zones are told."""
    import pyarrow

    if isinstance(told, str):
        return arrow_type(told)
    told = told or {}

    def inner(field, told):
        return field.with_type(whole_type(field.type, told))

    if pyarrow.types.is_map(found):
        return pyarrow.map_(inner(found.key_field, told.get("key")), inner(found.item_field, told.get("value")))
    if pyarrow.types.is_list(found) or pyarrow.types.is_large_list(found) or pyarrow.types.is_fixed_size_list(found):
        return pyarrow.large_list(inner(found.value_field.with_name("item"), told.get("item")))
    if pyarrow.types.is_struct(found):
        members = told.get("members", {})
        return pyarrow.struct([inner(field, members.get(field.name)) for field in found.fields])
    # Views cannot be filtered.
    if pyarrow.types.is_string_view(found):
        return pyarrow.string()
    if pyarrow.types.is_binary_view(found):
        return pyarrow.binary()
    return found


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
        "parquet": lambda path, columns: pyarrow.parquet.ParquetFile(path).read(columns=columns),
        "feather": lambda path, columns: pyarrow.feather.read_table(path, columns=columns, memory_map=False),
        "orc": lambda path, columns: pyarrow.orc.read_table(path, columns=columns),
    }

    parts = []
    for path, kind, dead, lacks in files(published):
        held = [name for name in columns if name not in lacks]
        part = read[kind](path, held or ["_seq"])
        for at, field in enumerate(part.schema):
            wanted = whole_type(field.type, published["types"].get(field.name))
            if wanted != field.type:
                part = part.set_column(at, field.with_type(wanted), part.column(at).cast(wanted))
        if dead is not None:
            rows = pyarrow.parquet.read_table(dead)["row"]
            alive = pyarrow.compute.is_in(pyarrow.array(range(part.num_rows), pyarrow.int64()), rows)
            part = part.filter(pyarrow.compute.invert(alive))
        for name in columns:
            if name in lacks:
                field = parts[0].schema.field(name)
                part = part.append_column(field, pyarrow.nulls(part.num_rows, field.type))
        parts.append(part.select(columns))
    return pyarrow.concat_tables(parts, promote_options="permissive")


def polars_unit(kind):
    """Polars has no seconds."""
    return "ms" if kind in ("", "s") else kind


def polars_type(found, told):
    """The type that `polars_values` makes of `found`."""
    import polars

    if told is None:
        return found
    if isinstance(told, str):
        if not found.is_integer():
            return found
        kind, _, parameters = told.rstrip("]").partition("[")
        unit, _, zone = parameters.partition(", tz=")
        if kind == "time32":
            return polars.Time()
        return polars.Duration(polars_unit(unit)) if kind == "duration" else polars.Datetime(polars_unit(unit), zone or None)
    if isinstance(found, polars.Struct):
        return polars.Struct({field.name: polars_type(field.dtype, told["members"].get(field.name)) for field in found.fields})
    # Polars has a type for maps since version 2; before, they are lists of structs with a key and a value.
    if isinstance(found, getattr(polars, "Map", ())):
        return polars.Map(polars_type(found.key, told.get("key")), polars_type(found.value, told.get("value")))
    inner = polars_type(found.inner, told["item"] if "item" in told else {"members": told})
    return polars.Array(inner, found.shape[0]) if isinstance(found, polars.Array) else polars.List(inner)


def polars_values(column, found, told):
    """The values of a column of the type `found`, which may lie in Parquet files as integers, or have such inside."""
    import polars

    made = polars_type(found, told)
    if made == found:
        return column
    if isinstance(told, str):
        column = column.cast(polars.Int64)
        if made == polars.Time:
            return (column * 1_000_000_000).cast(made)
        column = column * 1000 if "[s" in told else column
        if isinstance(made, polars.Datetime) and made.time_zone:
            return column.cast(polars.Datetime(made.time_unit, "UTC")).dt.convert_time_zone(made.time_zone)
        return column.cast(made)
    if isinstance(found, polars.Struct):
        fields = {field.name: field.dtype for field in found.fields}
        inner = told["members"]
        return column.struct.with_fields(polars_values(polars.field(name), fields[name], inner[name]).alias(name) for name in inner)
    inner = told["item"] if "item" in told else {"members": told}
    if isinstance(found, getattr(polars, "Map", ())):
        column, items = column.map.entries(), polars.Struct({"key": found.key, "value": found.value})
    elif isinstance(found, polars.Array):
        column, items = column.arr.to_list(), found.inner
    else:
        items = found.inner
    return column.list.eval(polars_values(polars.element(), items, inner)).cast(made)


def frame(columns=None):
    """The rows of the table as a polars.LazyFrame, in no particular order."""
    import polars

    published = publication()
    columns = published["columns"] if columns is None else columns
    scan = {"parquet": polars.scan_parquet, "feather": polars.scan_ipc}
    parts = []
    kinds = None
    for path, kind, dead, lacks in files(published):
        part = scan[kind](path)
        if dead is not None:
            rows = polars.scan_parquet(dead)
            number = polars.int_range(polars.len(), dtype=polars.Int64).alias("_row")
            part = part.with_columns(number).join(rows, left_on="_row", right_on="row", how="anti")
        if kind == "parquet":
            held = part.collect_schema()
            told = {name: told for name, told in published["types"].items() if name in columns and name not in lacks}
            part = part.with_columns(polars_values(polars.col(name), held[name], told[name]).alias(name) for name in told)
        if lacks:
            kinds = kinds or parts[0].collect_schema()
            part = part.with_columns(polars.lit(None, kinds[name]).alias(name) for name in columns if name in lacks)
        parts.append(part.select(columns))
    return polars.concat(parts)
