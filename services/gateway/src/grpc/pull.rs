//! `triggerline.v1.Pull`

use std::time::Duration;

use tonic::{Request, Response, Status};
use triggerline_store::Depth;
use triggerline_types::{DeliveryId, SubscriptionId};
use triggerline_wire::proto::pull_server::Pull;
use triggerline_wire::proto::{
    self, AcknowledgeDeliveriesRequest, AcknowledgeDeliveriesResponse, ExtendLeaseRequest,
    ExtendLeaseResponse, GetQueueRequest, LeaseDeliveriesRequest, LeaseDeliveriesResponse, Queue,
    ReleaseDeliveriesRequest, ReleaseDeliveriesResponse,
};
use uuid::Uuid;

use super::call::{Call, Door};
use super::inbox::{PAGE_BYTES, bare};
use super::instant::to_timestamp;
use super::subscriptions;
use crate::problem::Problem;
use crate::pull::{self, Leased, LeasedDelivery, Meant, Told, Wanted};

#[tonic::async_trait]
impl Pull for Door {
    async fn lease_deliveries(
        &self,
        request: Request<LeaseDeliveriesRequest>,
    ) -> Result<Response<LeaseDeliveriesResponse>, Status> {
        let (call, message) = Call::of(request)?;
        // What is leased when the deadline passes is nobody's until the lease ends.
        let patience = call.deadline().map_or(Duration::MAX, |limit| limit / 2);
        let work = async {
            let id = subscriptions::read(&message.subscription_id)?;
            let wanted = Wanted {
                lease_seconds: message.lease_seconds,
                limit: message.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
                wait_seconds: message.wait_seconds,
            };
            pull::lease(&self.shared, &call.asking, id, wanted, PAGE_BYTES, patience).await
        };
        let Leased { lease, deliveries } = call.within(work).await?;
        Ok(Response::new(LeaseDeliveriesResponse {
            lease_id: lease.id.to_string(),
            expires_at: Some(to_timestamp(lease.until)),
            deliveries: deliveries.into_iter().map(shown).collect(),
        }))
    }

    async fn get_queue(
        &self,
        request: Request<GetQueueRequest>,
    ) -> Result<Response<Queue>, Status> {
        let (call, message) = Call::of(request)?;
        let work = async {
            let id = subscriptions::read(&message.subscription_id)?;
            pull::depth(&self.shared, &call.asking, id).await
        };
        let depth = call.within(work).await?;
        let count = |number| u32::try_from(number).unwrap_or(u32::MAX);
        Ok(Response::new(Queue {
            depth: count(depth.rows),
            more: depth.rows >= Depth::MOST,
            leased: count(depth.leased),
            oldest_queued_at: depth.oldest.map(to_timestamp),
        }))
    }

    async fn acknowledge_deliveries(
        &self,
        request: Request<AcknowledgeDeliveriesRequest>,
    ) -> Result<Response<AcknowledgeDeliveriesResponse>, Status> {
        let (call, message) = Call::of(request)?;
        let work = async {
            let AcknowledgeDeliveriesRequest { subscription_id, lease_id, delivery_ids, all } =
                message;
            let (id, meant) = meant(&subscription_id, &lease_id, &delivery_ids, all)?;
            pull::acknowledge(&self.shared, &call.asking, id, meant).await
        };
        let (delivery_ids, not_held) = told(call.within(work).await?);
        Ok(Response::new(AcknowledgeDeliveriesResponse { delivery_ids, not_held }))
    }

    async fn release_deliveries(
        &self,
        request: Request<ReleaseDeliveriesRequest>,
    ) -> Result<Response<ReleaseDeliveriesResponse>, Status> {
        let (call, message) = Call::of(request)?;
        let work = async {
            let ReleaseDeliveriesRequest { subscription_id, lease_id, delivery_ids, all, .. } =
                message;
            let (id, meant) = meant(&subscription_id, &lease_id, &delivery_ids, all)?;
            pull::release(&self.shared, &call.asking, id, meant, message.delay_seconds).await
        };
        let (delivery_ids, not_held) = told(call.within(work).await?);
        Ok(Response::new(ReleaseDeliveriesResponse { delivery_ids, not_held }))
    }

    async fn extend_lease(
        &self,
        request: Request<ExtendLeaseRequest>,
    ) -> Result<Response<ExtendLeaseResponse>, Status> {
        let (call, message) = Call::of(request)?;
        let work = async {
            let ExtendLeaseRequest { subscription_id, lease_id, delivery_ids, all, .. } = message;
            let (id, meant) = meant(&subscription_id, &lease_id, &delivery_ids, all)?;
            pull::extend(&self.shared, &call.asking, id, meant, message.lease_seconds).await
        };
        let (delivery_ids, not_held) = told(call.within(work).await?);
        Ok(Response::new(ExtendLeaseResponse { delivery_ids, not_held }))
    }
}

fn meant(
    subscription_id: &str,
    lease_id: &str,
    delivery_ids: &[String],
    all: bool,
) -> Result<(SubscriptionId, Meant), Problem> {
    let id = subscriptions::read(subscription_id)?;
    let lease_id = Uuid::try_parse(lease_id)
        .map_err(|_| Problem::field("/lease_id", "is a UUID, as LeaseDeliveries gave it"))?;
    let read = |(index, text): (usize, &String)| {
        text.parse::<DeliveryId>().map_err(|_| {
            let told = "is a UUID, as LeaseDeliveries gave it";
            Problem::field(format!("/delivery_ids/{index}"), told)
        })
    };
    let named = delivery_ids.iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
    let told = match (named.is_empty(), all) {
        (false, true) => "is given beside `all`; say one or the other",
        (true, false) => "names none; set `all` to mean all that the lease has",
        _ => return Ok((id, Meant { lease_id, delivery_ids: (!all).then_some(named) })),
    };
    Err(Problem::field("/delivery_ids", told))
}

fn told(Told { done, not_held }: Told) -> (Vec<String>, Vec<String>) {
    let texts = |ids: Vec<DeliveryId>| ids.iter().map(ToString::to_string).collect();
    (texts(done), texts(not_held))
}

fn shown(leased: LeasedDelivery) -> proto::LeasedDelivery {
    let LeasedDelivery { id, lease_count, possible_duplicate, queued_at, event } = leased;
    proto::LeasedDelivery {
        delivery_id: id.to_string(),
        lease_count,
        possible_duplicate,
        queued_at: Some(to_timestamp(queued_at)),
        event: Some(bare(event)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01890a5d-ac96-7ab2-80e2-4536629c90de";

    #[test]
    fn ids_are_read_and_a_bad_one_is_named() {
        let (id, all) = meant(ID, ID, &[], true).unwrap();
        assert_eq!((id.to_string().as_str(), all.delivery_ids), (ID, None));
        let (_, one) = meant(ID, ID, &[ID.to_owned()], false).unwrap();
        assert_eq!(one.delivery_ids, Some(vec![ID.parse().unwrap()]));
        for (subscription, lease, deliveries, all, field) in [
            ("", ID, vec![], true, "/subscription_id"),
            (ID, "", vec![], true, "/lease_id"),
            (ID, ID, vec![ID, "x"], false, "/delivery_ids/1"),
            (ID, ID, vec![], false, "/delivery_ids"),
            (ID, ID, vec![ID], true, "/delivery_ids"),
        ] {
            let deliveries: Vec<_> = deliveries.into_iter().map(str::to_owned).collect();
            let problem = meant(subscription, lease, &deliveries, all).err().unwrap();
            assert_eq!(problem.faults[0].pointer, field);
        }
    }
}
