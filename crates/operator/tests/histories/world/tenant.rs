//! Pods of tenants, who may create any pod in the namespace, and give it another's names.

use serde_json::json;

use super::World;
use super::pod::Pod;
use super::setup::Owner;
use crate::lies::Lie;

/// What a tenant's pod claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// It claims to be the mirror of a static pod, with the UID of the pod whose host name it has.
    pub is_mirror: bool,
    /// It has the label that the group selects.
    pub is_candidate: bool,
    /// It runs an elector.
    pub elects: bool,
}

impl World {
    /// A tenant creates a pod that has the host name of this one.
    pub fn create_tenant(&mut self, of: usize, tenant: Tenant) {
        let (name, uid) = (self.host(&self.pods[of]), self.pods[of].uid.clone());
        let mirror = json!({"kubernetes.io/config.hash": uid, "kubernetes.io/config.mirror": uid});
        let annotations = if tenant.is_mirror { mirror } else { json!({}) };
        self.tenants_created += 1;
        self.create(Pod {
            name: format!("tenant-{}", self.tenants_created),
            hostname: Some(name),
            annotations,
            is_candidate: tenant.is_candidate,
            elects: tenant.elects && self.setup.owner != Owner::ReplicaSet,
            ..Pod::default()
        });
        self.note(Lie::Tenant);
    }

    /// A tenant creates a candidate under the name of the pod that was deleted last, and says that the name was generated.
    pub fn take_name(&mut self) {
        let Some(of) = self.pods.iter().rposition(|pod| !pod.object && pod.slot.is_some()) else { return };
        let name = self.pods[of].name.clone();
        if self.pods.iter().all(|pod| !pod.object || pod.name != name) {
            let is_generated = self.pods[of].is_generated;
            self.create(Pod { name, is_generated, is_candidate: true, elects: true, ..Pod::default() });
            self.note(Lie::Tenant);
        }
    }

    /// The newest pod of a tenant that exists.
    pub fn tenant(&self) -> Option<usize> {
        self.pods.iter().rposition(|pod| pod.object && pod.slot.is_none())
    }
}
