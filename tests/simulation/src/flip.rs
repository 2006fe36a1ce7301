//! Bits that flip on the medium between two lives.

use std::path::{Path, PathBuf};

use windrow_storage::disk::{Disk, MemDisk, OpenMode};

use crate::coverage::Tried;
use crate::dice::Dice;
use crate::server::boot::DIR;

/// A bit that was flipped.
#[derive(Debug, Clone)]
pub struct Flip {
    path: PathBuf,
    offset: u64,
    mask: u8,
    is: u8,
    /// Where.
    pub tried: Tried,
}

impl Flip {
    /// Flips a bit of a file by chance; `None`: there is none to be flipped.
    pub fn any(mem: &MemDisk, dice: &mut Dice) -> Option<Flip> {
        let (folder, tried) = match dice.weighted(&[10, 45, 45]) {
            0 => ("", Tried::FlipInManifest),
            1 => ("log", Tried::FlipInLog),
            _ => ("images", Tried::FlipInImage),
        };
        let path = match folder {
            "" => Path::new(DIR).join("manifest"),
            folder => {
                let dir = Path::new(DIR).join(folder);
                let names = mem.list(&dir).ok()?;
                if names.is_empty() {
                    return None;
                }
                dir.join(&names[dice.index(names.len())])
            }
        };
        let len = mem.open(&path, OpenMode::Read).ok()?.len().ok()?;
        if len == 0 {
            return None;
        }
        // What was written stands in front.
        let offset = if dice.chance(50) { dice.below(len) } else { dice.below(len.min(6_000)) };
        let mask = 1 << dice.below(8);
        let mut is = 0;
        mem.corrupt(&path, offset, |byte| {
            *byte ^= mask;
            is = *byte;
        })
        .ok()?;
        Some(Flip { path, offset, mask, is, tried })
    }

    /// Flips it back, if the byte is still there, also in a file that was put aside; whether it was.
    pub fn undo(&self, mem: &MemDisk) -> bool {
        let aside = PathBuf::from(format!("{}.damaged", self.path.display()));
        if mem.open(&self.path, OpenMode::Read).is_err() && mem.open(&aside, OpenMode::Read).is_ok() {
            let renamed = mem.rename(&aside, &self.path);
            let dir = self.path.parent().unwrap_or(Path::new(DIR));
            if renamed.and_then(|()| mem.sync_dir(dir)).is_err() {
                return false;
            }
        }
        let mut is_undone = false;
        let change = |byte: &mut u8| {
            if *byte == self.is {
                *byte ^= self.mask;
                is_undone = true;
            }
        };
        mem.corrupt(&self.path, self.offset, change).is_ok() && is_undone
    }
}
