//! What is remembered, on its way into an image and back: see [`crate::state`].

use super::group::Group;
use super::{Dedup, Groups, SourceSeq};
use crate::catalogue::StreamId;
use crate::slot::SLOT_GROUPS;
use crate::state::section::{GROUP, IDS, IDS_MAX, SOURCES, put_i64, put_u32, put_u64, write};

/// Groups that one slice looks at.
const GROUPS_LOOKED_AT_MAX: usize = 4096;

/// How far an export has come.
#[derive(Debug, Default)]
pub(crate) struct ExportPlace {
    /// The stream, or where there is none of this id, the next one.
    stream: u64,
    group: usize,
    inside: Option<Inside>,
}

/// How far in a group.
#[derive(Debug)]
struct Inside {
    /// The numbers of the generations that it had when its export began.
    generations: Vec<u64>,
    /// Index in these.
    index: usize,
    /// The least fingerprint to come.
    from: u64,
}

impl ExportPlace {
    fn next_group(&mut self) {
        self.inside = None;
        self.group += 1;
        if self.group == SLOT_GROUPS {
            (self.stream, self.group) = (self.stream + 1, 0);
        }
    }
}

impl Dedup {
    /// Writes groups from `place` on until `out` has `end` bytes; gives whether there may be more. `position` is that of the last operation.
    pub(crate) fn export(
        &self,
        place: &mut ExportPlace,
        position: u64,
        out: &mut Vec<u8>,
        end: usize,
    ) -> bool {
        // Found by a look at every stream: once for each that the slice comes to, not once for each group.
        let mut present: Option<(StreamId, &Groups)> = None;
        for _ in 0..GROUPS_LOOKED_AT_MAX {
            if out.len() >= end {
                return true;
            }
            let is_its = |(stream, _): &(StreamId, &Groups)| u64::from(stream.0) == place.stream;
            let Some((stream, groups)) = present.filter(is_its).or_else(|| self.stream_from(place.stream))
            else {
                return false;
            };
            present = Some((stream, groups));
            if u64::from(stream.0) != place.stream {
                *place = ExportPlace { stream: u64::from(stream.0), ..ExportPlace::default() };
            }
            // One that was freed in the midst of its export was over.
            match groups.groups[place.group].as_deref() {
                Some(group) if export_part(place, stream, group, position, out) => {}
                _ => place.next_group(),
            }
        }
        true
    }

    /// The stream of the least id that is not below this one.
    fn stream_from(&self, least: u64) -> Option<(StreamId, &Groups)> {
        #[cfg(test)]
        tests::SEARCHES.set(tests::SEARCHES.get() + 1);
        let known = self.order.iter().copied();
        let stream = known.filter(|id| u64::from(id.0) >= least).min()?;
        Some((stream, &self.streams[&stream]))
    }

    /// Takes a group over that was exported: false if there is one already.
    pub(crate) fn import_group(
        &mut self,
        stream: StreamId,
        group: u8,
        clock_ms: i64,
        ends_ms: &[i64],
    ) -> bool {
        let is_new = self.group(stream, group).is_none();
        if is_new {
            self.change(stream, group, |group| *group = Group::of(clock_ms, ends_ms));
        }
        is_new
    }

    /// Takes the ids of a generation over, in ascending order.
    pub(crate) fn import_ids(
        &mut self,
        stream: StreamId,
        group: u8,
        generation: usize,
        fingerprints: &[u64],
    ) {
        self.change(stream, group, |group| group.fill(generation, fingerprints));
    }

    /// Takes a source over.
    pub(crate) fn import_source(
        &mut self,
        stream: StreamId,
        group: u8,
        SourceSeq { source, seq }: SourceSeq,
    ) {
        self.change(stream, group, |group| group.sources.counted(source, seq));
    }
}

#[cfg(test)]
impl Dedup {
    /// Whether an id is remembered at `clock_ms`.
    pub(crate) fn remembers(
        &self,
        stream: StreamId,
        group: u8,
        id: u64,
        clock_ms: i64,
        dedup_ms: i64,
    ) -> bool {
        self.group(stream, group).is_some_and(|group| group.contains(id, clock_ms, dedup_ms))
    }

    /// The last sequence number counted of each source.
    pub(crate) fn sources(&self, stream: StreamId, group: u8) -> Vec<SourceSeq> {
        self.group(stream, group).map_or(Vec::new(), |group| group.sources.counted_so_far().collect())
    }
}

/// Writes the next section of a group; false: that was the last one.
fn export_part(
    place: &mut ExportPlace,
    stream: StreamId,
    group: &Group,
    position: u64,
    out: &mut Vec<u8>,
) -> bool {
    let number = place.group as u32;
    let Some(inside) = &mut place.inside else {
        write(out, GROUP, |out| {
            put_u32(out, stream.0);
            put_u32(out, number);
            put_u64(out, position);
            put_i64(out, group.clock_ms());
            group.numbered().for_each(|(_, generation)| put_i64(out, generation.end_ms));
        });
        let generations = group.numbered().map(|(number, _)| number).collect();
        place.inside = Some(Inside { generations, index: 0, from: 0 });
        return true;
    };
    if let Some(&wanted) = inside.generations.get(inside.index) {
        let mut next = None;
        // One that is gone by now was over.
        if let Some((_, generation)) = group.numbered().find(|&(number, _)| number == wanted) {
            let (fingerprints, then) = generation.fingerprints_from(inside.from, IDS_MAX);
            if !fingerprints.is_empty() {
                write(out, IDS, |out| {
                    put_u32(out, stream.0);
                    put_u32(out, number);
                    put_u32(out, inside.index as u32);
                    put_u32(out, 0);
                    fingerprints.into_iter().for_each(|fingerprint| put_u64(out, fingerprint));
                });
            }
            next = then;
        }
        match next {
            Some(from) => inside.from = from,
            None => (inside.index, inside.from) = (inside.index + 1, 0),
        }
        return true;
    }
    let mut sources = group.sources.counted_so_far().peekable();
    if sources.peek().is_some() {
        write(out, SOURCES, |out| {
            put_u32(out, stream.0);
            put_u32(out, number);
            for SourceSeq { source, seq } in sources {
                put_u64(out, source);
                put_u64(out, seq);
            }
        });
    }
    false
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::catalogue::STREAMS_MAX;

    thread_local! {
        /// Looks at every stream.
        pub(super) static SEARCHES: Cell<usize> = const { Cell::new(0) };
    }

    /// As many streams as there may be, with a few groups each, in no order.
    fn sparse() -> Dedup {
        let mut dedup = Dedup::default();
        for n in 0..STREAMS_MAX {
            let stream = StreamId((n * 389 % STREAMS_MAX) as u32 * 3 + 1);
            for group in [7, (n % 200) as u8, 255] {
                dedup.change(stream, group, |group| group.sources.counted(n as u64 + 1, 5));
            }
        }
        dedup
    }

    /// The whole export in slices that end at so many bytes, and how often all streams were looked at in the worst of them.
    fn exported(dedup: &Dedup, slice_bytes: usize) -> (Vec<u8>, usize) {
        let (mut place, mut out, mut searches_max) = (ExportPlace::default(), Vec::new(), 0);
        loop {
            SEARCHES.set(0);
            let end = out.len().saturating_add(slice_bytes);
            let has_more = dedup.export(&mut place, 9, &mut out, end);
            searches_max = searches_max.max(SEARCHES.get());
            if !has_more {
                return (out, searches_max);
            }
        }
    }

    #[test]
    fn a_slice_looks_at_all_streams_only_as_often_as_it_comes_to_another_one() {
        let dedup = sparse();
        let (whole, searches_max) = exported(&dedup, usize::MAX);
        assert!(!whole.is_empty());
        // It passes so many whole streams, one it begins in, and one it ends in.
        assert!(searches_max <= GROUPS_LOOKED_AT_MAX / SLOT_GROUPS + 2, "{searches_max} looks in one slice");
        for slice_bytes in [1, 100, 5000] {
            let (sliced, _) = exported(&dedup, slice_bytes);
            assert!(sliced == whole, "slices of {slice_bytes} bytes are of another export");
        }
    }

    #[test]
    fn an_export_has_every_group_of_every_stream_in_order() {
        let dedup = sparse();
        let mut expected = Vec::new();
        let mut streams = dedup.order.clone();
        streams.sort_unstable();
        for stream in streams {
            for (number, group) in dedup.streams[&stream].groups.iter().enumerate() {
                let Some(group) = group else { continue };
                let mut place = ExportPlace { stream: u64::from(stream.0), group: number, inside: None };
                while export_part(&mut place, stream, group, 9, &mut expected) {}
            }
        }
        assert!(exported(&dedup, usize::MAX).0 == expected);
    }
}
