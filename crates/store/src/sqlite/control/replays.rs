//! Replays.

use std::time::Duration;

use async_trait::async_trait;
use libsql::{Connection, Row, params};
use triggerline_types::{
    Actor, CustomerId, Progress, Replay, ReplayId, ReplayState, Selection, millis,
};
use uuid::Uuid;

use super::super::{Fault, column};
use super::{SqliteControl, audit, blob, collect, count, now, number, rows};
use crate::control::replays::{MAX_RUNNING_REPLAYS, NewReplay, ReplayStore};
use crate::control::{fields, trail};
use crate::error::StoreError;

const REPLAY: &str = "SELECT id, customer_id, source, subscription_id, delivery_id, standing, \
     event_types, from_at, to_at, rate, dry_run, state, reason, after_at, after_id, examined, \
     sent, created_at, updated_at FROM replays";
const TABLE: &str = "replays";

#[async_trait]
impl ReplayStore for SqliteControl {
    async fn create_replay(&self, new: NewReplay, by: Actor) -> Result<Option<Replay>, StoreError> {
        self.change("create a replay", async move |connection: &Connection| {
            let made = new.into_replay(now());
            let customer = made.customer_id;
            let insert = "INSERT INTO replays (id, customer_id, source, subscription_id, \
                 delivery_id, standing, event_types, from_at, to_at, rate, dry_run, state, \
                 examined, sent, created_at, updated_at) \
                 SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 'running', 0, 0, ?12, ?12 \
                 WHERE ?13 > (SELECT count(*) FROM replays \
                              WHERE customer_id = ?2 AND state = 'running')";
            let (selection, source) = (&made.selection, &made.selection.source);
            let values = params![
                blob(made.id.as_uuid()),
                blob(customer.as_uuid()),
                source.as_str(),
                source.subscription_id().map(|id| blob(id.as_uuid())),
                fields::replayed_delivery(source).map(|id| blob(id.as_uuid())),
                fields::standing_to_text(source),
                fields::event_types_to_text(&selection.event_types),
                selection.from.map(millis),
                millis(selection.to),
                i64::from(made.rate),
                i64::from(made.dry_run),
                millis(made.created_at),
                rows(MAX_RUNNING_REPLAYS)
            ];
            if connection.execute(insert, values).await? == 0 {
                return Ok(None);
            }
            let entry = trail::entry(customer, by, trail::REPLAY_CREATED, made.id, made.created_at);
            audit::record(connection, entry).await?;
            Ok(Some(made))
        })
        .await
    }

    async fn replay(
        &self,
        customer: CustomerId,
        id: ReplayId,
    ) -> Result<Option<Replay>, StoreError> {
        let read = async move |connection: &Connection| find(connection, customer, id).await;
        self.lite.read("read a replay", read).await
    }

    async fn replays(
        &self,
        customer: CustomerId,
        after: Option<ReplayId>,
        limit: usize,
    ) -> Result<Vec<Replay>, StoreError> {
        let read = async move |connection: &Connection| {
            // The largest id there could be, for a first page.
            let after = after.map_or(Uuid::max(), |id| *id.as_uuid());
            let query =
                format!("{REPLAY} WHERE customer_id = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3");
            let values = params![blob(customer.as_uuid()), blob(&after), rows(limit)];
            collect(connection.query(&query, values).await?, replay).await
        };
        self.lite.read("list replays", read).await
    }

    async fn cancel_replay(
        &self,
        customer: CustomerId,
        id: ReplayId,
        by: Actor,
    ) -> Result<Option<Replay>, StoreError> {
        self.change("cancel a replay", async move |connection: &Connection| {
            let update = "UPDATE replays SET state = 'cancelled', updated_at = ?3 \
                 WHERE id = ?1 AND customer_id = ?2 AND state = 'running'";
            let at = now();
            let keys = params![blob(id.as_uuid()), blob(customer.as_uuid()), millis(at)];
            if connection.execute(update, keys).await? > 0 {
                let entry = trail::entry(customer, by, trail::REPLAY_CANCELLED, id, at);
                audit::record(connection, entry).await?;
            }
            find(connection, customer, id).await
        })
        .await
    }

    async fn claim_replay(
        &self,
        owner: Uuid,
        lease: Duration,
    ) -> Result<Option<Replay>, StoreError> {
        let is_free = "state = 'running' AND (leased_until IS NULL OR leased_until < ?1)";
        // Looked for first without writing, because mostly there is none.
        let look = async move |connection: &Connection| {
            let query = format!("SELECT 1 FROM replays WHERE {is_free} LIMIT 1");
            let found = connection.query(&query, params![millis(now())]).await?;
            Ok(!collect(found, |_| Ok(())).await?.is_empty())
        };
        if !self.lite.read("look for replays", look).await? {
            return Ok(None);
        }
        let claim = async move |connection: &Connection| {
            let now = now();
            let query = format!("{REPLAY} WHERE {is_free} ORDER BY id LIMIT 1");
            let found = connection.query(&query, params![millis(now)]).await?;
            let Some(found) = collect(found, replay).await?.pop() else {
                return Ok(None);
            };
            let update = "UPDATE replays SET owner = ?2, leased_until = ?3 WHERE id = ?1";
            let values = params![blob(found.id.as_uuid()), blob(&owner), millis(now + lease)];
            connection.execute(update, values).await?;
            Ok(Some(found))
        };
        self.lite.write("claim a replay", claim).await
    }

    async fn advance_replay(
        &self,
        id: ReplayId,
        owner: Uuid,
        progress: Progress,
        state: ReplayState,
        lease: Option<Duration>,
    ) -> Result<bool, StoreError> {
        let write = async move |connection: &Connection| {
            let now = now();
            let update = "UPDATE replays SET after_at = ?3, after_id = ?4, examined = ?5, \
                 sent = ?6, state = ?7, reason = ?8, leased_until = ?9, updated_at = ?10 \
                 WHERE id = ?1 AND owner = ?2 AND state = 'running'";
            let values = params![
                blob(id.as_uuid()),
                blob(&owner),
                progress.after.map(|(at, _)| millis(at)),
                progress.after.map(|(_, id)| blob(&id)),
                count(progress.examined),
                count(progress.sent),
                state.as_str(),
                state.reason(),
                lease.map(|lease| millis(now + lease)),
                millis(now)
            ];
            Ok(connection.execute(update, values).await? > 0)
        };
        self.lite.write("keep how far a replay is", write).await
    }
}

async fn find(
    connection: &Connection,
    customer: CustomerId,
    id: ReplayId,
) -> Result<Option<Replay>, Fault> {
    let query = format!("{REPLAY} WHERE id = ?1 AND customer_id = ?2");
    let values = params![blob(id.as_uuid()), blob(customer.as_uuid())];
    Ok(collect(connection.query(&query, values).await?, replay).await?.pop())
}

fn replay(row: &Row) -> Result<Replay, Fault> {
    let unreadable = |what: String| Fault::row(TABLE, what);
    let id_or_none = |at: i32| match row.get::<Option<Vec<u8>>>(at)? {
        None => Ok(None),
        Some(_) => column::id(row, TABLE, at).map(Some),
    };
    let number = |at| number(row, TABLE, at);
    let after_at = column::instant_or_none(row, TABLE, 13)?;
    Ok(Replay {
        id: ReplayId::from_uuid(column::id(row, TABLE, 0)?),
        customer_id: CustomerId::from_uuid(column::id(row, TABLE, 1)?),
        selection: Selection {
            source: fields::source(
                &row.get::<String>(2)?,
                id_or_none(3)?,
                id_or_none(4)?,
                &row.get::<String>(5)?,
            )
            .map_err(unreadable)?,
            event_types: fields::event_types_from_text(&row.get::<String>(6)?)
                .map_err(unreadable)?,
            from: column::instant_or_none(row, TABLE, 7)?,
            to: column::instant(row, TABLE, 8)?,
        },
        rate: u32::try_from(number(9)?).map_err(|_| Fault::row(TABLE, "a rate too high"))?,
        dry_run: number(10)? != 0,
        state: fields::replay_state(&row.get::<String>(11)?, row.get(12)?).map_err(unreadable)?,
        progress: Progress {
            after: after_at.zip(id_or_none(14)?),
            examined: number(15)?,
            sent: number(16)?,
        },
        created_at: column::instant(row, TABLE, 17)?,
        updated_at: column::instant(row, TABLE, 18)?,
    })
}
