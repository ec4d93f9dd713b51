//! A customer's subscriptions, as the matcher sees them: those that may be owed something, in an index.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use triggerline_matching::{Matching, Predicate, Rules};
use triggerline_store::View;
use triggerline_types::{Event, EventTypePattern, Subscription, SubscriptionState};

#[derive(Clone, Default)]
pub(crate) struct Live {
    rules: Rules<Owner>,
}

/// Whose rule it is. The same while its id is.
#[derive(Clone)]
struct Owner(Arc<Subscription>);

impl PartialEq for Owner {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for Owner {}

impl Hash for Owner {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

impl View for Live {
    fn change(&mut self, subscription: &Arc<Subscription>) {
        let owner = Owner(Arc::clone(subscription));
        self.rules.remove(&owner);
        if !may_be_owed(subscription) {
            return;
        }
        let every = [EventTypePattern::every()];
        let types = match &subscription.event_types[..] {
            [] => &every,
            types => types,
        };
        match Predicate::compile(&subscription.selector) {
            Ok(predicate) => self.rules.insert(owner, types, &predicate),
            // It was compiled when it was saved; only another version can have let it in.
            Err(error) => {
                tracing::error!(id = %subscription.id, %error, "a stored selector doesn't compile");
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

impl Live {
    /// Those that are owed the event, in the order of their ids; and why that could not be said of
    /// some, if so.
    pub(crate) fn owed(&self, event: &Event) -> Matching<Arc<Subscription>> {
        let Matching { keys, undecided } = self.rules.matching(&event.event_type, &event.payload);
        let mut keys: Vec<_> = keys.into_iter().map(|owner| owner.0).collect();
        // The picture is the customer's own, and looks at events of Triggerline's own as at others.
        keys.retain(|one| one.customer_id == event.customer_id && one.covers(&event.event_type));
        keys.sort_unstable_by_key(|one| one.id);
        Matching { keys, undecided }
    }

    pub(crate) fn len(&self) -> usize {
        self.rules.len()
    }
}

/// Not one that is unsubscribed, disabled or deleted, or paused where it is not pulled.
fn may_be_owed(subscription: &Subscription) -> bool {
    match subscription.state {
        SubscriptionState::Active => true,
        // It is not given anything, but finds all of it when it is resumed.
        SubscriptionState::Paused => subscription.endpoint.settings.mode.pulls(),
        _ => false,
    }
}
