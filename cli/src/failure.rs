//! How a command ends that could not do its work.

use std::io;
use std::process::ExitCode;

use kodiak::Error;

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// What the engine, or the command itself, has to say.
    Error(Error),
    /// A process that was started for it failed, and has said why.
    Reported,
    /// Output could not be written.
    Output(io::Error),
}

/// What commands return.
pub type Result<T = (), E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// Tells the user in one line, unless the reader of the output has simply gone away (`kodiak scan ... | head`).
    pub fn report(self) -> ExitCode {
        let message = match self {
            Self::Error(error) => error.to_string(),
            Self::Reported => return ExitCode::FAILURE,
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
            Self::Output(error) => format!("input/output: cannot write the output: {error}"),
        };
        eprintln!("kodiak: {}", message.replace(['\n', '\r'], " "));
        ExitCode::FAILURE
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// The failure of writing rows: whoever reads the output may go away before it ends.
pub fn written(error: Error) -> Failure {
    let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<io::Error>());
    match source {
        Some(source) if source.kind() == io::ErrorKind::BrokenPipe => Failure::Output(source.kind().into()),
        _ => Failure::Error(error),
    }
}
