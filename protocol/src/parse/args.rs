//! Where the arguments of a command lie.

/// Ranges that an [`Args`] keeps room for between commands (32 KiB): a giant command's list is given back.
const RANGES_KEPT_MAX: usize = 4096;
/// Bytes of unescaped inline text that an [`Args`] keeps room for between commands.
const UNESCAPED_KEPT_BYTES_MAX: usize = 4096;

/// One argument: bytes `start..start + len`, counted from the first byte of the command.
#[derive(Clone, Copy, Debug)]
struct Range {
    start: u32,
    len: u32,
}

/// The arguments of one command, the command's name first, as ranges of the buffer that it was parsed from.
///
/// Meant to be kept and used again: once it has grown to the size of usual commands, parsing allocates nothing.
#[derive(Debug, Default)]
pub struct Args {
    ranges: Vec<Range>,
    /// Text of an inline command that has quotes, unescaped: what its ranges refer to instead of the buffer.
    unescaped: Vec<u8>,
    is_unescaped: bool,
}

impl Args {
    /// An empty list, without memory.
    pub const fn new() -> Self {
        Self { ranges: Vec::new(), unescaped: Vec::new(), is_unescaped: false }
    }

    /// Number of arguments, the command's name included.
    #[inline]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether there is no argument at all.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Argument `index` (0 is the command's name); `buf` begins with the command's first byte.
    ///
    /// # Panics
    ///
    /// If there is no such argument, or `buf` is shorter than the command.
    #[inline]
    pub fn get<'a>(&'a self, buf: &'a [u8], index: usize) -> &'a [u8] {
        let Range { start, len } = self.ranges[index];
        let text = if self.is_unescaped { &self.unescaped } else { buf };
        &text[start as usize..][..len as usize]
    }

    /// All arguments in order; `buf` begins with the command's first byte.
    pub fn iter<'a>(&'a self, buf: &'a [u8]) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone + 'a {
        self.bind(buf).iter()
    }

    /// The arguments together with their text.
    #[inline]
    pub fn bind<'a>(&'a self, buf: &'a [u8]) -> Request<'a> {
        Request { text: if self.is_unescaped { &self.unescaped } else { buf }, ranges: &self.ranges }
    }

    /// Forgets the arguments, keeps a bounded part of the memory.
    pub(super) fn clear(&mut self) {
        self.ranges.clear();
        self.is_unescaped = false;
        if self.ranges.capacity() > RANGES_KEPT_MAX {
            self.ranges.shrink_to(RANGES_KEPT_MAX);
        }
    }

    #[inline]
    pub(super) fn push(&mut self, start: u32, len: u32) {
        self.ranges.push(Range { start, len });
    }

    /// Forgets the arguments; the next ones refer to the returned text instead of the buffer.
    pub(super) fn clear_for_unescaped(&mut self) {
        self.clear();
        self.is_unescaped = true;
        self.unescaped.clear();
        if self.unescaped.capacity() > UNESCAPED_KEPT_BYTES_MAX {
            self.unescaped.shrink_to(UNESCAPED_KEPT_BYTES_MAX);
        }
    }

    /// The unescaped text so far, to append to.
    pub(super) fn unescaped_mut(&mut self) -> &mut Vec<u8> {
        debug_assert!(self.is_unescaped);
        &mut self.unescaped
    }

    /// Bytes of memory held, for the accounting of a connection.
    pub fn allocated_bytes(&self) -> usize {
        self.ranges.capacity() * size_of::<Range>() + self.unescaped.capacity()
    }
}

/// The arguments of one command with their text: a borrowed list of byte strings, copied freely.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    text: &'a [u8],
    ranges: &'a [Range],
}

impl<'a> Request<'a> {
    /// Number of arguments, the command's name included.
    #[inline]
    pub fn len(self) -> usize {
        self.ranges.len()
    }

    /// Whether there is no argument at all.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.ranges.is_empty()
    }

    /// Argument `index`, if there is one; 0 is the command's name.
    #[inline]
    pub fn get(self, index: usize) -> Option<&'a [u8]> {
        let &Range { start, len } = self.ranges.get(index)?;
        Some(&self.text[start as usize..][..len as usize])
    }

    /// Argument `index`.
    ///
    /// # Panics
    ///
    /// If there is no such argument: for positions that the command's arity has already promised.
    #[inline]
    pub fn at(self, index: usize) -> &'a [u8] {
        let Range { start, len } = self.ranges[index];
        &self.text[start as usize..][..len as usize]
    }

    /// The arguments without the first `count` (none, if there are fewer).
    #[inline]
    pub fn skip(self, count: usize) -> Self {
        Self { text: self.text, ranges: self.ranges.get(count..).unwrap_or_default() }
    }

    /// All arguments in order.
    #[inline]
    pub fn iter(self) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone + 'a {
        let text = self.text;
        self.ranges.iter().map(move |range| &text[range.start as usize..][..range.len as usize])
    }
}
