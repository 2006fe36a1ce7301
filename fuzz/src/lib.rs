//! The bodies of the fuzz targets: plain functions that panic when a promise is broken.
//!
//! `cargo fuzz` calls them with inputs that it evolves; `cargo test` calls them with the seeds and some thousand
//! mutations of them. What a promise is compared with stands in `protocol/tests/oracle`, beside the property tests.

#[path = "../../protocol/tests/oracle/replies.rs"]
#[expect(missing_docs, reason = "documented as tests are")]
pub mod replies;
#[path = "../../protocol/tests/oracle/requests.rs"]
pub mod requests;

mod inline;
mod reply;
mod request;

pub use inline::inline;
pub use reply::reply;
pub use request::request;

/// A target: its name, which is also that of its folder of seeds, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 3] = [("request", request), ("inline", inline), ("reply", reply)];
