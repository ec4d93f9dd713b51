//! `/v1/customers`: for the installation's administrator.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Deserializer, Serialize};
use triggerline_store::{CustomerChange, NewCustomer};
use triggerline_types::{Customer, CustomerId, RateLimit, Scope, format_instant};
use utoipa::ToSchema;

use super::keys::{check_name, rate_limit};
use super::paging::{Page, Paging};
use super::{Id, Query, read_json};
use crate::Shared;
use crate::asking::Asking;
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
}

/// A JSON Merge Patch (RFC 7396): what is absent stays, `null` removes.
#[allow(clippy::option_option, reason = "absent, null and given are three things")]
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CustomerChangeBody {
    #[schema(min_length = 1, max_length = 200, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$")]
    name: Option<String>,
    /// A plan of the settings.
    #[schema(example = "default")]
    plan: Option<String>,
    /// Such as `600/1m`; the plan's where absent.
    #[schema(pattern = "^[1-9][0-9]{0,8}/[1-9][0-9]{0,3}[smh]$", example = "600/1m")]
    #[serde(default, deserialize_with = "given")]
    rate_limit: Option<Option<String>>,
}

/// Tells `null` from absent.
#[allow(clippy::option_option, reason = "see above")]
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

#[derive(Serialize, ToSchema)]
pub(super) struct CustomerView {
    #[schema(value_type = String, format = Uuid)]
    id: CustomerId,
    name: String,
    plan: String,
    /// The customer's own, else the plan's.
    rate_limit: String,
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
    check_name("/name", &body.name)?;
    let plan = body.plan.unwrap_or_else(|| Customer::DEFAULT_PLAN.to_owned());
    check_plan(&shared, &plan)?;
    let rate_limit = rate_limit(body.rate_limit.as_deref())?;
    let new = NewCustomer { name: body.name, plan, rate_limit };
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
/// A JSON Merge Patch (RFC 7396). A new plan or limit counts within a second.
#[utoipa::path(
    patch, path = "/v1/customers/{id}", tag = "Customers", operation_id = "updateCustomer",
    params(("id" = Uuid, Path, description = "The customer's id.")),
    request_body = CustomerChangeBody,
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
) -> Result<Json<CustomerView>, Problem> {
    asking.may(Scope::Admin)?;
    let body: CustomerChangeBody = read_json(&shared, &headers, body).await?;
    if let Some(name) = &body.name {
        check_name("/name", name)?;
    }
    if let Some(plan) = &body.plan {
        check_plan(&shared, plan)?;
    }
    let own: Option<Option<RateLimit>> =
        body.rate_limit.map(|text| rate_limit(text.as_deref())).transpose()?;
    let change = CustomerChange { name: body.name, plan: body.plan, rate_limit: own };
    let changed = shared.control.update_customer(id, change, asking.caller().actor()).await?;
    Ok(Json(CustomerView::of(&shared, &changed.ok_or_else(Problem::not_found)?)))
}

fn check_plan(shared: &Shared, plan: &str) -> Result<(), Problem> {
    if shared.settings.plans.names().any(|name| name == plan) {
        return Ok(());
    }
    let names = shared.settings.plans.names().collect::<Vec<_>>().join(", ");
    Err(Problem::field("/plan", format!("is {plan:?}; the settings have {names}")))
}
