//! Schemas that people write, and schemas that are written to hurt, from the saving to the faults.

use serde_json::{Value, json};

use super::usable::{MAX_FAULTS, MAX_WORK, SHALLOW, compile};
use crate::problem::Fault;

fn faults_of(schema: &Value, payload: &Value) -> Vec<Fault> {
    let schema = compile(&schema.to_string()).unwrap_or_else(|problem| panic!("{problem:?}"));
    schema.faults(payload.to_string().as_bytes(), &mut MAX_WORK.clone()).unwrap()
}

fn nested(levels: usize, member: impl Fn(Value) -> Value) -> Value {
    (1..levels).fold(json!(1), |inner, _| member(inner))
}

/// Where all faults could be many, one is told; where they can't, they are told with places.
#[test]
fn faults_are_looked_for_only_where_they_are_few() {
    let names: Vec<String> = (0..4_000).map(|n| n.to_string()).collect();
    let texts = json!({"items": {"type": "string"}});
    let closed = json!({"anyOf": vec![json!({"additionalProperties": false}); 500]});
    let empty = |count: usize| Value::from(vec![json!({}); count]);
    let wide: Value = (0..2_000).map(|n| (n.to_string(), json!(1))).collect();
    for (schema, payload, told) in [
        (&texts, json!([1, 2]), "/payload/0 /payload/1"),
        (&texts, Value::from(vec![1; 1_000]), "/payload/0"),
        (&texts, Value::from(vec![1; 300_000]), "/payload"),
        // Each fault would say where it is.
        (
            &json!({"additionalProperties": texts}),
            json!({"a".repeat(100_000): vec![1; 1_000]}),
            "/payload",
        ),
        (&json!({"items": {"required": names}}), empty(3), "/payload/0"),
        (&json!({"items": {"required": names}}), empty(1_000), "/payload"),
        (&closed, json!({"a": 1}), "/payload"),
        (&closed, wide, "/payload"),
    ] {
        let faults = faults_of(schema, &payload);
        assert!(!faults.is_empty() && faults.len() <= MAX_FAULTS);
        for (fault, told) in faults.iter().zip(told.split(' ')) {
            assert_eq!(fault.pointer, told, "{fault:?}");
        }
    }
}

/// The deepest that is accepted, on a stack like a worker's; each would need more.
#[test]
fn the_deepest_schema_has_room_for_the_deepest_payload() {
    let per_level = |keyword: &str, leaf: Value| {
        (0..7).fold(leaf, |inner, _| json!({ keyword: [inner, {"type": "null"}] }))
    };
    let back = json!({"$ref": "#"});
    let arrays = nested(100, |inner| json!([inner]));
    let objects = nested(100, |inner| json!({ "a": inner }));
    let mut schemas: Vec<(Value, &Value)> = Vec::new();
    for keyword in ["allOf", "anyOf", "oneOf"] {
        let inner = per_level(keyword, back.clone());
        schemas.push((json!({"type": "array", "items": inner}), &arrays));
        schemas.push((json!({"type": "object", "properties": {"a": inner}}), &objects));
        schemas.push((json!({"type": "object", "additionalProperties": inner}), &objects));
    }
    for (schema, payload) in schemas {
        let faults = faults_of(&schema, payload);
        assert!(!faults.is_empty(), "{schema}");
        let usable = compile(&schema.to_string()).unwrap();
        assert!(usable.chain(100) > 2 * SHALLOW, "{}", usable.chain(100));
    }
}

#[test]
fn hostile_schemas_are_judged_in_no_time() {
    let deep = nested(100, |inner| json!({ "a": inner }));
    let wide: Value = (0..1_000).map(|n| (format!("a{n}"), json!("a".repeat(100)))).collect();
    let leans = (0..6).fold(
        json!({"type": "string"}),
        |inner, _| json!({"anyOf": [inner, {"$ref": "#/$defs/a"}], "unevaluatedProperties": false}),
    );
    let mut leans = leans;
    leans["$defs"] = json!({"a": {"properties": {"a": {"type": "string"}}}});
    let slow = json!({"additionalProperties": {"pattern": "(a|b)*a(a|b){100}c"}});
    let slow_all = json!({"additionalProperties": {"allOf": vec![json!({"pattern": "(a|b)*a(a|b){100}c"}); 50]}});
    let unique = json!({"uniqueItems": true, "items": {"$ref": "#"}});
    let started = std::time::Instant::now();
    for (schema, payload) in [
        (leans, &deep),
        (slow, &wide),
        (slow_all, &wide),
        (unique, &Value::from(vec![json!({"a": [1, 2]}); 14])),
        (json!({"additionalProperties": {"format": "regex"}}), &json!({"a": "(".repeat(500_000)})),
    ] {
        assert!(!faults_of(&schema, payload).is_empty(), "{schema}");
    }
    // Unoptimised, and on a machine that others use as well.
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
}

/// Accepted, cheap enough to be judged in between, and with faults that are told by their places.
#[test]
fn schemas_that_people_write_are_used() {
    let properties: Value = (0..100)
        .map(|n| (format!("p{n}"), json!({"type": ["string", "null"], "maxLength": 80})))
        .collect();
    let hundred =
        |value: Value| -> Value { (0..100).map(|n| (format!("p{n}"), value.clone())).collect() };
    let order = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://shop.example/schemas/order.json",
        "title": "Order", "type": "object", "required": ["id", "customer", "lines"],
        "additionalProperties": false, "x-owner": {"$id": "team-orders"},
        "properties": {
            "id": {"type": "string", "format": "uuid"},
            "customer": {"$ref": "#/$defs/customer"},
            "currency": {"enum": ["EUR", "GBP", "USD"]},
            "placed_at": {"type": "string", "format": "date-time"},
            "lines": {"type": "array", "minItems": 1, "maxItems": 1_000, "items": {
                "type": "object", "required": ["sku", "quantity"], "properties": {
                    "sku": {"type": "string", "pattern": "^[A-Z]{2,4}-[0-9]{4,8}$"},
                    "quantity": {"type": "integer", "minimum": 1},
                    "price": {"type": "number", "multipleOf": 0.01}}}}},
        "$defs": {"customer": {"type": "object", "required": ["email"], "properties": {
            "email": {"type": "string", "format": "email", "maxLength": 254},
            "phone": {"type": "string", "pattern": r"^\+?[0-9 ()/-]{5,20}$"}}}}});
    let good = json!({"id": "0193570e-9b2f-7c9a-b6a1-4a3c8d5e6f70", "currency": "EUR",
        "customer": {"email": "a@shop.example", "phone": "+44 20 7946 0000"},
        "placed_at": "2026-11-23T21:00:00Z",
        "lines": vec![json!({"sku": "AB-12345", "quantity": 2, "price": 9.5}); 20]});
    let mut bad = good.clone();
    bad["lines"][19]["sku"] = json!("12345");
    let event = json!({"type": "object", "required": ["specversion", "id", "source", "type"],
        "properties": {
            "specversion": {"const": "1.0"}, "id": {"type": "string", "minLength": 1},
            "source": {"type": "string", "format": "uri-reference", "minLength": 1},
            "time": {"type": ["string", "null"], "format": "date-time"},
            "data": {"$ref": "#/definitions/data"}},
        "patternProperties": {"^[a-z0-9]{1,20}$": true}, "propertyNames": {"maxLength": 20},
        "definitions": {"data": {"type": ["object", "string", "number", "array", "boolean", "null"]}}});
    let shapes = json!({"oneOf": [
        {"properties": {"kind": {"const": "card"}, "card": {"oneOf": [
            {"required": ["number"], "not": {"required": ["token"]}}, {"required": ["token"]}]}},
            "required": ["kind", "card"]},
        {"properties": {"kind": {"const": "cash"}}, "required": ["kind"]}],
        "unevaluatedProperties": false});
    let tree = json!({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object",
        "properties": {"name": {"type": "string"}, "children": {"type": "array",
            "items": {"oneOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}},
        "required": ["name"]}}});
    let leaf = json!({"name": "a", "children": [null]});
    let grown = nested(20, |inner| json!({"name": "b", "children": [inner, leaf]}));
    for (schema, payload, places) in [
        (&order, good, &[][..]),
        (&order, bad, &["/payload/lines/19/sku"]),
        (
            &event,
            json!({"specversion": "1.0", "id": "1", "source": "/a", "type": "b", "data": {}}),
            &[],
        ),
        (
            &event,
            json!({"specversion": "0.3", "id": "", "source": "/a", "type": "b"}),
            &["/payload/specversion", "/payload/id"],
        ),
        (&shapes, json!({"kind": "card", "card": {"token": "a"}}), &[]),
        (&shapes, json!({"kind": "cash"}), &[]),
        (&shapes, json!({"kind": "card", "card": {}}), &["/payload", "/payload"]),
        (&tree, leaf.clone(), &[]),
        (&tree, json!({"name": "a", "children": [leaf, leaf]}), &[]),
        (&tree, grown, &["/payload/children/0"]),
        (
            &json!({"properties": properties, "additionalProperties": false}),
            hundred(json!("a")),
            &[],
        ),
        (&json!({"properties": properties}), json!({"p1": null, "p99": 1}), &["/payload/p99"]),
    ] {
        let faults = faults_of(schema, &payload);
        let mut found: Vec<&str> = faults.iter().map(|fault| &*fault.pointer).collect();
        let mut places = places.to_vec();
        found.sort_unstable();
        places.sort_unstable();
        assert_eq!(found, places, "{payload}: {faults:?}");
        let usable = compile(&schema.to_string()).unwrap();
        // A thousandth of what a request may cost.
        let dearest = usable.dearest(1_000);
        assert!(dearest < MAX_WORK / 1_000, "{dearest}: {schema}");
    }
}
