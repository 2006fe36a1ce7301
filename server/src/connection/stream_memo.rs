//! The stream that a connection named last: most clients write to one for a long time.

use std::sync::Arc;

use windrow_engine::catalogue::{Catalogue, Stream};

/// Remembers one stream of one version of the catalogue.
#[derive(Debug, Default)]
pub(crate) struct StreamMemo {
    last: Option<(u64, Arc<Stream>)>,
}

impl StreamMemo {
    /// The stream of this name in `catalogue`.
    #[inline]
    pub(crate) fn find(&mut self, name: &[u8], catalogue: &Catalogue) -> Option<&Arc<Stream>> {
        let is_last = self.last.as_ref().is_some_and(|(version, stream)| {
            *version == catalogue.version && stream.definition.name.as_bytes() == name
        });
        if !is_last {
            self.last = catalogue.stream(name).map(|stream| (catalogue.version, Arc::clone(stream)));
        }
        self.last.as_ref().map(|(_, stream)| stream)
    }

    /// The stream found last.
    pub(crate) fn last(&self) -> Option<&Arc<Stream>> {
        self.last.as_ref().map(|(_, stream)| stream)
    }
}
