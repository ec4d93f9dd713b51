//! `/v1/audit`: who changed what, newest first.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use triggerline_types::{AuditEntry, AuditId, Scope, format_instant};
use utoipa::ToSchema;

use super::Query;
use super::paging::{Page, Paging};
use crate::Shared;
use crate::asking::Asking;
use crate::problem::Problem;

#[derive(Serialize, ToSchema)]
pub(super) struct AuditEntryView {
    #[schema(value_type = String, format = Uuid)]
    id: AuditId,
    #[schema(format = DateTime)]
    at: String,
    /// `key:<id>`, `operator` or `system`.
    actor: String,
    action: String,
    target: String,
}

impl AuditEntryView {
    fn of(entry: AuditEntry) -> Self {
        let AuditEntry { id, at, actor, action, target, .. } = entry;
        Self { id, at: format_instant(at), actor: actor.to_string(), action, target }
    }
}

/// List the audit trail
///
/// Who changed what of the customer's, newest first.
#[utoipa::path(
    get, path = "/v1/audit", tag = "Audit", operation_id = "listAuditEntries",
    params(Paging),
    responses(
        (status = 200, description = "A page of entries.", body = Page<AuditEntryView>),
    )
)]
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Query(paging): Query<Paging>,
) -> Result<Json<Page<AuditEntryView>>, Problem> {
    let customer = asking.may(Scope::AuditRead)?;
    let (after, limit) = paging.read(&shared.cursors, customer, "audit")?;
    let found = shared.control.audit(customer, after.map(AuditId::from_uuid), limit + 1).await?;
    let id = |entry: &AuditEntry| *entry.id.as_uuid();
    Ok(Json(Page::of(found, limit, id, &shared.cursors, customer, "audit", AuditEntryView::of)))
}
