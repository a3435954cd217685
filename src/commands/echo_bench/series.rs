//! A run in blocks of time, as many as a page shows, however long it lasts; and how sure its percentiles are.
//!
//! Owns the blocks. Must not know how they are drawn. Trade-off: memory is constant: when there are too many blocks, each two
//! become one of twice the length. A block keeps only the lengths that occurred, some hundreds of the histogram's 27,648.

use std::time::Duration;

use super::tally::{SLICE, Slice};
use crate::histogram::{Histogram, Value, rank, without_debt};
use crate::random::Random;

/// As many blocks as a chart has columns; between half of it and all of it are in use.
const BLOCKS_MAX: usize = 512;

/// Stalls make neighbours alike; over this much time and more they hardly depend on each other.
const SLICES_IN_BLOCK: u64 = 2;

/// Fewer blocks have no distribution of their own.
const BLOCKS_TO_RESAMPLE: usize = 10;

/// As many resamples settle the second digit of an interval's end.
const RESAMPLES: usize = 200;

/// What happened in one stretch of time.
#[derive(Debug, Clone, Default)]
pub struct Block {
    /// How many latencies there are of each length, in nanoseconds, from the shortest.
    pub buckets: Vec<(u64, u64)>,
    lost: u64,
}

impl Block {
    fn of(histogram: &Histogram) -> Block {
        Block { buckets: histogram.buckets().collect(), lost: histogram.lost_in_slice() }
    }

    fn merge(&mut self, other: &Block) {
        self.lost = self.lost.wrapping_add(other.lost);
        if self.buckets.is_empty() {
            self.buckets.clone_from(&other.buckets);
            return;
        }
        self.buckets.extend_from_slice(&other.buckets);
        self.buckets.sort_unstable_by_key(|(value, _)| *value);
        self.buckets.dedup_by(|next, kept| {
            let is_same = next.0 == kept.0;
            if is_same {
                kept.1 += next.1;
            }
            is_same
        });
    }

    /// How many were answered.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    /// How many were lost.
    pub fn lost(&self) -> u64 {
        without_debt(self.lost)
    }

    /// The latency that `percent` of the messages did not exceed; none if there is no message.
    pub fn quantile(&self, percent: f64) -> Option<Value> {
        let total = self.count() + self.lost();
        (total > 0).then(|| at_rank(self.buckets.iter().copied(), rank(percent, total)))
    }
}

fn at_rank(buckets: impl Iterator<Item = (u64, u64)>, rank: u64) -> Value {
    let mut seen = 0;
    for (value, count) in buckets {
        seen += count;
        if seen >= rank {
            return Value::Finite(Duration::from_nanos(value));
        }
    }
    Value::Infinite
}

/// The blocks of a run.
#[derive(Debug, Clone)]
pub struct Series {
    /// From the beginning of what is counted.
    pub blocks: Vec<Block>,
    slices_in_block: u64,
}

impl Default for Series {
    fn default() -> Series {
        Series { blocks: Vec::new(), slices_in_block: SLICES_IN_BLOCK }
    }
}

impl Series {
    /// Adds slice `number`, counted from the first that counts.
    pub fn add(&mut self, number: u64, slice: &Slice) {
        let mut index = (number / self.slices_in_block) as usize;
        while index >= BLOCKS_MAX {
            self.halve();
            index = (number / self.slices_in_block) as usize;
        }
        if index >= self.blocks.len() {
            self.blocks.resize_with(index + 1, Block::default);
        }
        self.blocks[index].merge(&Block::of(&slice.response));
    }

    /// Adds another run's, after this one's.
    pub fn append(&mut self, mut other: Series) {
        while other.slices_in_block < self.slices_in_block {
            other.halve();
        }
        while self.slices_in_block < other.slices_in_block {
            self.halve();
        }
        self.blocks.append(&mut other.blocks);
        while self.blocks.len() > BLOCKS_MAX {
            self.halve();
        }
    }

    /// How long a block is.
    pub fn block_length(&self) -> Duration {
        SLICE * self.slices_in_block as u32
    }

    fn halve(&mut self) {
        self.slices_in_block *= 2;
        let pairs = self.blocks.chunks(2).map(|pair| {
            let mut whole = pair[0].clone();
            pair.get(1).into_iter().for_each(|second| whole.merge(second));
            whole
        });
        self.blocks = pairs.collect();
    }

    /// The intervals at 95 % confidence of these percentiles, by drawing whole blocks anew (block bootstrap): samples that
    /// follow each other are alike, and order statistics alone would be too sure. None where there are too few blocks.
    pub fn intervals(&self, percents: &[f64]) -> Option<Vec<(Value, Value)>> {
        if self.blocks.len() < BLOCKS_TO_RESAMPLE {
            return None;
        }
        let table = Table::of(&self.blocks);
        let mut random = Random::new(RESAMPLES as u64, self.blocks.len() as u64);
        let mut found: Vec<Vec<Value>> = vec![Vec::with_capacity(RESAMPLES); percents.len()];
        for _ in 0..RESAMPLES {
            let drawn = table.resample(&mut random);
            let total: u64 = drawn.counts.iter().sum::<u64>() + drawn.lost;
            for (values, percent) in found.iter_mut().zip(percents) {
                let pairs = table.values.iter().copied().zip(drawn.counts.iter().copied());
                values.push(at_rank(pairs, rank(*percent, total)));
            }
        }
        let ends = found.into_iter().map(|mut values| {
            values.sort_unstable();
            (values[RESAMPLES / 40], values[RESAMPLES - 1 - RESAMPLES / 40])
        });
        Some(ends.collect())
    }
}

/// The blocks over one list of lengths.
struct Table {
    values: Vec<u64>,
    /// For each block, where each of its lengths is in the list, and how many there are.
    rows: Vec<Vec<(usize, u64)>>,
    lost: Vec<u64>,
}

struct Drawn {
    counts: Vec<u64>,
    lost: u64,
}

impl Table {
    fn of(blocks: &[Block]) -> Table {
        let mut values: Vec<u64> =
            blocks.iter().flat_map(|block| block.buckets.iter().map(|(value, _)| *value)).collect();
        values.sort_unstable();
        values.dedup();
        let place = |value: u64| values.binary_search(&value).unwrap_or(0);
        let row = |block: &Block| block.buckets.iter().map(|(value, count)| (place(*value), *count)).collect();
        let rows = blocks.iter().map(row).collect();
        Table { rows, lost: blocks.iter().map(Block::lost).collect(), values }
    }

    fn resample(&self, random: &mut Random) -> Drawn {
        let mut drawn = Drawn { counts: vec![0; self.values.len()], lost: 0 };
        for _ in 0..self.rows.len() {
            let index = random.below(self.rows.len() as u64) as usize;
            self.rows[index].iter().for_each(|(place, count)| drawn.counts[*place] += count);
            drawn.lost += self.lost[index];
        }
        drawn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(latency_ns: u64, count: u64, lost: u64) -> Slice {
        let mut slice = Slice::default();
        slice.response.record_many(latency_ns, count);
        slice.response.record_lost(lost);
        slice
    }

    #[test]
    fn memory_is_constant_and_nothing_is_lost_by_it() {
        let mut series = Series::default();
        for number in 0..10_000 {
            series.add(number, &slice(1000 + number % 7, 3, number % 2));
        }
        assert!(series.blocks.len() <= BLOCKS_MAX && series.blocks.len() > BLOCKS_MAX / 2);
        assert_eq!(series.blocks.iter().map(Block::count).sum::<u64>(), 30_000);
        assert_eq!(series.blocks.iter().map(Block::lost).sum::<u64>(), 5000);
        assert!(series.block_length() * series.blocks.len() as u32 >= SLICE * 10_000);
    }

    #[test]
    fn an_interval_is_wide_where_blocks_differ_and_narrow_where_they_agree() {
        let (mut alike, mut unlike) = (Series::default(), Series::default());
        for number in 0..100 {
            alike.add(number, &slice(10_000, 100, 0));
            unlike.add(number, &slice(if number < 50 { 10_000 } else { 20_000 }, 100, 0));
        }
        let width = |series: &Series| match series.intervals(&[50.0]).unwrap()[0] {
            (Value::Finite(low), Value::Finite(high)) => high.saturating_sub(low).as_nanos(),
            other => panic!("{other:?}"),
        };
        assert!(width(&alike) < 20, "{}", width(&alike));
        assert!(width(&unlike) > 9000, "{}", width(&unlike));
    }

    #[test]
    fn what_was_lost_is_the_end_of_the_interval() {
        let mut series = Series::default();
        (0..100).for_each(|number| series.add(number, &slice(10_000, 95, 5)));
        let found = series.intervals(&[50.0, 99.0]).unwrap();
        assert!(matches!(found[0], (Value::Finite(_), Value::Finite(_))));
        assert_eq!(found[1], (Value::Infinite, Value::Infinite));
    }
}
