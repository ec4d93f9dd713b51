//! Who takes part in the demo. The rules by which an event is owed are written twice: as the
//! selector that the matcher compiles, and as plain Rust for the oracle.

use serde_json::value::RawValue;
use serde_json::{Value, json};

pub(super) struct Customer {
    pub(super) name: &'static str,
    pub(super) subscriptions: &'static [Subscription],
}

pub(super) struct Subscription {
    /// The endpoint's path, and the workflow's id.
    pub(super) path: &'static str,
    pub(super) event_type: &'static str,
    pub(super) jsonpath: Option<&'static str>,
    /// The same in Rust.
    pub(super) owed: fn(event_type: &str, payload: &Value) -> bool,
}

pub(super) static CUSTOMERS: [Customer; 3] = [
    Customer {
        name: "Octo Engineering",
        subscriptions: &[
            Subscription {
                path: "octo-audit-log",
                event_type: "github.*",
                jsonpath: None,
                owed: |event_type, _| event_type.starts_with("github."),
            },
            Subscription {
                path: "octo-failed-checks",
                event_type: "github.check_run.*",
                jsonpath: Some("$.check_run[?@ == 'failure']"),
                owed: |event_type, payload| {
                    event_type.starts_with("github.check_run.")
                        && payload["check_run"]
                            .as_object()
                            .is_some_and(|run| run.values().any(|value| value == "failure"))
                },
            },
            Subscription {
                path: "octo-bug-reports",
                event_type: "github.issues.*",
                jsonpath: Some("$.issue.labels[?@.name == 'bug']"),
                owed: |event_type, payload| {
                    event_type.starts_with("github.issues.")
                        && payload["issue"]["labels"]
                            .as_array()
                            .is_some_and(|labels| labels.iter().any(|label| label["name"] == "bug"))
                },
            },
        ],
    },
    Customer {
        name: "Corner Shop",
        subscriptions: &[
            Subscription {
                path: "shop-fulfilment",
                event_type: "order.created",
                jsonpath: None,
                owed: |event_type, _| event_type == "order.created",
            },
            Subscription {
                path: "shop-big-orders",
                event_type: "order.*",
                jsonpath: Some("$.order[?@.amount > 10000]"),
                owed: |event_type, payload| {
                    event_type.starts_with("order.")
                        && payload["order"]["total"]["amount"].as_i64().is_some_and(|n| n > 10_000)
                },
            },
        ],
    },
    Customer {
        name: "Pay Desk",
        subscriptions: &[
            Subscription {
                path: "pay-ledger",
                event_type: "payment.*",
                jsonpath: None,
                owed: |event_type, _| event_type.starts_with("payment."),
            },
            Subscription {
                path: "pay-fraud-review",
                event_type: "payment.*",
                jsonpath: Some("$.risk[?@ >= 80]"),
                owed: |event_type, payload| {
                    event_type.starts_with("payment.")
                        && payload["risk"]["score"].as_i64().is_some_and(|score| score >= 80)
                },
            },
        ],
    },
];

/// An event that is to be sent.
pub(super) struct Sample {
    /// Whose: an index into [`CUSTOMERS`].
    pub(super) customer: usize,
    pub(super) event_type: String,
    pub(super) payload: Vec<u8>,
    /// The endpoints at which it is owed.
    pub(super) owed: Vec<String>,
}

/// Real webhook bodies of GitHub (npm @octokit/webhooks-examples 7.6.1, MIT), one a line.
const GITHUB: &str = include_str!("samples/github.ndjson");

/// The events of the demo: in turn one of GitHub's, an order, a payment, and now and then one
/// that nobody asked for.
pub(super) fn samples(count: u32) -> anyhow::Result<Vec<Sample>> {
    let github = github()?;
    let samples = (0..count).map(|n| {
        let (customer, event_type, payload) = match n % 4 {
            0 => {
                let (event_type, payload) = &github[(n / 4) as usize % github.len()];
                (0, event_type.clone(), payload.clone())
            }
            1 => (1, "order.created".to_owned(), order(n)),
            2 => (2, payment_type(n).to_owned(), payment(n)),
            _ if n % 8 == 3 => (1, "order.shipped".to_owned(), order(n)),
            _ => (1, "inventory.counted".to_owned(), format!("{{ \"counted\": {n} }}")),
        };
        let value: Value = serde_json::from_str(&payload)?;
        let owed = CUSTOMERS[customer].subscriptions.iter();
        let owed = owed.filter(|subscription| (subscription.owed)(&event_type, &value));
        let owed = owed.map(|subscription| subscription.path.to_owned()).collect();
        Ok(Sample { customer, event_type, payload: payload.into_bytes(), owed })
    });
    samples.collect()
}

fn github() -> anyhow::Result<Vec<(String, String)>> {
    #[derive(serde::Deserialize)]
    struct Line<'a> {
        event_type: String,
        #[serde(borrow)]
        payload: &'a RawValue,
    }
    let lines = GITHUB.lines().map(|line| {
        let line: Line<'_> = serde_json::from_str(line)?;
        Ok((line.event_type, line.payload.get().to_owned()))
    });
    lines.collect()
}

/// Amounts are in cents.
fn order(n: u32) -> String {
    json!({
        "order": {
            "id": format!("ord_{n:08}"),
            "total": {"amount": i64::from(n) * 37 % 20_000, "currency": "EUR"},
            "items": [
                {"sku": format!("SKU-{:04}", n % 500), "quantity": 1 + n % 4},
                {"sku": "GIFT-WRAP", "quantity": 1, "note": "für Zoë 🎁"},
            ],
        },
        "customer": {"id": format!("cus_{:05}", n % 3_000), "country": "DE"},
    })
    .to_string()
}

fn payment_type(n: u32) -> &'static str {
    if n.is_multiple_of(5) { "payment.failed" } else { "payment.captured" }
}

fn payment(n: u32) -> String {
    json!({
        "payment": {"id": format!("pay_{n:08}"), "amount": i64::from(n) * 91 % 50_000},
        "method": {"brand": "visa", "last4": format!("{:04}", n % 10_000)},
        "risk": {"score": n * 13 % 100, "rules": ["velocity", "country"]},
    })
    .to_string()
}
