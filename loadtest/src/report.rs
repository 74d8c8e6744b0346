//! Writes results: for programs as JSON, for people in a few lines.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// Bytes in a megabyte, as throughput is reported.
pub(crate) const MEGABYTE: f64 = 1_048_576.0;

/// Writes a result to a file, or to standard output when the path is `-`.
pub(crate) fn write_json(path: Option<&Path>, result: &impl Serialize) -> anyhow::Result<()> {
    let Some(path) = path else { return Ok(()) };
    let mut text = serde_json::to_string_pretty(result)?;
    text.push('\n');
    if path == Path::new("-") {
        print_text(&text);
        return Ok(());
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Prints lines for people; a closed pipe is not worth a panic.
pub(crate) fn print_lines(lines: &[String]) {
    print_text(&(lines.join("\n") + "\n"));
}

fn print_text(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// A line that shows a running command's state on a terminal, and nothing elsewhere.
pub(crate) fn progress_line() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

/// Something per second; zero when no time has passed.
pub(crate) fn per_second(amount: f64, elapsed: Duration) -> f64 {
    let seconds = elapsed.as_secs_f64();
    if seconds > 0.0 { amount / seconds } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_goes_to_the_file_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("result.json");
        write_json(Some(&path), &serde_json::json!({"lost": 0})).expect("writes");
        let text = std::fs::read_to_string(&path).expect("reads");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).expect("JSON"),
            serde_json::json!({"lost": 0})
        );
    }

    #[test]
    fn a_rate_over_no_time_is_zero() {
        assert!(per_second(5.0, Duration::ZERO).abs() < f64::EPSILON);
        assert!((per_second(5.0, Duration::from_secs(2)) - 2.5).abs() < f64::EPSILON);
    }
}
