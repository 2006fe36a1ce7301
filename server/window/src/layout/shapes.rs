//! The shapes that a tier's ring grows through.

use std::ops::Deref;

use crate::aggregate::FieldId;
use crate::body::Event;
use crate::body::present::Step;
use crate::cells::{Width, words_of};
use crate::column::{CellKind, Partial};

/// How wide sums of INT fields are in the rings of a layout. A layout keeps what it was made with, since a state word's number of a shape
/// means something else in either, and records, images and operations of the log outlive the server that wrote them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sums {
    /// 64 bits: as in every layout of which the catalogue says nothing else.
    Wide,
    /// They begin with 16 bits and widen, as counts do.
    Narrow,
}

/// One form of a tier's ring.
#[derive(Debug)]
pub struct Shape {
    /// Entries of a short ring, slots of a dense one.
    pub capacity: usize,
    /// Whether every bucket has its slot.
    pub dense: bool,
    /// How each column's cells are stored.
    pub widths: Box<[Width]>,
    /// Word offset of each column within the tier's data.
    pub offsets: Box<[u32]>,
    /// Words of the tier's data.
    pub words: usize,
    /// The columns that an event may make wider.
    pub(crate) widening: Box<[Widening]>,
    /// What an event does to each cell of a bucket, where the layout is [plain](crate::body::present::is_plain); else empty.
    pub(crate) steps: Box<[Step]>,
}

/// All forms of a tier's ring: by capacity, then by the width of sums, then by that of counts.
#[derive(Debug)]
pub struct Shapes {
    shapes: Box<[Shape]>,
    /// Widths that sums of INT fields go through.
    sum_bits: &'static [u32],
}

/// A column of a shape whose cells a number may outgrow, and what an event makes of one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Widening {
    /// Its place among the columns.
    pub(crate) column: u32,
    /// Its first word within the tier's data.
    pub(crate) offset: u32,
    /// How its cells are stored.
    pub(crate) width: Width,
    /// The field whose values are added up; `None`: it counts.
    summed: Option<FieldId>,
}

impl Widening {
    /// What a cell comes to with an event: what [`Partial::add`] says, or for a count, which may not concern the event, one more. So a
    /// ring widens as soon as any count of the slot is full, also that of a field which the event lacks: servers with
    /// [wide](Sums::Wide) sums did, and a replay of their logs must come to the same records.
    #[inline]
    pub(crate) fn comes_to(self, cell: u64, event: &Event<'_>) -> u64 {
        match self.summed {
            None => cell.wrapping_add(1),
            Some(field) => {
                let value = event.word(field).unwrap_or(0);
                cell.cast_signed().saturating_add(value.cast_signed()).cast_unsigned()
            }
        }
    }
}

/// Widths that counts go through.
const COUNT_BITS: [u32; 3] = [16, 32, 64];

/// Widths that sums of INT fields go through where they are narrow.
const NARROW_SUM_BITS: &[u32] = &[16, 32, 64];

/// The one that they have where they are wide, or where there are none.
const WIDE_SUM_BITS: &[u32] = &[64];

/// The tag of an entry of a short ring.
pub(crate) const TAG: Width = Width::unsigned(32);

/// Bits of the numbers that widen.
#[derive(Clone, Copy, Debug)]
struct Bits {
    counts: u32,
    sums: u32,
}

const NARROWEST: Bits = Bits { counts: 16, sums: 16 };
const WIDEST: Bits = Bits { counts: 64, sums: 64 };

impl Shapes {
    pub(super) fn new(columns: &[Partial], width_ms: i64, slots: usize, sums: Sums) -> Self {
        let has_sums = columns.iter().any(|partial| partial.is_int_sum());
        let is_narrow = sums == Sums::Narrow && has_sums;
        let sum_bits = if is_narrow { NARROW_SUM_BITS } else { WIDE_SUM_BITS };
        let shape = |capacity, dense, bits| Shape::new(columns, width_ms, capacity, dense, bits);
        let of_capacity = |capacity, dense| {
            sum_bits
                .iter()
                .flat_map(move |&sums| COUNT_BITS.map(|counts| shape(capacity, dense, Bits { counts, sums })))
        };
        // Numbers grow, tags do not: a short ring that saves nothing where they are widest never does. A table without widths of sums ends
        // its list where counts of 16 bits make a dense ring cheaper, as it always did: records and logs hold numbers of it.
        let decisive = if is_narrow { WIDEST } else { Bits { sums: sum_bits[0], ..NARROWEST } };
        let dense_words = shape(slots, true, decisive).words;
        let mut shapes = Vec::new();
        for capacity in short_capacities() {
            if capacity >= slots || shape(capacity, false, decisive).words >= dense_words {
                break;
            }
            shapes.extend(of_capacity(capacity, false));
        }
        shapes.extend(of_capacity(slots, true));
        Self { shapes: shapes.into(), sum_bits }
    }

    /// Gives each its steps. Only a plain layout has a use for them, which is known once all its tiers are.
    pub(super) fn prepare_steps(&mut self, columns: &[Partial]) {
        for shape in &mut self.shapes {
            shape.steps = shape.steps(columns);
        }
    }

    /// How many there are of each capacity.
    fn widths(&self) -> usize {
        self.sum_bits.len() * COUNT_BITS.len()
    }

    /// Whether sums begin narrow.
    #[inline]
    pub(crate) fn narrow_sums(&self) -> bool {
        self.sum_bits.len() > 1
    }

    /// The one of a state word, or the last one where the word is of another moment.
    #[inline]
    pub(crate) fn at(&self, number: u64) -> &Shape {
        &self.shapes[(number as usize).min(self.shapes.len() - 1)]
    }

    /// The number of the one that a body without events has. A short one may take a word more than the narrowest dense ring of a few
    /// slots.
    pub(crate) fn first(&self) -> usize {
        let dense = self.dense_as_wide_as(0);
        if self.shapes[0].words > self.shapes[dense].words { dense } else { 0 }
    }

    /// The number of the one with room for more buckets than `number`, as wide: dense where the next short one saves nothing.
    pub(crate) fn larger(&self, number: usize) -> usize {
        assert!(!self.shapes[number].dense, "a dense ring has a slot for every bucket");
        self.short_or_dense(number + self.widths())
    }

    /// The number of the smallest one for so many buckets whose cells hold what `holds` asks for, which is a question of their widths
    /// alone.
    pub(crate) fn least(&self, buckets: usize, holds: impl Fn(&Shape) -> bool) -> usize {
        let narrowest_dense = self.dense_as_wide_as(0);
        let of_widths =
            self.shapes[narrowest_dense..].iter().position(holds).expect("whole words hold every number");
        let mut as_wide = (of_widths..self.shapes.len()).step_by(self.widths());
        let roomy =
            as_wide.find(|&number| self.shapes[number].dense || self.shapes[number].capacity >= buckets);
        self.short_or_dense(roomy.expect("the last ones are dense"))
    }

    /// A short one, or the dense one of the same widths where that takes no more words. Without widths of sums, the list of short ones
    /// ends before any such.
    fn short_or_dense(&self, number: usize) -> usize {
        let dense = self.dense_as_wide_as(number);
        if self.shapes[number].words < self.shapes[dense].words { number } else { dense }
    }

    /// The number of the dense one that is as wide as `number`.
    fn dense_as_wide_as(&self, number: usize) -> usize {
        self.shapes.len() - self.widths() + number % self.widths()
    }

    /// The number of the one with as many buckets as `number`, and cells that hold what they come to.
    pub(crate) fn wider(&self, number: usize, comes_to: impl Iterator<Item = (Widening, u64)>) -> usize {
        let of_widths = number % self.widths();
        let (mut sums, mut counts) = (of_widths / COUNT_BITS.len(), of_widths % COUNT_BITS.len());
        for (widening, sum) in comes_to {
            // 64 bits hold every number.
            if widening.summed.is_some() {
                while !Width::signed(self.sum_bits[sums]).holds(sum) {
                    sums += 1;
                }
            } else {
                while !Width::unsigned(COUNT_BITS[counts]).holds(sum) {
                    counts += 1;
                }
            }
        }
        number - of_widths + sums * COUNT_BITS.len() + counts
    }

    /// The narrowest one that is dense.
    pub(super) fn dense(&self) -> &Shape {
        &self.shapes[self.dense_as_wide_as(0)]
    }

    /// The one that takes the most.
    pub(super) fn widest(&self) -> &Shape {
        &self.shapes[self.shapes.len() - 1]
    }
}

impl Deref for Shapes {
    type Target = [Shape];

    #[inline]
    fn deref(&self) -> &[Shape] {
        &self.shapes
    }
}

impl Shape {
    fn new(columns: &[Partial], width_ms: i64, capacity: usize, dense: bool, bits: Bits) -> Self {
        let widths: Box<[Width]> = columns.iter().map(|column| cell_width(*column, width_ms, bits)).collect();
        let mut words = if dense { 0 } else { words_of(capacity, TAG) };
        let offsets: Box<[u32]> = widths
            .iter()
            .map(|&width| {
                let offset = u32::try_from(words).expect("a record is bounded by RECORD_BYTES_MAX");
                words += words_of(capacity, width);
                offset
            })
            .collect();
        let narrow = (0..columns.len()).filter(|&column| !widths[column].is_word());
        let widening = narrow.filter_map(|column| {
            let summed = match columns[column] {
                Partial::Count | Partial::CountOf(_) => None,
                Partial::SumInt(field) => Some(field),
                _ => return None,
            };
            Some(Widening { column: column as u32, offset: offsets[column], width: widths[column], summed })
        });
        let widening: Box<[Widening]> = widening.collect();
        Self { capacity, dense, widths, offsets, words, widening, steps: Box::default() }
    }

    /// The steps of an event through these columns.
    fn steps(&self, columns: &[Partial]) -> Box<[Step]> {
        let step = |(at, &partial): (usize, &Partial)| {
            let widening = self.widening.iter().copied().find(|of| of.column as usize == at);
            Step::of(partial, self.offsets[at], self.widths[at], widening)
        };
        columns.iter().enumerate().map(step).collect()
    }
}

fn cell_width(column: Partial, width_ms: i64, bits: Bits) -> Width {
    match column {
        column if column.kind() == CellKind::Wide => Width::WIDE,
        column if column.kind() == CellKind::Reference => Width::REFERENCE,
        column if column.is_count() => Width::unsigned(bits.counts),
        column if column.is_int_sum() => Width::signed(bits.sums),
        // 1 + an offset within the bucket.
        Partial::Newest if width_ms <= i64::from(u32::MAX) => Width::unsigned(32),
        _ => Width::WORD,
    }
}

/// Bits of each column's cells where numbers are as wide as they get.
pub(super) fn bits_of_widest(columns: &[Partial], width_ms: i64) -> impl Iterator<Item = i128> {
    columns.iter().map(move |column| i128::from(cell_width(*column, width_ms, WIDEST).bits()))
}

/// Capacities of short rings: doubling, with one step between.
fn short_capacities() -> impl Iterator<Item = usize> {
    [2, 4, 6].into_iter().chain((3..24).flat_map(|power| [1 << power, 3 << (power - 1)]))
}
