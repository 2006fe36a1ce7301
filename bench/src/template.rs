//! Requests as templates: bytes that are copied, with holes of fixed width that are filled in place.

use crate::entities::EntitySource;
use crate::models::{Offsets, Texts};
use std::collections::HashSet;

/// Digits of a Unix time in milliseconds, from September 2001 to the year 2286.
const TIME_DIGITS: usize = 13;

/// Digits of the sequence number that keeps members of a sorted set apart.
const SEQ_DIGITS: usize = 8;

/// `10.00` to `99.99`.
const AMOUNT_BYTES: usize = 5;

/// Digits of a Unix time in minutes, from 1989 to 2160.
const MINUTE_DIGITS: usize = 8;

/// Digits of an event's id.
const ID_DIGITS: usize = 16;

/// A part of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// The same in every request.
    Text(&'a str),
    /// The key of the next entity drawn.
    NextKey,
    /// The key of the entity drawn last.
    SameKey,
    /// Milliseconds since 1970, that much before now.
    TimeMs {
        /// How long before now.
        back_ms: u64,
    },
    /// Minutes since 1970, that much before now.
    Minute {
        /// How long before now, in milliseconds.
        back_ms: u64,
    },
    /// A number that no other event of this thread has (within 10⁸ events).
    Seq,
    /// A float from 10.00 to 99.99.
    Amount,
    /// The name of the next thing drawn from a space of names, by its number.
    Name(usize),
    /// The next of the drawn texts of this number.
    Drawn {
        /// Which texts.
        texts: usize,
        /// Their width in bytes.
        width: usize,
    },
    /// Milliseconds since 1970: now, moved by the next of the drawn offsets of this number.
    Moved(usize),
    /// An id that no other event has, of this run or of another.
    Id,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fill {
    NextEntity,
    SameEntity,
    TimeMs { back_ms: u64 },
    Minute { back_ms: u64 },
    Seq,
    Amount,
    Name(usize),
    Drawn(usize),
    Moved(usize),
    Id,
}

#[derive(Clone, Copy, Debug)]
struct Hole {
    start: usize,
    end: usize,
    fill: Fill,
}

/// How an entity's number becomes a key of fixed length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFormat {
    prefix: String,
    digits: usize,
}

impl KeyFormat {
    /// Keys `prefix` + number, zero-padded to `size_bytes` in all; `None` if `entities` numbers do not fit.
    pub fn new(prefix: &str, size_bytes: usize, entities: u64) -> Option<Self> {
        let digits = size_bytes.checked_sub(prefix.len())?;
        let largest = entities.saturating_sub(1).to_string();
        (digits >= largest.len() && digits <= 19).then(|| Self { prefix: prefix.to_owned(), digits })
    }

    /// Length of a key.
    pub fn bytes(&self) -> usize {
        self.prefix.len() + self.digits
    }

    /// The key of an entity, for people and tests.
    pub fn key(&self, entity: u64) -> String {
        format!("{}{entity:0width$}", self.prefix, width = self.digits)
    }
}

/// The bytes of one request (one or more commands), and where they vary.
#[derive(Clone, Debug)]
pub struct Template {
    bytes: Vec<u8>,
    holes: Vec<Hole>,
    /// The formats of all spaces of names.
    names: Vec<KeyFormat>,
    /// The space that its entities are drawn from.
    space: usize,
    /// No entity occurs twice in one request.
    is_without_repeats: bool,
}

impl Template {
    /// A request without commands yet.
    pub fn new(key: KeyFormat) -> Self {
        Self::of_space(vec![key], 0)
    }

    /// A request without commands yet, whose entities are of the space `space` of `names`.
    pub fn of_space(names: Vec<KeyFormat>, space: usize) -> Self {
        assert!(space < names.len(), "space {space} of {}", names.len());
        Self { bytes: Vec::new(), holes: Vec::new(), names, space, is_without_repeats: false }
    }

    /// From now on the entities of one request are all different ones.
    pub fn without_repeats(&mut self) {
        self.is_without_repeats = true;
    }

    /// Adds a command; each argument is made of pieces.
    pub fn command(&mut self, args: &[&[Piece<'_>]]) {
        self.bytes.extend_from_slice(format!("*{}\r\n", args.len()).as_bytes());
        for pieces in args {
            let len: usize = pieces.iter().map(|piece| self.width(piece)).sum();
            self.bytes.extend_from_slice(format!("${len}\r\n").as_bytes());
            for piece in *pieces {
                self.piece(*piece);
            }
            self.bytes.extend_from_slice(b"\r\n");
        }
    }

    fn width(&self, piece: &Piece<'_>) -> usize {
        match piece {
            Piece::Text(text) => text.len(),
            Piece::NextKey | Piece::SameKey => self.names[self.space].bytes(),
            Piece::Name(space) => self.names[*space].bytes(),
            Piece::TimeMs { .. } | Piece::Moved(_) => TIME_DIGITS,
            Piece::Minute { .. } => MINUTE_DIGITS,
            Piece::Seq => SEQ_DIGITS,
            Piece::Amount => AMOUNT_BYTES,
            Piece::Drawn { width, .. } => *width,
            Piece::Id => ID_DIGITS,
        }
    }

    fn piece(&mut self, piece: Piece<'_>) {
        let (fill, width) = match piece {
            Piece::Text(text) => return self.bytes.extend_from_slice(text.as_bytes()),
            Piece::NextKey | Piece::SameKey => {
                let fill = if piece == Piece::NextKey { Fill::NextEntity } else { Fill::SameEntity };
                (fill, self.prefix_of(self.space))
            }
            Piece::Name(space) => (Fill::Name(space), self.prefix_of(space)),
            Piece::TimeMs { back_ms } => (Fill::TimeMs { back_ms }, TIME_DIGITS),
            Piece::Minute { back_ms } => (Fill::Minute { back_ms }, MINUTE_DIGITS),
            Piece::Moved(offsets) => (Fill::Moved(offsets), TIME_DIGITS),
            Piece::Seq => (Fill::Seq, SEQ_DIGITS),
            Piece::Amount => (Fill::Amount, AMOUNT_BYTES),
            Piece::Drawn { texts, width } => (Fill::Drawn(texts), width),
            Piece::Id => (Fill::Id, ID_DIGITS),
        };
        let start = self.bytes.len();
        self.bytes.resize(start + width, b'0');
        self.holes.push(Hole { start, end: start + width, fill });
    }

    /// Writes the prefix of a space's names; gives the digits that follow it.
    fn prefix_of(&mut self, space: usize) -> usize {
        let KeyFormat { prefix, digits } = &self.names[space];
        self.bytes.extend_from_slice(prefix.as_bytes());
        *digits
    }

    /// Length of the request in bytes; the same for each one made from this template.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// True before the first command is added.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Entities drawn for each request.
    pub fn entities(&self) -> usize {
        self.holes.iter().filter(|hole| hole.fill == Fill::NextEntity).count()
    }

    /// Appends a request to `out`.
    pub fn write(&self, out: &mut Vec<u8>, draw: &mut Draw) {
        let base = out.len();
        out.extend_from_slice(&self.bytes);
        let request = &mut out[base..];
        if self.is_without_repeats {
            draw.met.clear();
        }
        for hole in &self.holes {
            let place = &mut request[hole.start..hole.end];
            match hole.fill {
                Fill::NextEntity => {
                    let space = &mut draw.spaces[self.space];
                    draw.entity = match self.is_without_repeats {
                        true => space.next_unlike(&mut draw.met),
                        false => space.next(),
                    };
                    write_digits(place, draw.entity);
                }
                Fill::Name(space) => write_digits(place, draw.spaces[space].next()),
                Fill::Drawn(texts) => place.copy_from_slice(draw.texts[texts].next()),
                Fill::Moved(offsets) => {
                    let moved_ms = draw.now_ms.saturating_add_signed(draw.offsets[offsets].next());
                    write_digits(place, moved_ms);
                }
                Fill::Id => {
                    draw.id += 1;
                    write_digits(place, draw.id);
                }
                Fill::SameEntity => write_digits(place, draw.entity),
                Fill::TimeMs { back_ms: 0 } => place.copy_from_slice(&draw.now_digits),
                Fill::TimeMs { back_ms } => write_digits(place, draw.now_ms.saturating_sub(back_ms)),
                Fill::Minute { back_ms } => {
                    write_digits(place, draw.now_ms.saturating_sub(back_ms) / 60_000);
                }
                Fill::Seq => {
                    draw.seq += 1;
                    write_digits(place, draw.seq % 10_u64.pow(8));
                }
                Fill::Amount => {
                    draw.cents = (draw.cents + 37) % 9000;
                    write_digits(&mut place[..2], 10 + draw.cents / 100);
                    place[2] = b'.';
                    write_digits(&mut place[3..], draw.cents % 100);
                }
            }
        }
    }
}

/// What fills the holes: one thread's entities, clock and counters.
#[derive(Debug)]
pub struct Draw {
    spaces: Vec<EntitySource>,
    texts: Vec<Texts>,
    offsets: Vec<Offsets>,
    entity: u64,
    /// Entities of the present request, where they must differ.
    met: HashSet<u64>,
    now_ms: u64,
    now_digits: [u8; TIME_DIGITS],
    seq: u64,
    id: u64,
    cents: u64,
}

/// How many ids there are; behind the last comes the first.
pub const IDS: u64 = 10_u64.pow(ID_DIGITS as u32);

impl Draw {
    /// Starts drawing; `salt` keeps the members of several threads apart.
    pub fn new(entities: EntitySource, salt: u64) -> Self {
        Self::with(vec![entities], Vec::new(), Vec::new(), salt)
    }

    /// Starts drawing from several spaces of names, texts and offsets.
    pub fn with(spaces: Vec<EntitySource>, texts: Vec<Texts>, offsets: Vec<Offsets>, salt: u64) -> Self {
        let seq = salt.wrapping_mul(7_919_191) % 10_u64.pow(8);
        let now_digits = [b'0'; TIME_DIGITS];
        Self {
            spaces,
            texts,
            offsets,
            entity: 0,
            met: HashSet::new(),
            now_ms: 0,
            now_digits,
            seq,
            id: 0,
            cents: 0,
        }
    }

    /// Its events' ids are those behind this one.
    #[must_use]
    pub fn with_ids_behind(self, id: u64) -> Self {
        Self { id, ..self }
    }

    /// Sets the time that events happen at.
    pub fn set_now_ms(&mut self, now_ms: u64) {
        if self.now_ms != now_ms {
            self.now_ms = now_ms;
            write_digits(&mut self.now_digits, now_ms);
        }
    }
}

const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut value = 0;
    while value < 100 {
        pairs[value] = [b'0' + (value / 10) as u8, b'0' + (value % 10) as u8];
        value += 1;
    }
    pairs
};

/// Fills `place` with the last digits of `value`, zero-padded.
fn write_digits(place: &mut [u8], mut value: u64) {
    let mut end = place.len();
    while end >= 2 {
        place[end - 2..end].copy_from_slice(&PAIRS[(value % 100) as usize]);
        value /= 100;
        end -= 2;
    }
    if end == 1 {
        let digit = (value % 10) as u8;
        place[0] = b'0' + digit;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_padded_to_their_width() {
        for (width, value, text) in [(1, 7, "7"), (4, 42, "0042"), (7, 1_234_567, "1234567"), (5, 0, "00000")]
        {
            let mut place = vec![b'x'; width];
            write_digits(&mut place, value);
            assert_eq!(place, text.as_bytes());
        }
    }

    #[test]
    fn keys_have_the_size_asked_for_and_room_for_every_entity() {
        let key = KeyFormat::new("user:", 12, 10_000_000).unwrap();
        assert_eq!(key.key(42), "user:0000042");
        assert_eq!(KeyFormat::new("user:", 12, 10_000_001), None);
        assert_eq!(KeyFormat::new("user:", 4, 1), None);
    }

    #[test]
    fn holes_are_filled_and_the_rest_is_copied() {
        let mut template = Template::new(KeyFormat::new("e", 4, 1000).unwrap());
        let member =
            [Piece::TimeMs { back_ms: 0 }, Piece::Text("-"), Piece::Seq, Piece::Text(":"), Piece::Amount];
        template.command(&[
            &[Piece::Text("ZADD")],
            &[Piece::NextKey],
            &[Piece::TimeMs { back_ms: 60_000 }],
            &member,
        ]);
        template.command(&[&[Piece::Text("EXPIRE")], &[Piece::SameKey], &[Piece::Text("60")]]);
        let mut draw = Draw::new(EntitySource::sequential(5, 7), 0);
        draw.set_now_ms(1_700_000_060_000);
        let mut out = Vec::new();
        template.write(&mut out, &mut draw);
        template.write(&mut out, &mut draw);
        let request = |entity: &str, seq: u32, amount: &str| {
            format!(
                "*4\r\n$4\r\nZADD\r\n$4\r\n{entity}\r\n$13\r\n1700000000000\r\n$28\r\n1700000060000-{seq:08}:{amount}\r\n\
                 *3\r\n$6\r\nEXPIRE\r\n$4\r\n{entity}\r\n$2\r\n60\r\n"
            )
        };
        let expected = request("e005", 1, "10.37") + &request("e006", 2, "10.74");
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert_eq!(template.len() * 2, expected.len());
    }
}
