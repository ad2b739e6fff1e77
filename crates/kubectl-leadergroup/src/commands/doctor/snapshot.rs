//! All that is judged: read at once, before.

use std::collections::BTreeMap;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::operators::Operator;
use crate::model::LeaderGroup;
use crate::owner::Owner;
use crate::rights::{Account, Checked};

/// The operator and what it needs.
#[derive(Debug)]
pub struct Installation {
    /// The fields of the custom resource definition that are served; none if there is no definition.
    pub definition: Checked<Option<Vec<String>>>,
    /// All that say they are an operator.
    pub operators: Checked<Vec<Operator>>,
    /// Which parts of the admission policy are missing.
    pub admission: Checked<Vec<&'static str>>,
}

/// A namespace with groups in it.
#[derive(Debug, Default)]
pub struct Place {
    pub groups: Vec<LeaderGroup>,
    /// Groups that can't be read: name and reason.
    pub unreadable: Vec<(String, String)>,
    pub leases: Vec<Lease>,
    pub pods: Vec<Pod>,
    /// What made the pods that hold a Lease, by the pods' names.
    pub owners: BTreeMap<String, Owner>,
}

impl Place {
    /// The group's Lease, if it exists.
    pub fn lease_of(&self, group: &LeaderGroup) -> Option<&Lease> {
        self.leases.iter().find(|lease| lease.name_any() == group.lease_name())
    }
}

/// What an account may do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "they are answers, not states of a machine")]
pub struct May {
    pub account: Account,
    pub get: bool,
    /// `update` or `patch`.
    pub update: bool,
    pub watch: bool,
    pub create: bool,
    /// Update Leases of all namespaces.
    pub update_anywhere: bool,
    /// Every verb on every resource of the namespace.
    pub everything: bool,
}

/// One group, and what is around it.
pub struct Patient<'s> {
    pub namespace: &'s str,
    pub place: &'s Place,
    pub group: &'s LeaderGroup,
    /// What its candidates' accounts may do.
    pub rights: &'s Checked<Vec<May>>,
}
