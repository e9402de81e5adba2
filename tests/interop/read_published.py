"""Reads what `kodiak publish` has published with other tools and compares it with what the engine reads.

The one argument is a directory that tests/tests/published.rs fills. Each line of the input is a case: a publication there, and
an Arrow file of the engine's own scan. The answer is one line of JSON: how many columns of how many each tool has read and found
right, or what is wrong.
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
import pyarrow.compute
import pyarrow.ipc
import pyarrow.types as types


def snippet(directory):
    spec = importlib.util.spec_from_file_location("read", directory / "read.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def with_duckdb(directory, name, columns):
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute((directory / "view.sql").read_text())
    # By their places: DuckDB gives other names to columns whose names differ in capital letters only.
    held = snippet(directory).publication()["columns"]
    found = connection.sql(f"SELECT * FROM {quoted(name)}").to_arrow_table()
    return found.rename_columns(held).select(columns)


def with_deltalake(directory, name, columns):
    table = deltalake.DeltaTable(str(directory))
    builder = deltalake.QueryBuilder().register("published", table)
    query = f"SELECT {', '.join(map(quoted, columns))} FROM published"
    return pyarrow.table(builder.execute(query).read_all())


def with_deltalake_and_pyarrow(directory, name, columns):
    table = deltalake.DeltaTable(str(directory))
    found = table.to_pyarrow_table(columns=columns)
    rows = table.to_pyarrow_dataset().count_rows()
    if rows != found.num_rows:
        raise AssertionError(f"the dataset has {rows} rows, the table {found.num_rows}")
    return found


def with_polars_delta(directory, name, columns):
    return polars.scan_delta(str(directory)).select(columns).collect().to_arrow()


def with_relation(directory, name, columns):
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    return snippet(directory).relation(columns, connection).to_arrow_table().rename_columns(columns)


READERS = {
    "pyarrow": lambda directory, name, columns: snippet(directory).table(columns),
    "polars": lambda directory, name, columns: snippet(directory).frame(columns).collect().to_arrow(),
    "duckdb": with_duckdb,
    "duckdb, pyarrow": with_relation,
    "deltalake": with_deltalake,
    "deltalake, pyarrow": with_deltalake_and_pyarrow,
    "polars, delta": with_polars_delta,
}


def leaves(kind):
    """The type and all types in it."""
    yield kind
    if types.is_map(kind):
        yield from leaves(kind.key_type)
        yield from leaves(kind.item_type)
    elif types.is_nested(kind):
        for at in range(kind.num_fields):
            yield from leaves(kind.field(at).type)


def refuses(tool, kind):
    """True if a tool reads no file that has a column of this type, however few of its columns are asked for."""
    if tool == "polars, delta" and types.is_fixed_size_list(kind):
        # It takes the files' type for another one than Delta's, which has no sizes.
        return True
    if tool.startswith("polars"):
        return types.is_decimal256(kind) or types.is_interval(kind)
    return False


def loses(tool, kind):
    """True if a tool has no type for all values of this one, or panics when it gives them away."""
    if tool.startswith("polars") and types.is_nested(kind):
        return any(types.is_decimal32(leaf) or types.is_decimal64(leaf) for leaf in leaves(kind))
    return False


def values(array, kind):
    """The values of an array as Python has them, the same whatever tool it is from: exact, which pyarrow's cast to the type of the
    engine sees to, times as the numbers that stand for them, since Python's own have fewer digits."""
    alive = array.is_valid().to_pylist()
    if types.is_struct(kind):
        fields = [values(array.field(at), kind.field(at).type) for at in range(kind.num_fields)]
        return [row if there else None for there, row in zip(alive, zip(*fields))]
    if types.is_nested(kind):
        if types.is_map(array.type):
            # Whose keys and items are those of this slice only.
            array = array.take(pyarrow.array(range(len(array)), pyarrow.int64()))
            offsets = array.offsets.to_pylist()
            counts = [end - start for start, end in zip(offsets, offsets[1:])]
            items = zip(values(array.keys, kind.key_type), values(array.items, kind.item_type))
        else:
            counts = pyarrow.compute.list_value_length(array).to_pylist()
            items = values(array.flatten(), pyarrow.struct([kind.key_field, kind.item_field]) if types.is_map(kind) else kind.value_type)
        items = iter(items)
        return [[next(items) for _ in range(count)] if there else None for there, count in zip(alive, counts)]
    array = array.cast(kind)
    if types.is_date(kind) or types.is_time(kind) or types.is_timestamp(kind) or types.is_duration(kind):
        array = array.cast(pyarrow.int32() if kind.bit_width == 32 else pyarrow.int64())
    return array.to_pylist()


def rows(table, schema):
    """The rows as text, each as often as it is there; NaN equals NaN then."""
    columns = []
    for field in schema:
        column = table.column(field.name).combine_chunks()
        column = column.combine_chunks() if isinstance(column, pyarrow.ChunkedArray) else column
        columns.append(map(repr, values(column, field.type)))
    return collections.Counter(zip(*columns))


def compare(case, directory):
    with pyarrow.ipc.open_file(directory / case["expected"]) as file:
        expected = file.read_all()
    if expected.num_rows != case["rows"]:
        raise AssertionError(f"{case['rows']} rows were published, not {expected.num_rows}")
    compared = {}
    for tool in case["tools"]:
        kinds = [list(leaves(field.type)) for field in expected.schema]
        if any(refuses(tool, kind) for column in kinds for kind in column):
            continue
        held = [field.name for field, column in zip(expected.schema, kinds) if not any(loses(tool, kind) for kind in column)]
        if not held:
            continue
        schema = pyarrow.schema([expected.schema.field(name) for name in held])
        wanted = rows(expected, schema)
        try:
            found = rows(READERS[tool](directory / case["published"], case["table"], held), schema)
        except BaseException as error:  # Polars' panics are no exceptions.
            raise AssertionError(f"{tool}: {type(error).__name__}: {error}") from error
        if found != wanted:
            extra, missing = found - wanted, wanted - found
            raise AssertionError(
                f"{tool}: {extra.total()} rows too many, such as {next(iter(extra), None)}; "
                f"{missing.total()} missing, such as {next(iter(missing), None)}"
            )
        compared[tool] = [len(held), len(kinds)]
    return {"compared": compared}


# Delays of one month by airline, of flights from one place: as SQL, for Polars and for pyarrow.
FLIGHTS = """SELECT carrier, count(*) AS flights, sum(distance) AS miles, max(arr_delay) AS latest, count(tailnum) AS known
FROM {} WHERE month = 3 AND origin = 'JFK' GROUP BY carrier"""


def flights_of_polars(frame):
    column = polars.col
    chosen = frame.filter((column("month") == 3) & (column("origin") == "JFK"))
    figures = [
        polars.len().alias("flights"),
        column("distance").sum().alias("miles"),
        column("arr_delay").max().alias("latest"),
        column("tailnum").count().alias("known"),
    ]
    return chosen.group_by("carrier").agg(figures).collect().to_arrow()


def flights_of_pyarrow(table):
    field = pyarrow.compute.field
    chosen = table.filter((field("month") == 3) & (field("origin") == "JFK")).group_by("carrier")
    figures = [("carrier", "count"), ("distance", "sum"), ("arr_delay", "max"), ("tailnum", "count")]
    return chosen.aggregate(figures).rename_columns(["carrier", "flights", "miles", "latest", "known"])


def duckdb_flights(directory, name):
    connection = duckdb.connect()
    connection.execute((directory / "view.sql").read_text())
    return connection.sql(FLIGHTS.format(quoted(name))).to_arrow_table()


def deltalake_flights(directory, name):
    builder = deltalake.QueryBuilder().register("published", deltalake.DeltaTable(str(directory)))
    return pyarrow.table(builder.execute(FLIGHTS.format("published")).read_all())


QUERIES = {
    "pyarrow": lambda directory, name: flights_of_pyarrow(snippet(directory).table()),
    "polars": lambda directory, name: flights_of_polars(snippet(directory).frame()),
    "duckdb": duckdb_flights,
    "deltalake": deltalake_flights,
    "polars, delta": lambda directory, name: flights_of_polars(polars.scan_delta(str(directory))),
}


def query_flights(case, directory):
    """Has each tool answer a query of the flights: a filter, groups, and figures of them."""
    with pyarrow.ipc.open_file(directory / case["expected"]) as file:
        expected = flights_of_pyarrow(file.read_all())
    if not 0 < expected.num_rows:
        raise AssertionError("the query finds nothing")
    wanted = rows(expected, expected.schema)
    for tool in case["tools"]:
        found = rows(QUERIES[tool](directory / case["published"], case["table"]), expected.schema)
        if found != wanted:
            raise AssertionError(f"{tool}: the query gives {found}, not {wanted}")
    return {"compared": {tool: 1 for tool in case["tools"]}}


def answer(line, directory):
    case = json.loads(line)
    try:
        return query_flights(case, directory) if case.get("query") == "flights" else compare(case, directory)
    except BaseException as error:  # Polars' panics are no exceptions.
        with pyarrow.ipc.open_file(directory / case["expected"]) as file:
            schema = file.schema
        return {"error": f"{type(error).__name__}: {error}\nof {schema.to_string(show_schema_metadata=False)}"}


def main(directory):
    for line in sys.stdin:
        print(json.dumps(answer(line, directory)), flush=True)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
