//! Ways to read a file that nobody changes any more, and which one is taken.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::disk::DIRECT_ALIGN;

/// One way to read a file.
pub(super) trait Way {
    /// As [`DiskFile::read_at`](crate::disk::DiskFile::read_at).
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl Way for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }
}

/// Those that a file has, the best first.
pub(super) struct Ways<'a> {
    /// Past the page cache, to memory and from offsets that are aligned for it.
    pub(super) direct: Option<&'a dyn Way>,
    /// Out of the page cache, its pages mapped.
    pub(super) mapped: Option<&'a dyn Way>,
    /// Out of the page cache, by a call. Its error is the one that counts.
    pub(super) ordinary: &'a dyn Way,
}

impl Ways<'_> {
    /// Reads by the first way that can. A file system may open a file and then refuse any way but the ordinary one, each in words of
    /// its own, so only what the ordinary read says is believed of the disk.
    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let direct = self.direct.filter(|_| is_direct(buffer, offset));
        for way in [direct, self.mapped].into_iter().flatten() {
            match way.read_at(buffer, offset) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
        self.ordinary.read_at(buffer, offset)
    }
}

/// Whether the kernel may read so much to this memory without a page of its own in between.
fn is_direct(buffer: &[u8], offset: u64) -> bool {
    buffer.as_ptr().addr().is_multiple_of(DIRECT_ALIGN)
        && buffer.len().is_multiple_of(DIRECT_ALIGN)
        && offset.is_multiple_of(DIRECT_ALIGN as u64)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use rustix::io::Errno;

    use super::*;

    const LEN: usize = 4 * DIRECT_ALIGN;

    /// A way that answers as it is told, in sequence, and then always reads all; its bytes are all its mark.
    struct Fake {
        mark: u8,
        answers: RefCell<Vec<io::Result<usize>>>,
        /// Offset, length, and whether the memory was aligned.
        asked: RefCell<Vec<(u64, usize, bool)>>,
    }

    impl Fake {
        fn new(mark: u8, answers: impl IntoIterator<Item = io::Result<usize>>) -> Fake {
            let mut answers: Vec<_> = answers.into_iter().collect();
            answers.reverse();
            Fake { mark, answers: RefCell::new(answers), asked: RefCell::default() }
        }

        fn asked(&self) -> Vec<(u64, usize, bool)> {
            self.asked.take()
        }
    }

    impl Way for Fake {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            let is_aligned = buffer.as_ptr().addr().is_multiple_of(DIRECT_ALIGN);
            self.asked.borrow_mut().push((offset, buffer.len(), is_aligned));
            let rest = (LEN as u64).saturating_sub(offset).min(buffer.len() as u64) as usize;
            let read = self.answers.borrow_mut().pop().unwrap_or(Ok(rest))?;
            buffer[..read].fill(self.mark);
            Ok(read)
        }
    }

    /// Reads a whole file by these ways, to memory that is `skip` bytes behind an aligned place.
    fn read(
        direct: Option<&Fake>,
        mapped: Option<&Fake>,
        ordinary: &Fake,
        skip: usize,
    ) -> io::Result<Vec<u8>> {
        let ways = Ways { direct: direct.map(|way| way as _), mapped: mapped.map(|way| way as _), ordinary };
        let mut memory = vec![0; LEN + 2 * DIRECT_ALIGN];
        let start = memory.as_ptr().align_offset(DIRECT_ALIGN) + skip;
        let (buffer, mut done) = (&mut memory[start..start + LEN], 0);
        while done < LEN {
            match ways.read_at(&mut buffer[done..], done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(buffer[..done].to_vec())
    }

    fn error(errno: Errno) -> io::Result<usize> {
        Err(errno.into())
    }

    #[test]
    fn memory_that_is_aligned_is_read_past_the_page_cache_and_other_memory_by_the_mapping() {
        let (direct, mapped, ordinary) = (Fake::new(1, []), Fake::new(2, []), Fake::new(3, []));
        assert_eq!(read(Some(&direct), Some(&mapped), &ordinary, 0).unwrap(), [1; LEN]);
        assert_eq!(direct.asked(), [(0, LEN, true)]);
        assert_eq!(read(Some(&direct), Some(&mapped), &ordinary, 8).unwrap(), [2; LEN]);
        assert_eq!((direct.asked(), mapped.asked()), (vec![], vec![(0, LEN, false)]));
        assert_eq!(ordinary.asked(), []);
    }

    #[test]
    fn a_file_that_cannot_be_opened_past_the_page_cache_is_read_by_its_mapping_and_without_one_by_calls() {
        let (mapped, ordinary) = (Fake::new(2, []), Fake::new(3, []));
        assert_eq!(read(None, Some(&mapped), &ordinary, 0).unwrap(), [2; LEN]);
        assert_eq!(read(None, None, &ordinary, 0).unwrap(), [3; LEN]);
    }

    #[test]
    fn whatever_refuses_a_better_way_the_ordinary_one_is_taken_and_its_error_counts() {
        for errno in [Errno::INVAL, Errno::OPNOTSUPP, Errno::FAULT, Errno::NOMEM, Errno::AGAIN, Errno::IO] {
            let (direct, mapped) = (Fake::new(1, [error(errno)]), Fake::new(2, [error(errno)]));
            let ordinary = Fake::new(3, []);
            assert_eq!(read(Some(&direct), Some(&mapped), &ordinary, 0).unwrap(), [3; LEN], "{errno}");
            assert_eq!((direct.asked().len(), mapped.asked().len()), (1, 1), "{errno}");
            let (direct, ordinary) = (Fake::new(1, [error(errno)]), Fake::new(3, [error(Errno::STALE)]));
            let refused = read(Some(&direct), None, &ordinary, 0).unwrap_err();
            assert_eq!(Errno::from_io_error(&refused), Some(Errno::STALE), "{errno}");
        }
    }

    #[test]
    fn an_interrupted_read_is_asked_again_the_same_way() {
        let (direct, ordinary) = (Fake::new(1, [error(Errno::INTR)]), Fake::new(3, []));
        assert_eq!(read(Some(&direct), None, &ordinary, 0).unwrap(), [1; LEN]);
        assert_eq!((direct.asked().len(), ordinary.asked().len()), (2, 0));
    }

    #[test]
    fn a_short_read_goes_on_past_the_page_cache_where_it_may() {
        let (direct, mapped) = (Fake::new(1, [Ok(DIRECT_ALIGN), Ok(100)]), Fake::new(2, []));
        let bytes = read(Some(&direct), Some(&mapped), &Fake::new(3, []), 0).unwrap();
        assert_eq!(direct.asked(), [(0, LEN, true), (DIRECT_ALIGN as u64, LEN - DIRECT_ALIGN, true)]);
        let rest = LEN - DIRECT_ALIGN - 100;
        assert_eq!(mapped.asked(), [(DIRECT_ALIGN as u64 + 100, rest, false)]);
        assert_eq!(bytes, [vec![1; DIRECT_ALIGN + 100], vec![2; rest]].concat());
    }
}
