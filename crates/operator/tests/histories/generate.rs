//! Random histories. Each tells few kinds of lies, so that ordinary clears occur in all of them, and what one lie hides
//! another does not.

use leadergroup_api::ReleaseForm;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::strategy::Union;

use crate::lies::Lie;
use crate::scenes::{behind, lie_of};
use crate::sim::Step;
use crate::support::api::Kind;
use crate::world::setup::{Elector, Helper, Host, Naming, Owner, RestartPolicy, Setup, VirtualMark};
use crate::world::{LEADER, Outlook, SLOTS};

/// A history: what stays the same, the kinds of lies told, and steps with the pauses before them.
#[derive(Clone, Debug)]
pub struct History {
    pub setup: Setup,
    pub lies: Vec<Lie>,
    pub steps: Vec<(u64, Step)>,
}

/// Steps that belong together.
pub type Scene = Vec<(u64, Step)>;

/// A history that tells up to three kinds of lies, none of these.
pub fn history_without(lies: &[Lie]) -> impl Strategy<Value = History> + use<> {
    let others: Vec<_> = Lie::ALL.into_iter().filter(|lie| !lies.contains(lie)).collect();
    subsequence(others, 0..=3).prop_flat_map(|lies| history_of(&lies))
}

/// A history that may tell these lies.
pub fn history_of(lies: &[Lie]) -> impl Strategy<Value = History> + use<> {
    let lies = lies.to_vec();
    let scenes = {
        let lies = lies.clone();
        any::<bool>().prop_flat_map(move |late| prop::collection::vec(scene(late, &lies), 5..30))
    };
    (setup(&lies), scenes).prop_map(move |(setup, scenes)| History {
        setup,
        lies: lies.clone(),
        steps: scenes.concat(),
    })
}

fn setup(lies: &[Lie]) -> impl Strategy<Value = Setup> + use<> {
    let tells = |lie| lies.contains(&lie);
    let names = prop_oneof![
        9 => Just((Host::Pod, Naming::Host)),
        3 => Just((Host::Pod, Naming::HostAndNumber)),
        3 => Just((Host::Pod, Naming::HostUidAndRun)),
        // Where several go by one name at once, they have to call themselves otherwise.
        4 => Just((Host::Node, Naming::HostAndNumber)),
        1 => Just((Host::Shared, Naming::HostAndNumber)),
    ];
    let owner = prop_oneof![6 => Just(Owner::StatefulSet), 2 => Just(Owner::ReplicaSet), 1 => Just(Owner::CloneSet)];
    let elector = match () {
        () if tells(Lie::HeldForLife) => Just(Elector::ForLife).boxed(),
        () if tells(Lie::SlowRenewals) => select(vec![Elector::Late, Elector::FirstLate]).boxed(),
        () => Just(Elector::ClientGo).boxed(),
    };
    let helper = if tells(Lie::Helper) { vec![Some(Helper::Regular), Some(Helper::Ephemeral)] } else { vec![None] };
    let restarts = prop_oneof![
        4 => Just(RestartPolicy::Always),
        1 => Just(RestartPolicy::OnFailure),
        1 => Just(RestartPolicy::Never),
    ];
    let sandbox_ahead =
        if tells(Lie::SandboxClock) { (-2_500_i64..2_500).prop_map(Some).boxed() } else { Just(None).boxed() };
    let marks = [VirtualMark::Label, VirtualMark::Taint, VirtualMark::Both].map(Some).to_vec();
    let virtual_node = if tells(Lie::VirtualNode) { marks } else { vec![None] };
    let release = prop_oneof![
        3 => Just(ReleaseForm::Empty),
        1 => Just(ReleaseForm::Null),
        1 => Just(ReleaseForm::Delete),
    ];
    let is_backed_up = tells(Lie::Restore);
    let pods = (names, owner, elector, any::<bool>(), any::<bool>(), select(helper), restarts, sandbox_ahead);
    let group = (any::<u64>(), select(virtual_node), any::<bool>(), any::<bool>(), release);
    (pods, group).prop_map(move |(pods, (seed, virtual_node, keep, routes, release))| {
        let ((host, naming), owner, elector, stays, program, helper, restarts, sandbox_ahead) = pods;
        Setup {
            seed,
            naming,
            host,
            owner,
            elector,
            stays,
            program,
            helper,
            restarts,
            sandbox_ahead,
            virtual_node,
            keep,
            routes,
            release,
            is_backed_up,
        }
    })
}

/// What happens next: something ordinary, or a lie.
fn scene(late: bool, lies: &[Lie]) -> BoxedStrategy<Scene> {
    let lies: Vec<_> = lies.iter().filter_map(|lie| lie_of(*lie, lies)).collect();
    if lies.is_empty() {
        return ordinary(late).boxed();
    }
    prop_oneof![2 => ordinary(late), 1 => Union::new(lies)].boxed()
}

/// A slot, the leader's as often as the others together.
pub fn slot() -> impl Strategy<Value = usize> {
    prop_oneof![0..SLOTS, Just(LEADER)]
}

pub fn alone(step: impl Strategy<Value = Step> + 'static) -> BoxedStrategy<Scene> {
    (0_u64..4_000, step).prop_map(|(pause, step)| vec![(pause, step)]).boxed()
}

/// One step of a history with late watches, or of one with small errors of clocks. The evidence can't tell a clock that was
/// set back from a late arrival, so a watch that catches up hides as much of a step.
fn ordinary(late: bool) -> BoxedStrategy<Scene> {
    let kind = select(Kind::ALL.to_vec());
    let node = 0..SLOTS;
    let small = if late { 0_i64..1 } else { -5_000..5_001 };
    let clock = prop_oneof![3 => small, 1 => 5_000_i64..3_600_000, 1 => -3_600_000_i64..-5_000];
    let lag = if late { 20_u64..3_000 } else { 20..51 };
    let pods = prop_oneof![
        24 => (slot(), prop::option::of(0_usize..2)).prop_map(|(s, c)| Step::Crash(s, c)),
        2 => (slot(), 1_u32..4).prop_map(|(s, runs)| Step::Doom(s, runs)),
        2 => slot().prop_map(Step::RestartAll),
        8 => slot().prop_map(Step::Finish),
        12 => slot().prop_map(Step::Delete),
        6 => slot().prop_map(|s| Step::Force(s, Outlook::Stopped)),
        1 => slot().prop_map(Step::Collect),
        6 => (slot(), 500_u64..20_000).prop_map(|(s, ms)| Step::Freeze(s, ms)),
        1 => Just(Step::Bury),
    ];
    let nodes = prop_oneof![
        4 => (node.clone(), prop::bool::weighted(0.75)).prop_map(|(n, up)| Step::Kubelet(n, up)),
        2 => (node.clone(), prop::bool::weighted(0.75)).prop_map(|(n, ready)| Step::Ready(n, ready)),
        1 => node.clone().prop_map(Step::Die),
        1 => node.clone().prop_map(Step::OutOfService),
        1 => node.clone().prop_map(Step::Reboot),
        4 => (node.clone(), clock).prop_map(|(n, ahead)| Step::Clock(n, ahead)),
        6 => (node, 50_u64..3_000).prop_map(|(n, ms)| Step::ReportDelay(n, ms)),
    ];
    let network = prop_oneof![
        10 => (kind.clone(), prop_oneof![Just(20_u64), lag]).prop_map(|(k, ms)| Step::Lag(k, ms)),
        4 => kind.prop_map(Step::Relist),
        1 => (1_u32..3).prop_map(Step::LoseAnswers),
        1 => (1_u32..3).prop_map(Step::LoseRequests),
        6 => prop_oneof![Just(0_u64), 0_u64..20_000].prop_map(Step::Failover),
    ];
    let scenes = alone(prop_oneof![62 => pods, 19 => nodes, 22 => network]);
    if late { prop_oneof![40 => scenes, 1 => behind(false)].boxed() } else { scenes }
}
