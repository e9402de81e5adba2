//! Opens the database in a directory, says so, and holds it until its input ends: the other process of the tests of locking.

use std::io::{Read, Write};

use kodiak::{Db, Settings, TableSchema};

fn main() {
    let dir = std::env::args_os()
        .nth(1)
        .expect("the directory is named on the command line");
    let mut out = std::io::stdout();
    let opened = Db::open(dir, Settings::preset("small-memory").expect("a preset"));
    let said = match &opened {
        Ok(db) => {
            let table = db.table_or_create("t", TableSchema::key_value()).expect("the table");
            table.put(b"from", std::process::id().to_string()).expect("a put");
            "open".to_owned()
        }
        Err(error) => format!("{}: {error}", error.kind().name()),
    };
    writeln!(out, "{said}")
        .and_then(|()| out.flush())
        .expect("somebody listens");
    if opened.is_ok() {
        let mut rest = Vec::new();
        std::io::stdin().read_to_end(&mut rest).expect("input until its end");
    }
}
