//! What a schema may cost. Pure.
//!
//! A schema of a few lines can ask for more work than there is time: subschemas that apply to the
//! same value add up, a `$ref` repeats them, and with recursion they multiply with each level of
//! the payload. [`measure`] finds, for payloads of each depth, what can be asked of any one value
//! in it; times the number of values that is more than all the work. What asks too much of a
//! value in the deepest payload is refused before it is saved.
//!
//! It goes level by level, from payloads without members upward, and within a level from the
//! subschemas that apply nothing to the same value to those that apply them: no recursion here,
//! whatever the schema. It ends where a level adds nothing, or too much.

use super::graph::{Graph, Unusable};
use super::keywords::Load;
use crate::admit::MAX_DEPTH;

/// Steps that may be asked of one value.
const MAX_STEPS: u64 = 10_000;
/// Subschemas that may apply to the same value, one within the other. The validator recurses.
const MAX_CHAIN: usize = 200;
/// The same, and through all levels of a payload.
const MAX_CHAIN_IN_ALL: usize = 1_000;

/// What a schema asks of payloads of one depth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Demand {
    /// Of any one value.
    pub(super) load: Load,
    /// Subschemas that apply one within the other.
    pub(super) chain: usize,
    /// Bytes of the longest way down them, as faults have it.
    pub(super) route: usize,
}

/// By the payload's depth; deeper ones than the last ask what the last asks.
#[derive(Debug)]
pub(super) struct Cost(Vec<Demand>);

impl Cost {
    pub(super) fn at(&self, depth: usize) -> Demand {
        self.0.get(depth).or(self.0.last()).copied().unwrap_or_default()
    }
}

/// What a subschema asks at one level.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Asked {
    /// Of the value itself.
    here: Load,
    /// Of any one value inside it, if that is more than anything deeper down.
    inside: Load,
    /// The same once more, for a neighbour that wants to know what was looked at.
    again: (Load, Load),
    chain: usize,
    route: usize,
}

impl Asked {
    fn of_any(&self) -> Load {
        self.here.max(self.inside)
    }
}

pub(super) fn measure(graph: &Graph<'_>) -> Result<Cost, Unusable> {
    let order = order(graph)?;
    let mut before: Vec<Asked> = vec![Asked::default(); graph.nodes.len()];
    let mut levels = Vec::new();
    for level in 0..=MAX_DEPTH {
        let mut now = before.clone();
        for &index in &order {
            now[index] = asked(graph, index, &now, (level > 0).then_some(&before));
            if level == 0 && now[index].chain > MAX_CHAIN {
                let why = format!("nests more than {MAX_CHAIN} subschemas for the same value");
                return Err(Unusable { pointer: graph.pointer(index), why });
            }
        }
        let root = &now[0];
        let demand = Demand { load: root.of_any(), chain: root.chain, route: root.route };
        if demand.load.steps > MAX_STEPS {
            let why = "applies too many subschemas to one value, or recurses in too many ways \
                 at once";
            return Err(Unusable { pointer: String::new(), why: why.to_owned() });
        }
        if demand.chain > MAX_CHAIN_IN_ALL {
            let why = format!(
                "nests more than {MAX_CHAIN_IN_ALL} subschemas in a payload of {MAX_DEPTH} levels"
            );
            return Err(Unusable { pointer: String::new(), why });
        }
        levels.push(demand);
        if level > 0 && now == before {
            break;
        }
        before = now;
    }
    Ok(Cost(levels))
}

/// What one subschema asks, when it is known what those ask that it applies: to the same value in
/// `now`, to members in `below`, if there are any.
fn asked(graph: &Graph<'_>, index: usize, now: &[Asked], below: Option<&Vec<Asked>>) -> Asked {
    let node = &graph.nodes[index];
    let mut here = Load::of(1, 0, 1) + node.own.load;
    let mut inside = Load::of(node.own.inside, node.own.inside.min(1), 0);
    let mut again = (node.own.load, Load::default());
    let (mut chain, mut route) = (0, 0);
    for &index in &node.here {
        let one = &now[index];
        route = route.max(one.route);
        here += one.here;
        inside += one.inside;
        again.0 += one.here + one.again.0;
        again.1 += one.inside + one.again.1;
        chain = chain.max(one.chain);
    }
    if let Some(below) = below {
        let mut dearest = Load::default();
        for &index in &node.to_own_member {
            dearest = dearest.max(below[index].of_any());
            route = route.max(below[index].route);
            chain = chain.max(below[index].chain);
        }
        inside += dearest;
        for &index in &node.to_members {
            let load = below[index].of_any();
            inside += load;
            again.1 += load;
            chain = chain.max(below[index].chain);
            route = route.max(below[index].route);
        }
    }
    // Asked again, a neighbour only answers yes or no.
    (again.0.faults, again.1.faults) = (0, 0);
    if node.own.asks_again {
        here += again.0;
        inside += again.1;
    }
    Asked { here, inside, again, chain: chain + 1, route: route + node.step }
}

/// The subschemas that the root leads to, each after those that it applies to the same value.
fn order(graph: &Graph<'_>) -> Result<Vec<usize>, Unusable> {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        Never,
        Open,
        Done,
    }
    let mut seen = vec![Seen::Never; graph.nodes.len()];
    let mut order = Vec::new();
    let mut starts = vec![0];
    while let Some(start) = starts.pop() {
        // Each with the number of its subschemas that were gone into already.
        let mut open = vec![(start, 0)];
        while let Some((index, gone)) = open.pop() {
            if gone == 0 {
                match seen[index] {
                    Seen::Done => continue,
                    Seen::Open => {
                        let why = "refers to itself for the same value, without end".to_owned();
                        return Err(Unusable { pointer: graph.pointer(index), why });
                    }
                    Seen::Never => seen[index] = Seen::Open,
                }
            }
            let node = &graph.nodes[index];
            if let Some(&next) = node.here.get(gone) {
                open.push((index, gone + 1));
                open.push((next, 0));
            } else {
                seen[index] = Seen::Done;
                order.push(index);
                starts.extend(node.to_own_member.iter().chain(&node.to_members));
            }
        }
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::schemas::graph::survey;

    fn cost(schema: &Value) -> Result<Cost, Unusable> {
        survey(schema).and_then(|graph| measure(&graph))
    }

    /// `$defs` in which each of `count` leads to the next, and the last to a text.
    fn chain(count: usize, link: impl Fn(Value) -> Value) -> Value {
        let link = |n| link(json!({ "$ref": format!("#/$defs/d{}", n + 1) }));
        let defs = (0..count).map(|n| (format!("d{n}"), link(n)));
        let last = (format!("d{count}"), json!({"type": "string"}));
        let defs: Map<String, Value> = defs.chain([last]).collect();
        json!({"$ref": "#/$defs/d0", "$defs": defs})
    }

    #[test]
    fn schemas_that_people_write_are_cheap() {
        let hundred = (0..100).map(|n| {
            (format!("property_{n}"), json!({"type": "string", "minLength": 1, "maxLength": 200}))
        });
        let hundred: Map<String, Value> = hundred.collect();
        for schema in [
            json!(true),
            json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "number"}}}),
            // A tree, and a list, each as deep as it likes.
            json!({"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}, "n": {}}}),
            json!({"$defs": {"n": {"properties": {"next": {"$ref": "#/$defs/n"}}}}, "$ref": "#/$defs/n"}),
            json!({"items": {"$ref": "#any"}, "$defs": {"a": {"$anchor": "any", "type": "string"}}}),
            json!({"properties": {"left": {"$ref": "#"}}, "additionalProperties": {"$ref": "#"}}),
            json!({"oneOf": [{"type": "string"}, {"items": {"$ref": "#"}}]}),
            json!({"type": "object", "required": ["property_1"], "properties": hundred}),
            json!({"type": "object", "properties": {"children": {"type": "array", "uniqueItems": true,
                "items": {"oneOf": [{"type": "string"}, {"$ref": "#"}]}}}}),
            json!({"allOf": [{"properties": {"a": {"$ref": "#/$defs/a"}}}, {"required": ["a"]}],
                "unevaluatedProperties": false,
                "$defs": {"a": {"properties": {"b": true}, "unevaluatedProperties": false}}}),
            json!({"if": {"properties": {"kind": {"const": "a"}}}, "then": {"required": ["a"]},
                "else": {"oneOf": [{"required": ["b"]}, {"required": ["c"]}]}}),
            // The operators of an expression, of which each has operands.
            json!({"$ref": "#/$defs/e", "$defs": {
                "e": {"oneOf": [{"type": "number"}, {"$ref": "#/$defs/binary"}]},
                "binary": {"allOf": [{"type": "object"}, {"properties": {
                    "left": {"$ref": "#/$defs/e"}, "right": {"$ref": "#/$defs/e"}}}]}}}),
        ] {
            let cost = cost(&schema).unwrap_or_else(|unusable| panic!("{schema}: {unusable:?}"));
            assert!(cost.at(MAX_DEPTH).load.steps < 1_000, "{schema}: {:?}", cost.at(MAX_DEPTH));
        }
    }

    #[test]
    fn what_explodes_is_refused() {
        let twice = |next: Value| json!({"allOf": [next, next]});
        let nested = |count, link: &dyn Fn(Value) -> Value| {
            (0..count).fold(json!({"type": "string"}), |inner, _| link(inner))
        };
        let shared = |inner| json!({"patternProperties": {"a": inner, "b": inner}});
        let leans = |inner| json!({"anyOf": [inner], "unevaluatedProperties": false});
        let asks = |inner| json!({"unevaluatedProperties": inner});
        for (schema, pointer) in [
            (chain(40, twice), ""),
            (chain(60_000 / 36, twice), "/$defs/d1566"),
            (chain(300, |next| json!({"not": next})), "/$defs/d200"),
            (chain(300, |next| next), "/$defs/d100"),
            (json!({"properties": {"a": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}}), ""),
            (json!({"patternProperties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}}), ""),
            (json!({"items": {"$ref": "#"}, "contains": {"$ref": "#"}}), ""),
            (
                json!({"dependentSchemas": {"a": {"items": {"$ref": "#"}}, "b": {"items": {"$ref": "#"}}}}),
                "",
            ),
            (json!({"items": {"$ref": "#"}, "unevaluatedItems": {"$ref": "#"}}), ""),
            (json!({"allOf": [{"$ref": "#"}]}), ""),
            (json!({"propertyNames": {"$ref": "#"}}), ""),
            (
                json!({"items": {"$ref": "#/$defs/a"}, "$defs": {"a": {"not": {"$ref": "#/$defs/a"}}}}),
                "/$defs/a",
            ),
            (chain(20, shared), ""),
            (nested(20, &leans), ""),
            (nested(30, &asks), ""),
            // Eleven subschemas at each of a hundred levels.
            (
                json!({"items": nested(10, &|inner| if inner == json!({"type": "string"}) {
                json!({"$ref": "#"}) } else { json!({"anyOf": [inner]}) })}),
                "",
            ),
            (json!({"enum": (0..100_000).collect::<Vec<_>>()}), ""),
            (json!({"allOf": vec![json!({"const": vec![0; 1_000]}); 100]}), ""),
            (json!({"allOf": vec![json!({"uniqueItems": true}); 1_000]}), ""),
            (json!({"required": (0..90_000).map(|n| n.to_string()).collect::<Vec<_>>()}), ""),
            (
                json!({"dependentRequired": {"a": (0..90_000).map(|n| n.to_string()).collect::<Vec<_>>()}}),
                "",
            ),
        ] {
            let text = schema.to_string();
            let text = &text[..text.len().min(300)];
            let unusable = cost(&schema).err().unwrap_or_else(|| panic!("{text}"));
            assert_eq!(unusable.pointer, pointer, "{text}: {unusable:?}");
        }
    }

    #[test]
    fn what_does_not_apply_costs_nothing() {
        let cyclic = json!({"$defs": {"a": {"$ref": "#/$defs/a"}}, "type": "string"});
        assert!(cost(&cyclic).is_ok());
        let long = chain(1_500, |next| json!({"properties": {"a": next}}));
        let cost = cost(&long).unwrap();
        assert!(cost.at(0).load.steps < cost.at(1).load.steps + 1);
        assert_eq!((cost.at(0).chain, cost.at(1).chain, cost.at(500).chain), (2, 4, 202));
    }
}
