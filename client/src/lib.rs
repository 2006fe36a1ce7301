//! Async client for Windrow: typed events and features over one multiplexed
//! connection.
//!
//! ```
//! use windrow_client::{Client, Event, EventReply, FieldType, StreamAlteration, StreamDefinition};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # // Without a server this example is compiled only, and says so; the test script starts one and sets this.
//! # let Ok(addr) = std::env::var("WINDROW_ADDR") else {
//! #     eprintln!("NOT RUN, only compiled: WINDROW_ADDR is not set to the address of a server");
//! #     return Ok(());
//! # };
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(example(&addr))?;
//! # Ok(())
//! # }
//! # async fn example(addr: &str) -> Result<(), windrow_client::Error> {
//! let client = Client::builder(addr).client_name("fraud-model").connect().await?;
//!
//! let purchases = StreamDefinition::new("client_example")
//!     .field("amount", FieldType::Float)
//!     .windows(["5m@5s", "1h@1m"])
//!     .aggregates(["count", "sum(amount)"]);
//! client.create_stream(&purchases).await?;
//!
//! let reply = client.add(Event::new("user:42", "client_example").now().field("amount", 12.5)).await?;
//! assert_eq!(reply, EventReply::Ok);
//!
//! let row = client.window("user:42", "client_example").features(["count:5m", "sum(amount):1h"]).get().await?;
//! assert_eq!(row.int("count:5m"), Some(1));
//! assert_eq!(row.float("sum(amount):1h"), Some(12.5));
//!
//! let also_largest = StreamAlteration::new("client_example").add_aggregates(["max(amount)"]).backfill();
//! client.alter_stream(&also_largest).await?;
//! assert_eq!(client.stream_info("client_example").await?.counters.ok, 1);
//! assert!(client.delete_entity_of("user:42", "client_example").await?);
//! # client.drop_stream("client_example").await?;
//! # Ok(())
//! # }
//! ```
//!
//! | commands | calls |
//! | --- | --- |
//! | `STREAM.CREATE` `ALTER` `DROP` `LIST` `INFO`, `BACKFILL` | [`create_stream`](Client::create_stream), [`alter_stream`](Client::alter_stream), [`drop_stream`](Client::drop_stream), [`list_streams`](Client::list_streams), [`stream_info`](Client::stream_info) |
//! | `EVENT.ADD` `MADD` | [`add`](Client::add), [`batcher`](Client::batcher) |
//! | `WINDOW.GET` `MGET` `JOIN` `RANGE` `TOP` | [`window`](Client::window), [`mget`](Client::mget), [`join`](Client::join), [`range`](Client::range), [`top`](Client::top) |
//! | `ENTITY.DEL` `SCAN` `INFO` | [`delete_entity`](Client::delete_entity), [`delete_entity_of`](Client::delete_entity_of), [`scan_entities`](Client::scan_entities), [`entity_info`](Client::entity_info) |
//! | `PING`, and all others | [`ping`](Client::ping), [`command`](Client::command) |
//!
//! Clones of a [`Client`] share its connection: calls made at the same time are pipelined. For the highest rate
//! of events, [`Client::batcher`] puts events of many tasks into one command. What is sent is never silently
//! sent again; [`Error::ConnectionLost`] says whether a command may have been applied.

mod backoff;
mod batch;
mod client;
mod codec;
mod connection;
mod entity;
mod error;
mod event;
mod options;
pub mod scan;
mod stream;
mod value;
mod window;

pub use batch::{BATCH_EVENTS_MAX, BatchOptions, Batcher};
pub use client::Client;
pub use codec::{ARGS_MAX, COMMAND_BYTES_MAX, Protocol};
pub use entity::{EntityInfo, EntityScan, EntityTier};
pub use error::{Error, ErrorCode, ServerError};
pub use event::{ENTITY_BYTES_MAX, Event, EventReply, FieldValue};
pub use options::{ClientBuilder, MAX_IN_FLIGHT_DEFAULT, MAX_IN_FLIGHT_LIMIT};
pub use stream::{
    Backfill, Clock, FieldType, SkewPolicy, StreamAlteration, StreamCounters, StreamDefinition, StreamInfo,
    Tier,
};
pub use value::{Row, Value};
pub use window::{Edge, JoinQuery, ManyQuery, RangeQuery, RowMeta, WindowQuery};
