//! Room on the disk: an image that takes the last bytes takes them from the log, and without log no write is acknowledged.

use std::path::Path;
use std::sync::Arc;

use super::saving::NewestImage;

/// Tells how many bytes are free where a directory is, if that is known.
pub(crate) type FreeSpace = Arc<dyn Fn(&Path) -> Option<u64> + Send + Sync>;

/// While an image is written it is looked at the room that is left each time when it has grown by so much.
const LOOK_EVERY_BYTES: u64 = 1 << 20;

/// Bytes that are free on the file system of a directory, for those without privileges.
pub(crate) fn free_bytes(dir: &Path) -> Option<u64> {
    let file_system = rustix::fs::statvfs(dir).ok()?;
    Some(file_system.f_bavail.saturating_mul(file_system.f_frsize))
}

/// What the next image takes, if its records are like those of the newest; 0 without one to compare with.
pub(super) fn expected_bytes(newest: Option<NewestImage>, records: u64) -> u64 {
    let Some(NewestImage { bytes, records: of_records, .. }) = newest else { return 0 };
    let scaled = (u128::from(bytes) * u128::from(records)).checked_div(u128::from(of_records));
    scaled.map_or(bytes, |scaled| u64::try_from(scaled).unwrap_or(u64::MAX))
}

/// The room for one image.
#[derive(Debug)]
pub(super) struct Room {
    /// Left to the log: no image is written with less than this.
    log_bytes: u64,
    /// Of the image, at the last look.
    seen_bytes: u64,
}

impl Room {
    /// Room for an image of so many bytes, beside what the log needs next.
    pub(super) fn find(free_bytes: Option<u64>, image_bytes: u64, log_bytes: u64) -> Result<Self, String> {
        let needed = image_bytes.saturating_add(log_bytes);
        match free_bytes {
            Some(free) if free < needed => Err(format!(
                "the disk has {free} bytes left, and the image would need {image_bytes} and the log {log_bytes}: make room"
            )),
            _ => Ok(Room { log_bytes, seen_bytes: 0 }),
        }
    }

    /// Whether it may go on at so many bytes.
    pub(super) fn look(
        &mut self,
        image_bytes: u64,
        free_bytes: impl FnOnce() -> Option<u64>,
    ) -> Result<(), String> {
        if self.log_bytes == 0 || image_bytes.saturating_sub(self.seen_bytes) < LOOK_EVERY_BYTES {
            return Ok(());
        }
        self.seen_bytes = image_bytes;
        match free_bytes() {
            Some(free) if free < self.log_bytes => Err(format!(
                "it has {image_bytes} bytes, the disk has {free} left, and the log needs {}: make room",
                self.log_bytes
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newest(bytes: u64, records: u64) -> Option<NewestImage> {
        Some(NewestImage { number: 1, created_ms: 0, bytes, records })
    }

    #[test]
    fn an_image_is_expected_to_be_as_large_as_the_newest_for_as_many_records() {
        assert_eq!(expected_bytes(None, 1000), 0);
        assert_eq!(expected_bytes(newest(5000, 100), 100), 5000);
        assert_eq!(expected_bytes(newest(5000, 100), 300), 15_000);
        assert_eq!(expected_bytes(newest(5000, 100), 1), 50, "most of it was removed");
        assert_eq!(expected_bytes(newest(5000, 0), 100), 5000);
        assert_eq!(expected_bytes(newest(u64::MAX, 1), 2), u64::MAX);
    }

    #[test]
    fn an_image_is_begun_only_with_room_for_it_and_for_the_log() {
        assert!(Room::find(Some(149), 100, 50).is_err());
        assert!(Room::find(Some(150), 100, 50).is_ok());
        assert!(Room::find(Some(u64::MAX - 1), u64::MAX, 50).is_err());
        assert!(Room::find(None, 100, 50).is_ok(), "nobody knows");
        // The log is full, and only an image sets some free.
        assert!(Room::find(Some(100), 100, 0).is_ok());
        assert!(Room::find(Some(99), 100, 0).is_err());
    }

    #[test]
    fn the_room_is_looked_at_while_the_image_grows() {
        const MB: u64 = 1 << 20;
        let mut room = Room::find(Some(150 * MB), 100 * MB, 50 * MB).unwrap();
        room.look(MB / 2, || panic!("too soon")).unwrap();
        room.look(MB, || Some(50 * MB)).unwrap();
        room.look(MB + MB / 2, || panic!("too soon")).unwrap();
        room.look(2 * MB, || None).unwrap();
        let reason = room.look(3 * MB, || Some(50 * MB - 1)).unwrap_err();
        assert!(reason.contains("52428799") && reason.contains("52428800"), "{reason}");
        // Nothing is left to the log anyway.
        Room::find(Some(MB), MB, 0).unwrap().look(9 * MB, || panic!("in vain")).unwrap();
    }

    #[test]
    fn a_directory_has_some_room_and_one_that_is_not_there_is_unknown() {
        assert!(free_bytes(Path::new("/")).is_some());
        assert_eq!(free_bytes(Path::new("/no/such/directory")), None);
    }
}
