//! The promises of [`ControlStore`] about schemas, and about what caches follow.

use triggerline_types::{CustomerId, EventType, Schema, SchemaMode};

use super::control::{BY, customer};
use super::keys::new_key;
use crate::{
    AccessChange, ControlStore, CustomerChange, KeyCreation, MAX_SCHEMAS, MAX_SCHEMAS_BYTES,
    SchemaPut,
};

pub(super) async fn judge(store: &dyn ControlStore) {
    a_schema_is_kept_as_it_was_given(store).await;
    another_customers_schema_is_not_there(store).await;
    a_customer_has_so_many_schemas_and_no_more(store).await;
    caches_learn_what_to_forget(store).await;
}

fn event_type(text: &str) -> EventType {
    EventType::parse(text).unwrap()
}

/// Puts a schema that there is room for.
pub(super) async fn put(
    store: &dyn ControlStore,
    customer: CustomerId,
    event_type: &EventType,
    mode: SchemaMode,
    document: &str,
) -> Schema {
    match store.put_schema(customer, event_type, mode, document, BY).await.unwrap() {
        SchemaPut::Kept(schema) => schema,
        SchemaPut::TooMany => panic!("{event_type}: there is room for it"),
    }
}

async fn a_schema_is_kept_as_it_was_given(store: &dyn ControlStore) {
    let customer = customer(store, "schemas").await.id;
    let order = event_type("order.created");
    let document = "{ \"type\": \"object\", \"title\": \"größe 🎁\" }\n";
    let made = put(store, customer, &order, SchemaMode::Quarantine, document).await;
    let expected = Schema {
        customer_id: customer,
        event_type: order.clone(),
        mode: SchemaMode::Quarantine,
        document: document.to_owned(),
        created_at: made.created_at,
        updated_at: made.created_at,
    };
    assert_eq!(made, expected);
    assert_eq!(store.schema(customer, &order).await.unwrap().as_ref(), Some(&made));
    let again = put(store, customer, &order, SchemaMode::Quarantine, document).await;
    assert_eq!(again, made, "the one that it is already changes nothing");
    let changed = put(store, customer, &order, SchemaMode::Reject, "true").await;
    assert_eq!((changed.mode, changed.document.as_str()), (SchemaMode::Reject, "true"));
    assert!(changed.created_at == made.created_at && changed.updated_at >= made.updated_at);

    // In the order of the types' bytes, as every language that reads the list would sort them.
    let mut schemas = vec![changed];
    for name in ["order-created", "Order.created", "a:b", "order/created", "order_created"] {
        let event_type = event_type(name);
        schemas.push(put(store, customer, &event_type, SchemaMode::Off, "{}").await);
    }
    schemas.sort_by(|a, b| a.event_type.cmp(&b.event_type));
    assert_eq!(store.schemas(customer).await.unwrap(), schemas);

    assert!(store.delete_schema(customer, &order, BY).await.unwrap());
    assert!(!store.delete_schema(customer, &order, BY).await.unwrap(), "it is gone");
    assert_eq!(store.schema(customer, &order).await.unwrap(), None);
    assert_eq!(store.schemas(customer).await.unwrap().len(), schemas.len() - 1);
    let nobodys = store.put_schema(CustomerId::new(), &order, SchemaMode::Off, "{}", BY).await;
    assert!(nobodys.is_err(), "there is no such customer");
}

async fn another_customers_schema_is_not_there(store: &dyn ControlStore) {
    let (ours, theirs) = (customer(store, "ours").await.id, customer(store, "theirs").await.id);
    let order = event_type("order.created");
    let made = put(store, ours, &order, SchemaMode::Warn, "{}").await;
    assert_eq!(store.schema(theirs, &order).await.unwrap(), None);
    assert_eq!(store.schemas(theirs).await.unwrap(), []);
    assert!(!store.delete_schema(theirs, &order, BY).await.unwrap());
    put(store, theirs, &order, SchemaMode::Off, "true").await;
    assert_eq!(store.schema(ours, &order).await.unwrap(), Some(made));
}

async fn a_customer_has_so_many_schemas_and_no_more(store: &dyn ControlStore) {
    let numbered = |n: usize| event_type(&format!("e{n}"));
    let many = customer(store, "many schemas").await.id;
    for n in 0..MAX_SCHEMAS - 1 {
        put(store, many, &numbered(n), SchemaMode::Off, "{}").await;
    }
    // Many at once are no way around it.
    let puts = (0..8).map(|n| async move {
        store.put_schema(many, &numbered(1_000 + n), SchemaMode::Off, "{}", BY).await.unwrap()
    });
    let puts = futures::future::join_all(puts).await;
    let refused = puts.iter().filter(|put| **put == SchemaPut::TooMany).count();
    assert_eq!((refused, store.schemas(many).await.unwrap().len()), (7, MAX_SCHEMAS));
    put(store, many, &numbered(0), SchemaMode::Warn, "{\"type\": \"object\"}").await;
    store.delete_schema(many, &numbered(1), BY).await.unwrap();
    put(store, many, &numbered(1), SchemaMode::Off, "{}").await;
    let other = customer(store, "no schemas").await.id;
    put(store, other, &numbered(0), SchemaMode::Off, "{}").await;

    // What counts are bytes, of which ü has two.
    let large = customer(store, "large schemas").await.id;
    let document = |bytes: usize| format!("{{\"title\":\"{}\"}}", "ü".repeat((bytes - 12) / 2));
    let half = document(MAX_SCHEMAS_BYTES / 2);
    assert_eq!(half.len(), MAX_SCHEMAS_BYTES / 2);
    for n in 0..2 {
        put(store, large, &numbered(n), SchemaMode::Off, &half).await;
    }
    let one = numbered(1);
    let refused = async |event_type: &EventType, document: &str| {
        let put = store.put_schema(large, event_type, SchemaMode::Off, document, BY).await.unwrap();
        assert_eq!(put, SchemaPut::TooMany);
    };
    refused(&numbered(2), "{}").await;
    refused(&one, &document(MAX_SCHEMAS_BYTES / 2 + 2)).await;
    assert_eq!(store.schema(large, &one).await.unwrap().unwrap().document, half);
    let audit = store.audit(large, None, 10).await.unwrap();
    let puts = audit.iter().filter(|entry| entry.action == "schema.put").count();
    assert_eq!(puts, 2, "what was refused is no change");
    put(store, large, &one, SchemaMode::Reject, &half).await;
    put(store, large, &one, SchemaMode::Off, &document(MAX_SCHEMAS_BYTES / 2 - 2)).await;
    put(store, large, &numbered(2), SchemaMode::Off, "{}").await;
}

async fn caches_learn_what_to_forget(store: &dyn ControlStore) {
    let customer = customer(store, "cached").await.id;
    let start = store.access_changes(None).await.unwrap();
    assert_eq!(start.changes, [], "a cache with nothing in it has nothing to forget");
    let mut after = start.revision;
    let mut changed = async |what: &str, mut expected: Vec<AccessChange>| {
        let key = |change: &AccessChange| format!("{change:?}");
        let answer = store.access_changes(Some(after)).await.unwrap();
        let mut changes = answer.changes;
        changes.sort_by_key(key);
        expected.sort_by_key(key);
        assert_eq!(changes, expected, "{what}");
        assert_eq!(answer.revision > after, !expected.is_empty(), "{what}");
        after = answer.revision;
        assert_eq!(store.access_changes(None).await.unwrap().revision, after);
        assert_eq!(store.access_changes(Some(after)).await.unwrap().changes, [], "{what}");
    };

    let (one, two, three) = (new_key(customer), new_key(customer), new_key(customer));
    let [first, second, third] = [&one, &two, &three].map(|key| AccessChange::Key(key.hash));
    changed("nothing", vec![]).await;
    for key in [&one, &two] {
        assert_eq!(store.create_api_key(key, BY).await.unwrap(), KeyCreation::Made);
    }
    changed("keys were created", vec![first, second]).await;
    store.revoke_api_key(customer, one.id, BY).await.unwrap();
    assert!(store.access(&one.hash).await.unwrap().unwrap().key.revoked_at.is_some());
    changed("a key was revoked", vec![first]).await;
    store.revoke_api_key(customer, one.id, BY).await.unwrap();
    changed("it was revoked again", vec![]).await;
    let at = two.created_at + std::time::Duration::from_hours(1);
    store.rotate_api_key(customer, two.id, &three, at, BY).await.unwrap();
    changed("a key was rotated", vec![second, third]).await;

    let change = || CustomerChange { plan: Some("gold".to_owned()), ..CustomerChange::default() };
    store.update_customer(customer, change(), BY).await.unwrap();
    assert_eq!(store.access(&three.hash).await.unwrap().unwrap().customer.plan, "gold");
    changed("the customer changed", vec![first, second, third]).await;
    store.update_customer(customer, change(), BY).await.unwrap();
    changed("the customer stayed as it is", vec![]).await;

    let (schemas, order) = (AccessChange::Schemas(customer), event_type("order.created"));
    let put = async |mode| put(store, customer, &order, mode, "{}").await;
    put(SchemaMode::Warn).await;
    changed("a schema was put", vec![schemas]).await;
    put(SchemaMode::Warn).await;
    changed("it was put again", vec![]).await;
    put(SchemaMode::Reject).await;
    put(SchemaMode::Off).await;
    changed("it was changed twice", vec![schemas]).await;
    store.delete_schema(customer, &order, BY).await.unwrap();
    changed("it was deleted", vec![schemas]).await;
    store.update_customer(customer, CustomerChange::default(), BY).await.unwrap();
    changed("nothing was asked", vec![]).await;
}
