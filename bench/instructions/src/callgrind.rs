//! Runs this program under valgrind and reads what it counted.

use std::io::ErrorKind;
use std::process::{Command, Output};
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};

use crate::region::TOGGLES;

/// Returns how many instructions one message takes.
pub(crate) fn per_message(path: &str, size: usize) -> Result<f64> {
    let place = tempfile::tempdir()?;
    let out = place.path().join("callgrind.out");
    let mut command = Command::new("valgrind");
    command.env("GLIBC_TUNABLES", WITHOUT_STRING_INSTRUCTIONS);
    command.args(["--tool=callgrind", "--quiet"]);
    command.arg(format!("--callgrind-out-file={}", out.display()));
    for name in TOGGLES {
        command.arg(format!("--toggle-collect={name}"));
    }
    command.arg(env::current_exe()?);
    let output = run(command.args(["measure", path, &size.to_string()]))?;
    let text = String::from_utf8(output.stdout)?;
    let messages: u64 = text.trim().parse().context(text)?;
    let counts = fs::read_to_string(&out)?;
    let total: u64 = counts
        .lines()
        .find_map(|line| line.strip_prefix("totals: "))
        .context("callgrind wrote no totals")?
        .parse()?;
    ensure!(
        total > messages,
        "{path}: {total} instructions for {messages} messages: nothing was counted"
    );
    #[expect(
        clippy::cast_precision_loss,
        reason = "both are far below what a double holds exactly"
    )]
    Ok(total as f64 / messages as f64)
}

/// Returns which valgrind there is.
pub(crate) fn version() -> Result<String> {
    let output = run(Command::new("valgrind").arg("--version"))?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn run(command: &mut Command) -> Result<Output> {
    let output = match command.output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!(
                "valgrind is not installed: `scripts/install-valgrind`, or your system's package `valgrind`"
            )
        }
        output => output?,
    };
    ensure!(
        output.status.success(),
        "{command:?} ended with {}:\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output)
}

/// One `rep movsb` copies any length, and valgrind counts it once for each byte: copies are to be loops.
const WITHOUT_STRING_INSTRUCTIONS: &str =
    "glibc.cpu.x86_rep_movsb_threshold=1073741824:glibc.cpu.x86_rep_stosb_threshold=1073741824";
