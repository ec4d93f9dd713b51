//! Subscriptions, for either door: making one, a page of them, the state of one. What one may hold is
//! judged in [`crate::http::subscriptions`].

use triggerline_store::{MAX_SUBSCRIPTIONS, NewSubscription, Page, SubscriptionCreation};
use triggerline_types::{
    CustomerId, Endpoint, Scope, Subscription, SubscriptionId, SubscriptionState,
};

use crate::Shared;
use crate::asking::Asking;
use crate::inbox::Filling;
use crate::problem::{Kind, Problem};

/// What tells its cursors from other lists'.
pub(crate) const LIST: &str = "subscriptions";

/// A page of subscriptions.
pub(crate) struct Listed {
    pub(crate) subscriptions: Vec<Subscription>,
    /// The cursor of the next page, where there is one.
    pub(crate) next: Option<String>,
}

pub(crate) async fn create(
    shared: &Shared,
    asking: &Asking,
    new: NewSubscription,
) -> Result<Subscription, Problem> {
    match shared.control.create_subscription(new, asking.caller().actor()).await? {
        SubscriptionCreation::Made(made) => Ok(*made),
        SubscriptionCreation::TooMany => {
            let detail =
                format!("A customer has at most {MAX_SUBSCRIPTIONS} subscriptions; delete some.");
            Err(Problem::new(Kind::Conflict, detail))
        }
    }
}

/// Those after `after`, oldest first, until there are `limit`, or about `room` bytes.
pub(crate) async fn list(
    shared: &Shared,
    asking: &Asking,
    after: Option<SubscriptionId>,
    limit: usize,
    room: usize,
) -> Result<Listed, Problem> {
    let customer = asking.may(Scope::SubscriptionsRead)?;
    let page = page(shared, customer, after, limit, room).await?;
    let next = page.next.map(|id| shared.cursors.write_id(*id.as_uuid(), customer, LIST));
    Ok(Listed { subscriptions: page.items, next })
}

pub(crate) async fn page(
    shared: &Shared,
    customer: CustomerId,
    after: Option<SubscriptionId>,
    limit: usize,
    room: usize,
) -> Result<Page<Subscription, SubscriptionId>, Problem> {
    let id = |one: &Subscription| one.id;
    let (mut page, mut after) = (Filling::new(limit, room), after);
    loop {
        let asks = page.asks();
        let found = shared.control.subscriptions(customer, after, asks).await?;
        if page.take(Page::full(found, asks, id), size, id) {
            return Ok(Page { items: page.items, next: page.next });
        }
        after = page.next;
    }
}

pub(crate) async fn set_state(
    shared: &Shared,
    asking: &Asking,
    id: SubscriptionId,
    state: SubscriptionState,
) -> Result<Subscription, Problem> {
    let customer = asking.may(Scope::SubscriptionsWrite)?;
    let actor = asking.caller().actor();
    let changed = shared.control.set_subscription_state(customer, id, state, actor).await?;
    changed.ok_or_else(Problem::not_found)
}

/// What is told of a subscription beside the texts that its owner gave.
const REST_BYTES: usize = 1_500;

/// About what a subscription takes in an answer.
fn size(one: &Subscription) -> usize {
    let Endpoint { url, settings, .. } = &one.endpoint;
    let optional = [&one.selector.pattern, &one.selector.jsonpath, &settings.ordering_key];
    let chain = settings.client_certificate.iter().map(|certificate| &certificate.chain);
    let oauth2 = settings.oauth2.iter().flat_map(|oauth2| {
        let optional = [&oauth2.scope, &oauth2.audience].into_iter().flatten();
        [&oauth2.token_url, &oauth2.client_id].into_iter().chain(optional)
    });
    let texts = [&one.workflow_id, url].into_iter().chain(optional.into_iter().flatten());
    let texts = texts.chain(settings.headers.keys()).chain(chain).chain(oauth2).map(String::len);
    let types = one.event_types.iter().map(|pattern| pattern.as_str().len());
    texts.chain(types).sum::<usize>() + REST_BYTES
}
