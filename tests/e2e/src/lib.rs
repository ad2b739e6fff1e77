//! What the end-to-end tests (and the benchmarks) are written with.
//!
//! A [`Session`] is a cluster with the operator installed in it, as a user installs it. A [`Namespace`] is a test's own
//! place in it; there it makes a [`Group`] and runs [`Candidates`], which are real processes. Tests wait for conditions
//! with [`Namespace::until`], never for time to pass; a [`Timeline`] keeps what happened when, for tests that assert an
//! order or a duration. [`Operator`] is the operator itself: its log, and ways to end it.
//!
//! ```no_run
//! # use leadergroup_e2e::{Candidates, Group, Session};
//! # async fn example() -> anyhow::Result<()> {
//! let session = Session::start().await?;
//! let shop = session.namespace("shop").await?;
//! shop.create(&Group::named("billing").build()).await?;
//! shop.run(&Candidates::named("billing").replicas(2).deployment()).await?;
//! let group = shop.until_led("billing").await?;
//! # Ok(())
//! # }
//! ```

mod candidates;
mod command;
mod elector;
mod group;
mod install;
mod lease;
mod namespace;
mod operator;
pub mod packages;
mod plugin;
mod pod;
mod prometheus;
mod session;
mod timeline;

pub use candidates::{Candidates, Workload};
pub use command::{run, run_with_input};
pub use elector::ElectorPods;
pub use group::{Group, GroupView};
pub use install::{OPERATOR_IMAGE, OPERATOR_NAMESPACE, OPERATOR_REPLICAS, build_static};
pub use leadergroup_cluster as cluster;
pub use lease::{LeaseView, lease_of, until_second_after};
pub use namespace::{Namespace, PATIENCE};
pub use operator::Operator;
pub use plugin::Ran;
pub use pod::PodView;
pub use prometheus::{Prometheus, Sample};
pub use session::{HostOperator, Session, tell_not_proven};
pub use timeline::{Entry, Seen, Timeline};
