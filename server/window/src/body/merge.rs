//! Bodies of one entity put together: what a BACKFILL found of earlier events, and what the record has of later ones.
//!
//! The earlier body has the form of [`Layout::to_backfill`] of the record's layout. Both are taken apart into cells, bucket by bucket,
//! and a new body is written: it happens once for a record, so it need not be quick.
//!
//! A column that the record had before the BACKFILL's ALTER (its tier keeps longer windows since) takes only buckets that were not kept
//! before; what the record has of the others is complete.

use std::collections::BTreeMap;

use super::{NONE, Ring, heap, init, newest_ms, words_end};
use crate::cells;
use crate::column::{CellKind, Columns, Partial};
use crate::definition::TIERS_MAX;
use crate::heap::{BLOCK_HEAD_WORDS, HEAD_WORDS};
use crate::layout::{Layout, Shape};
use crate::moments::{Decayed, Moments, Spreading};
use crate::sketch::{INLINE, Sketched};
use crate::timestamp::bucket_of;
use crate::words::{Words, WordsMut};

/// How bodies of one layout, of earlier events, go into bodies of another one.
#[derive(Debug)]
pub struct Merge<'l> {
    earlier: &'l Layout,
    to: &'l Layout,
    lifetime: Vec<Option<usize>>,
    tiers: Vec<Source>,
}

/// What the earlier body has for a tier.
#[derive(Debug)]
struct Source {
    tier: Option<usize>,
    /// For each column its place in the earlier tier.
    columns: Vec<Option<usize>>,
    /// Of a column that the record had already: the first bucket that it takes nothing for.
    upto: Vec<i64>,
}

/// A cell outside of its body.
#[derive(Clone, Debug)]
enum Loose {
    Number(u64),
    Wide([u64; 2]),
    Sketch(Sketched),
}

/// A tier's buckets outside of their ring.
#[derive(Debug)]
struct LooseTier {
    head: i64,
    buckets: BTreeMap<i64, Vec<Loose>>,
}

impl<'l> Merge<'l> {
    /// Into bodies of `to`. `is_altered`: an ALTER made this layout; else its stream was created with the BACKFILL, and whatever the
    /// earlier body has is new.
    pub fn new(earlier: &'l Layout, to: &'l Layout, is_altered: bool) -> Self {
        let none = Columns::default();
        let places = |own: &Columns, other: &Columns| own.places_in(other);
        let lifetime =
            places(to.lifetime.as_ref().unwrap_or(&none), earlier.lifetime.as_ref().unwrap_or(&none));
        let tiers = to.tiers.iter().map(|tier| {
            let at = earlier.tier_of_width(tier.width_ms);
            let columns = match at {
                Some(at) => places(&tier.columns, &earlier.tiers[at].columns),
                None => vec![None; tier.columns.len()],
            };
            let upto = |column: usize| {
                if is_altered && tier.columns.began(column) < to.generation {
                    bucket_of(tier.kept_since_ms, tier.width_ms)
                } else {
                    i64::MAX
                }
            };
            Source { tier: at, columns, upto: (0..tier.columns.len()).map(upto).collect() }
        });
        Self { earlier, to, lifetime, tiers: tiers.collect() }
    }

    /// The body of both: `later` is of the layout that is merged into, `None` if there is no record.
    pub fn merged<E, L>(&self, earlier: &E, later: Option<&L>) -> Vec<u64>
    where
        E: Words + ?Sized,
        L: Words + ?Sized,
    {
        let mut newest = newest_ms(earlier);
        let (mut lifetime, mut tiers);
        match later {
            Some(later) => {
                newest = newest.max(newest_ms(later));
                lifetime = self.to.lifetime.as_ref().map(|columns| read_lifetime(self.to, columns, later));
                tiers = read_tiers(self.to, later);
            }
            None => {
                lifetime = self.to.lifetime.as_ref().map(initial);
                let empty = |_| LooseTier { head: NONE, buckets: BTreeMap::new() };
                tiers = self.to.tiers.iter().map(empty).collect();
            }
        }
        if let (Some(lifetime), Some(columns)) = (&mut lifetime, &self.to.lifetime)
            && let Some(from) = &self.earlier.lifetime
        {
            let earlier = read_lifetime(self.earlier, from, earlier);
            *lifetime = merged_cells(columns, lifetime, (from, &earlier), |column| self.lifetime[column]);
        }
        let mut before = read_tiers(self.earlier, earlier);
        for ((tier, source), mine) in self.to.tiers.iter().zip(&self.tiers).zip(&mut tiers) {
            let Some(at) = source.tier else { continue };
            let from = &self.earlier.tiers[at].columns;
            for (bucket, cells) in std::mem::take(&mut before[at].buckets) {
                let place = |column: usize| source.columns[column].filter(|_| bucket < source.upto[column]);
                if (0..tier.columns.len()).all(|column| place(column).is_none()) {
                    continue;
                }
                let own = mine.buckets.entry(bucket).or_insert_with(|| initial(&tier.columns));
                *own = merged_cells(&tier.columns, own, (from, &cells), place);
                mine.head = mine.head.max(bucket);
            }
        }
        write(self.to, newest, lifetime.as_deref(), tiers)
    }
}

fn initial(columns: &Columns) -> Vec<Loose> {
    let cell = |partial: &Partial| match partial.kind() {
        CellKind::Number => Loose::Number(partial.initial()),
        CellKind::Wide => Loose::Wide([0; 2]),
        CellKind::Reference => Loose::Sketch(Sketched::Nothing),
    };
    columns.iter().map(cell).collect()
}

fn sketched<W: Words + ?Sized>(layout: &Layout, words: &W, reference: u32) -> Sketched {
    match reference {
        0 => Sketched::Nothing,
        inline if inline & INLINE != 0 => Sketched::Inline(inline),
        block => {
            let payload = heap(layout, words).payload(words, block);
            Sketched::Block((0..payload.len()).map(|index| payload.get(index)).collect())
        }
    }
}

fn read_lifetime<W: Words + ?Sized>(layout: &Layout, columns: &Columns, words: &W) -> Vec<Loose> {
    let cell = |column: usize| {
        let at = 1 + columns.word_at(column);
        match columns[column].kind() {
            CellKind::Number => Loose::Number(words.get(at)),
            CellKind::Wide => Loose::Wide(cells::get_wide(words, at, 0)),
            CellKind::Reference => Loose::Sketch(sketched(layout, words, words.get(at) as u32)),
        }
    };
    (0..columns.len()).map(cell).collect()
}

fn read_tiers<W: Words + ?Sized>(layout: &Layout, words: &W) -> Vec<LooseTier> {
    let read = |tier: usize| {
        let ring = Ring::read(layout, words, tier);
        let cell = |column: usize, slot: usize| match ring.tier().columns[column].kind() {
            CellKind::Number => Loose::Number(ring.cell(words, column, slot)),
            CellKind::Wide => Loose::Wide(cells::get_wide(words, ring.column_base(column), slot)),
            CellKind::Reference => {
                Loose::Sketch(sketched(layout, words, ring.cell(words, column, slot) as u32))
            }
        };
        let columns = ring.tier().columns.len();
        let slots = ring.all_runs().into_iter().flat_map(|(from, to)| from..to);
        let filled = slots.filter(|&slot| {
            let is_filled = (0..columns).any(|column| !ring.is_initial(words, column, slot));
            is_filled || ring.bucket_in(words, slot) == ring.head
        });
        let buckets = filled.map(|slot| {
            let cells = (0..columns).map(|column| cell(column, slot)).collect();
            (ring.bucket_in(words, slot), cells)
        });
        LooseTier { head: ring.head, buckets: buckets.collect() }
    };
    (0..layout.tiers.len()).map(read).collect()
}

/// A bucket's cells with those of earlier events added; `place` says where these stand.
fn merged_cells(
    columns: &Columns,
    later: &[Loose],
    (from, earlier): (&Columns, &[Loose]),
    place: impl Fn(usize) -> Option<usize>,
) -> Vec<Loose> {
    let merged = |column: usize| {
        let own = &later[column];
        let Some(at) = place(column) else { return own.clone() };
        let partial = columns[column];
        match (&earlier[at], own) {
            (Loose::Number(earlier), Loose::Number(later)) => {
                Loose::Number(merged_number(partial, *earlier, *later))
            }
            (Loose::Wide(earlier_words), Loose::Wide(later_words)) => {
                let count = |columns: &Columns, cells: &[Loose], field, at| {
                    let beside = columns.find_beside(Partial::CountOf(field), at);
                    match cells[beside.expect("moments stand beside their count")] {
                        Loose::Number(count) => count,
                        _ => unreachable!("a count is a number"),
                    }
                };
                Loose::Wide(match partial {
                    Partial::Moments(field, _) => {
                        let of = |words: &[u64; 2], count| Spreading::new(count, Moments::from_words(*words));
                        let before = of(earlier_words, count(from, earlier, field, at));
                        before
                            .merged(of(later_words, count(columns, later, field, column)))
                            .moments()
                            .to_words()
                    }
                    Partial::DecaySum(_, _, halflife_ms) => {
                        let of = |words: &[u64; 2]| Decayed::from_words(*words);
                        of(earlier_words).merged(of(later_words), halflife_ms).to_words()
                    }
                    _ => unreachable!("no other partial is wide"),
                })
            }
            (Loose::Sketch(earlier), Loose::Sketch(later)) => match partial {
                Partial::Sketch(_, sketch) => Loose::Sketch(sketch.merged(earlier, later)),
                _ => unreachable!("no other partial is sketched"),
            },
            _ => unreachable!("the same partial is of the same kind"),
        }
    };
    (0..columns.len()).map(merged).collect()
}

fn merged_number(partial: Partial, earlier: u64, later: u64) -> u64 {
    let float = |word| f64::from_bits(word);
    let int = |word: u64| word.cast_signed();
    match partial {
        // Not to the last bit: a count that is full has no room for one more.
        Partial::Count | Partial::CountOf(_) => earlier.saturating_add(later).min(i64::MAX.cast_unsigned()),
        Partial::SumFloat(_) => (float(earlier) + float(later)).to_bits(),
        Partial::SumInt(_) => int(earlier).saturating_add(int(later)).cast_unsigned(),
        Partial::MinFloat(_) => {
            if float(later) < float(earlier) {
                later
            } else {
                earlier
            }
        }
        Partial::MaxFloat(_) => {
            if float(later) > float(earlier) {
                later
            } else {
                earlier
            }
        }
        Partial::MinInt(_) => int(earlier).min(int(later)).cast_unsigned(),
        Partial::MaxInt(_) => int(earlier).max(int(later)).cast_unsigned(),
        Partial::Newest => earlier.max(later),
        Partial::Moments(..) | Partial::DecaySum(..) | Partial::Sketch(..) => {
            unreachable!("these are not one number")
        }
    }
}

/// Writes a body. Buckets that its rings do not reach stay out.
fn write(layout: &Layout, newest_ms: i64, lifetime: Option<&[Loose]>, mut tiers: Vec<LooseTier>) -> Vec<u64> {
    let mut shapes = [0; TIERS_MAX];
    let mut words_total = layout.rings_at();
    let payload_words = |cell: &Loose| match cell {
        Loose::Sketch(Sketched::Block(payload)) => BLOCK_HEAD_WORDS + payload.len(),
        _ => 0,
    };
    for ((tier, loose), shape) in layout.tiers.iter().zip(&mut tiers).zip(&mut shapes) {
        if loose.head != NONE {
            let oldest = loose.head - tier.slots as i64 + 1;
            loose.buckets = loose.buckets.split_off(&oldest);
        }
        let holds = |shape: &Shape| {
            let holds_all = |cells: &Vec<Loose>| {
                cells.iter().zip(&shape.widths).all(|(cell, width)| match cell {
                    Loose::Number(number) => width.holds(*number),
                    Loose::Wide(_) | Loose::Sketch(_) => true,
                })
            };
            loose.buckets.values().all(holds_all)
        };
        *shape = tier.shapes.least(loose.buckets.len(), holds);
        words_total += tier.shapes[*shape].words;
        words_total += loose.buckets.values().flatten().map(payload_words).sum::<usize>();
    }
    words_total += lifetime.iter().copied().flatten().map(payload_words).sum::<usize>();
    if layout.has_sketches {
        words_total += HEAD_WORDS;
    }
    let mut words = vec![0; words_total.max(layout.words_min())];
    let words_slice = words.as_mut_slice();
    init(layout, words_slice);
    words_slice.set(0, newest_ms.cast_unsigned());
    for (tier, loose) in tiers.iter().enumerate() {
        let is_dense = layout.tiers[tier].shapes[shapes[tier]].dense;
        Ring::set_head(layout, words_slice, tier, loose.head);
        // A dense ring has its head in slot 0.
        Ring::set_state(
            layout,
            words_slice,
            tier,
            shapes[tier],
            if is_dense { 0 } else { loose.buckets.len() },
        );
    }
    // The rings' ends are known only now.
    if layout.has_sketches {
        heap(layout, words_slice).init(words_slice);
    }
    if let (Some(cells), Some(columns)) = (lifetime, &layout.lifetime) {
        for (column, cell) in cells.iter().enumerate() {
            let at = 1 + columns.word_at(column);
            match cell {
                Loose::Number(number) => words_slice.set(at, *number),
                Loose::Wide(wide) => cells::set_wide(words_slice, at, 0, *wide),
                Loose::Sketch(of) => {
                    let reference = place_sketch(layout, words_slice, columns[column], of);
                    words_slice.set(at, u64::from(reference));
                }
            }
        }
    }
    for (tier, loose) in tiers.iter().enumerate() {
        let ring = Ring::at(layout, words_slice, tier, words_end(layout, words_slice, tier));
        let columns = &layout.tiers[tier].columns;
        if ring.shape.dense {
            for slot in 0..layout.tiers[tier].slots {
                ring.clear(words_slice, slot);
            }
        }
        for (entry, (&bucket, cells)) in loose.buckets.iter().enumerate() {
            let slot = if ring.shape.dense { ring.slot_of(bucket) } else { entry };
            if !ring.shape.dense {
                ring.clear(words_slice, slot);
                ring.set_tag(words_slice, slot, bucket);
            }
            for (column, cell) in cells.iter().enumerate() {
                match cell {
                    Loose::Number(number) => ring.set_cell(words_slice, column, slot, *number),
                    Loose::Wide(wide) => {
                        cells::set_wide(words_slice, ring.column_base(column), slot, *wide);
                    }
                    Loose::Sketch(of) => {
                        let reference = place_sketch(layout, words_slice, columns[column], of);
                        ring.set_cell(words_slice, column, slot, u64::from(reference));
                    }
                }
            }
        }
    }
    words
}

/// Puts a sketch into the heap; gives the reference to it.
fn place_sketch(layout: &Layout, words: &mut [u64], partial: Partial, of: &Sketched) -> u32 {
    let Partial::Sketch(_, sketch) = partial else { unreachable!("only sketches have references") };
    match of {
        Sketched::Nothing => 0,
        Sketched::Inline(inline) => *inline,
        Sketched::Block(payload) => {
            let heap = heap(layout, words);
            let block = heap.allocate(words, sketch.kind_id(), payload.len());
            let mut to = heap.payload_mut(words, block);
            for (index, &word) in payload.iter().enumerate() {
                to.set(index, word);
            }
            block
        }
    }
}
