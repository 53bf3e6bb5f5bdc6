//! Records on their way to a collector. Pure: bounded in number and bytes, and it knows what it
//! dropped.

use super::record;
use crate::metrics::Dropped;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message;
use serde_json::{Map, Value, json};
use std::collections::VecDeque;

/// Records that wait at most.
pub(super) const RECORDS_MAX: usize = 65_536;
/// Their bytes on the wire at most.
pub(super) const BYTES_MAX: usize = 32 << 20;
/// Records of one request at most.
pub(super) const BATCH_MAX: usize = 512;
/// Bytes of one request: collectors refuse more than 4 MiB.
const BATCH_BYTES_MAX: usize = 2 << 20;

/// Records in the order in which they were told.
#[derive(Debug, Default)]
pub(super) struct Queue {
    records: VecDeque<(LogRecord, usize)>,
    bytes: usize,
    sequence: u64,
    dropped: Dropped,
    /// Of those, how many a record has told of.
    told: Dropped,
}

impl Queue {
    /// Takes a line, or counts it as dropped: the older ones stay, so that what arrives has no gap
    /// but where one is told of.
    pub(super) fn push(&mut self, line: &Map<String, Value>, wall_ns: u64, observed_ns: u64) {
        let has_room = self.records.len() + 2 <= RECORDS_MAX && self.bytes < BYTES_MAX;
        if !has_room {
            self.dropped.queue += 1;
            return;
        }
        let untold = self.dropped.sum() - self.told.sum();
        if untold > 0 {
            let told = json!({
                "event": "dropped",
                "lines": untold,
                "lines_total": self.dropped.sum(),
                "by_queue": self.dropped.queue,
                "by_rate": self.dropped.rate,
                "failed": self.dropped.failed,
            });
            self.told = self.dropped;
            if let Value::Object(told) = told {
                self.put(&told, observed_ns, observed_ns);
            }
        }
        self.put(line, wall_ns, observed_ns);
    }

    fn put(&mut self, line: &Map<String, Value>, wall_ns: u64, observed_ns: u64) {
        self.sequence += 1;
        let record = record::record(line, wall_ns, observed_ns, self.sequence);
        let bytes = record.encoded_len();
        self.bytes += bytes;
        self.records.push_back((record, bytes));
    }

    /// The oldest records, as many as one request may have. They stay until [`Self::done`].
    pub(super) fn batch(&self) -> Vec<LogRecord> {
        let mut bytes = 0;
        let fits = |(_, length): &&(LogRecord, usize)| {
            bytes += length;
            // One that is larger than a request may be goes alone.
            bytes <= BATCH_BYTES_MAX || bytes == *length
        };
        self.records.iter().take(BATCH_MAX).take_while(fits).map(|(one, _)| one.clone()).collect()
    }

    /// So many of the oldest are dealt with, and of those so many were refused.
    pub(super) fn done(&mut self, count: usize, refused: u64) {
        for (_, bytes) in self.records.drain(..count.min(self.records.len())) {
            self.bytes -= bytes;
        }
        self.dropped.failed += refused;
    }

    /// One more than the rate allows.
    pub(super) fn over_rate(&mut self) {
        self.dropped.rate += 1;
    }

    pub(super) fn dropped(&self) -> Dropped {
        self.dropped
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(length: usize) -> Map<String, Value> {
        let line = json!({"event": "attach", "mountpoint": "x".repeat(length)});
        line.as_object().unwrap().clone()
    }

    #[test]
    fn records_stay_until_they_are_dealt_with() {
        let mut queue = Queue::default();
        for _ in 0..BATCH_MAX + 3 {
            queue.push(&line(1), 1, 1);
        }
        assert_eq!(queue.batch().len(), BATCH_MAX);
        assert_eq!(queue.batch(), queue.batch());
        queue.done(BATCH_MAX, 0);
        assert_eq!(queue.batch().len(), 3);
        queue.done(3, 1);
        assert!(queue.is_empty() && queue.bytes == 0);
        assert_eq!(queue.dropped().failed, 1);
    }

    #[test]
    fn it_is_bounded_and_says_what_it_dropped() {
        let mut queue = Queue::default();
        let long = line(60_000);
        for _ in 0..1_000 {
            queue.push(&long, 1, 1);
        }
        assert!(queue.bytes < BYTES_MAX + 130_000, "{}", queue.bytes);
        let dropped = queue.dropped().queue;
        assert_eq!(usize::try_from(dropped).unwrap() + queue.records.len(), 1_000);
        assert!(queue.batch().len() < 40, "a request has its bound too");
        queue.done(100, 0);
        queue.push(&line(1), 2, 2);
        let last: Vec<_> = queue.records.iter().rev().take(2).map(|(one, _)| one).collect();
        assert_eq!(last[0].event_name, "mount.attach");
        assert_eq!(last[1].event_name, "mount.dropped");
        assert_eq!(queue.told, queue.dropped);
    }

    #[test]
    fn a_record_larger_than_a_request_goes_alone() {
        let mut queue = Queue::default();
        queue.push(&line(BATCH_BYTES_MAX + 1), 1, 1);
        queue.push(&line(1), 1, 1);
        assert_eq!(queue.batch().len(), 1);
    }
}
