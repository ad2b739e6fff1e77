//! Random histories. Each tells few kinds of lies, so that ordinary clears occur in all of them, and what one lie hides
//! another does not.

use leadergroup_api::ReleaseForm;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::strategy::Union;

use crate::lies::Lie;
use crate::sim::{Step, Which};
use crate::support::api::Kind;
use crate::world::setup::{Elector, Helper, Host, Naming, Owner, RestartPolicy, Setup, VirtualMark};
use crate::world::{Claim, Flaw, Invention, LEADER, Outlook, SLOTS, TARGET, Tenant};

/// A history: what stays the same, the kinds of lies told, and steps with the pauses before them.
#[derive(Clone, Debug)]
pub struct History {
    pub setup: Setup,
    pub lies: Vec<Lie>,
    pub steps: Vec<(u64, Step)>,
}

/// Steps that belong together.
type Scene = Vec<(u64, Step)>;

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
fn slot() -> impl Strategy<Value = usize> {
    prop_oneof![0..SLOTS, Just(LEADER)]
}

fn alone(step: impl Strategy<Value = Step>) -> impl Strategy<Value = Scene> {
    (0_u64..4_000, step).prop_map(|(pause, step)| vec![(pause, step)])
}

/// One step of a history with late watches, or of one with small errors of clocks. The evidence can't tell a clock that was
/// set back from a late arrival, so a watch that catches up hides as much of a step.
fn ordinary(late: bool) -> impl Strategy<Value = Scene> {
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
    alone(prop_oneof![62 => pods, 19 => nodes, 22 => network])
}

/// One pod after the other is lost, or ends, in one slot; or more pods than a namespace remembers of those that ended.
fn loss(bursts: bool) -> impl Strategy<Value = Step> {
    let losses = vec![
        Step::Force(TARGET, Outlook::Immortal),
        Step::Force(TARGET, Outlook::Immortal),
        Step::Force(TARGET, Outlook::Stopped),
        Step::Crash(TARGET, None),
        Step::Delete(TARGET),
    ];
    select(if bursts { [losses, vec![Step::Burst(70); 3]].concat() } else { losses })
}

/// The end of a pod that its kubelet reports.
fn end() -> impl Strategy<Value = Step> {
    select(vec![Step::Crash(TARGET, None), Step::Finish(TARGET), Step::Delete(TARGET)])
}

/// Something is out of the operator's sight from one step to another, while pods are lost in between. What came to lead
/// meanwhile, or after, may end in the operator's sight.
fn blind(
    from: impl Strategy<Value = Step> + 'static,
    to: impl Strategy<Value = Option<Step>> + 'static,
    bursts: bool,
) -> BoxedStrategy<Scene> {
    let (from, to) = (from.boxed(), to.boxed());
    let lead = || Just((500_u64, Step::Favour(TARGET, 15_000)));
    let before = prop::collection::vec((0_u64..1_000, prop_oneof![2 => end(), 1 => loss(bursts)]), 0..2).boxed();
    let losses = prop::collection::vec((500_u64..4_500, loss(bursts)), 0..3).boxed();
    let after = (prop::collection::vec(lead(), 0..2), prop::collection::vec((500_u64..10_000, end()), 0..2));
    let after = after.prop_map(|(lead, end)| [lead, end].concat()).boxed();
    let any = blind_between(before, (25_u64..3_500, from.clone()).boxed(), losses, to.clone(), after);

    // A pod that was seen to end has a namesake that nobody sees, and lives on beside the next.
    let before = (0_u64..1_000).prop_map(|pause| vec![(pause, Step::Delete(TARGET))]).boxed();
    let unseen = (2_500_u64..4_500).prop_map(|pause| vec![(pause, Step::Force(TARGET, Outlook::Immortal))]).boxed();
    let after = (lead(), (5_000_u64..12_000, end())).prop_map(|(lead, end)| vec![lead, end]).boxed();
    let namesake = blind_between(before, (300_u64..3_600, from).boxed(), unseen, to, after);
    prop_oneof![3 => any, 2 => namesake].boxed()
}

fn blind_between(
    before: BoxedStrategy<Scene>,
    from: BoxedStrategy<(u64, Step)>,
    losses: BoxedStrategy<Scene>,
    to: BoxedStrategy<Option<Step>>,
    after: BoxedStrategy<Scene>,
) -> BoxedStrategy<Scene> {
    (0_u64..2_000, slot(), before, from, losses, (100_u64..3_000, to), after)
        .prop_map(|(pause, slot, before, from, losses, (last, to), after)| {
            let begin = [(pause, Step::Aim(slot))].into_iter().chain(before).chain([from]);
            begin.chain(losses).chain(to.map(|to| (last, to))).chain(after).collect()
        })
        .boxed()
}

/// Scenes in which a lie is told, if it is not one of the setup alone.
fn lie_of(lie: Lie, told: &[Lie]) -> Option<BoxedStrategy<Scene>> {
    let bursts = told.contains(&Lie::Burst);
    Some(match lie {
        Lie::InventedEnd => invented(Invention::OF_RUNTIMES.to_vec()),
        Lie::VirtualNode => invented(Invention::OF_PROVIDERS.to_vec()),
        Lie::UnseenEnd => unseen(),
        Lie::OperatorRestart => {
            let which = prop_oneof![3 => Just(Which::Leading), 1 => Just(Which::Standby), 3 => Just(Which::Both)];
            let span = prop_oneof![0_u64..500, 0_u64..6_000];
            blind(
                (which, span, any::<bool>()).prop_map(|(w, span, loses)| Step::Restart(w, span, loses)),
                Just(None),
                bursts,
            )
        }
        Lie::Survivor => alone(prop_oneof![
            6 => slot().prop_map(|s| Step::Force(s, Outlook::Immortal)),
            1 => Just(Step::Bury),
        ])
        .boxed(),
        Lie::NodeReplaced => {
            let claim = select(Claim::ALL.to_vec()).prop_map(Step::Register);
            (0_u64..3_000, slot().prop_map(Step::Unregister), 100_u64..2_000, claim)
                .prop_map(|(pause, from, gone, claim)| vec![(pause, from), (gone, claim)])
                .boxed()
        }
        Lie::GroupRecreated => {
            let recreated = blind(Just(Step::DeleteGroup), Just(Some(Step::CreateGroup)), bursts);
            let scenes = [
                Some(recreated),
                told.contains(&Lie::OperatorRestart).then(recreated_for_strangers),
                told.contains(&Lie::OperatorRestart).then(recreated_after_restart),
                bursts.then(recreated_after_burst),
            ];
            Union::new(scenes.into_iter().flatten()).boxed()
        }
        Lie::SpecUnusable => {
            let flaw = select(vec![Flaw::Identity, Flaw::Selector]).prop_map(|flaw| Step::Flaw(Some(flaw)));
            blind(flaw, Just(Some(Step::Flaw(None))), bursts)
        }
        Lie::LabelsMoved => prop_oneof![
            2 => blind(Just(Step::Label(TARGET, false)), Just(Some(Step::Label(TARGET, true))), bursts),
            1 => alone((slot(), any::<bool>()).prop_map(|(s, on)| Step::Label(s, on))),
        ]
        .boxed(),
        Lie::Tenant => tenant(),
        Lie::Burst => {
            let pods = prop_oneof![6 => Just(24_usize), 1 => Just(300)];
            alone(prop_oneof![
                2 => pods.prop_map(Step::Burst),
                3 => slot().prop_map(|s| Step::Force(s, Outlook::Immortal)),
            ])
            .boxed()
        }
        Lie::Restore => blind(loss(bursts), (0_usize..4).prop_map(|age| Some(Step::Restore(age))), bursts),
        Lie::WatchGap => {
            let which = prop_oneof![Just(Which::Leading), Just(Which::Both)];
            let kind = prop_oneof![5 => Just(Kind::Pod), 2 => Just(Kind::Lease), 1 => Just(Kind::Node), 1 => Just(Kind::Group)];
            blind(
                (which, kind, 1_000_u64..8_000).prop_map(|(w, kind, span)| Step::Gap(w, kind, span)),
                Just(None),
                bursts,
            )
        }
        Lie::SandboxClock => {
            let hush = (500_u64..3_000).prop_map(|span| Step::Hush(TARGET, span));
            blind(hush, Just(None), bursts)
        }
        Lie::ClockSetBack => set_back(),
        Lie::SlowRenewals | Lie::HeldForLife | Lie::Helper => return None,
    })
}

/// A group is created again, while a process leads whose pod is gone, and all operators are new. Another is new soon after.
fn recreated_for_strangers() -> BoxedStrategy<Scene> {
    let restart = |which| Step::Restart(which, 200, false);
    let after = (2_500_u64..4_500, select(vec![Which::Leading, Which::Both]), 1_500_u64..4_000, end());
    (0_u64..2_000, after)
        .prop_map(move |(pause, (then, which, last, end))| {
            vec![
                (pause, Step::Aim(LEADER)),
                (0, Step::DeleteGroup),
                (100, Step::Force(TARGET, Outlook::Immortal)),
                (200, restart(Which::Both)),
                (500, Step::CreateGroup),
                (then, restart(which)),
                (last, end),
            ]
        })
        .boxed()
}

/// A pod has a namesake that nobody sees, and that lives on beside the next; and the group is created again after. Then the
/// one that nobody saw may lead.
fn recreated_after_restart() -> BoxedStrategy<Scene> {
    let unseen = (300_u64..3_600, 2_500_u64..4_500);
    let after = (3_000_u64..5_000, 500_u64..4_000, 5_000_u64..12_000, end());
    (0_u64..2_000, slot(), unseen, after)
        .prop_map(|(pause, slot, (from, force), (then, lead, last, end))| {
            vec![
                (pause, Step::Aim(slot)),
                (0, Step::Delete(TARGET)),
                (from, Step::Restart(Which::Both, 6_000, false)),
                (force, Step::Force(TARGET, Outlook::Immortal)),
                (then, Step::DeleteGroup),
                (200, Step::CreateGroup),
                (lead, Step::Favour(TARGET, 15_000)),
                (last, end),
            ]
        })
        .boxed()
}

/// A pod is lost, many more are deleted, and the group is created again. What is lost may lead then, beside its namesake.
fn recreated_after_burst() -> BoxedStrategy<Scene> {
    (0_u64..2_000, slot(), 1_000_u64..4_000, 17_000_u64..22_000, end())
        .prop_map(|(pause, slot, then, last, end)| {
            vec![
                (pause, Step::Aim(slot)),
                (0, Step::Force(TARGET, Outlook::Immortal)),
                (200, Step::Burst(70)),
                (200, Step::DeleteGroup),
                (100, Step::CreateGroup),
                (then, Step::Favour(TARGET, 25_000)),
                (last, end),
            ]
        })
        .boxed()
}

/// A run ends by a clock that is ahead, and the next begins by one that is right, and is reported late.
fn set_back() -> BoxedStrategy<Scene> {
    (0_u64..4_000, slot(), 5_000_i64..60_000, 100_u64..2_500, 100_u64..1_500, 5_000_u64..15_000)
        .prop_map(|(pause, slot, ahead, ends, right, hush)| {
            vec![
                (pause, Step::Aim(slot)),
                (0, Step::ClockOf(TARGET, ahead)),
                (ends, Step::Crash(TARGET, None)),
                (right, Step::ClockOf(TARGET, 0)),
                (0, Step::Hush(TARGET, hush)),
            ]
        })
        .boxed()
}

/// An end is invented, perhaps while reports are held up, and the next runs end soon.
fn invented(inventions: Vec<Invention>) -> BoxedStrategy<Scene> {
    let scene = (0_u64..4_000, slot(), prop::option::weighted(0.3, 0_usize..2), select(inventions), 0_u32..3);
    (scene, prop::option::weighted(0.3, 1_000_u64..5_000))
        .prop_map(|((pause, slot, container, invention, dooms), hush)| {
            let hush = hush.map(|span| Step::Hush(slot, span));
            let dooms = (dooms > 0).then_some(Step::Doom(slot, dooms));
            let steps = hush.into_iter().chain(dooms).chain([Step::InventEnd(slot, container, invention)]);
            steps.enumerate().map(|(at, step)| (if at == 0 { pause } else { 0 }, step)).collect()
        })
        .boxed()
}

/// Runs end that no report shows.
fn unseen() -> BoxedStrategy<Scene> {
    let ends = prop_oneof![
        2 => Just(None),
        1 => select(Invention::OF_RUNTIMES.to_vec()).prop_map(Some),
    ];
    (0_u64..4_000, slot(), 1_000_u64..5_000, 1_u32..3, ends)
        .prop_map(|(pause, slot, span, dooms, end)| {
            let end = end.map_or(Step::Crash(slot, None), |how| Step::InventEnd(slot, None, how));
            vec![(pause, Step::Hush(slot, span)), (0, Step::Doom(slot, dooms)), (0, end)]
        })
        .boxed()
}

fn tenant() -> BoxedStrategy<Scene> {
    let tenant = (any::<bool>(), any::<bool>(), any::<bool>());
    let tenant = tenant.prop_map(|(is_mirror, is_candidate, elects)| Tenant { is_mirror, is_candidate, elects });
    let outlook = prop_oneof![Just(Outlook::Stopped), Just(Outlook::Immortal)];
    alone(prop_oneof![
        4 => (slot(), tenant).prop_map(|(s, tenant)| Step::Tenant(s, tenant)),
        2 => Just(Step::FinishTenant),
        2 => outlook.prop_map(Step::ForceTenant),
        1 => slot().prop_map(|s| Step::Force(s, Outlook::Immortal)),
        1 => Just(Step::TakeName),
    ])
    .boxed()
}
