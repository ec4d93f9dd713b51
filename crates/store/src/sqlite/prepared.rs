//! Statements that are prepared once for a batch: to prepare one takes longer than to execute it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use libsql::params::IntoParams;
use libsql::{Connection, Rows, Statement};

/// To be dropped before its transaction ends: a query that wasn't read to its end is still open.
pub(super) struct Prepared<'a> {
    connection: &'a Connection,
    statements: HashMap<&'static str, Statement>,
}

impl<'a> Prepared<'a> {
    pub(super) fn new(connection: &'a Connection) -> Self {
        Self { connection, statements: HashMap::new() }
    }

    pub(super) async fn execute(
        &mut self,
        sql: &'static str,
        values: impl IntoParams,
    ) -> libsql::Result<()> {
        self.ready(sql).await?.execute(values).await?;
        Ok(())
    }

    /// Rows, until the same query is asked again.
    pub(super) async fn query(
        &mut self,
        sql: &'static str,
        values: impl IntoParams,
    ) -> libsql::Result<Rows> {
        self.ready(sql).await?.query(values).await
    }

    async fn ready(&mut self, sql: &'static str) -> libsql::Result<&Statement> {
        match self.statements.entry(sql) {
            Entry::Occupied(known) => {
                let statement = known.into_mut();
                statement.reset();
                Ok(statement)
            }
            Entry::Vacant(place) => Ok(place.insert(self.connection.prepare(sql).await?)),
        }
    }
}
