"""Writes files as other programs' writers do, with varied options, and compares what Kodiak reads of them with what they read.

The one argument is a directory. Each line of the input is a question of tests/tests/other_writers.rs: `{"make": true}` writes all files
and lists them; `{"file": .., "found": ..}` compares a file with an Arrow file of what was read of it.
"""

import itertools
import json
import pathlib
import sys
import warnings

import deltalake
import duckdb
import polars
import pyarrow
import pyarrow.feather
import pyarrow.ipc
import pyarrow.orc
import pyarrow.parquet

import read_published

ROWS = 3000


def number(at):
    return at * 2654435761 % (1 << 32)


def column(kind, make, every=7):
    """Values with a null now and then."""
    return pyarrow.array([None if number(at) % every == 0 else make(number(at)) for at in range(ROWS)], kind)


def flat():
    """Columns of the types that every writer here has."""
    # A half before 1970, some just before, of which ORC has a peculiar idea.
    micros = lambda n: -(n % 3_000_000) if n % 5 == 0 else n * 1_000_003 % 4_000_000_000_000_000 - 2_000_000_000_000_000
    return pyarrow.table(
        {
            "id": pyarrow.array(range(ROWS), pyarrow.int64()),
            "flag": column(pyarrow.bool_(), lambda n: n % 3 == 0),
            "tiny": column(pyarrow.int8(), lambda n: n % 256 - 128),
            "small": column(pyarrow.int16(), lambda n: n % 65536 - 32768),
            "medium": column(pyarrow.int32(), lambda n: n - (1 << 31)),
            "few": column(pyarrow.int64(), lambda n: n % 5 * 10**12),
            "single": column(pyarrow.float32(), lambda n: float("nan") if n % 50 == 0 else n / 8),
            "double": column(pyarrow.float64(), lambda n: -0.0 if n % 50 == 0 else n / 7),
            "word": column(pyarrow.string(), lambda n: f"word {n % 20}"),
            "text": column(pyarrow.string(), lambda n: f"\u00e4 {n} " * (n % 4)),
            "bytes": column(pyarrow.binary(), lambda n: n.to_bytes(4, "little")[: n % 5]),
            "day": column(pyarrow.date32(), lambda n: n % 40_000 - 10_000),
            "at": column(pyarrow.timestamp("us"), micros),
            "price": column(pyarrow.decimal128(12, 2), lambda n: pyarrow.scalar(n - 10**9, pyarrow.int64()).cast(pyarrow.decimal128(19, 0)).as_py().scaleb(-2)),
            "nothing": column(pyarrow.string(), lambda n: None),
        }
    )


def with_more(table):
    """Besides, types that pyarrow writes to Parquet and Feather files."""
    more = {
        "unsigned": column(pyarrow.uint64(), lambda n: n << 30),
        "millis": column(pyarrow.timestamp("ms", "UTC"), lambda n: n * 1000),
        "nanos": column(pyarrow.timestamp("ns"), lambda n: n * 10**9 + n % 1000 * 1000),
        "clock": column(pyarrow.time64("us"), lambda n: n * 20),
        "fixed": column(pyarrow.binary(4), lambda n: n.to_bytes(4, "big")),
        "large": column(pyarrow.large_string(), lambda n: f"large {n}"),
        "wide": column(pyarrow.decimal128(30, 5), lambda n: pyarrow.scalar(n, pyarrow.int64()).cast(pyarrow.decimal128(19, 0)).as_py()),
        "half": column(pyarrow.float16(), lambda n: n % 2048 / 4),
        "void": pyarrow.nulls(ROWS),
    }
    for name, values in more.items():
        table = table.append_column(name, values)
    return table


def nested():
    return pyarrow.table(
        {
            "id": pyarrow.array(range(ROWS), pyarrow.int64()),
            "list": column(pyarrow.list_(pyarrow.int32()), lambda n: [n % 9, None][: n % 3]),
            "pair": column(pyarrow.struct([("a", pyarrow.int32()), ("b", pyarrow.string())]), lambda n: {"a": n % 9, "b": "x"}),
            "map": column(pyarrow.map_(pyarrow.string(), pyarrow.int32()), lambda n: [("k", n % 9), ("l", None)][: n % 3]),
            "deep": column(
                pyarrow.list_(pyarrow.struct([("a", pyarrow.list_(pyarrow.string())), ("b", pyarrow.map_(pyarrow.int64(), pyarrow.bool_()))])),
                lambda n: [{"a": ["word", None, f"{n}"][: n % 4], "b": [(n, n % 2 == 0)]}, None, {"a": None, "b": None}][: n % 4],
            ),
            "word": column(pyarrow.string(), lambda n: f"word {n % 20}"),
        }
    )


def parquet_of_pyarrow():
    """Options of pyarrow's writer, with the name of the case."""
    for version, page, codec in itertools.product(["1.0", "2.4", "2.6"], ["1.0", "2.0"], ["none", "snappy", "gzip", "zstd", "lz4"]):
        yield f"{version}-{page}-{codec}", {"version": version, "data_page_version": page, "compression": codec}
    yield "brotli", {"compression": "brotli"}
    small = {"data_page_size": 512, "row_group_size": 700, "dictionary_pagesize_limit": 256}
    yield "small", small
    yield "plain", {"use_dictionary": False, "write_statistics": False}
    yield "some-dictionaries", {"use_dictionary": ["word"], "write_page_index": True, "write_page_checksum": True, **small}
    yield "without-schema", {"store_schema": False}
    yield "int96", {"use_deprecated_int96_timestamps": True}
    yield "integer-decimals", {"store_decimal_as_integer": True, "use_dictionary": False}
    for page in ["1.0", "2.0"]:
        encodings = {
            "single": "BYTE_STREAM_SPLIT",
            "double": "BYTE_STREAM_SPLIT",
            "medium": "BYTE_STREAM_SPLIT",
            "id": "DELTA_BINARY_PACKED",
            "few": "DELTA_BINARY_PACKED",
            "word": "DELTA_BYTE_ARRAY",
            "text": "DELTA_LENGTH_BYTE_ARRAY",
            "bytes": "DELTA_BYTE_ARRAY",
            "fixed": "DELTA_BYTE_ARRAY",
            "flag": "RLE",
        }
        yield f"encodings-{page}", {"use_dictionary": False, "column_encoding": encodings, "data_page_version": page, **small}


def make(directory):
    cases = []

    def case(name, write, **more):
        path = directory / name
        write(str(path))
        cases.append({"file": name, **more})

    plain, more = flat(), with_more(flat())
    for name, options in parquet_of_pyarrow():
        case(f"pyarrow-{name}.parquet", lambda path: pyarrow.parquet.write_table(more, path, **options), refused=name == "brotli")
    # Its row group has no rows and no place in the file.
    case("pyarrow-empty.parquet", lambda path: pyarrow.parquet.write_table(more.slice(0, 0), path))
    for page, codec in itertools.product(["1.0", "2.0"], ["none", "zstd"]):
        options = {"data_page_version": page, "compression": codec, **({} if codec == "none" else {"data_page_size": 300, "row_group_size": 900})}
        case(f"pyarrow-nested-{page}-{codec}.parquet", lambda path: pyarrow.parquet.write_table(nested(), path, **options))
    case("pyarrow-nested-empty.parquet", lambda path: pyarrow.parquet.write_table(nested().slice(0, 0), path))
    old = {"use_compliant_nested_type": False, "store_schema": False, "use_dictionary": False}
    case("pyarrow-nested-old.parquet", lambda path: pyarrow.parquet.write_table(nested(), path, **old))
    words = plain.set_column(8, "word", plain["word"].dictionary_encode())
    for codec, chunk in itertools.product(["uncompressed", "lz4", "zstd"], [None, 100]):
        write = lambda path: pyarrow.feather.write_feather(with_more(words), path, compression=codec, chunksize=chunk)
        case(f"pyarrow-{codec}-{chunk}.feather", write)
    case("pyarrow-nested.feather", lambda path: pyarrow.feather.write_feather(nested(), path))
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        old = plain.drop_columns("price")
        case("pyarrow-old.feather", lambda path: pyarrow.feather.write_feather(old, path, version=1), refused=True)

    def stream(path):
        with pyarrow.ipc.new_stream(path, plain.schema) as writer:
            writer.write_table(plain)

    case("pyarrow-stream.feather", stream, refused=True)
    for codec in ["uncompressed", "snappy", "zlib", "lz4", "zstd"]:
        case(f"pyarrow-{codec}.orc", lambda path: pyarrow.orc.write_table(plain, path, compression=codec))
    options = {"dictionary_key_size_threshold": 0.9, "stripe_size": 4096, "batch_size": 64, "compression_block_size": 65536}
    case("pyarrow-small.orc", lambda path: pyarrow.orc.write_table(plain, path, compression="zlib", **options))
    case("pyarrow-0.11.orc", lambda path: pyarrow.orc.write_table(plain, path, file_version="0.11"))
    for codec in ["uncompressed", "zlib"]:
        options = {"compression": codec, "stripe_size": 4096, "batch_size": 64, "dictionary_key_size_threshold": 0.9}
        case(f"pyarrow-nested-{codec}.orc", lambda path: pyarrow.orc.write_table(nested(), path, **options))

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.register("plain", plain)
    connection.register("nested", nested())
    for version, codec in itertools.product(["V1", "V2"], ["uncompressed", "snappy", "gzip", "zstd", "lz4_raw", "brotli"]):
        copy = f"(FORMAT parquet, PARQUET_VERSION {version}, COMPRESSION {codec}, ROW_GROUP_SIZE 2048)"
        write = lambda path: connection.execute(f"COPY plain TO '{path}' {copy}")
        # Neither pyarrow nor parquet-rs reads the differences in pages of DuckDB's second version.
        case(f"duckdb-{version}-{codec}.parquet", write, refused=codec == "brotli" and version == "V1", malformed=version == "V2")
    case("duckdb-nested.parquet", lambda path: connection.execute(f"COPY nested TO '{path}' (FORMAT parquet)"))

    frame = polars.from_arrow(plain)
    for codec in ["uncompressed", "snappy", "gzip", "lz4", "zstd"]:
        case(f"polars-{codec}.parquet", lambda path: frame.write_parquet(path, compression=codec, row_group_size=1000, data_page_size=2048))
    for codec in ["uncompressed", "lz4", "zstd"]:
        case(f"polars-{codec}.feather", lambda path: frame.write_ipc(path, compression=codec))

    case("polars-nested.parquet", lambda path: polars.from_arrow(nested()).write_parquet(path, row_group_size=1000, data_page_size=500))
    case("polars-nested.feather", lambda path: polars.from_arrow(nested()).write_ipc(path, compat_level=polars.CompatLevel.oldest()))

    # The writer of parquet-rs, which is DataFusion's.
    def delta(path):
        deltalake.write_deltalake(f"{path}.table", plain)
        written = [file for file in pathlib.Path(f"{path}.table").rglob("*.parquet")]
        written[0].rename(path)

    case("deltalake.parquet", delta)
    return {"cases": cases}


def with_duckdb(path):
    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    return connection.sql("SELECT * FROM read_parquet(?)", params=[str(path)]).to_arrow_table()


READERS = {
    ".parquet": lambda path: pyarrow.parquet.ParquetFile(path).read(),
    ".feather": lambda path: pyarrow.feather.read_table(path, memory_map=False),
    ".orc": lambda path: pyarrow.orc.read_table(path),
}


def compare(question, directory):
    path = directory / question["file"]
    # As DuckDB itself has it.
    read = with_duckdb if path.name.startswith("duckdb") else READERS[path.suffix]
    expected = read(path)
    with pyarrow.ipc.open_file(directory / question["found"]) as file:
        found = file.read_all()
    if found.schema.names != expected.schema.names:
        raise AssertionError(f"columns {found.schema.names} instead of {expected.schema.names}")
    for field in expected.schema:
        kind = field.type.value_type if pyarrow.types.is_dictionary(field.type) else field.type
        kind = {pyarrow.string_view(): pyarrow.string(), pyarrow.binary_view(): pyarrow.binary()}.get(kind, kind)
        sides = [read_published.values(side[field.name].combine_chunks().cast(kind), kind) for side in (expected, found)]
        wanted, got = (list(map(repr, side)) for side in sides)
        if wanted != got:
            at = next((at for at, (a, b) in enumerate(zip(wanted, got)) if a != b), min(len(wanted), len(got)))
            raise AssertionError(f"column {field.name}, row {at}: {got[at : at + 1]} instead of {wanted[at : at + 1]}")
    return {"rows": found.num_rows}


def main(directory):
    for line in sys.stdin:
        question = json.loads(line)
        try:
            answer = make(directory) if question.get("make") else compare(question, directory)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
