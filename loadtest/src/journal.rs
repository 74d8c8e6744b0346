//! The journal: what the server acknowledged to `produce`, and what `verify` holds it to.
//!
//! Text, one line per settled batch, appended in the order of the answers:
//! ```text
//! headgate-journal 1 topic=orders run=00c0ffee00c0ffee
//! ack 0 3 1200 480 16        producer, partition, base offset (- if the server named none), first sequence, count
//! refused 0 3 496 16         producer, partition, first sequence, count: refused for good, must never be readable
//! ```
//! A header starts a section, so several runs may share one file. A last line without its newline is ignored: its
//! writer died while writing, and an acknowledgement that was not noted only makes the check weaker, never wrong.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, bail};

use crate::value::Series;

const HEADER_WORD: &str = "headgate-journal";
const VERSION: &str = "1";

/// Consecutive records of one series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SequenceRange {
    pub(crate) series: Series,
    pub(crate) first_sequence: u64,
    pub(crate) count: u64,
}

/// One acknowledged batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Acknowledgement {
    pub(crate) records: SequenceRange,
    /// `None` when the server recognised a duplicate but no longer knew its offset.
    pub(crate) base_offset: Option<i64>,
}

/// Everything that journals say about one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Journal {
    pub(crate) acknowledged: Vec<Acknowledgement>,
    pub(crate) refused: Vec<SequenceRange>,
}

impl Journal {
    /// Adds the sections of a file that belong to `topic`.
    pub(crate) fn load(&mut self, path: &Path, topic: &str) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read journal {}", path.display()))?;
        self.parse(&text, topic).with_context(|| format!("in journal {}", path.display()))
    }

    fn parse(&mut self, text: &str, topic: &str) -> anyhow::Result<()> {
        let mut section: Option<(bool, u64)> = None;
        let whole_lines = text.rfind('\n').map_or("", |end| &text[..end]);
        for (index, line) in whole_lines.lines().enumerate() {
            let number = index + 1;
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            match words.as_slice() {
                [] => {}
                [word, version, topic_word, run_word] if *word == HEADER_WORD => {
                    section = Some(
                        parse_header(version, topic_word, run_word, topic)
                            .with_context(|| format!("line {number}"))?,
                    );
                }
                [kind, fields @ ..] => match section {
                    None => bail!("line {number} comes before a header"),
                    Some((false, _)) => {}
                    Some((true, run)) => {
                        self.parse_line(kind, fields, run)
                            .with_context(|| format!("line {number}: `{line}`"))?;
                    }
                },
            }
        }
        Ok(())
    }

    fn parse_line(&mut self, kind: &str, fields: &[&str], run: u64) -> anyhow::Result<()> {
        match (kind, fields) {
            ("ack", [producer, partition, offset, first, count]) => {
                let records = parse_range(run, producer, partition, first, count)?;
                let base_offset = if *offset == "-" { None } else { Some(offset.parse()?) };
                self.acknowledged.push(Acknowledgement { records, base_offset });
            }
            ("refused", [producer, partition, first, count]) => {
                self.refused.push(parse_range(run, producer, partition, first, count)?);
            }
            _ => bail!("not a journal line"),
        }
        Ok(())
    }
}

fn parse_header(
    version: &str,
    topic_word: &str,
    run_word: &str,
    wanted: &str,
) -> anyhow::Result<(bool, u64)> {
    if version != VERSION {
        bail!("journal version {version} is not supported");
    }
    let topic = topic_word.strip_prefix("topic=").context("the header names no topic")?;
    let run = run_word.strip_prefix("run=").context("the header names no run")?;
    Ok((topic == wanted, u64::from_str_radix(run, 16)?))
}

fn parse_range(
    run: u64,
    producer: &str,
    partition: &str,
    first: &str,
    count: &str,
) -> anyhow::Result<SequenceRange> {
    let series = Series { run, producer: producer.parse()?, partition: partition.parse()? };
    let range = SequenceRange { series, first_sequence: first.parse()?, count: count.parse()? };
    range.first_sequence.checked_add(range.count).context("sequence out of range")?;
    Ok(range)
}

/// Appends to a journal file; shared by all producers of a run. Each line is handed to the kernel before the call
/// returns, so that a killed load tester has noted what it counted.
#[derive(Debug)]
pub(crate) struct JournalWriter {
    path: PathBuf,
    file: Mutex<BufWriter<File>>,
}

impl JournalWriter {
    /// Opens the file for appending and starts a section.
    pub(crate) fn open(path: &Path, topic: &str, run: u64) -> anyhow::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("cannot open journal {}", path.display()))?;
        let writer = Self { path: path.to_owned(), file: Mutex::new(BufWriter::new(file)) };
        // The newline in front ends a line that an earlier writer may have left open.
        writer.append(&format!("\n{HEADER_WORD} {VERSION} topic={topic} run={run:016x}\n"))?;
        Ok(writer)
    }

    /// Notes acknowledged batches, in the order of their answers.
    pub(crate) fn acknowledge(&self, batches: &[Acknowledgement]) -> anyhow::Result<()> {
        use std::fmt::Write as _;
        let mut text = String::new();
        for Acknowledgement { records, base_offset } in batches {
            let SequenceRange { series, first_sequence, count } = records;
            let offset = base_offset.map_or_else(|| "-".to_owned(), |offset| offset.to_string());
            writeln!(text, "ack {} {} {offset} {first_sequence} {count}", series.producer, series.partition)?;
        }
        self.append(&text)
    }

    /// Notes a batch that the server refused for good.
    pub(crate) fn refuse(&self, range: &SequenceRange) -> anyhow::Result<()> {
        let SequenceRange { series, first_sequence, count } = range;
        self.append(&format!("refused {} {} {first_sequence} {count}\n", series.producer, series.partition))
    }

    fn append(&self, text: &str) -> anyhow::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.write_all(text.as_bytes())
            .and_then(|()| file.flush())
            .with_context(|| format!("cannot write journal {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(run: u64) -> Series {
        Series { run, producer: 4, partition: 2 }
    }

    fn range(run: u64, first_sequence: u64, count: u64) -> SequenceRange {
        SequenceRange { series: series(run), first_sequence, count }
    }

    #[test]
    fn what_was_written_is_read_back_for_its_topic_only() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("journal");
        for (topic, run) in [("orders", 1), ("other", 2), ("orders", 3)] {
            let writer = JournalWriter::open(&path, topic, run).expect("opens");
            writer
                .acknowledge(&[
                    Acknowledgement { records: range(run, 0, 10), base_offset: Some(100) },
                    Acknowledgement { records: range(run, 10, 5), base_offset: None },
                ])
                .expect("writes");
            writer.refuse(&range(run, 15, 1)).expect("writes");
        }
        let mut journal = Journal::default();
        journal.load(&path, "orders").expect("loads");
        assert_eq!(journal.acknowledged.len(), 4);
        assert_eq!(
            journal.acknowledged[0],
            Acknowledgement { records: range(1, 0, 10), base_offset: Some(100) }
        );
        assert_eq!(journal.acknowledged[3], Acknowledgement { records: range(3, 10, 5), base_offset: None });
        assert_eq!(journal.refused, [range(1, 15, 1), range(3, 15, 1)]);
    }

    #[test]
    fn a_line_cut_by_a_crash_is_ignored() {
        let mut journal = Journal::default();
        journal
            .parse("headgate-journal 1 topic=t run=1\nack 4 2 0 0 10\nack 4 2 10 10 1", "t")
            .expect("parses");
        assert_eq!(journal.acknowledged.len(), 1);
    }

    #[test]
    fn damage_in_the_middle_is_reported_with_its_line() {
        for text in [
            "ack 4 2 0 0 10\n",
            "headgate-journal 2 topic=t run=1\n",
            "headgate-journal 1 topic=t run=1\nack 4 2 0 0\nack 4 2 0 0 1\n",
            "headgate-journal 1 topic=t run=1\nack 4 2 0 18446744073709551615 1\n",
            "headgate-journal 1 topic=t run=1\nlost 4 2 0 0\n",
        ] {
            let error = Journal::default().parse(text, "t").unwrap_err();
            assert!(format!("{error:#}").contains("line "), "{error:#}");
        }
    }
}
