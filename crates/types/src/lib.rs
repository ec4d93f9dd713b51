//! The words of Triggerline, as types.
//!
//! A **customer** ([`Customer`]) owns everything else. A producer hands in an
//! **event** ([`Event`]) on the customer's behalf. Each live **subscription**
//! ([`Subscription`]) that matches it is owed a **delivery** ([`Delivery`]);
//! carrying it out takes one or more **attempts** ([`Attempt`]), each ending in an
//! **outcome** ([`Outcome`]). What storage learns about all of this reaches it as
//! **facts** ([`Fact`]), in any order and possibly twice, from which an event's
//! **status** ([`EventStatus`]) follows.
//!
//! Nothing here does I/O, reads a clock or knows how a type travels: encoding is
//! `triggerline-wire`'s, keeping is `triggerline-store`'s.

mod audit;
mod customer;
mod delivery;
mod delivery_settings;
mod erasure;
mod event;
mod event_type;
mod id;
mod identity;
mod instant;
mod rate_limit;
mod replay;
mod schema;
mod secret;
mod status;
mod subscription;

pub use audit::{Actor, AuditEntry};
pub use customer::{
    ApiKey, Customer, InvalidName, InvalidRetention, MAX_RETENTION_DAYS, Scope, check_name,
    check_retention_days,
};
pub use delivery::{Attempt, Delivery, Fact, Matched, Outcome, Owed, Response};
pub use delivery_settings::{Batching, DeliverySettings, Mode, Throttle};
pub use erasure::{Erased, Erasure, ErasureState};
pub use event::Event;
pub use event_type::{EventType, EventTypePattern, InvalidEventType, OPERATIONAL};
pub use id::{ApiKeyId, AuditId, CustomerId, DeliveryId, EventId, ReplayId, SubscriptionId};
pub use identity::{ClientCertificate, ClientCredentials, CredentialsIn};
pub use instant::{
    InvalidInstant, check_instant, format_instant, from_millis, millis, parse_instant,
    truncate_to_millis,
};
pub use rate_limit::{InvalidRateLimit, RateLimit};
pub use replay::{Progress, Replay, ReplayState, Selection, Source, Standing};
pub use schema::{Schema, SchemaMode};
pub use secret::{InvalidSecret, PublicKey, Secret, SigningKey};
pub use status::{DeliveryState, EventStatus};
pub use subscription::{
    Endpoint, OldSecret, Revision, Selector, Subscription, SubscriptionState, covers,
};
