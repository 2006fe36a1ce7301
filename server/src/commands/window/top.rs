//! WINDOW.TOP: the question; `shard::top` has the scan.

use std::sync::Arc;

use windrow_engine::Stream;
use windrow_engine::top::{Ranked, TOP_MAX};
use windrow_protocol::{Proto, reply};
use windrow_window::timestamp::parse_int;
use windrow_window::{Options, Query};

use super::super::{Call, Flow, no_such_stream, shown};
use crate::connection::Client;
use crate::shard::write_value;
use crate::timing::Arguments;

/// What a WINDOW.TOP asks.
pub(crate) struct TopQuestion {
    pub(crate) stream: Arc<Stream>,
    /// Asks the one feature.
    pub(crate) query: Arc<Query>,
    pub(crate) k: usize,
    /// Who asks, and how.
    pub(crate) client: Arc<Client>,
    pub(crate) arguments: Arguments,
}

/// `WINDOW.TOP <stream> <feature> <k>`
pub(in super::super) fn top(call: &mut Call<'_>) -> Flow {
    let request = call.request;
    let (name, feature, k) = (request.at(1), request.at(2), request.at(3));
    let Some(stream) = call.core.catalogue.stream(name).map(Arc::clone) else {
        return call.error(format_args!("ERR {}", no_such_stream(name)));
    };
    let query = match Query::of(&stream.layout, Options::default(), std::iter::once(feature)) {
        Ok(query) => query,
        Err(error) => return call.error(format_args!("ERR {error}")),
    };
    if !query.features[0].aggregate.is_numeric(&stream.layout.fields) {
        return call.error(format_args!(
            "ERR WINDOW.TOP needs a feature whose values are numbers, and {} has none",
            query.features[0].name
        ));
    }
    let entities = parse_int(k).and_then(|k| usize::try_from(k).ok());
    let Some(entities) = entities.filter(|k| (1..=TOP_MAX).contains(k)) else {
        return call.error(format_args!("ERR k is from 1 to {TOP_MAX}, not '{}'", shown(k)));
    };
    call.session.top = Some(Box::new(TopQuestion {
        stream,
        query: Arc::new(query),
        k: entities,
        client: Arc::clone(&call.session.client),
        arguments: Arguments::of(request),
    }));
    Flow::Parked
}

/// Writes the reply of WINDOW.TOP: pairs of entity and value, the largest first.
pub(crate) fn write_top(out: &mut Vec<u8>, proto: Proto, found: &[Ranked]) {
    reply::array(out, found.len());
    for ranked in found {
        reply::array(out, 2);
        reply::bulk(out, &ranked.entity);
        write_value(out, proto, &ranked.value);
    }
}
