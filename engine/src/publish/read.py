"""Reads the table that is published in this directory, exactly: with pyarrow, lazily with Polars, or for DuckDB.

    table = read.table()          # a pyarrow.Table
    frame = read.frame()          # a polars.LazyFrame; of ORC files all is read at once
    rows = read.relation()        # a relation of DuckDB, from what pyarrow reads: view.sql is better, where there is one

Made by `kodiak publish`. `PUBLISHED.json`, and the lists that it names, say which files there are, and which of their rows are not the table's.
"""

import csv
import json
import pathlib

HERE = pathlib.Path(__file__).resolve().parent


def publication():
    """What is published: files, numbers of rows, the sequence number."""
    published = json.loads((HERE / "PUBLISHED.json").read_text(encoding="utf-8"))
    lines = {}
    for part in published["lists"]:
        with open(HERE / part["file"], newline="", encoding="utf-8") as text:
            # Of several lines of a run the newest counts.
            lines.update((int(line["run"]), line) for line in csv.DictReader(text, quoting=csv.QUOTE_NONE))
    layouts = published.get("layouts", {})
    published["files"] = [listed(line, layouts) for _, line in sorted(lines.items()) if line["file"]]
    return published


def listed(line, layouts):
    """A data file, as a line of a list has it."""
    file = {"file": line["file"], "kind": line["kind"], "bytes": int(line["bytes"]), "rows": int(line["rows"])}
    if line["dead"]:
        file |= {"dead": line["dead"], "dead_rows": int(line["dead_rows"])}
    return file | layouts.get(line["schema"], {})


def files(published):
    """Every data file, with the file of its dead rows, if there is one, as the record has it. If any is older than columns, or than
    their names or types, the first one has them all."""
    all_files = ([published["merged"]] if published["merged"] else []) + published["files"]
    return [(file, HERE / file["file"], HERE / file["dead"] if "dead" in file else None) for file in all_files]


def held(file, columns):
    """Those of the columns that a file has, with their names in it."""
    absent = file.get("lacks", []) + file.get("defaults", [])
    return {name: file.get("names", {}).get(name, name) for name in columns if name not in absent}


def told_type(published, file, name):
    """The type that the record tells of a column of a file; None if the file tells it."""
    widened = file.get("widened", {})
    return widened[name] if name in widened else published["types"].get(name)


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

    def values(file, path, columns):
        """The columns of a file, by their names in the table, and how many rows there are."""
        names = held(file, columns)
        part = read[file["kind"]](path, list(names.values()) or ["_seq"])
        found = {}
        for name, own in names.items():
            column = part.column(own)
            wanted = whole_type(column.type, told_type(published, file, name))
            found[name] = column if column.type == wanted else column.cast(wanted)
        return found, part.num_rows

    defaults = published.get("defaults")
    parts = []
    for file, path, dead in files(published):
        found, rows = values(file, path, columns)
        for name in columns:
            if name in file.get("widened", {}):
                found[name] = found[name].cast(parts[0].schema.field(name).type)
            elif name in file.get("lacks", []):
                found[name] = pyarrow.nulls(rows, parts[0].schema.field(name).type)
            elif name in file.get("defaults", []):
                default = values(defaults, HERE / defaults["file"], [name])[0][name]
                found[name] = default.take(pyarrow.repeat(0, rows))
        part = pyarrow.table([found[name] for name in columns], names=columns)
        if dead is not None:
            gone = pyarrow.parquet.read_table(dead)["row"]
            numbers = pyarrow.compute.cumulative_sum(pyarrow.repeat(pyarrow.scalar(1, pyarrow.int64()), rows), start=-1)
            part = part.filter(pyarrow.compute.invert(pyarrow.compute.is_in(numbers, gone)))
        parts.append(part)
    return pyarrow.concat_tables(parts, promote_options="permissive")


def relation(columns=None, connection=None):
    """The rows of the table as a duckdb.DuckDBPyRelation, in no particular order."""
    import duckdb

    return (connection or duckdb).from_arrow(table(columns))


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


def is_own(value, name):
    """True if a value is no more than the column of this name: to say nothing of it lets Polars filter rows where they are read."""
    return value.meta.is_column() and value.meta.output_name() == name


def frame(columns=None):
    """The rows of the table as a polars.LazyFrame, in no particular order."""
    import polars

    published = publication()
    columns = published["columns"] if columns is None else columns
    if any(file["kind"] == "orc" for file, _, _ in files(published)):
        # Polars itself reads no ORC files.
        return polars.from_arrow(table(columns)).lazy()
    scan = {"parquet": polars.scan_parquet, "feather": polars.scan_ipc}

    def values(file, part, names):
        """Of each column, by its name in the table, its values in a file."""
        kinds = part.collect_schema()
        for name, own in names.items():
            column = polars.col(own)
            told = told_type(published, file, name)
            yield name, polars_values(column, kinds[own], told) if told and file["kind"] == "parquet" else column

    defaults = published.get("defaults")
    parts = []
    kinds = None
    for file, path, dead in files(published):
        part = scan[file["kind"]](path)
        if dead is not None:
            rows = polars.scan_parquet(dead)
            number = polars.int_range(polars.len(), dtype=polars.Int64).alias("_row")
            part = part.with_columns(number).join(rows, left_on="_row", right_on="row", how="anti")
        found = dict(values(file, part, held(file, columns)))
        wanted = [name for name in columns if name in file.get("defaults", [])]
        if wanted:
            row = scan[defaults["kind"]](HERE / defaults["file"])
            row = row.select(value.alias("_default " + name) for name, value in values(defaults, row, {name: name for name in wanted}))
            part = part.join(row, how="cross")
        for name in columns:
            lacks, widened = name in file.get("lacks", []), name in file.get("widened", {})
            if lacks or widened:
                # The first one has all columns.
                kinds = kinds or parts[0].collect_schema()
                found[name] = found[name].cast(kinds[name]) if widened else polars.lit(None, kinds[name])
            elif name in wanted:
                found[name] = polars.col("_default " + name)
        if "names" not in file:
            found = [value.alias(name) for name, value in found.items() if not is_own(value, name)]
            parts.append(part.with_columns(found).select(columns))
            continue
        # Under names of no column of the file, since columns may have swapped theirs.
        part = part.with_columns(found[name].alias("_new " + name) for name in columns)
        parts.append(part.select(polars.col("_new " + name).alias(name) for name in columns))
    return polars.concat(parts)
