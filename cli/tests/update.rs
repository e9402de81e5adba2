//! `kodiak update`.

mod support;

use support::Kodiak;

/// A table of people: id and name are there in each row, age, born and raw need not be.
fn people(arguments: &[&str]) -> Kodiak {
    let kodiak = Kodiak::new();
    let rows = kodiak.file(
        "rows.csv",
        "id,name,age,born,raw\n-1,ada,36,1815-12-10,00ff\n2,bob,,,\n",
    );
    let schema = "id:int64 not null, name:text not null, age:int8, born:date, raw:binary";
    let import = ["import", "db", "people", &rows, "--schema", schema, "--key", "id"];
    kodiak.prints(&[&import, arguments].concat());
    kodiak
}

#[test]
fn given_columns_change_and_the_others_stay() {
    let kodiak = people(&[]);
    let update = |arguments: &[&str]| kodiak.prints(&[&["update", "db", "people"], arguments].concat());
    let rows = || kodiak.prints(&["export", "db", "people"]);
    update(&["-1", "age=37", "name=Ada, Countess = L"]);
    update(&["2", "born=2000-02-29", "raw=0a"]);
    assert_eq!(
        rows(),
        "id,name,age,born,raw\n-1,\"Ada, Countess = L\",37,1815-12-10,00ff\n2,bob,,2000-02-29,0a\n"
    );
    update(&["2", "name=", "--null", "born,raw"]);
    update(&["-1", "--null", "age"]);
    assert_eq!(
        rows(),
        "id,name,age,born,raw\n-1,\"Ada, Countess = L\",,1815-12-10,00ff\n2,\"\",,,\n"
    );
    // Also what is in files by now, and after columns were added.
    kodiak.prints(&["compact", "db"]);
    kodiak.prints(&["alter", "db", "people", "--add", "rank:int8 default 3"]);
    update(&["2", "age=1"]);
    update(&["3", "name=cid", "--or-insert"]);
    update(&["3", "age=9", "--or-insert"]);
    assert_eq!(
        rows(),
        "id,name,age,born,raw,rank\n-1,\"Ada, Countess = L\",,1815-12-10,00ff,3\n2,\"\",1,,,3\n3,cid,9,,,3\n"
    );
}

#[test]
fn mistakes_are_told_and_change_nothing() {
    let kodiak = people(&[]);
    let before = kodiak.prints(&["export", "db", "people"]);
    let refused = |arguments: &[&str], why: &str| {
        let told = kodiak.refuses(&[&["update", "db", "people"], arguments].concat());
        assert!(told.contains(why), "{told}");
    };
    refused(&["7", "age=1"], "--or-insert");
    refused(
        &["7", "age=1", "--or-insert"],
        "column \"name\" may not be null: give it a value",
    );
    refused(&["2", "age=300"], "column \"age\"");
    refused(&["2", "age=1", "age=2"], "given twice");
    refused(&["2", "--null", "name"], "column \"name\" may not be null");
    refused(&["2", "years=1"], "its columns are id, name, age, born, raw");
    refused(&["2", "id=3"], "part of the key");
    refused(&["two", "age=1"], "key column \"id\"");
    kodiak.misunderstands(&["update", "db", "people", "2"]);
    kodiak.misunderstands(&["update", "db", "people", "2", "age"]);
    assert_eq!(kodiak.prints(&["export", "db", "people"]), before);
    kodiak.prints(&["create", "db", "plain"]);
    let told = kodiak.refuses(&["update", "db", "plain", "a", "value=b"]);
    assert!(told.contains("kodiak put"), "{told}");
    let told = kodiak.refuses(&["put", "db", "people", "1", "x"]);
    assert!(told.contains("kodiak update"), "{told}");
}
