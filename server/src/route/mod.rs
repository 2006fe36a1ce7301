//! Between shards: batches of questions and answers, the rings they travel in, and the credits that bound them.

mod batch;
mod links;

pub(crate) use batch::{Answerer, Batch, Item as QuestionItem, Question, ReadWhat};
pub(crate) use links::Links;
