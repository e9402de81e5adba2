//! The `kodiak` command line.

mod arguments;
mod bytes;
mod commands;
mod export;
mod failure;
mod import;
mod operations;
mod output;
mod progress;
mod rows;
mod schema;
mod values;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::filter::LevelFilter;

use arguments::Arguments;

/// Decoding blocks allocates and frees buffers all the time, which costs less with this than with the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let level = match arguments.verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .init();
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // Decoders of damaged files panic; that is caught, and told as an error.
        if !kodiak::outside::is_decoding() {
            hook(panic);
        }
    }));
    let result = output::Output::new().run(|out| arguments.command.run(out));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
