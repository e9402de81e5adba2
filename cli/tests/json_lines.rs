//! Files with a JSON object in each line.

mod support;

use support::Kodiak;

#[test]
fn numbers_come_through_as_they_are_written() {
    let kodiak = Kodiak::new();
    let file = kodiak.file(
        "long.jsonl",
        "{\"n\":18446744073709551615,\"d\":0.12345678901234567890}\n{\"n\":18446744073709551614,\"d\":0.5}\n",
    );
    kodiak.prints(&["import", "db", "t", &file, "--key", "n"]);
    assert_eq!(
        kodiak.prints(&["export", "db", "t"]),
        "n,d\n18446744073709551614,0.5\n18446744073709551615,0.12345678901234567890\n"
    );
    let columns = kodiak.prints(&["tables", "db", "t"]);
    assert!(
        columns.contains("n: uint64 not null") && columns.contains("d: text"),
        "{columns}"
    );
    let file = kodiak.file(
        "mixed.jsonl",
        "{\"n\":18446744073709551616,\"v\":{\"x\": 1e400}}\n{\"n\":18446744073709551617,\"v\":[-0, 1.50]}\n{\"n\":\"a\\\"b\"}\n",
    );
    kodiak.prints(&["import", "db", "objects", &file, "--key", "n", "--key-value"]);
    let value = |key: &str| kodiak.prints(&["get", "db", "objects", key, "--raw"]);
    assert_eq!(
        value("18446744073709551616"),
        "{\"n\":18446744073709551616,\"v\":{\"x\": 1e400}}"
    );
    assert_eq!(
        value("18446744073709551617"),
        "{\"n\":18446744073709551617,\"v\":[-0, 1.50]}"
    );
    assert_eq!(value("a\"b"), "{\"n\":\"a\\\"b\",\"v\":null}");
    let broken = kodiak.file("broken.jsonl", "{\"n\":1}\n\n{\"n\":,}\n");
    let error = kodiak.refuses(&["import", "db", "o", &broken, "--key", "n", "--key-value"]);
    assert!(error.contains("line 3: expected value at byte 6"), "{error}");
}
