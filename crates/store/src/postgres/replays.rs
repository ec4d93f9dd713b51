//! Replays.

use std::time::Duration;

use async_trait::async_trait;
use tokio_postgres::Row;
use triggerline_types::{Actor, CustomerId, Progress, Replay, ReplayId, ReplayState, Selection};
use uuid::Uuid;

use super::exchange::Fault;
use super::{PostgresControl, audit, count, milliseconds, now, number, rows};
use crate::control::replays::{MAX_RUNNING_REPLAYS, NewReplay, ReplayStore};
use crate::control::{fields, trail};
use crate::error::StoreError;

const FIELDS: &str = "id, customer_id, source, subscription_id, delivery_id, standing, \
     event_types, from_at, to_at, rate, dry_run, state, reason, after_at, after_id, examined, \
     sent, created_at, updated_at";

#[async_trait]
impl ReplayStore for PostgresControl {
    async fn create_replay(&self, new: NewReplay, by: Actor) -> Result<Option<Replay>, StoreError> {
        self.change("create a replay", async |transaction| {
            let made = new.into_replay(now());
            let customer = made.customer_id;
            // Its row is locked, so that two at once don't count the same.
            let lock = "SELECT 1 FROM customers WHERE id = $1 FOR NO KEY UPDATE";
            transaction.query_opt(lock, &[customer.as_uuid()]).await?;
            let insert = "INSERT INTO replays (id, customer_id, source, subscription_id, \
                 delivery_id, standing, event_types, from_at, to_at, rate, dry_run, state, \
                 examined, sent, created_at, updated_at) \
                 SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'running', 0, 0, $12, $12 \
                 WHERE $13 > (SELECT count(*) FROM replays \
                              WHERE customer_id = $2 AND state = 'running')";
            let (selection, source) = (&made.selection, &made.selection.source);
            let inserted = transaction
                .execute(
                    insert,
                    &[
                        made.id.as_uuid(),
                        customer.as_uuid(),
                        &source.as_str(),
                        &source.subscription_id().map(|id| *id.as_uuid()),
                        &fields::replayed_delivery(source).map(|id| *id.as_uuid()),
                        &fields::standing_to_text(source),
                        &fields::event_types_to_text(&selection.event_types),
                        &selection.from,
                        &selection.to,
                        &i64::from(made.rate),
                        &made.dry_run,
                        &made.created_at,
                        &rows(MAX_RUNNING_REPLAYS),
                    ],
                )
                .await?;
            if inserted == 0 {
                return Ok(None);
            }
            let entry = trail::entry(customer, by, trail::REPLAY_CREATED, made.id, made.created_at);
            audit::record(transaction, entry).await?;
            Ok(Some(made))
        })
        .await
    }

    async fn replay(
        &self,
        customer: CustomerId,
        id: ReplayId,
    ) -> Result<Option<Replay>, StoreError> {
        self.ask("read a replay", async |client| {
            let query = format!("SELECT {FIELDS} FROM replays WHERE id = $1 AND customer_id = $2");
            let row = client.query_opt(&query, &[id.as_uuid(), customer.as_uuid()]).await?;
            row.as_ref().map(replay).transpose()
        })
        .await
    }

    async fn replays(
        &self,
        customer: CustomerId,
        after: Option<ReplayId>,
        limit: usize,
    ) -> Result<Vec<Replay>, StoreError> {
        self.ask("list replays", async |client| {
            // The largest id there could be, for a first page.
            let after = after.map_or(Uuid::max(), |id| *id.as_uuid());
            let query = format!(
                "SELECT {FIELDS} FROM replays WHERE customer_id = $1 AND id < $2 \
                 ORDER BY id DESC LIMIT $3"
            );
            let found = client.query(&query, &[customer.as_uuid(), &after, &rows(limit)]).await?;
            found.iter().map(replay).collect()
        })
        .await
    }

    async fn cancel_replay(
        &self,
        customer: CustomerId,
        id: ReplayId,
        by: Actor,
    ) -> Result<Option<Replay>, StoreError> {
        self.change("cancel a replay", async |transaction| {
            let update = "UPDATE replays SET state = 'cancelled', updated_at = $3 \
                 WHERE id = $1 AND customer_id = $2 AND state = 'running'";
            let at = now();
            if transaction.execute(update, &[id.as_uuid(), customer.as_uuid(), &at]).await? > 0 {
                let entry = trail::entry(customer, by, trail::REPLAY_CANCELLED, id, at);
                audit::record(transaction, entry).await?;
            }
            let query = format!("SELECT {FIELDS} FROM replays WHERE id = $1 AND customer_id = $2");
            let row = transaction.query_opt(&query, &[id.as_uuid(), customer.as_uuid()]).await?;
            row.as_ref().map(replay).transpose()
        })
        .await
    }

    async fn claim_replay(
        &self,
        owner: Uuid,
        lease: Duration,
    ) -> Result<Option<Replay>, StoreError> {
        self.ask("claim a replay", async |client| {
            // By the server's clock, which all who ask share.
            let update = format!(
                "UPDATE replays SET owner = $1, leased_until = now() + $2 * interval '1 ms' \
                 WHERE id = (SELECT id FROM replays WHERE state = 'running' \
                     AND (leased_until IS NULL OR leased_until < now()) \
                     ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING {FIELDS}"
            );
            let statement = client.prepare_cached(&update).await?;
            let row = client.query_opt(&statement, &[&owner, &milliseconds(lease)]).await?;
            row.as_ref().map(replay).transpose()
        })
        .await
    }

    async fn advance_replay(
        &self,
        id: ReplayId,
        owner: Uuid,
        progress: Progress,
        state: ReplayState,
        lease: Option<Duration>,
    ) -> Result<bool, StoreError> {
        self.ask("keep how far a replay is", async |client| {
            let update = "UPDATE replays SET after_at = $3, after_id = $4, examined = $5, \
                 sent = $6, state = $7, reason = $8, \
                 leased_until = now() + $9 * interval '1 ms', updated_at = $10 \
                 WHERE id = $1 AND owner = $2 AND state = 'running'";
            let (at, after) = progress.after.unzip();
            let changed = client
                .execute(
                    update,
                    &[
                        id.as_uuid(),
                        &owner,
                        &at,
                        &after,
                        &count(progress.examined),
                        &count(progress.sent),
                        &state.as_str(),
                        &state.reason(),
                        &lease.map(milliseconds),
                        &now(),
                    ],
                )
                .await?;
            Ok(changed > 0)
        })
        .await
    }
}

fn replay(row: &Row) -> Result<Replay, Fault> {
    let unreadable = Fault::row("replays");
    let number = |at| number(row, "replays", at);
    let after: (Option<_>, Option<Uuid>) = (row.get(13), row.get(14));
    Ok(Replay {
        id: ReplayId::from_uuid(row.get(0)),
        customer_id: CustomerId::from_uuid(row.get(1)),
        selection: Selection {
            source: fields::source(row.get(2), row.get(3), row.get(4), row.get(5))
                .map_err(&unreadable)?,
            event_types: fields::event_types_from_text(row.get(6)).map_err(&unreadable)?,
            from: row.get(7),
            to: row.get(8),
        },
        rate: u32::try_from(number(9)?).map_err(|_| unreadable("a rate too high".to_owned()))?,
        dry_run: row.get(10),
        state: fields::replay_state(row.get(11), row.get(12)).map_err(&unreadable)?,
        progress: Progress {
            after: after.0.zip(after.1),
            examined: number(15)?,
            sent: number(16)?,
        },
        created_at: row.get(17),
        updated_at: row.get(18),
    })
}
