//! Traffic to the leader only, through the kube-proxy of a real node. The client is this machine, whose connections to the
//! Service kube-proxy translates as it does those of pods.
#![allow(missing_docs)]

mod objects;
mod place;
mod record;
mod takeovers;
