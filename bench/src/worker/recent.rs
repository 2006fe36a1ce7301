//! Requests of a kind that were sent, to be sent again byte for byte.

use rand::RngExt;
use rand::rngs::SmallRng;

/// So many requests of a kind are kept to be sent again, if they are small.
const RECENT_MAX: usize = 1024;

/// Bytes of requests of a kind that are kept; one request is kept however large it is.
const RECENT_BYTES_MAX: usize = 16 << 20;

/// Requests that were sent, all of one length.
#[derive(Debug, Default)]
pub(super) struct Recent {
    bytes: Vec<u8>,
    count: usize,
    /// The oldest, once no more are kept: where the next one goes.
    oldest: usize,
}

impl Recent {
    /// Keeps a request, in the place of the oldest if there is no more room.
    pub(super) fn keep(&mut self, request: &[u8]) {
        let has_room = self.count < RECENT_MAX && self.bytes.len() + request.len() <= RECENT_BYTES_MAX;
        if has_room || self.count == 0 {
            self.bytes.extend_from_slice(request);
            self.count += 1;
        } else {
            self.bytes[self.oldest * request.len()..][..request.len()].copy_from_slice(request);
            self.oldest = (self.oldest + 1) % self.count;
        }
    }

    /// One of them; none: nothing was sent yet.
    pub(super) fn any(&self, choice: &mut SmallRng) -> Option<&[u8]> {
        let len = self.bytes.len().checked_div(self.count)?;
        Some(&self.bytes[choice.random_range(0..self.count) * len..][..len])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_to_be_sent_again_is_bounded_in_number_and_bytes() {
        for (request_bytes, kept) in [(16, RECENT_MAX), (5 << 20, 3), (RECENT_BYTES_MAX + 1, 1)] {
            let mut recent = Recent::default();
            let sent = kept + kept / 2 + 1;
            for n in 0..sent {
                recent.keep(&vec![(n % 251) as u8; request_bytes]);
            }
            assert_eq!((recent.count, recent.bytes.len()), (kept, kept * request_bytes));
            // The newest ones are there, the oldest made room.
            let mut firsts: Vec<u8> = recent.bytes.chunks(request_bytes).map(|request| request[0]).collect();
            let mut expected: Vec<u8> = (sent - kept..sent).map(|n| (n % 251) as u8).collect();
            firsts.sort_unstable();
            expected.sort_unstable();
            assert_eq!(firsts, expected);
        }
    }
}
