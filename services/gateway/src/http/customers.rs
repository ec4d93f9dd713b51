//! `/v1/customers`: for the installation's administrator.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Deserializer, Serialize};
use triggerline_store::{CustomerChange, NewCustomer};
use triggerline_types::{
    Customer, CustomerId, RateLimit, Scope, check_retention_days, format_instant,
};
use utoipa::ToSchema;

use super::body::MERGE_PATCH;
use super::keys::{judge_name, rate_limit};
use super::paging::{Page, Paging};
use super::{Id, Query, accept_patch, read_json, read_json_as};
use crate::Shared;
use crate::asking::Asking;
use crate::config::Plans;
use crate::problem::Problem;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewCustomerBody {
    #[schema(min_length = 1, max_length = 200, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$")]
    name: String,
    /// A plan of the settings.
    #[schema(example = "default")]
    plan: Option<String>,
    /// Such as `600/1m`; the plan's where absent.
    #[schema(pattern = "^[1-9][0-9]{0,8}/[1-9][0-9]{0,3}[smh]$", example = "600/1m")]
    rate_limit: Option<String>,
    /// How many days the inbox keeps its events, from when they were received; as the settings say
    /// (`inbox.retention`) where absent.
    #[schema(minimum = 1, maximum = 3650)]
    retention_days: Option<u16>,
}

/// A JSON Merge Patch (RFC 7396): what is absent stays, `null` removes.
#[allow(clippy::option_option, reason = "absent, null and given are three things")]
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CustomerChangeBody {
    /// A customer has one: it can't be removed.
    #[schema(value_type = String, required = false)]
    #[schema(min_length = 1, max_length = 200, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$")]
    #[serde(default, deserialize_with = "given")]
    name: Option<Option<String>>,
    /// A plan of the settings; `default` where it is removed.
    #[schema(example = "default")]
    #[serde(default, deserialize_with = "given")]
    plan: Option<Option<String>>,
    /// Such as `600/1m`; the plan's where it is removed.
    #[schema(pattern = "^[1-9][0-9]{0,8}/[1-9][0-9]{0,3}[smh]$", example = "600/1m")]
    #[serde(default, deserialize_with = "given")]
    rate_limit: Option<Option<String>>,
    /// As the settings say (`inbox.retention`) where it is removed. In DynamoDB, ScyllaDB and Cassandra what
    /// is stored already is removed when it was to be; a shorter time leaves it out of lists at once.
    #[schema(minimum = 1, maximum = 3650)]
    #[serde(default, deserialize_with = "given")]
    retention_days: Option<Option<u16>>,
}

/// Tells `null` from absent.
#[allow(clippy::option_option, reason = "see above")]
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl CustomerChangeBody {
    fn judge(self, plans: &Plans) -> Result<CustomerChange, Problem> {
        let name = self.name.map(|name| name.ok_or_else(|| Problem::field("/name", "is null")));
        let name = name.transpose()?;
        if let Some(name) = &name {
            judge_name("/name", name)?;
        }
        let default = || Customer::DEFAULT_PLAN.to_owned();
        let plan = self.plan.map(|plan| plan.unwrap_or_else(default));
        if let Some(plan) = &plan {
            check_plan(plans, plan)?;
        }
        let own: Option<Option<RateLimit>> =
            self.rate_limit.map(|text| rate_limit(text.as_deref())).transpose()?;
        if let Some(Some(days)) = self.retention_days {
            check_retention(days)?;
        }
        Ok(CustomerChange { name, plan, rate_limit: own, retention_days: self.retention_days })
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct CustomerView {
    #[schema(value_type = String, format = Uuid)]
    id: CustomerId,
    name: String,
    plan: String,
    /// The customer's own, else the plan's.
    rate_limit: String,
    /// The customer's own; as the settings say where it has none.
    retention_days: Option<u16>,
    #[schema(format = DateTime)]
    created_at: String,
}

impl CustomerView {
    fn of(shared: &Shared, customer: &Customer) -> Self {
        let plan = || shared.settings.plans.rate_limit(&customer.plan);
        Self {
            id: customer.id,
            name: customer.name.clone(),
            plan: customer.plan.clone(),
            rate_limit: customer.rate_limit.unwrap_or_else(plan).to_string(),
            retention_days: customer.retention_days,
            created_at: format_instant(customer.created_at),
        }
    }
}

/// Create a customer
///
/// For administrators, as are all calls under `/v1/customers`.
#[utoipa::path(
    post, path = "/v1/customers", tag = "Customers", operation_id = "createCustomer",
    request_body = NewCustomerBody,
    responses(
        (status = 201, description = "Made. It has no API key yet.", body = CustomerView),
    )
)]
pub(super) async fn create(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<CustomerView>), Problem> {
    asking.may(Scope::Admin)?;
    let body: NewCustomerBody = read_json(&shared, &headers, body).await?;
    judge_name("/name", &body.name)?;
    let plan = body.plan.unwrap_or_else(|| Customer::DEFAULT_PLAN.to_owned());
    check_plan(&shared.settings.plans, &plan)?;
    let rate_limit = rate_limit(body.rate_limit.as_deref())?;
    let retention_days = body.retention_days;
    retention_days.map(check_retention).transpose()?;
    let new = NewCustomer { name: body.name, plan, rate_limit, retention_days };
    let made = shared.control.create_customer(new, asking.caller().actor()).await?;
    Ok((StatusCode::CREATED, Json(CustomerView::of(&shared, &made))))
}

/// List customers
///
/// Oldest first, a page at a time.
#[utoipa::path(
    get, path = "/v1/customers", tag = "Customers", operation_id = "listCustomers",
    params(Paging),
    responses(
        (status = 200, description = "A page of customers.", body = Page<CustomerView>),
    )
)]
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Query(paging): Query<Paging>,
) -> Result<Json<Page<CustomerView>>, Problem> {
    let admin = asking.may(Scope::Admin)?;
    let (after, limit) = paging.read(&shared.cursors, admin, "customers")?;
    let found = shared.control.customers(after.map(CustomerId::from_uuid), limit + 1).await?;
    let id = |customer: &Customer| *customer.id.as_uuid();
    Ok(Json(Page::of(found, limit, id, &shared.cursors, admin, "customers", |customer| {
        CustomerView::of(&shared, &customer)
    })))
}

/// Show a customer
#[utoipa::path(
    get, path = "/v1/customers/{id}", tag = "Customers", operation_id = "getCustomer",
    params(("id" = Uuid, Path, description = "The customer's id.")),
    responses(
        (status = 200, description = "The customer.", body = CustomerView),
    )
)]
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Id(id): Id<CustomerId>,
) -> Result<Json<CustomerView>, Problem> {
    asking.may(Scope::Admin)?;
    let found = shared.control.customer(id).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(CustomerView::of(&shared, &found)))
}

/// Change a customer
///
/// A JSON Merge Patch (RFC 7396): `application/merge-patch+json`, or `application/json` read as one.
/// A new plan or limit counts within a second.
#[utoipa::path(
    patch, path = "/v1/customers/{id}", tag = "Customers", operation_id = "updateCustomer",
    params(("id" = Uuid, Path, description = "The customer's id.")),
    request_body(
        content(
            (CustomerChangeBody = "application/merge-patch+json"),
            (CustomerChangeBody = "application/json"),
        ),
    ),
    responses(
        (status = 200, description = "The customer as it is now.", body = CustomerView),
    )
)]
pub(super) async fn change(
    State(shared): State<Arc<Shared>>,
    asking: Asking,
    Id(id): Id<CustomerId>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<CustomerView>, Response> {
    changed(&shared, &asking, id, &headers, body).await.map(Json).map_err(accept_patch)
}

async fn changed(
    shared: &Shared,
    asking: &Asking,
    id: CustomerId,
    headers: &HeaderMap,
    body: Body,
) -> Result<CustomerView, Problem> {
    asking.may(Scope::Admin)?;
    let body: CustomerChangeBody = read_json_as(MERGE_PATCH, shared, headers, body).await?;
    let change = body.judge(&shared.settings.plans)?;
    let changed = shared.control.update_customer(id, change, asking.caller().actor()).await?;
    Ok(CustomerView::of(shared, &changed.ok_or_else(Problem::not_found)?))
}

fn check_retention(days: u16) -> Result<(), Problem> {
    check_retention_days(days)
        .map_err(|error| Problem::field("/retention_days", format!("is {days}; it {error}")))
}

fn check_plan(plans: &Plans, plan: &str) -> Result<(), Problem> {
    if plans.names().any(|name| name == plan) {
        return Ok(());
    }
    let names = plans.names().collect::<Vec<_>>().join(", ");
    Err(Problem::field("/plan", format!("is {plan:?}; the settings have {names}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_is_read_as_a_merge_patch() {
        let limit = |quota: u32| json!({"rate_limit": format!("{quota}/1s")});
        let plans: Plans =
            serde_json::from_value(json!({"default": limit(1), "gold": limit(2)})).unwrap();
        let judged = |body: serde_json::Value| {
            serde_json::from_value::<CustomerChangeBody>(body).unwrap().judge(&plans)
        };
        for (body, name, plan, limit) in [
            (json!({}), None, None, None),
            (json!({"name": "n"}), Some("n"), None, None),
            (json!({"plan": "gold"}), None, Some("gold"), None),
            (json!({"plan": null}), None, Some("default"), None),
            (json!({"rate_limit": null}), None, None, Some(None)),
            (json!({"rate_limit": "7/1s"}), None, None, Some("7/1s".parse().ok())),
        ] {
            let change = judged(body.clone()).unwrap();
            let found = (change.name.as_deref(), change.plan.as_deref(), change.rate_limit);
            assert_eq!(found, (name, plan, limit), "{body}");
        }
        for (body, expected) in [
            (json!({}), None),
            (json!({"retention_days": null}), Some(None)),
            (json!({"retention_days": 3650}), Some(Some(3_650))),
        ] {
            assert_eq!(judged(body.clone()).unwrap().retention_days, expected, "{body}");
        }
        for (body, pointer) in [
            (json!({"name": null}), "/name"),
            (json!({"name": ""}), "/name"),
            (json!({"plan": "silver"}), "/plan"),
            (json!({"rate_limit": "often"}), "/rate_limit"),
            (json!({"retention_days": 0}), "/retention_days"),
            (json!({"retention_days": 3651}), "/retention_days"),
        ] {
            let problem = judged(body.clone()).unwrap_err();
            assert_eq!(problem.faults[0].pointer, pointer, "{body}");
        }
    }
}
