//! WINDOW.JOIN: rows of several entities in several streams, with one T for each stream.
//!
//! Behind FEATURES stands one list for all pairs, or one for each. A list is a count and so many features; a count of 0 asks all
//! that the pair's stream declares.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use windrow_engine::form::check_entity;
use windrow_engine::{Stream, StreamId};
use windrow_protocol::Request;
use windrow_window::query::FEATURES_MAX;
use windrow_window::timestamp::parse_int;
use windrow_window::{Options, Query, ReadTime, StreamTime};

use super::super::{Flow, event, is, no_such_stream, shown};
use super::prepare::{query_of, text_behind};
use crate::connection::Session;
use crate::shard::{Core, Job, JobKind, JobTime, PreparedRead};

/// Most pairs of one command: they are looked up before the first row is read.
const PAIRS_MAX: usize = 16_384;
/// Most features of all lists together; one list for all pairs counts once for each stream.
const LISTED_MAX: usize = 8192;
/// Index of the first pair's entity.
const PAIRS_AT: usize = 2;

/// `WINDOW.JOIN <numpairs> <entity> <stream> ... [options] FEATURES <m> <feature> ... [<m> <feature> ... per pair]`
pub(in super::super) fn join(
    core: &mut Core,
    session: &mut Session,
    request: Request<'_>,
    command: &[u8],
) -> Flow {
    if session.staged_elsewhere > 0 {
        return Flow::AfterStaged;
    }
    let planned = Header::parse(request).and_then(|header| plan(core, request, command, &header));
    match planned {
        Ok((reads, of_pair)) => {
            let rows = of_pair.len();
            let reply = event::open_rows(core, session, rows, rows);
            let what = JobKind::Join { reads, of_pair };
            let (command_bytes, time) = (command.len(), JobTime::default());
            session.job = Some(Box::new(Job {
                what,
                reply,
                next: 0,
                rows,
                command_bytes,
                is_output_clear: false,
                time,
            }));
            Flow::Job
        }
        Err(error) => {
            core.stage_error(session, format_args!("ERR {error}"));
            Flow::Done
        }
    }
}

/// The entity of a WINDOW.JOIN's row.
pub(in super::super) fn join_entity(request: Request<'_>, row: usize) -> &[u8] {
    request.at(PAIRS_AT + 2 * row)
}

/// What stands around the features.
struct Header {
    pairs: usize,
    options: Options,
    /// Where options begin, and the word FEATURES behind them.
    options_at: usize,
    features_at: usize,
    lists: Vec<List>,
}

/// A list of features.
#[derive(Clone, Copy)]
struct List {
    /// Index of its first feature.
    at: usize,
    len: usize,
}

impl Header {
    fn parse(request: Request<'_>) -> Result<Self, String> {
        let pairs = count(request.at(1)).filter(|&pairs| pairs > 0);
        let pairs = pairs.ok_or("numpairs should be greater than 0")?;
        if pairs > PAIRS_MAX {
            return Err(format!("{pairs} pairs are more than {PAIRS_MAX}"));
        }
        let options_at = PAIRS_AT + 2 * pairs;
        if options_at >= request.len() {
            return Err("Number of pairs can't be greater than number of args".to_owned());
        }
        for row in 0..pairs {
            check_entity(join_entity(request, row)).map_err(|error| error.to_string())?;
        }
        let mut options = Options::default();
        let mut args = request.skip(options_at).iter();
        let features_at = loop {
            let at = request.len() - args.len();
            match args.next() {
                Some(word) if is(word, "FEATURES") => break at,
                Some(word) => {
                    if !options.take(word, &mut args).map_err(|error| error.to_string())? {
                        return Err(format!(
                            "behind the pairs stand options and FEATURES <m> <feature> ..., not '{}'",
                            shown(word)
                        ));
                    }
                }
                None => return Err("FEATURES <m> <feature> ... is missing".to_owned()),
            }
        };
        let lists = lists(request, features_at + 1, pairs)?;
        Ok(Self { pairs, options, options_at, features_at, lists })
    }

    /// The list of a pair.
    fn list(&self, row: usize) -> usize {
        if self.lists.len() == 1 { 0 } else { row }
    }
}

/// The lists from argument `at` on: one, or one for each pair.
fn lists(request: Request<'_>, mut at: usize, pairs: usize) -> Result<Vec<List>, String> {
    let mut lists = Vec::new();
    while at < request.len() || lists.is_empty() {
        if lists.len() == pairs {
            return Err(format!("'{}' stands behind the last list of features", shown(request.at(at))));
        }
        let Some(word) = request.get(at) else { return Err("FEATURES needs a count".to_owned()) };
        let len = count(word).filter(|&len| len <= FEATURES_MAX);
        let len = len.ok_or_else(|| {
            format!("a list of features begins with their count, 0 to {FEATURES_MAX}, not '{}'", shown(word))
        })?;
        at += 1;
        if len > request.len() - at {
            return Err(format!("a list has {} features, not {len}", request.len() - at));
        }
        lists.push(List { at, len });
        at += len;
    }
    if lists.len() != 1 && lists.len() != pairs {
        return Err(format!(
            "{} lists of features for {pairs} pairs: give one for all, or one each",
            lists.len()
        ));
    }
    Ok(lists)
}

fn count(word: &[u8]) -> Option<usize> {
    parse_int(word).and_then(|count| usize::try_from(count).ok())
}

/// The reads of a WINDOW.JOIN with their times, and for each pair which of them it is.
type Planned = (Box<[(Rc<PreparedRead>, ReadTime)]>, Box<[u32]>);

fn plan(core: &mut Core, request: Request<'_>, command: &[u8], header: &Header) -> Result<Planned, String> {
    let mut reads: Vec<(Rc<PreparedRead>, ReadTime)> = Vec::new();
    let mut of_pair = Vec::with_capacity(header.pairs);
    // Each stream's times are taken once, so that all its rows have one T.
    let mut times: HashMap<StreamId, StreamTime> = HashMap::new();
    let mut planned: HashMap<(StreamId, usize), u32> = HashMap::new();
    let mut listed = 0;
    for row in 0..header.pairs {
        let name = request.at(PAIRS_AT + 2 * row + 1);
        let stream = core.catalogue.stream(name).ok_or_else(|| no_such_stream(name))?;
        let list = header.list(row);
        if let Some(&read) = planned.get(&(stream.id, list)) {
            of_pair.push(read);
            continue;
        }
        let stream = Arc::clone(stream);
        let read = prepare(core, request, command, header, list, stream)?;
        let (query, stream) = (query_of(&read), &read.stream);
        listed += query.features.len();
        if listed > LISTED_MAX {
            return Err(format!("the lists have more than {LISTED_MAX} features together"));
        }
        let times = *times.entry(stream.id).or_insert_with(|| stream.times(core.now_ms));
        let time = query.read_time(&stream.layout, times).map_err(|error| error.to_string())?;
        planned.insert((stream.id, list), reads.len() as u32);
        of_pair.push(reads.len() as u32);
        reads.push((read, time));
    }
    Ok((reads.into(), of_pair.into()))
}

/// The parsed form of one list in one stream, from the cache or made.
fn prepare(
    core: &mut Core,
    request: Request<'_>,
    command: &[u8],
    header: &Header,
    list: usize,
    stream: Arc<Stream>,
) -> Result<Rc<PreparedRead>, String> {
    let List { at, len } = header.lists[list];
    let key = key(request, command, header, header.lists[list], &stream);
    if let Some(read) = key.as_ref().and_then(|key| core.reads.get(key)) {
        return Ok(Rc::clone(read));
    }
    let names = request.skip(at).iter().take(len);
    let query = Query::of(&stream.layout, header.options, names)
        .map_err(|error| format!("stream '{}': {error}", stream.definition.name))?;
    Ok(core.reads.keep(key.as_deref(), stream, query))
}

/// What a list is kept by in the cache: the stream's name, then options and list as they came over the wire. A name has no byte
/// that the text behind it could begin with, nor could the key of a WINDOW.GET begin with it.
fn key(
    request: Request<'_>,
    command: &[u8],
    header: &Header,
    list: List,
    stream: &Stream,
) -> Option<Vec<u8>> {
    let between = |before: usize, last: usize| {
        let behind = text_behind(command, request.at(before))?;
        let rest = text_behind(command, request.at(last)).unwrap_or_default();
        behind.get(..behind.len().checked_sub(rest.len())?)
    };
    let options = between(header.options_at - 1, header.features_at)?;
    let features = between(list.at - 2, list.at + list.len - 1)?;
    Some([stream.definition.name.as_bytes(), options, features].concat())
}
