//! A block's payload: a part of a record's words, out of which nothing is read or written.

use crate::words::{Words, WordsMut};

/// A part of a record's words, to read.
#[derive(Debug)]
pub struct Span<'w, W: Words + ?Sized> {
    words: &'w W,
    base: usize,
    len: usize,
}

impl<W: Words + ?Sized> Clone for Span<'_, W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W: Words + ?Sized> Copy for Span<'_, W> {}

impl<'w, W: Words + ?Sized> Span<'w, W> {
    /// The `len` words from `base` on, as far as there are so many.
    #[inline]
    pub fn new(words: &'w W, base: usize, len: usize) -> Self {
        let base = base.min(words.len());
        Self { words, base, len: len.min(words.len() - base) }
    }

    /// How many words.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The word at `index`; 0 outside the span.
    #[inline]
    pub fn get(&self, index: usize) -> u64 {
        if index < self.len { self.words.get(self.base + index) } else { 0 }
    }

    /// Looks at all words, in order: quicker than to get them one by one.
    #[inline]
    pub(super) fn each(&self, mut look: impl FnMut(u64)) {
        self.words.fold(self.base..self.base + self.len, (), |(), word| look(word));
    }
}

/// A part of a record's words, to write.
#[derive(Debug)]
pub struct SpanMut<'w, W: WordsMut + ?Sized> {
    words: &'w mut W,
    base: usize,
    len: usize,
}

impl<'w, W: WordsMut + ?Sized> SpanMut<'w, W> {
    /// The `len` words from `base` on, as far as there are so many.
    #[inline]
    pub fn new(words: &'w mut W, base: usize, len: usize) -> Self {
        let base = base.min(words.len());
        let len = len.min(words.len() - base);
        Self { words, base, len }
    }

    /// The same words, to read.
    #[inline]
    pub fn span(&self) -> Span<'_, W> {
        Span { words: self.words, base: self.base, len: self.len }
    }

    /// How many words.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The word at `index`; 0 outside the span.
    #[inline]
    pub fn get(&self, index: usize) -> u64 {
        self.span().get(index)
    }

    /// Sets the word at `index`; outside the span it does nothing.
    #[inline]
    pub fn set(&mut self, index: usize, word: u64) {
        if index < self.len {
            self.words.set(self.base + index, word);
        }
    }

    /// Sets all words to 0.
    pub fn clear(&mut self) {
        for index in 0..self.len {
            self.set(index, 0);
        }
    }

    /// Moves `count` words from `from` to `to`, which may overlap.
    #[inline]
    pub(super) fn shift(&mut self, from: usize, to: usize, count: usize) {
        if from >= to {
            for index in 0..count {
                self.set(to + index, self.get(from + index));
            }
        } else {
            for index in (0..count).rev() {
                self.set(to + index, self.get(from + index));
            }
        }
    }

    /// Copies another span's words, and zeros behind them.
    pub(super) fn copy_from<O: Words + ?Sized>(&mut self, old: Span<'_, O>) {
        for index in 0..self.len {
            self.set(index, old.get(index));
        }
    }
}
