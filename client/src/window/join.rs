//! Reading several entities in several streams at once.

use std::time::Duration;

use bytes::Bytes;

use super::{At, Edge, Query, RowMeta, check, row, row_with_meta, rows_of};
use crate::codec::Command;
use crate::error::Error;
use crate::value::{Row, Value};

/// A `WINDOW.JOIN` in the making.
#[derive(Clone, Debug)]
#[must_use = "nothing is sent before get()"]
pub struct JoinQuery {
    pub(super) pairs: Vec<(Bytes, String)>,
    /// A list of features for each pair, instead of one for all.
    pub(super) each: Option<Vec<Vec<String>>>,
    pub(super) query: Query,
}

impl JoinQuery {
    query_options!();

    /// Asks for other features of every pair: a list for each, in their order. An empty list asks for all that are declared.
    pub fn features_each<L, F>(mut self, lists: impl IntoIterator<Item = L>) -> Self
    where
        L: IntoIterator<Item = F>,
        F: Into<String>,
    {
        let list = |list: L| list.into_iter().map(Into::into).collect();
        self.each = Some(lists.into_iter().map(list).collect());
        self
    }

    /// Fetches the rows, in the order of the pairs.
    ///
    /// # Errors
    ///
    /// As [`WindowQuery::get`]; when there is not one list of features for each pair.
    pub async fn get(self) -> Result<Vec<Row>, Error> {
        let replies = self.ask(false).await?;
        match &self.each {
            None => self.query.rows(replies),
            Some(lists) => {
                lists.iter().zip(replies).map(|(list, reply)| row(&list.clone().into(), reply)).collect()
            }
        }
    }

    /// Fetches the rows and what each was read over.
    ///
    /// # Errors
    ///
    /// As [`JoinQuery::get`].
    pub async fn get_with_meta(self) -> Result<Vec<(Row, RowMeta)>, Error> {
        let replies = self.ask(true).await?;
        match &self.each {
            None => self.query.rows_with_meta(replies),
            Some(lists) => lists
                .iter()
                .zip(replies)
                .map(|(list, reply)| row_with_meta(&list.clone().into(), reply))
                .collect(),
        }
    }

    async fn ask(&self, with_meta: bool) -> Result<Vec<Value>, Error> {
        let one = std::slice::from_ref(&self.query.features);
        let lists = self.each.as_deref().unwrap_or(one);
        for list in lists {
            check(list)?;
        }
        if self.each.is_some() && lists.len() != self.pairs.len() {
            return Err(Error::InvalidArgument(format!(
                "{} lists of features for {} pairs of entity and stream",
                lists.len(),
                self.pairs.len()
            )));
        }
        if self.pairs.is_empty() {
            return Ok(Vec::new());
        }
        let mut command = Command::new("WINDOW.JOIN");
        command.num(self.pairs.len());
        for (entity, stream) in &self.pairs {
            command.arg(entity).arg(stream);
        }
        self.query.write_options(&mut command, with_meta);
        command.arg("FEATURES");
        for list in lists {
            command.num(list.len());
            for feature in list {
                command.arg(feature);
            }
        }
        rows_of(self.query.client.read(command).await?, self.pairs.len())
    }
}
