//! Secondary indexes on the command line.

mod support;

use support::Kodiak;

#[test]
fn indexes_are_created_read_listed_and_dropped() {
    let kodiak = Kodiak::new();
    let mut rows = String::from("id,dest,delay\n");
    for id in 0..60 {
        let dest = ["LAX", "BOS", "SFO"][id % 3];
        rows += &format!(
            "{id},{dest},{}\n",
            if id % 10 == 0 {
                String::new()
            } else {
                (id as i64 - 30).to_string()
            }
        );
    }
    let file = kodiak.file("flights.csv", &rows);
    kodiak.prints(&[
        "import",
        "db",
        "flights",
        &file,
        "--key",
        "id",
        "--schema",
        "id:int64, dest:text, delay:int32",
    ]);
    kodiak.prints(&["secondary", "create", "db", "flights", "by_dest", "--on", "dest,-delay"]);
    let printed = kodiak.prints(&[
        "secondary",
        "read",
        "db",
        "flights",
        "by_dest",
        "--equal",
        "BOS",
        "--limit",
        "3",
    ]);
    assert_eq!(
        printed, "id,dest,delay\n10,BOS,\n40,BOS,\n58,BOS,28\n",
        "nulls come first"
    );
    let read = [
        "secondary",
        "read",
        "db",
        "flights",
        "by_dest",
        "--columns",
        "dest,id",
        "--json",
    ];
    let printed = kodiak.prints(
        &[
            &read[..],
            &["--from", "LAX", "--to", "LAX,-20", "--reverse", "--limit", "1"],
        ]
        .concat(),
    );
    assert_eq!(printed, "{\"dest\":\"LAX\",\"id\":12}\n");
    let listed = kodiak.prints(&["secondary", "list", "db", "flights"]);
    assert!(listed.starts_with("by_dest: by dest, -delay; fractal, "), "{listed}");
    let said = kodiak.refuses(&[
        "secondary",
        "create",
        "db",
        "flights",
        "by_delay",
        "--on",
        "dest",
        "--unique",
    ]);
    assert!(
        said.contains("\"by_delay\" is unique") && said.contains("dest = (BOS)"),
        "{said}"
    );
    let said = kodiak.refuses(&["alter", "db", "flights", "--drop", "dest"]);
    assert!(said.contains("\"by_dest\""), "{said}");
    let said = kodiak.refuses(&["secondary", "read", "db", "flights", "by_dest", "--equal", "BOS,late"]);
    assert!(said.contains("\"late\"") && said.contains("\"delay\""), "{said}");
    let verified = kodiak.prints(&["verify", "db"]);
    assert!(
        verified.contains("0 primary indexes, 1 secondary indexes"),
        "{verified}"
    );
    let dumped = kodiak.prints(&["dump", "manifest", "db"]);
    assert!(
        dumped.contains("index \"by_dest\" of table 1: by columns 1, -2"),
        "{dumped}"
    );
    let stats = kodiak.prints(&["stats", "db"]);
    assert!(stats.contains("table flights"), "{stats}");
    kodiak.prints(&["secondary", "drop", "db", "flights", "by_dest"]);
    assert_eq!(kodiak.prints(&["secondary", "list", "db", "flights"]), "");
    let said = kodiak.refuses(&["secondary", "read", "db", "flights", "by_dest"]);
    assert!(said.contains("no index \"by_dest\""), "{said}");
}

#[test]
fn values_in_quotes_are_texts_and_nothing_is_a_null() {
    let kodiak = Kodiak::new();
    let file = kodiak.file("rows.csv", "id,a,n\n1,,5\n2,\"\",5\n3,\"x, y\",5\n4,x,\n5,x,-7\n");
    kodiak.prints(&["import", "db", "t", &file, "--key", "id"]);
    kodiak.prints(&["secondary", "create", "db", "t", "by_a", "--on", "a,n"]);
    let read = |arguments: &[&str]| {
        let all = ["secondary", "read", "db", "t", "by_a", "--columns", "id"];
        let printed = kodiak.prints(&[&all[..], arguments].concat());
        printed.lines().skip(1).collect::<String>()
    };
    for (values, rows) in [
        ("", "1"),
        ("\"\"", "2"),
        (",5", "1"),
        ("\"\",5", "2"),
        ("\"x, y\"", "3"),
        ("x", "45"),
        ("x,", "4"),
        ("x,-7", "5"),
    ] {
        assert_eq!(read(&["--equal", values]), rows, "{values}");
    }
    assert_eq!(read(&["--from", "\"\"", "--to", "\"x, y\""]), "245");
    let said = kodiak.refuses(&["secondary", "read", "db", "t", "by_a", "--equal", "\"x"]);
    assert!(said.contains("a quote is not closed"), "{said}");
    // Keys and values of key-value tables are texts.
    kodiak.prints(&["create", "db", "plain"]);
    kodiak.prints(&["put", "db", "plain", "k", "a,b"]);
    kodiak.prints(&["secondary", "create", "db", "plain", "by_value", "--on", "value"]);
    let found = kodiak.prints(&["secondary", "read", "db", "plain", "by_value", "--equal", "\"a,b\""]);
    assert_eq!(found, "key,value\nk,\"a,b\"\n");
}
