//! Whether anything was lost. Pure: it is told what was sent and what arrived.
//!
//! The rules, for every fault test (docs/ARCHITECTURE.md, "What must hold"):
//! - **I1** what was acknowledged is stored;
//! - **I2** every delivery that is owed arrives, its payload intact (or is dead-lettered or
//!   cancelled, where a test expects that);
//! - **I3** duplicates carry the same `webhook-id`, and no two deliveries share one.
//!
//! A request that got no answer, or a 503, may or may not have been accepted: nothing is owed
//! for it, but it may arrive. What arrives without ever having been sent, or at someone to whom
//! it isn't owed, is a fault too.

use std::collections::{HashMap, HashSet};

use sha2::{Digest as _, Sha256};
use triggerline_types::EventId;

use crate::Received;

pub(crate) fn digest(payload: &[u8]) -> [u8; 32] {
    Sha256::digest(payload).into()
}

/// One event that was acknowledged.
#[derive(Clone, Debug)]
pub struct Sent {
    pub event_id: EventId,
    pub digest: [u8; 32],
    /// The receiver's paths at which it is to arrive.
    pub owed: Vec<String>,
}

#[derive(Clone, Debug, Default)]
pub struct Oracle {
    sent: Vec<Sent>,
    /// Payloads whose fate is unknown, and where each may arrive.
    unknown: HashMap<[u8; 32], Vec<String>>,
}

/// What the oracle found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub sent: usize,
    pub owed: usize,
    /// Deliveries that arrived at least once, intact and verified.
    pub delivered: usize,
    /// Arrivals beyond the first of each delivery that had been answered 2xx before.
    pub duplicates: usize,
    /// Deliveries that never arrived: `path event`.
    pub lost: Vec<String>,
    /// Everything else that must not be.
    pub faults: Vec<String>,
}

impl Verdict {
    pub fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.faults.is_empty()
    }
}

impl Oracle {
    /// A 202 came: all of `owed` is owed from now on.
    pub fn acknowledged(&mut self, event_id: EventId, payload: &[u8], owed: Vec<String>) {
        self.sent.push(Sent { event_id, digest: digest(payload), owed });
    }

    /// No answer came, or one that leaves it open.
    pub fn unknown(&mut self, payload: &[u8], maybe: Vec<String>) {
        self.unknown.insert(digest(payload), maybe);
    }

    pub fn sent(&self) -> &[Sent] {
        &self.sent
    }

    pub fn owed(&self) -> usize {
        self.sent.iter().map(|sent| sent.owed.len()).sum()
    }

    pub fn judge(&self, received: &[Received]) -> Verdict {
        let sent: HashMap<EventId, &Sent> =
            self.sent.iter().map(|sent| (sent.event_id, sent)).collect();
        let mut verdict =
            Verdict { sent: self.sent.len(), owed: self.owed(), ..Verdict::default() };
        let mut arrived: HashSet<(&str, EventId)> = HashSet::new();
        let mut ids: HashMap<&str, (&str, EventId)> = HashMap::new();
        let mut by_delivery: HashMap<(&str, EventId), &str> = HashMap::new();
        for one in received {
            let path = one.path.as_str();
            let mut fault = |told: String| verdict.faults.push(format!("{path}: {told}"));
            if let Some(told) = &one.fault {
                fault(format!("{} is not genuine: {told}", one.webhook_id));
                continue;
            }
            let Some(event_id) = one.event_id else {
                fault(format!("{} holds no event", one.webhook_id));
                continue;
            };
            let delivery = (path, event_id);
            if *ids.entry(&one.webhook_id).or_insert(delivery) != delivery {
                fault(format!("webhook-id {} is used for two deliveries", one.webhook_id));
            }
            if *by_delivery.entry(delivery).or_insert(&one.webhook_id) != one.webhook_id {
                fault(format!("event {event_id} came under two webhook-ids"));
            }
            let Some(sent) = sent.get(&event_id) else {
                let maybe = self.unknown.get(&one.digest);
                if !maybe.is_some_and(|maybe| maybe.iter().any(|maybe| maybe == path)) {
                    fault(format!("event {event_id} was never sent"));
                }
                continue;
            };
            if one.digest != sent.digest {
                fault(format!("event {event_id}: the payload was changed"));
            } else if !sent.owed.iter().any(|owed| owed == path) {
                fault(format!("event {event_id} was not owed here"));
            } else if (200..300).contains(&one.status) && !arrived.insert(delivery) {
                verdict.duplicates += 1;
            }
        }
        verdict.delivered = arrived.len();
        for sent in &self.sent {
            for path in &sent.owed {
                if !arrived.contains(&(path.as_str(), sent.event_id)) {
                    verdict.lost.push(format!("{path} {}", sent.event_id));
                }
            }
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;

    fn arrival(path: &str, webhook_id: &str, event_id: EventId, payload: &[u8]) -> Received {
        Received {
            path: path.to_owned(),
            webhook_id: webhook_id.to_owned(),
            replay_id: None,
            extra: Vec::new(),
            event_id: Some(event_id),
            digest: digest(payload),
            fault: None,
            status: 200,
            at: OffsetDateTime::UNIX_EPOCH,
        }
    }

    /// The checker is checked: each rule broken once, and found.
    #[test]
    fn every_broken_rule_is_found() {
        let (first, second) = (EventId::new(), EventId::new());
        let mut oracle = Oracle::default();
        oracle.acknowledged(first, b"1", vec!["a".into(), "b".into()]);
        oracle.acknowledged(second, b"2", vec!["a".into()]);
        oracle.unknown(b"3", vec!["a".into()]);
        let good = vec![
            arrival("a", "w1", first, b"1"),
            arrival("b", "w2", first, b"1"),
            arrival("a", "w3", second, b"2"),
        ];
        let verdict = oracle.judge(&good);
        assert!(verdict.is_clean(), "{verdict:?}");
        assert_eq!((verdict.sent, verdict.owed, verdict.delivered), (2, 3, 3));

        let with = |more: Received| oracle.judge(&[good.clone(), vec![more]].concat());
        assert_eq!(oracle.judge(&good[1..]).lost, [format!("a {first}")]);
        assert_eq!(with(arrival("a", "w1", first, b"1")).duplicates, 1);
        assert!(with(arrival("a", "w9", EventId::new(), b"3")).is_clean(), "unknown may arrive");

        let unverified = Received { fault: Some("x".into()), ..arrival("a", "w1", first, b"1") };
        let failed = Received { status: 500, ..arrival("b", "w2", first, b"1") };
        assert_eq!(oracle.judge(&[good[0].clone(), failed]).lost.len(), 2, "500 is no arrival");
        for (broken, told) in [
            (unverified, "not genuine"),
            (arrival("a", "w4", first, b"1"), "two webhook-ids"),
            (arrival("b", "w1", first, b"1"), "two deliveries"),
            (arrival("a", "w1", first, b"changed"), "changed"),
            (arrival("b", "w5", second, b"2"), "not owed here"),
            (arrival("a", "w6", EventId::new(), b"x"), "never sent"),
            (arrival("b", "w6", EventId::new(), b"3"), "never sent"),
        ] {
            let verdict = with(broken);
            assert!(verdict.faults.iter().any(|fault| fault.contains(told)), "{told}: {verdict:?}");
        }
    }
}
