//! Kodiak beside other embedded engines: see README.md.

mod bytes;
mod cases;
mod data;
mod driver;
mod engine;
mod engines;
mod report;
mod rows;

use std::process::ExitCode;

use clap::Parser;

/// One allocator for all engines alike (LMDB and RocksDB, being C and C++, keep the system's).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let result = match (args.next().as_deref(), args.next()) {
        (Some("--child"), Some(job)) => driver::child(&job),
        _ => driver::run(&driver::Options::parse()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
