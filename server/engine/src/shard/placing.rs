//! A record with room for an event: made, grown, or given the layout that its stream has now.

use windrow_memory::{CHUNK_BYTES, Handle, Key, MemoryError, Store};
use windrow_window::body::{self, Event, Fit, Growth};
use windrow_window::{Layout, Words};

use super::Shard;
use crate::catalogue::{LayoutId, Stream};
use crate::record::{Body, BodyMut};

/// Words of the largest record.
const RECORD_WORDS_MAX: usize = CHUNK_BYTES / size_of::<u64>();

/// Words of a body once it has grown: never less than the least, so that a record that is too large for a slot is refused.
fn words_wanted<W: Words + ?Sized>(
    layout: &Layout,
    body: &W,
    growth: &Growth,
    body_words_max: usize,
) -> usize {
    let wanted = body::words_grown(layout, body, growth);
    wanted.ample.min(body_words_max).max(wanted.least)
}

impl Shard {
    /// Gives the record of an entity that is alive the layout that its stream has now.
    #[cold]
    #[inline(never)]
    pub(super) fn upgrade(&mut self, stream: &Stream, place: Handle) -> Result<Handle, MemoryError> {
        let record = self.store.record(place);
        let before_bytes = record.slot_bytes();
        let header_words = before_bytes / size_of::<u64>() - record.body_words();
        let from = LayoutId(record.layout());
        // What a backfill finds is still to come.
        let to = stream.awaiting_id;
        let upgrade = stream.upgrade(from, to).expect("a record has a layout of its stream");
        let target = upgrade.target(&Body(record));
        self.eviction.wanted_words = header_words + target.words;
        let upgraded = self.store.relocate(place, to.0, target.words, |old, new| {
            upgrade.copy(&Body(old), &mut BodyMut(new), &target);
        })?;
        let after_bytes = self.store.record(upgraded).slot_bytes();
        let stats = self.stats.of(stream.id);
        stats.bytes = stats.bytes + after_bytes as u64 - before_bytes as u64;
        Ok(upgraded)
    }

    /// Makes a record with room for the event, or makes room in the one that is there, and counts what memory that took, also where
    /// it is refused in the end: a record that grew has grown. One without events is not kept then.
    #[cold]
    #[inline(never)]
    pub(super) fn make_place(
        &mut self,
        stream: &Stream,
        key: &Key<'_>,
        place: Option<Handle>,
        dead: bool,
        event: &Event<'_>,
    ) -> Result<Handle, MemoryError> {
        let bytes_of = |store: &Store, place: Option<Handle>| {
            place.map_or(0, |place| store.record(place).slot_bytes() as u64)
        };
        // In a stream that is filled with events of another one, a record that is new waits for these; one that starts anew does not.
        let made_as = if place.is_none() { stream.fresh_id() } else { stream.layout_id };
        let is_outdated = |place: &Handle| dead && self.store.record(*place).layout() != stream.layout_id.0;
        let place = if let Some(outdated) = place.filter(is_outdated) {
            self.remove_counted(stream.id, outdated);
            None
        } else {
            place
        };
        let before_bytes = bytes_of(&self.store, place);
        let starts_anew = place.is_none() || dead;
        let (place, fitted) = self.place(stream, key, place, made_as, dead, event);
        let after_bytes = bytes_of(&self.store, place);
        let stats = self.stats.of(stream.id);
        stats.entities += u64::from(before_bytes == 0 && after_bytes > 0);
        stats.bytes = stats.bytes + after_bytes - before_bytes;
        if starts_anew
            && fitted.is_err()
            && let Some(empty) = place
        {
            // Of an entity that does not come to be: nobody may count it, and no later layout may bring it to life.
            self.remove_counted(stream.id, empty);
        }
        fitted.map(|()| place.expect("an event is placed in a record"))
    }

    /// Finds or makes a record with room for the event, and its places in it. Gives the record, as far as there is one, and the memory's
    /// error if it was refused. A record that grew for nothing is as it was to everyone who reads it, and one with sketches does not
    /// grow for nothing.
    fn place(
        &mut self,
        stream: &Stream,
        key: &Key<'_>,
        place: Option<Handle>,
        made_as: LayoutId,
        dead: bool,
        event: &Event<'_>,
    ) -> (Option<Handle>, Result<(), MemoryError>) {
        let layout = &stream.layout;
        let mut place = match place {
            Some(place) => {
                if dead {
                    // What was kept of a dead entity is gone; the event starts it anew. It read as empty before, as it does now.
                    body::init(layout, &mut BodyMut(&mut self.store.edit(place)));
                }
                place
            }
            None => {
                self.eviction.wanted_words = key.record_words(layout.words_min());
                let made = self.store.insert(key, made_as.0, layout.words_min(), |edit| {
                    body::init(layout, &mut BodyMut(edit));
                });
                match made {
                    Ok(place) => place,
                    Err(error) => return (None, Err(error)),
                }
            }
        };
        let layout_id = self.store.record(place).layout();
        loop {
            let body = Body(self.store.record(place));
            match body::fit(layout, &body, event, &mut self.placements) {
                Fit::Ready => return (Some(place), Ok(())),
                Fit::Late => unreachable!("the event was not late before there was room"),
                Fit::Grow(mut growth) => {
                    let body_words_max = RECORD_WORDS_MAX - key.record_words(0);
                    let mut words = words_wanted(layout, &body, &growth, body_words_max);
                    // Growing forgets sketches that are not kept any more, and the replay does not see an event that is refused. So
                    // all but the last step is done beside the record.
                    let mut beside: Option<Vec<u64>> = None;
                    while layout.has_sketches && !growth.is_last() && words <= body_words_max {
                        let mut larger = vec![0; words];
                        match &beside {
                            Some(before) => body::grow(layout, &before[..], &mut larger[..], &growth),
                            None => body::grow(layout, &body, &mut larger[..], &growth),
                        }
                        let Fit::Grow(next) = body::fit(layout, &larger[..], event, &mut self.placements)
                        else {
                            break;
                        };
                        growth = next;
                        words = words_wanted(layout, &larger[..], &growth, body_words_max);
                        beside = Some(larger);
                    }
                    self.eviction.wanted_words = key.record_words(words);
                    let grown = self.store.relocate(place, layout_id, words, |old, new| {
                        let new = &mut BodyMut(new);
                        match &beside {
                            Some(before) => body::grow(layout, &before[..], new, &growth),
                            None => body::grow(layout, &Body(old), new, &growth),
                        }
                    });
                    match grown {
                        Ok(grown) => place = grown,
                        Err(error) => return (Some(place), Err(error)),
                    }
                }
            }
        }
    }
}
