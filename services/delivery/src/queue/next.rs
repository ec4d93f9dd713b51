//! What the drain does with a row that is due. Pure.

use time::OffsetDateTime;
use triggerline_store::Due;
use triggerline_types::{Subscription, SubscriptionState};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Send,
    /// It is whoever pulls that has to do something.
    Sleep,
    GiveUp(String),
}

/// Whether the subscription's rows wait for whoever pulls, and for nobody else.
pub(super) fn sleeps(subscription: &Subscription) -> bool {
    let mode = subscription.endpoint.settings.mode;
    match subscription.state {
        SubscriptionState::Active => !mode.pushes(),
        // What was matched before a pause is sent all the same, unless it is kept.
        SubscriptionState::Paused => mode.pulls(),
        // Their rows have to be settled.
        _ => false,
    }
}

/// When a row that is put in, or back, is looked after; `end` is when nobody has taken it.
pub(super) fn due(subscription: &Subscription, now: OffsetDateTime, end: OffsetDateTime) -> Due {
    if sleeps(subscription) { Due::Asleep(end) } else { Due::At(now) }
}

/// `attempt` is the number of the next one, `last` that of the last there may be.
pub(super) fn next(
    subscription: &Subscription,
    (attempt, last): (u32, u32),
    now: OffsetDateTime,
    end: OffsetDateTime,
) -> Next {
    let pulls = subscription.endpoint.settings.mode.pulls();
    if pulls && attempt > last {
        let times = if last == 1 { "once".to_owned() } else { format!("{last} times") };
        return Next::GiveUp(format!("it was tried or leased {times}, and never acknowledged"));
    }
    if !sleeps(subscription) {
        return Next::Send;
    }
    if end <= now { Next::GiveUp("nobody took it in time".to_owned()) } else { Next::Sleep }
}

#[cfg(test)]
mod tests {
    use triggerline_types::{
        CustomerId, Endpoint, Mode, Revision, Secret, Selector, SubscriptionId, SubscriptionState,
    };

    use super::*;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn subscription(mode: Mode, state: SubscriptionState) -> Subscription {
        let mut endpoint = Endpoint::new("", Secret::generate());
        endpoint.settings.mode = mode;
        Subscription {
            id: SubscriptionId::new(),
            customer_id: CustomerId::new(),
            workflow_id: String::new(),
            event_types: Vec::new(),
            selector: Selector::default(),
            endpoint,
            state,
            revision: Revision(1),
            created_at: NOW,
            updated_at: NOW,
        }
    }

    #[test]
    fn a_row_is_sent_or_waits_or_is_given_up() {
        use Mode::{Both, Pull, Webhook};
        use SubscriptionState::{Active, Deleted, Paused};
        let later = NOW + time::Duration::SECOND;
        for (mode, state, attempt, end, does) in [
            (Webhook, Active, 1, NOW, "send"),
            (Webhook, Paused, 1, NOW, "send"),
            // Its attempts were leases, once. It is sent, and that decides.
            (Webhook, Active, 9, later, "send"),
            (Both, Active, 8, later, "send"),
            (Both, Active, 9, later, "give up"),
            (Both, Paused, 1, later, "sleep"),
            (Pull, Active, 8, later, "sleep"),
            (Pull, Active, 9, later, "give up"),
            (Pull, Active, 1, NOW, "give up"),
            (Pull, Paused, 1, later, "sleep"),
            (Pull, Deleted, 1, later, "send"),
        ] {
            let told = format!("{mode:?} {state:?} {attempt}");
            let subscription = subscription(mode, state);
            let found = match next(&subscription, (attempt, 8), NOW, end) {
                Next::Send => "send",
                Next::Sleep => "sleep",
                Next::GiveUp(_) => "give up",
            };
            assert_eq!(found, does, "{told}");
            assert_eq!(
                due(&subscription, NOW, later),
                if sleeps(&subscription) { Due::Asleep(later) } else { Due::At(NOW) }
            );
        }
    }
}
