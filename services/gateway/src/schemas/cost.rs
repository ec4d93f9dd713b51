//! What a schema may cost. Pure.
//!
//! A schema of a few lines can ask for more work than there is time: subschemas that apply to the
//! same place add up, a `$ref` repeats them, and with recursion they multiply with each level of
//! the payload. [`check`] bounds how many subschemas can apply to one value at the deepest place
//! of a payload, before the schema is saved.
//!
//! It also says which references are understood: `#`, a JSON Pointer into the document, or the
//! name of an `$anchor`. Nothing is ever fetched.

use std::collections::HashMap;

use serde_json::Value;

use crate::admit::MAX_DEPTH;

/// Subschemas that may apply, over all levels of one path into a payload.
const MAX_COST: u64 = 10_000;

/// Values of an `enum` that cost as much as a subschema.
const VALUES_AS_ONE: u64 = 8;

/// Where a schema can't be used, and why: a JSON Pointer into it, and words.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unusable {
    pub(crate) pointer: String,
    pub(crate) why: String,
}

/// How many subschemas may apply down one path, if that is not too many.
pub(super) fn check(document: &Value) -> Result<u64, Unusable> {
    let mut anchors = HashMap::new();
    collect_anchors(document, "", &mut anchors);
    let mut known = HashMap::new();
    let mut survey = Survey { document, anchors, known: &mut known };
    let cost = survey.cost(document, "", MAX_DEPTH, &mut Vec::new())?;
    if cost > MAX_COST {
        let why = "applies too many subschemas to one value, or recurses in too many ways at once";
        return Err(Unusable { pointer: String::new(), why: why.to_owned() });
    }
    Ok(cost)
}

fn collect_anchors(value: &Value, pointer: &str, anchors: &mut HashMap<String, String>) {
    match value {
        Value::Object(members) => {
            if let Some(name) = members.get("$anchor").and_then(Value::as_str) {
                anchors.insert(name.to_owned(), pointer.to_owned());
            }
            for (key, value) in members {
                collect_anchors(value, &format!("{pointer}/{}", escape(key)), anchors);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                collect_anchors(value, &format!("{pointer}/{index}"), anchors);
            }
        }
        _ => {}
    }
}

struct Survey<'a> {
    document: &'a Value,
    anchors: HashMap<String, String>,
    /// Costs worked out already, by pointer and levels left.
    known: &'a mut HashMap<(String, usize), u64>,
}

/// How a keyword's subschemas apply.
enum Applies {
    /// All of them, to the same value.
    Here,
    /// To a member, and no other keyword of this kind to the same one.
    ToOwnMember,
    /// To members that others may apply to as well.
    ToMembers,
}

impl Survey<'_> {
    /// Subschemas that apply to a value and to what is in it, down one path of `levels` levels.
    /// `open`: the schemas that are being worked out for this same value.
    fn cost(
        &mut self,
        schema: &Value,
        pointer: &str,
        levels: usize,
        open: &mut Vec<String>,
    ) -> Result<u64, Unusable> {
        let Value::Object(members) = schema else {
            return Ok(1);
        };
        let key = (pointer.to_owned(), levels);
        if let Some(cost) = self.known.get(&key) {
            return Ok(*cost);
        }
        if open.iter().any(|one| one == pointer) {
            let why = "refers to itself for the same value, without end".to_owned();
            return Err(Unusable { pointer: pointer.to_owned(), why });
        }
        open.push(pointer.to_owned());
        let mut here: u64 = 1;
        let (mut dearest, mut shared): (u64, u64) = (0, 0);
        for (keyword, value) in members {
            let place = format!("{pointer}/{}", escape(keyword));
            let applies = match keyword.as_str() {
                "$ref" => {
                    let target = self.resolve(value, &place)?;
                    let document = self.document;
                    // The document outlives the survey; the pointer was found in it.
                    if let Some(schema) = document.pointer(&target) {
                        let cost = self.cost(schema, &target, levels, open)?;
                        here = here.saturating_add(cost);
                    }
                    continue;
                }
                // It would make references below it mean another document.
                "$id" if !pointer.is_empty() => {
                    let why = "names a document of its own; only the whole may".to_owned();
                    return Err(Unusable { pointer: place, why });
                }
                // Each of its values is compared.
                "enum" => {
                    let values = value.as_array().map_or(0, Vec::len);
                    here = here.saturating_add(values as u64 / VALUES_AS_ONE);
                    continue;
                }
                "$dynamicRef" | "$recursiveRef" => {
                    let why = "is not supported; use $ref".to_owned();
                    return Err(Unusable { pointer: place, why });
                }
                "allOf" | "anyOf" | "oneOf" | "not" | "if" | "then" | "else"
                | "dependentSchemas" => Applies::Here,
                "properties" | "additionalProperties" | "prefixItems" | "items" => {
                    Applies::ToOwnMember
                }
                "patternProperties"
                | "unevaluatedProperties"
                | "propertyNames"
                | "contains"
                | "unevaluatedItems" => Applies::ToMembers,
                // Not applied by themselves ($defs), or no schema at all.
                _ => continue,
            };
            let schemas = subschemas(keyword, value, &place);
            match applies {
                Applies::Here => {
                    for (schema, place) in schemas {
                        here = here.saturating_add(self.cost(schema, &place, levels, open)?);
                    }
                }
                Applies::ToOwnMember | Applies::ToMembers if levels == 0 => {}
                Applies::ToOwnMember | Applies::ToMembers => {
                    for (schema, place) in schemas {
                        let cost = self.cost(schema, &place, levels - 1, &mut Vec::new())?;
                        match applies {
                            Applies::ToOwnMember => dearest = dearest.max(cost),
                            _ => shared = shared.saturating_add(cost),
                        }
                    }
                }
            }
        }
        open.pop();
        let cost = here.saturating_add(dearest).saturating_add(shared);
        self.known.insert(key, cost);
        Ok(cost)
    }

    /// The pointer that a reference stands for.
    fn resolve(&self, reference: &Value, place: &str) -> Result<String, Unusable> {
        let unusable = |why: String| Unusable { pointer: place.to_owned(), why };
        let text = reference.as_str().ok_or_else(|| unusable("is not a string".to_owned()))?;
        let Some(fragment) = text.strip_prefix('#') else {
            return Err(unusable(format!("is {text:?}; references stay within the document (#…)")));
        };
        let fragment = percent_encoding::percent_decode_str(fragment).decode_utf8_lossy();
        let target = if fragment.is_empty() || fragment.starts_with('/') {
            Some(fragment.into_owned())
        } else {
            self.anchors.get(&*fragment).cloned()
        };
        target
            .filter(|target| self.document.pointer(target).is_some())
            .ok_or_else(|| unusable(format!("is {text:?}, which is not in the document")))
    }
}

/// The schemas in a keyword's value, which may be one, a list or a map of them.
fn subschemas<'v>(keyword: &str, value: &'v Value, place: &str) -> Vec<(&'v Value, String)> {
    match (keyword, value) {
        ("properties" | "patternProperties" | "dependentSchemas", Value::Object(members)) => {
            members
                .iter()
                .map(|(key, schema)| (schema, format!("{place}/{}", escape(key))))
                .collect()
        }
        (_, Value::Array(items)) => items
            .iter()
            .enumerate()
            .map(|(index, schema)| (schema, format!("{place}/{index}")))
            .collect(),
        _ => vec![(value, place.to_owned())],
    }
}

/// As a token of a JSON Pointer (RFC 6901 §3).
fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    #[test]
    fn schemas_that_people_write_are_cheap() {
        for schema in [
            json!(true),
            json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "number"}}}),
            // A tree, and a list, each as deep as it likes.
            json!({"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}, "n": {}}}),
            json!({"$defs": {"n": {"properties": {"next": {"$ref": "#/$defs/n"}}}}, "$ref": "#/$defs/n"}),
            json!({"items": {"$ref": "#any"}, "$defs": {"a": {"$anchor": "any", "type": "string"}}}),
            json!({"properties": {"left": {"$ref": "#"}}, "additionalProperties": {"$ref": "#"}}),
            json!({"oneOf": [{"type": "string"}, {"items": {"$ref": "#"}}]}),
        ] {
            assert!(
                check(&schema).is_ok_and(|cost| cost < 1_000),
                "{schema}: {:?}",
                check(&schema)
            );
        }
    }

    #[test]
    fn what_explodes_or_leaves_the_document_is_refused() {
        let doubling: Map<String, Value> = (0..40)
            .map(|n| {
                let next = json!({"$ref": format!("#/$defs/d{}", n + 1)});
                (format!("d{n}"), json!({"allOf": [next, next]}))
            })
            .chain([("d40".to_owned(), json!({"type": "string"}))])
            .collect();
        for (schema, pointer) in [
            (json!({"$ref": "#/$defs/d0", "$defs": doubling}), ""),
            (json!({"properties": {"a": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}}), ""),
            (json!({"patternProperties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}}), ""),
            (json!({"allOf": [{"$ref": "#"}]}), ""),
            (json!({"$ref": "https://example.com/schema"}), "/$ref"),
            (json!({"items": {"$ref": "file:///etc/passwd"}}), "/items/$ref"),
            (json!({"$ref": "#/$defs/nothing"}), "/$ref"),
            (json!({"$dynamicRef": "#a"}), "/$dynamicRef"),
            (json!({"items": {"$id": "http://a.example/"}}), "/items/$id"),
            (json!({"properties": {"a/b": {"$ref": 7}}}), "/properties/a~1b/$ref"),
        ] {
            let unusable = check(&schema).unwrap_err();
            assert_eq!(unusable.pointer, pointer, "{schema}: {unusable:?}");
        }
    }
}
