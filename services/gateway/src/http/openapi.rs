//! What every operation of the OpenAPI document has in common, added in one place: who may call,
//! which errors may come, what headers an answer carries; and the webhooks that a receiver gets.

use serde_json::{Map, Value, json};
use utoipa::PartialSchema as _;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, LicenseBuilder, Object, OpenApi, Ref, RefOr,
    Response, ResponseBuilder, ServerBuilder, Type,
};

use crate::cloud_events::MAX_NAME_BYTES;
use crate::problem::{Document, Fault, Kind, Row};

const PROBLEM: &str = "application/problem+json";

const DESCRIPTION: &str = "\
Triggerline takes events in, matches them against subscriptions, and delivers them as signed webhooks.

Send an API key as `Authorization: Bearer tl_…` or `X-API-Key: tl_…`. Errors are problem documents \
(RFC 9457); each type has a page under `/docs/errors`. Every answer for which a key was looked at, and known, says \
where its rate limit stands (`RateLimit-Policy`, `RateLimit`). A query parameter that a call doesn't have, or has twice, \
is refused. Events may be handed in over gRPC as well: see \
`proto/triggerline/v1`.";

const TAGS: [(&str, &str); 11] = [
    ("Events", "Hand events in."),
    ("Inbox", "What was accepted, and what became of it."),
    ("Subscriptions", "Who gets what, where."),
    ("Pull", "Leasing deliveries, and acknowledging what was worked off."),
    ("Dead letters", "Deliveries that were given up, and handing them over again."),
    ("Replays", "What was delivered, or was not, sent (again)."),
    ("Schemas", "What events look like, and those that don't."),
    ("API keys", "Who may do what."),
    ("Audit", "Who changed what."),
    ("Customers", "For the installation's administrators."),
    ("Webhooks", "What a receiver gets."),
];

pub(super) fn complete(document: OpenApi) -> Value {
    // A document of strings, numbers and maps: nothing in it can fail to serialise.
    let mut document = serde_json::to_value(with_what_is_common(document)).unwrap_or_default();
    share_problems(&mut document);
    drop_unused(&mut document);
    describe_extensions(&mut document);
    // utoipa's 3.1 has no place for it.
    document["webhooks"] = webhooks();
    document
}

/// The further attributes of a CloudEvent: utoipa has no word for what members may be called.
fn describe_extensions(document: &mut Value) {
    let event = &mut document["components"]["schemas"]["CloudEventBody"];
    let pattern = format!("^([a-z0-9]{{1,{MAX_NAME_BYTES}}}|data_base64)$");
    event["propertyNames"] = json!({"pattern": pattern});
    event["additionalProperties"] = json!({"anyOf": [
        {"type": "string", "minLength": 1, "maxLength": 1024, "pattern": "^[^\\x00-\\x1f\\x7f-\\x9f]+$"},
        {"type": "integer", "minimum": i32::MIN, "maximum": i32::MAX},
        {"type": ["boolean", "null"]},
    ]});
}

/// Takes away the schemas that nothing refers to: of generic lists, utoipa writes the items out.
fn drop_unused(document: &mut Value) {
    loop {
        let text = document.to_string();
        let Some(schemas) = document["components"]["schemas"].as_object_mut() else {
            return;
        };
        let before = schemas.len();
        schemas.retain(|name, _| text.contains(&format!("\"#/components/schemas/{name}\"")));
        if schemas.len() == before {
            return;
        }
    }
}

/// Puts each problem that several operations answer with into one place: `#/components/responses`.
fn share_problems(document: &mut Value) {
    let mut shared: Vec<(String, Value)> = Vec::new();
    let operations = document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut);
    let operations = operations.filter_map(Value::as_object_mut).flat_map(Map::values_mut);
    for operation in operations {
        let responses = operation["responses"].as_object_mut();
        for (status, response) in responses.into_iter().flatten() {
            if response["content"].get(PROBLEM).is_none() {
                continue;
            }
            let known = shared.iter().find(|(_, one)| one == response);
            let name = if let Some((name, _)) = known {
                name.clone()
            } else {
                let first = format!("Problem{status}");
                let alike = shared.iter().filter(|(name, _)| name.starts_with(&first)).count();
                let name = if alike == 0 { first } else { format!("{first}-{}", alike + 1) };
                shared.push((name.clone(), response.clone()));
                name
            };
            *response = json!({"$ref": format!("#/components/responses/{name}")});
        }
    }
    document["components"]["responses"] = shared.into_iter().collect::<Map<_, _>>().into();
}

/// What a receiver gets (Standard Webhooks 1.0).
fn webhooks() -> Value {
    let header = |name: &str, text: &str| {
        let schema = json!({"type": "string"});
        json!({"name": name, "in": "header", "required": true, "description": text, "schema": schema})
    };
    json!({"event": {"post": {
        "operationId": "receiveEvent",
        "tags": ["Webhooks"],
        "summary": "Receive an event",
        "description": "What an endpoint of a subscription gets: signed as Standard Webhooks 1.0 says, \
            with the secret that was shown when the subscription was made. It comes at least once; \
            the same `webhook-id` is the same delivery.",
        "security": [],
        "parameters": [
            header("webhook-id", "The delivery's id: the same on each attempt."),
            header("webhook-timestamp", "When this attempt was made, in seconds since the epoch."),
            json!({"name": "triggerline-replay-id", "in": "header", "required": false, "schema":
                {"type": "string"}, "description": "The replay that sent it again, if one did."}),
            header("webhook-signature", "`v1,` and the base64 of the HMAC-SHA256 of `{id}.{timestamp}.{body}`."),
        ],
        "requestBody": {"required": true, "content": {"application/json": {"schema": {
            "type": "object",
            "required": ["event_id", "event_type", "source", "occurred_at", "received_at", "payload"],
            "properties": {
                "event_id": {"type": "string", "format": "uuid"},
                "event_type": {"type": "string"},
                "source": {"type": "string"},
                "subject": {"type": "string"},
                "occurred_at": {"type": "string", "format": "date-time"},
                "received_at": {"type": "string", "format": "date-time"},
                "extensions": {
                    "type": "object",
                    "additionalProperties": {"type": "string"},
                    "description": "Further CloudEvents attributes; absent if there are none.",
                },
                "payload": {"description": "JSON, byte for byte as it was handed in."},
            },
        }, "example": {
            "event_id": "01890a5d-ac96-774b-bcce-b302099a8057",
            "event_type": "order.created",
            "source": "shop",
            "occurred_at": "2026-11-23T13:05:07.000Z",
            "received_at": "2026-11-23T13:05:07.123Z",
            "payload": {"total": 120},
        }}}},
        "responses": {
            "2XX": {"description": "Delivered; of a batch all but those that the answer names: `{\"failed\": [\"<event id>\"]}`."},
            "410": {"description": "The subscription is unsubscribed."},
            "429": {"description": "Retried, not before `Retry-After`; so are 408, 425 and 5xx."},
            "4XX": {"description": "Dead-lettered at once; so is a redirect."},
        },
    }}})
}

fn with_what_is_common(mut document: OpenApi) -> OpenApi {
    document.info = InfoBuilder::new()
        .title("Triggerline")
        .version("v1")
        .description(Some(DESCRIPTION))
        .license(Some(
            LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build(),
        ))
        .build();
    document.servers = Some(vec![ServerBuilder::new().url("/").build()]);
    document.tags = Some(
        TAGS.iter()
            .map(|(name, text)| TagBuilder::new().name(*name).description(Some(*text)).build())
            .collect(),
    );
    let either = |name: &str| SecurityRequirement::new(name, Vec::<String>::new());
    document.security = Some(vec![either("bearer"), either("header")]);
    for (path, item) in &mut document.paths.paths {
        let operations =
            [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            describe(operation, path);
        }
    }
    let components = document.components.take().unwrap_or_default();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("tl_…").build();
    document.components = Some(
        ComponentsBuilder::from(components)
            .schema("Problem", Document::schema())
            .schema("Fault", Fault::schema())
            .security_scheme("bearer", SecurityScheme::Http(bearer))
            .security_scheme(
                "header",
                SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-API-Key"))),
            )
            .build(),
    );
    document
}

/// The problems that an operation may answer with beside those that it names itself.
fn describe(operation: &mut Operation, path: &str) {
    let mut kinds = vec![
        Kind::InvalidParameter,
        Kind::Unauthorized,
        Kind::MissingScope,
        Kind::RateLimited,
        Kind::Internal,
        Kind::Unavailable,
    ];
    if path.contains('{') {
        kinds.push(Kind::NotFound);
    }
    if operation.request_body.is_some() {
        kinds.extend([
            Kind::MalformedBody,
            Kind::InvalidField,
            Kind::Timeout,
            Kind::TooLarge,
            Kind::UnsupportedMediaType,
        ]);
    }
    if path.starts_with("/v1/events") && operation.request_body.is_some() {
        kinds.extend([
            Kind::IdempotencyKeyInUse,
            Kind::IdempotencyKeyReused,
            Kind::SchemaViolation,
        ]);
    }
    kinds.sort_by_key(|kind| kind.row().status);
    for of_status in kinds.chunk_by(|one, next| one.row().status == next.row().status) {
        let status = of_status[0].row().status.as_str().to_owned();
        let told = |kind: &Kind| {
            let Row { name, title, .. } = kind.row();
            format!("{title}: [{name}](/docs/errors/{name}).")
        };
        let description = of_status.iter().map(told).collect::<Vec<_>>().join(" ");
        let known = operation.responses.responses.remove(&status);
        let description = match known {
            Some(RefOr::T(known)) => known.description,
            _ => description,
        };
        operation
            .responses
            .responses
            .insert(status.clone(), RefOr::T(problem(&status, &description)));
    }
    // Those that the operation names without a body are problems too.
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response {
            if status.starts_with(['4', '5']) && response.content.is_empty() {
                *response = problem(status, &response.description);
            }
            let id = HeaderBuilder::new().description(Some("The request's id.")).build();
            response.headers.insert("X-Request-Id".to_owned(), id.into());
            if status == "401" {
                let header = HeaderBuilder::new().description(Some("`Bearer`")).build();
                response.headers.insert("WWW-Authenticate".to_owned(), header.into());
            }
            if !matches!(status.as_str(), "401" | "500" | "503") {
                add_limits(response);
            }
        }
    }
}

fn problem(status: &str, description: &str) -> Response {
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .example(Some(json!({
            "type": "/docs/errors/…",
            "title": "…",
            "status": status.parse::<u16>().unwrap_or_default(),
            "detail": "What is wrong this time.",
            "instance": "urn:triggerline:request:0193570e-9b2f-7c9a-b6a1-4a3c8d5e6f70",
        })))
        .build();
    let mut response =
        ResponseBuilder::new().description(description).content(PROBLEM, content).build();
    if matches!(status, "409" | "429" | "503") {
        let schema = Object::with_type(Type::Integer);
        let header =
            HeaderBuilder::new().schema(Some(schema)).description(Some("Seconds.")).build();
        response.headers.insert("Retry-After".to_owned(), header.into());
    }
    response
}

fn add_limits(response: &mut Response) {
    for (name, text) in [
        ("RateLimit-Policy", "The quota `q` in a window of `w` seconds."),
        ("RateLimit", "What remains `r`, and in how many seconds `t` all of it is free again."),
    ] {
        let header = HeaderBuilder::new().description(Some(text)).build();
        response.headers.insert(name.to_owned(), header.into());
    }
}

#[cfg(test)]
mod tests {
    use super::super::document;
    use super::*;

    /// `TRIGGERLINE_WRITE=1 cargo test -p triggerline-gateway openapi` writes the file anew.
    #[test]
    fn the_checked_in_document_is_the_codes() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
        let mut now = serde_json::to_string_pretty(&document()).unwrap();
        now.push('\n');
        if std::env::var_os("TRIGGERLINE_WRITE").is_some() {
            std::fs::write(path, &now).unwrap();
        }
        let checked_in = std::fs::read_to_string(path).unwrap_or_default();
        assert!(now == checked_in, "docs/openapi.json is not what the code says; see this test");
    }

    /// Readers refuse members that they don't know, but for the attributes of a CloudEvent.
    #[test]
    fn bodies_have_no_members_but_those_that_are_documented() {
        let document = document();
        let mut bodies = 0;
        for item in document["paths"].as_object().unwrap().values() {
            for operation in item.as_object().unwrap().values() {
                let content = operation["requestBody"]["content"].as_object();
                for (_, media) in content.into_iter().flatten() {
                    let text = media.to_string();
                    for name in text.split("#/components/schemas/").skip(1) {
                        let name = name.split('"').next().unwrap();
                        let more = &document["components"]["schemas"][name]["additionalProperties"];
                        if name == "CloudEventBody" {
                            assert!(more["anyOf"].is_array(), "{more}");
                        } else {
                            assert_eq!(more, &Value::Bool(false), "{name}");
                        }
                        bodies += 1;
                    }
                }
            }
        }
        assert!(bodies >= 12, "{bodies}");
    }

    #[test]
    fn a_replayed_answer_is_documented_to_say_so() {
        let document = document();
        for (path, status) in [
            ("/v1/events", "202"),
            ("/v1/events", "207"),
            ("/v1/events/batch", "202"),
            ("/v1/events/batch", "207"),
        ] {
            let answer = &document["paths"][path]["post"]["responses"][status];
            assert!(answer["headers"]["Idempotent-Replayed"].is_object(), "{path}: {answer}");
        }
    }

    #[test]
    fn every_operation_documents_its_errors() {
        let document = document();
        let mut operations = 0;
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                operations += 1;
                let at = format!("{method} {path}");
                assert!(operation["operationId"].is_string(), "{at}");
                assert!(operation["summary"].is_string(), "{at}");
                let responses = operation["responses"].as_object().unwrap();
                assert!(responses.keys().any(|status| status.starts_with('2')), "{at}");
                for status in ["400", "401", "403", "429", "500", "503"] {
                    let shared = responses[status]["$ref"].as_str().unwrap_or_default();
                    let response = document.pointer(&shared[1..]).unwrap_or(&Value::Null);
                    assert!(response["content"][PROBLEM].is_object(), "{at}: {status}");
                }
            }
        }
        assert!(operations >= 27, "{operations}");
    }
}
