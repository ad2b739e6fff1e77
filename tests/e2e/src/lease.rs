//! Leases, written and read.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::ResourceExt;
use leadergroup_api::MANAGER;

/// A Lease that this holder acquired now.
pub fn lease_of(name: &str, holder: &str, duration_seconds: i32) -> Lease {
    let now = Some(MicroTime(now()));
    Lease {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        spec: Some(LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(duration_seconds),
            acquire_time: now.clone(),
            renew_time: now,
            lease_transitions: Some(0),
            ..LeaseSpec::default()
        }),
    }
}

/// The time of day as the API server keeps it.
fn now() -> Timestamp {
    Timestamp::from_microsecond(Timestamp::now().as_microsecond()).unwrap_or_default()
}

/// Waits until this machine's clock shows a later second than that of `time`: kubelets report ends in whole seconds.
pub async fn until_second_after(time: Timestamp) {
    while Timestamp::now().as_second() <= time.as_second() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What tests ask a Lease.
pub trait LeaseView {
    /// Its record.
    fn record(&self) -> LeaseSpec;

    /// Who holds it, if anybody.
    fn holder(&self) -> Option<String> {
        self.record().holder_identity.filter(|holder| !holder.is_empty())
    }

    /// The last renewal by the holder's clock.
    fn renewed(&self) -> Option<Timestamp> {
        self.record().renew_time.map(|time| time.0)
    }

    /// The same Lease, renewed now.
    #[must_use]
    fn renewed_now(self) -> Self;

    /// Whether nobody holds it because the operator cleared it.
    fn is_cleared(&self) -> bool;
}

impl LeaseView for Lease {
    fn record(&self) -> LeaseSpec {
        self.spec.clone().unwrap_or_default()
    }

    fn renewed_now(mut self) -> Self {
        self.spec.get_or_insert_default().renew_time = Some(MicroTime(now()));
        self
    }

    fn is_cleared(&self) -> bool {
        let by_operator = self.managed_fields().iter().any(|entry| {
            let spec = entry.fields_v1.as_ref().and_then(|fields| fields.0.get("f:spec"));
            entry.manager.as_deref() == Some(MANAGER) && spec.is_some_and(|s| s.get("f:leaseDurationSeconds").is_some())
        });
        self.holder().is_none() && by_operator
    }
}
