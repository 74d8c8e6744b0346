//! What a producer does with an answer: note the acknowledged, send again, or stop.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, anyhow};
use kafka_protocol::messages::ProduceResponse;

use super::Producer;
use crate::client::pipeline::{BatchKey, PipelineEvent};
use crate::client::produce_answer::{Fate, fate};
use crate::clock;
use crate::journal::Acknowledgement;

impl Producer {
    pub(super) fn handle_event(&mut self, event: PipelineEvent) -> anyhow::Result<()> {
        let broker = self.pipelines.iter().find(|(_, pipeline)| pipeline.number == event.pipeline);
        // An event of a connection that was already given up says nothing any more.
        let Some(broker) = broker.map(|(broker, _)| *broker) else { return Ok(()) };
        let pipeline = self.pipelines.get_mut(&broker).context("the broker was just found")?;
        match event.frame.and_then(|frame| pipeline.accept(frame)) {
            Err(error) => {
                self.give_up_pipeline(broker, &format!("{error:#}"));
                Ok(())
            }
            Ok((request, response)) => {
                if response.throttle_time_ms > 0 && !self.settings.ignores_throttle {
                    let mute = Duration::from_millis(response.throttle_time_ms as u64);
                    pipeline.muted_until = Some(clock::now() + mute);
                }
                self.refresh_pause = Duration::ZERO;
                self.handle_answer(request.batches, &response)
            }
        }
    }

    fn handle_answer(&mut self, batches: Vec<BatchKey>, response: &ProduceResponse) -> anyhow::Result<()> {
        let mut acknowledged = Vec::new();
        let answers: BTreeMap<i32, (i16, i64)> = response
            .responses
            .iter()
            .flat_map(|topic| &topic.partition_responses)
            .map(|partition| (partition.index, (partition.error_code, partition.base_offset)))
            .collect();
        let mut stopped = None;
        for (partition, id) in batches {
            let Some((error_code, base_offset)) = answers.get(&partition) else {
                stopped = Some(anyhow!("the answer leaves partition {partition} out"));
                continue;
            };
            let is_first = self.queues.get(partition as usize).is_some_and(|queue| queue.is_first(id));
            match fate(*error_code, *base_offset, is_first) {
                Fate::Acknowledged(base_offset) => {
                    acknowledged.extend(self.acknowledge(partition, id, base_offset));
                }
                Fate::Retry(error) => {
                    self.progress.retries.fetch_add(1, Ordering::Relaxed);
                    self.note_overcome(&format!("{error:?}"));
                    self.retry((partition, id), true);
                    self.refresh_later_quietly();
                }
                Fate::Refused(error) => {
                    self.refuse(partition, id)?;
                    stopped = Some(anyhow!("partition {partition} refused a batch: {error:?}"));
                }
                Fate::Fatal(error) => {
                    stopped = Some(anyhow!("partition {partition}, first unsettled={is_first}: {error:?}"));
                }
            }
        }
        if let Some(journal) = &self.journal
            && !acknowledged.is_empty()
        {
            journal.acknowledge(&acknowledged)?;
        }
        stopped.map_or(Ok(()), Err)
    }

    fn acknowledge(&mut self, partition: i32, id: u64, base_offset: Option<i64>) -> Option<Acknowledgement> {
        let batch = self.queues.get_mut(partition as usize)?.settle(id)?;
        let now = clock::now();
        for due in &batch.due {
            self.outcome.latencies.observe(now.saturating_duration_since(*due));
        }
        self.accumulator.release(&batch);
        let bytes = batch.records.count * self.settings.record_bytes as u64;
        self.progress.acknowledged_records.fetch_add(batch.records.count, Ordering::Relaxed);
        self.progress.acknowledged_bytes.fetch_add(bytes, Ordering::Relaxed);
        Some(Acknowledgement { records: batch.records, base_offset })
    }

    fn refuse(&mut self, partition: i32, id: u64) -> anyhow::Result<()> {
        let Some(batch) = self.queues.get_mut(partition as usize).and_then(|queue| queue.settle(id)) else {
            return Ok(());
        };
        self.accumulator.release(&batch);
        self.outcome.refused_records += batch.records.count;
        // After an attempt without an answer the batch may be in the log in spite of the refusal.
        match &self.journal {
            Some(journal) if !batch.maybe_accepted => journal.refuse(&batch.records),
            _ => Ok(()),
        }
    }
}
