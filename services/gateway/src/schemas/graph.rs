//! A schema as a graph: its subschemas, and which apply where. Pure.
//!
//! [`survey`] walks the places that the validator takes for schemas, and no others: what stands in
//! `const` or under a keyword that nobody knows is data. It refuses what would make the validator
//! and [`super::cost`] read one document in two ways: a second document inside (`$id`, `$schema`),
//! references that depend on the way that led to them, keywords of earlier drafts that the
//! validator still applies. References stay within the document: `#`, a JSON Pointer to a
//! subschema, or the name of an `$anchor`. Nothing is ever fetched.
//!
//! What a keyword itself asks for is in [`super::keywords`].

use std::collections::HashMap;

use serde_json::Value;

use super::keywords::{self, Applies, Holds, Own};
use crate::problem::cut;

/// Where a schema can't be used, and why: a JSON Pointer into it, and words.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unusable {
    pub(crate) pointer: String,
    pub(crate) why: String,
}

/// What the pointers to all keywords may come to, in bytes: the validator keeps each of them.
const MAX_POINTERS: usize = 4 * 1_024 * 1_024;

/// One subschema.
pub(super) struct Node<'v> {
    value: &'v Value,
    /// The node that it stands in, and where there; the root is its own parent.
    parent: usize,
    keyword: &'v str,
    token: Option<Token<'v>>,
    /// Bytes of the last step of its pointer, and of the whole pointer, about.
    pub(super) step: usize,
    pointer: usize,
    pub(super) own: Own,
    /// Applied to the same value, with `$ref`.
    pub(super) here: Vec<usize>,
    /// Applied to members, at most one of them to each.
    pub(super) to_own_member: Vec<usize>,
    /// Applied to members that others may apply to as well.
    pub(super) to_members: Vec<usize>,
}

#[derive(Clone, Copy)]
enum Token<'v> {
    Key(&'v str),
    Index(usize),
}

pub(super) struct Graph<'v> {
    /// The root first.
    pub(super) nodes: Vec<Node<'v>>,
    /// In the whole document, applied or not.
    pub(super) patterns: Vec<(usize, &'v str, &'v str)>,
    /// By where they are in memory; a reference finds its target so.
    by_address: HashMap<usize, usize>,
    anchors: HashMap<&'v str, usize>,
}

pub(super) fn survey(document: &Value) -> Result<Graph<'_>, Unusable> {
    let mut graph = Graph {
        nodes: Vec::new(),
        patterns: Vec::new(),
        by_address: HashMap::new(),
        anchors: HashMap::new(),
    };
    graph.add(document, 0, "", None);
    let mut next = 0;
    let mut pointers = 0;
    while next < graph.nodes.len() {
        let Node { value, pointer, .. } = &graph.nodes[next];
        pointers += pointer * (1 + value.as_object().map_or(0, serde_json::Map::len));
        if pointers > MAX_POINTERS {
            let why = "holds too much under long names, or too deep".to_owned();
            let parent = graph.nodes[next].parent;
            return Err(Unusable { pointer: graph.pointer(parent), why });
        }
        graph.open(next)?;
        next += 1;
    }
    for index in 0..graph.nodes.len() {
        if let Some(reference) = graph.nodes[index].value.get("$ref") {
            let target = graph.resolve(document, reference);
            let target = target.map_err(|why| graph.at(index, "$ref", why))?;
            graph.nodes[index].here.push(target);
        }
    }
    Ok(graph)
}

impl<'v> Graph<'v> {
    fn add(
        &mut self,
        value: &'v Value,
        parent: usize,
        keyword: &'v str,
        token: Option<Token<'v>>,
    ) -> usize {
        let index = self.nodes.len();
        let token_bytes = match token {
            Some(Token::Key(key)) => key.len() + 1,
            Some(Token::Index(_)) => 4,
            None => 0,
        };
        let step = keyword.len() + 1 + token_bytes;
        let pointer = self.nodes.get(parent).map_or(0, |parent| parent.pointer + step);
        self.by_address.insert(address(value), index);
        let (here, to_own_member, to_members) = (Vec::new(), Vec::new(), Vec::new());
        let own = Own::default();
        let node = Node {
            value,
            parent,
            keyword,
            token,
            step,
            pointer,
            own,
            here,
            to_own_member,
            to_members,
        };
        self.nodes.push(node);
        index
    }

    /// Looks at a node's keywords, and adds the subschemas in them.
    fn open(&mut self, index: usize) -> Result<(), Unusable> {
        let Value::Object(members) = self.nodes[index].value else {
            return Ok(());
        };
        for (keyword, value) in members {
            let keyword = keyword.as_str();
            if let Some(instead) = keywords::refused(keyword) {
                let why = format!("is not supported; use {instead}");
                return Err(self.at(index, keyword, why));
            }
            match keyword {
                "$id" | "$schema" if index != 0 && value.is_string() => {
                    let why = "names a document of its own; only the whole may".to_owned();
                    return Err(self.at(index, keyword, why));
                }
                "$anchor" => {
                    if let Some(name) = value.as_str()
                        && self.anchors.insert(name, index).is_some()
                    {
                        let why = format!("is {name:?}, as another anchor is");
                        return Err(self.at(index, keyword, why));
                    }
                }
                "pattern" => {
                    self.patterns.extend(value.as_str().map(|text| (index, keyword, text)));
                }
                "patternProperties" => {
                    let keys = value.as_object().into_iter().flat_map(|members| members.keys());
                    self.patterns.extend(keys.map(|text| (index, keyword, text.as_str())));
                }
                _ => {}
            }
            self.nodes[index].own.add(keywords::own(keyword, value));
            let Some((applies, holds)) = keywords::applicator(keyword) else {
                continue;
            };
            let before = self.nodes.len();
            match (holds, value) {
                (Holds::Map, Value::Object(members)) => {
                    for (key, value) in members {
                        self.add(value, index, keyword, Some(Token::Key(key)));
                    }
                }
                (Holds::List, Value::Array(items)) => {
                    for (position, value) in items.iter().enumerate() {
                        self.add(value, index, keyword, Some(Token::Index(position)));
                    }
                }
                (Holds::One, Value::Object(_) | Value::Bool(_)) => {
                    self.add(value, index, keyword, None);
                }
                // No schema; the meta-schema says so, with the place.
                _ => {}
            }
            let added = before..self.nodes.len();
            let node = &mut self.nodes[index];
            match applies {
                Applies::Here => node.here.extend(added),
                Applies::ToOwnMember => node.to_own_member.extend(added),
                Applies::ToMembers => node.to_members.extend(added),
                Applies::Nowhere => {}
            }
        }
        Ok(())
    }

    /// The node that a reference names.
    fn resolve(&self, document: &Value, reference: &Value) -> Result<usize, String> {
        let text = reference.as_str().ok_or("is not a string")?;
        let told = cut(format!("{text:?}"));
        let Some(fragment) = text.strip_prefix('#') else {
            return Err(format!("is {told}; references stay within the document (#…)"));
        };
        let missing = || format!("is {told}, which is no subschema of the document; see $defs");
        if fragment.is_empty() {
            return Ok(0);
        }
        if !fragment.starts_with('/') {
            return self.anchors.get(fragment).copied().ok_or_else(missing);
        }
        let pointer = percent_encoding::percent_decode_str(fragment).decode_utf8();
        let pointer = pointer.map_err(|_| missing())?;
        let target = document.pointer(&pointer).ok_or_else(missing)?;
        self.by_address.get(&address(target)).copied().ok_or_else(missing)
    }

    /// What can't be used is a node's keyword.
    pub(super) fn at(&self, index: usize, keyword: &str, why: impl Into<String>) -> Unusable {
        let mut pointer = self.pointer(index);
        pointer.push('/');
        pointer.push_str(&escape(keyword));
        Unusable { pointer, why: why.into() }
    }

    pub(super) fn pointer(&self, mut index: usize) -> String {
        let mut steps = Vec::new();
        while index != 0 {
            let node = &self.nodes[index];
            steps.push(match node.token {
                Some(Token::Key(key)) => format!("/{}/{}", escape(node.keyword), escape(key)),
                Some(Token::Index(position)) => format!("/{}/{position}", escape(node.keyword)),
                None => format!("/{}", escape(node.keyword)),
            });
            index = node.parent;
        }
        steps.reverse();
        steps.concat()
    }
}

fn address(value: &Value) -> usize {
    std::ptr::from_ref(value) as usize
}

/// As a token of a JSON Pointer (RFC 6901 §3).
fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn data_is_not_taken_for_schemas() {
        for schema in [
            json!({"properties": {"$id": {"type": "string"}, "$schema": {}, "dependencies": {}}}),
            json!({"enum": [{"$id": "a"}, {"$ref": "http://a.example/"}, {"$dynamicRef": "#"}]}),
            json!({"const": {"$anchor": "a", "dependencies": {}}, "$anchor": "a"}),
            json!({"default": {"$ref": 7}, "examples": [{"$id": "http://a.example/"}]}),
            json!({"x-ours": {"$id": "http://a.example/", "$anchor": "a"}, "$anchor": "a"}),
            json!({"id": "urn:a", "items": {"id": "urn:b"}}),
            json!({"$id": "https://json-schema.org/draft/2020-12/schema", "$ref": "#/$defs/a",
                "$defs": {"a": {"type": "string"}}}),
            json!({"$ref": "#/$defs/a~1b%25%C3%BC", "$defs": {"a/b%ü": true}}),
            json!({"$ref": "#/definitions/a", "definitions": {"a": {"$ref": "#/definitions/b"}, "b": {}}}),
        ] {
            assert_eq!(survey(&schema).err(), None, "{schema}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused_with_the_place() {
        for (schema, pointer) in [
            (json!({"items": {"$id": "http://a.example/"}}), "/items/$id"),
            (json!({"$defs": {"a": {"$schema": "http://a.example/"}}}), "/$defs/a/$schema"),
            (json!({"contentSchema": {"$id": "b"}}), "/contentSchema/$id"),
            (json!({"$anchor": "a", "items": {"$anchor": "a"}}), "/items/$anchor"),
            (json!({"$dynamicAnchor": "a"}), "/$dynamicAnchor"),
            (json!({"allOf": [{"$dynamicRef": "#a"}]}), "/allOf/0/$dynamicRef"),
            (json!({"$recursiveRef": "#"}), "/$recursiveRef"),
            (json!({"items": {"$recursiveAnchor": true}}), "/items/$recursiveAnchor"),
            (json!({"not": {"dependencies": {"a": {}}}}), "/not/dependencies"),
            (json!({"additionalItems": {"$ref": "#"}}), "/additionalItems"),
            (json!({"$ref": "https://example.com/schema"}), "/$ref"),
            (json!({"$ref": "order.json#/$defs/a", "$defs": {"a": true}}), "/$ref"),
            (json!({"$ref": ""}), "/$ref"),
            (json!({"items": {"$ref": "file:///etc/passwd"}}), "/items/$ref"),
            (json!({"$ref": "#/$defs/nothing"}), "/$ref"),
            (json!({"$ref": "#nothing"}), "/$ref"),
            // No schema stands there, whatever it looks like.
            (json!({"$ref": "#/default", "default": {"type": "string"}}), "/$ref"),
            (json!({"$ref": "#/$defs", "$defs": {"allOf": [true]}}), "/$ref"),
            (json!({"$ref": "#/x-ours/a", "x-ours": {"a": {"type": "string"}}}), "/$ref"),
            // Percent-encoded, a pointer is no pointer to the validator.
            (json!({"$ref": "#%2F$defs%2Fa", "$defs": {"a": true}}), "/$ref"),
            // A hundred pointers of a hundred thousand bytes.
            (
                json!({"properties": {"a": {"not": {"properties": {"b".repeat(100_000): {"allOf": vec![true; 100]}}}}}}),
                &*format!("/properties/a/not/properties/{}", "b".repeat(100_000)),
            ),
            (json!({"$ref": "#/$defs/%FF", "$defs": {"\u{fffd}": true}}), "/$ref"),
            (json!({"properties": {"a/b~": {"$ref": 7}}}), "/properties/a~1b~0/$ref"),
        ] {
            let unusable = survey(&schema).err().unwrap_or_else(|| panic!("{schema}"));
            assert_eq!(unusable.pointer, pointer, "{schema}: {unusable:?}");
        }
    }
}
