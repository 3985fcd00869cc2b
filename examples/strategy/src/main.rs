//! The command `strategy`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::SUCCESS
}
