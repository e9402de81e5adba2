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
