//! What is measured with: orders of about 800 bytes, and rules for them.
//!
//! Nearly every rule is about one customer, so an event matches a few however many rules there are: what
//! grows with the number of answers would hide what grows with the number of rules.

use serde_json::{Value, json};

/// How many events are put one after the other, so that nothing learns one of them by heart.
pub(crate) const EVENTS: usize = 64;

/// Events of customers that are spread over as many as there are rules.
pub(crate) fn orders(rules: usize) -> Vec<Vec<u8>> {
    // A prime, so that the customers are of every kind of rule.
    (0..EVENTS).map(|n| order(n, n * 157 % rules).to_string().into_bytes()).collect()
}

fn order(n: usize, customer: usize) -> Value {
    json!({
        "id": format!("evt_01J9Z3T5X8Q2W4E6R7Y8{n:06}"),
        "created": 1_760_000_000 + n,
        "livemode": true,
        "order": {
            "id": format!("ord_{n:08}"),
            "status": if n.is_multiple_of(3) { "paid" } else { "open" },
            "total": customer,
            "currency": if n.is_multiple_of(4) { "CHF" } else { "EUR" },
            "customer": {
                "id": customer_id(customer),
                "email": format!("customer-{customer}@example.com"),
                "country": "CH",
                "tags": ["vip", "newsletter", "beta"]
            },
            "shipping": {
                "method": "express", "line1": "Bahnhofstrasse 1", "line2": null, "city": "Zürich",
                "postal_code": postal_code(customer), "weight_grams": 1_250
            },
            "items": [
                {"sku": format!("sku-{customer}"), "quantity": 2, "price": 19.99},
                {"sku": "sku-none", "quantity": 1, "price": 5.5}
            ]
        },
        "payment": {"method": "card", "brand": "visa", "last4": "4242", "captured": true, "fee": 3.77},
        "metadata": {"source": "web", "campaign": "black-friday"},
        "note": "Please leave the parcel at the door. Ring twice, and wait a little: the dog will tell me first, and the \
                 stairs are long. Thank you!"
    })
}

/// The n-th event pattern: of ten, seven are equalities of one or two fields, the others have a prefix,
/// an `anything-but`, or two fields of which one is no good to look rules up by. The first four want
/// much of what comes.
pub(crate) fn pattern(n: usize) -> Value {
    let id = customer_id(n);
    match n {
        0 => return json!({"order": {"status": ["paid"]}}),
        1 => return json!({"order": {"status": ["paid"], "currency": ["CHF"]}}),
        2 => return json!({"payment": {"brand": [{"anything-but": ["visa", "mastercard"]}]}}),
        3 => return json!({"payment": {"method": [{"prefix": "ca"}]}}),
        _ => {}
    }
    match n % 10 {
        0..=4 => json!({"order": {"customer": {"id": [id]}}}),
        5 | 6 => json!({"order": {"customer": {"id": [id]}, "currency": ["EUR"]}}),
        7 => json!({"order": {"customer": {"email": [{"prefix": format!("customer-{n}@")}]}}}),
        8 => {
            json!({"order": {"customer": {"id": [id]}, "status": [{"anything-but": ["cancelled"]}]}})
        }
        _ => {
            json!({"order": {"status": ["paid", "open"], "shipping": {"postal_code": [postal_code(n)]}}})
        }
    }
}

/// The n-th query about orders by their total.
pub(crate) fn query_by_total(n: usize) -> String {
    format!("$[?@.total == {n} && @.currency == 'EUR']")
}

/// The n-th query about one article.
pub(crate) fn query_by_article(n: usize) -> String {
    format!("$.order.items[?@.sku == 'sku-{n}' && @.quantity > 1]")
}

pub(crate) fn customer_id(n: usize) -> String {
    format!("cus_{n:08}")
}

fn postal_code(n: usize) -> String {
    format!("{:05}", 10_000 + n)
}
