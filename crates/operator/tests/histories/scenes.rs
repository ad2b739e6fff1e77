//! The scenes in which a lie is told.

use std::ops::Range;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::Union;

use crate::generate::{Scene, alone, slot};
use crate::lies::Lie;
use crate::sim::{Step, Which};
use crate::support::api::Kind;
use crate::world::{Claim, Flaw, Invention, LEADER, Outlook, SLOTS, TARGET, Tenant};

/// One pod after the other is lost, or ends, in one slot; or a run is; or more pods than a namespace remembers of those
/// that ended.
fn loss(told: &[Lie]) -> BoxedStrategy<Scene> {
    let one = |step| (2, Just(vec![(0, step)]).boxed());
    let mut losses = vec![
        one(Step::Force(TARGET, Outlook::Immortal)),
        one(Step::Force(TARGET, Outlook::Immortal)),
        one(Step::Force(TARGET, Outlook::Stopped)),
        one(Step::Crash(TARGET, None)),
        one(Step::Delete(TARGET)),
    ];
    if told.contains(&Lie::Burst) {
        losses.push((6, Just(vec![(0, Step::Burst(70))]).boxed()));
    }
    if told.contains(&Lie::InventedEnd) {
        losses.push((6, lost_run().boxed()));
    }
    Union::new_weighted(losses).boxed()
}

/// The end of a run is invented, and the next run ends soon.
fn lost_run() -> impl Strategy<Value = Scene> {
    select(Invention::OF_RUNTIMES.to_vec())
        .prop_map(|how| vec![(0, Step::Doom(TARGET, 1)), (0, Step::InventEnd(TARGET, None, how))])
}

/// The end of a pod that its kubelet reports.
fn end() -> impl Strategy<Value = Step> {
    select(vec![Step::Crash(TARGET, None), Step::Finish(TARGET), Step::Delete(TARGET)])
}

/// Something is out of the operator's sight from one step to another, while pods are lost in between. What came to lead
/// meanwhile, or after, may end in the operator's sight.
fn blind(
    from: impl Strategy<Value = Scene> + 'static,
    to: impl Strategy<Value = Option<Step>> + 'static,
    told: &[Lie],
) -> BoxedStrategy<Scene> {
    let (from, to) = (from.boxed(), to.boxed());
    let lead = || Just((500_u64, Step::Favour(TARGET, 15_000)));
    let before = prop_oneof![2 => only(end()), 1 => loss(told)];
    let before = several(after_pause(0_u64..1_000, before), 0..2);
    let losses = several(after_pause(500_u64..4_500, loss(told)), 0..3);
    let after = (prop::collection::vec(lead(), 0..2), prop::collection::vec((500_u64..10_000, end()), 0..2));
    let after = after.prop_map(|(lead, end)| [lead, end].concat()).boxed();
    let any = blind_between(before, after_pause(25_u64..3_500, from.clone()), losses, to.clone(), after);

    // A pod that was seen to end has a namesake that nobody sees, and lives on beside the next.
    let seen = select(vec![Step::Delete(TARGET), Step::Finish(TARGET)]);
    let before = (0_u64..1_000, seen).prop_map(|(pause, end)| vec![(pause, end)]).boxed();
    let unseen = (2_500_u64..6_000).prop_map(|pause| vec![(pause, Step::Force(TARGET, Outlook::Immortal))]).boxed();
    let after = (lead(), (5_000_u64..12_000, end())).prop_map(|(lead, end)| vec![lead, end]).boxed();
    let namesake = blind_between(before, after_pause(300_u64..3_600, from), unseen, to, after);
    prop_oneof![3 => any, 2 => namesake].boxed()
}

/// A scene of one step.
fn only(step: impl Strategy<Value = Step> + 'static) -> BoxedStrategy<Scene> {
    step.prop_map(|step| vec![(0, step)]).boxed()
}

fn after_pause(pause: Range<u64>, scene: impl Strategy<Value = Scene> + 'static) -> BoxedStrategy<Scene> {
    (pause, scene)
        .prop_map(|(pause, mut scene)| {
            scene[0].0 += pause;
            scene
        })
        .boxed()
}

/// Scenes one after the other.
fn several(scene: BoxedStrategy<Scene>, count: Range<usize>) -> BoxedStrategy<Scene> {
    prop::collection::vec(scene, count).prop_map(|scenes| scenes.concat()).boxed()
}

fn blind_between(
    before: BoxedStrategy<Scene>,
    from: BoxedStrategy<Scene>,
    losses: BoxedStrategy<Scene>,
    to: BoxedStrategy<Option<Step>>,
    after: BoxedStrategy<Scene>,
) -> BoxedStrategy<Scene> {
    (0_u64..2_000, slot(), before, from, losses, (100_u64..3_000, to), after)
        .prop_map(|(pause, slot, before, from, losses, (last, to), after)| {
            let begin = [(pause, Step::Aim(slot))].into_iter().chain(before).chain(from);
            begin.chain(losses).chain(to.map(|to| (last, to))).chain(after).collect()
        })
        .boxed()
}

/// Scenes in which a lie is told, if it is not one of the setup alone.
pub fn lie_of(lie: Lie, told: &[Lie]) -> Option<BoxedStrategy<Scene>> {
    let tells = |lie| told.contains(&lie);
    Some(match lie {
        Lie::InventedEnd => invented(Invention::OF_RUNTIMES.to_vec()),
        Lie::VirtualNode => invented(Invention::OF_PROVIDERS.to_vec()),
        Lie::UnseenEnd => unseen(),
        Lie::OperatorRestart => {
            let which = prop_oneof![3 => Just(Which::Leading), 1 => Just(Which::Standby), 3 => Just(Which::Both)];
            let span = prop_oneof![0_u64..500, 0_u64..6_000];
            let restart = (which, span, any::<bool>()).prop_map(|(w, span, loses)| Step::Restart(w, span, loses));
            any_of([
                Some(blind(only(restart), Just(None), told)),
                tells(Lie::InventedEnd).then(restarted_while_runs_are_lost),
                tells(Lie::Tenant).then(restarted_while_tenant_is_lost),
                tells(Lie::PhaseByOther).then(restarted_after_false_phase),
            ])
        }
        Lie::Survivor => any_of([
            Some(alone(prop_oneof![
                6 => slot().prop_map(|s| Step::Force(s, Outlook::Immortal)),
                1 => Just(Step::Bury),
            ])),
            tells(Lie::Burst).then(lost_in_burst),
        ]),
        Lie::NodeReplaced => {
            let claim = select(Claim::ALL.to_vec()).prop_map(Step::Register);
            let behind = prop::option::weighted(0.3, (1_000_u64..4_000).prop_map(|lag| Step::Lag(Kind::Node, lag)));
            (0_u64..3_000, behind, slot().prop_map(Step::Unregister), 100_u64..2_000, claim)
                .prop_map(|(pause, behind, from, gone, claim)| {
                    [(pause, behind), (0, Some(from)), (gone, Some(claim))]
                        .into_iter()
                        .filter_map(|(pause, step)| Some((pause, step?)))
                        .collect()
                })
                .boxed()
        }
        Lie::GroupRecreated => any_of([
            Some(blind(only(Just(Step::DeleteGroup)), Just(Some(Step::CreateGroup)), told)),
            tells(Lie::OperatorRestart).then(recreated_for_strangers),
            tells(Lie::OperatorRestart).then(recreated_after_restart),
            (tells(Lie::OperatorRestart) && tells(Lie::InventedEnd)).then(recreated_after_lost_run),
            tells(Lie::Burst).then(recreated_after_burst),
        ]),
        Lie::SpecUnusable => {
            let flaw = select(vec![Flaw::Identity, Flaw::Selector]).prop_map(|flaw| Step::Flaw(Some(flaw)));
            blind(only(flaw), Just(Some(Step::Flaw(None))), told)
        }
        Lie::LabelsMoved => prop_oneof![
            2 => blind(only(Just(Step::Label(TARGET, false))), Just(Some(Step::Label(TARGET, true))), told),
            1 => alone((slot(), any::<bool>()).prop_map(|(s, on)| Step::Label(s, on))),
        ]
        .boxed(),
        Lie::Tenant => any_of([
            Some(tenant()),
            Some(mirrored()),
            Some(behind(true)),
            tells(Lie::VirtualNode).then(tenant_on_virtual_node),
        ]),
        Lie::Burst => {
            let pods = prop_oneof![6 => Just(24_usize), 1 => Just(300)];
            alone(prop_oneof![
                2 => pods.prop_map(Step::Burst),
                3 => slot().prop_map(|s| Step::Force(s, Outlook::Immortal)),
            ])
        }
        Lie::Restore => any_of([
            Some(blind(loss(told), (0_usize..4).prop_map(|age| Some(Step::Restore(age))), told)),
            Some(restored_while_leader_restarts()),
            Some(restored_while_leader_is_replaced(tells(Lie::OperatorRestart))),
        ]),
        Lie::WatchGap => {
            let which = prop_oneof![Just(Which::Leading), Just(Which::Both)];
            let kind = prop_oneof![5 => Just(Kind::Pod), 2 => Just(Kind::Lease), 1 => Just(Kind::Node), 1 => Just(Kind::Group)];
            let gap = (which, kind, 1_000_u64..10_000).prop_map(|(w, kind, span)| Step::Gap(w, kind, span));
            any_of([Some(blind(only(gap), Just(None), told)), Some(replaced_in_gap())])
        }
        Lie::SandboxClock => {
            let hush = (500_u64..3_000).prop_map(|span| Step::Hush(TARGET, span));
            blind(only(hush), Just(None), told)
        }
        Lie::ClockSetBack => set_back(),
        Lie::PhaseByOther => any_of([Some(false_phase()), Some(collected())]),
        Lie::SlowRenewals => program_before_elector(),
        Lie::HeldForLife | Lie::Helper => return None,
    })
}

fn any_of(scenes: impl IntoIterator<Item = Option<BoxedStrategy<Scene>>>) -> BoxedStrategy<Scene> {
    Union::new(scenes.into_iter().flatten()).boxed()
}

/// Runs end unseen while no operator runs, one of which lives on. It leads when the next run ends.
fn restarted_while_runs_are_lost() -> BoxedStrategy<Scene> {
    let lost = (200_u64..1_000, lost_run());
    // Perhaps its pod is gone before the new operators take their first decision.
    let gone = prop::option::weighted(0.5, (3_000_u64..6_000, Just(Step::Delete(TARGET))));
    (0_u64..3_000, lost, 3_000_u64..6_000, gone, 4_000_u64..9_000, end())
        .prop_map(|(pause, (then, lost), span, gone, last, end)| {
            let begin = [
                (pause, Step::Aim(LEADER)),
                (0, Step::Restart(Which::Both, span, false)),
                (then, Step::Favour(TARGET, 20_000)),
            ];
            begin.into_iter().chain(lost).chain(gone).chain([(last, end)]).collect()
        })
        .boxed()
}

/// A tenant's pod has the leader's name for its host name, and is lost while no operator runs.
fn restarted_while_tenant_is_lost() -> BoxedStrategy<Scene> {
    let tenant = any::<bool>().prop_map(|is_candidate| Tenant { is_mirror: false, is_candidate, elects: true });
    (0_u64..2_000, tenant, 2_500_u64..5_000, 2_000_u64..4_000, 100_u64..1_500, 5_000_u64..9_000, end())
        .prop_map(|(pause, tenant, then, span, lost, last, end)| {
            vec![
                (pause, Step::Aim(LEADER)),
                (0, Step::Tenant(TARGET, tenant)),
                (then, Step::Restart(Which::Both, span, false)),
                (lost, Step::ForceTenant(Outlook::Immortal)),
                (last, end),
            ]
        })
        .boxed()
}

/// A pod runs again unseen, and somebody says that it has failed. It is lost, before or after other operators start.
fn restarted_after_false_phase() -> BoxedStrategy<Scene> {
    let restart = (0_u64..3_000, 0_u64..1_000, any::<bool>());
    (false_phase(), 200_u64..2_000, restart, 500_u64..3_000, 4_000_u64..9_000, end())
        .prop_map(|(mut scene, lost, (then, span, finds), leads, last, end)| {
            let restarts = (then, Step::Restart(Which::Both, span, false));
            let is_lost = (lost, Step::Force(TARGET, Outlook::Immortal));
            scene.extend(if finds { [restarts, is_lost] } else { [is_lost, restarts] });
            scene.extend([(1_000, Step::ReadyOf(TARGET, true)), (leads, Step::Favour(TARGET, 15_000)), (last, end)]);
            scene
        })
        .boxed()
}

/// A pod runs again, which its kubelet can't report, and somebody says that it has failed. The watch of nodes may be behind,
/// or that of pods, and its node ready again by then.
fn false_phase() -> BoxedStrategy<Scene> {
    let lag = prop::option::weighted(0.5, (select(vec![Kind::Node, Kind::Pod]), 1_000_u64..4_000));
    let again = prop::option::weighted(0.3, 100_u64..2_000);
    (unreported_run(), 1_000_u64..3_000, lag, again)
        .prop_map(|(mut scene, fails, lag, again)| {
            scene.extend(lag.map(|(kind, lag)| (0, Step::Lag(kind, lag))));
            scene.extend([(fails, Step::ReadyOf(TARGET, false)), (100, Step::Fail(TARGET))]);
            scene.extend(again.map(|then| (then, Step::ReadyOf(TARGET, true))));
            scene
        })
        .boxed()
}

/// A pod runs again, which its kubelet can't report, and is garbage-collected.
fn collected() -> BoxedStrategy<Scene> {
    (unreported_run(), 1_000_u64..3_000)
        .prop_map(|(mut scene, then)| {
            scene.push((then, Step::Collect(TARGET)));
            scene
        })
        .boxed()
}

/// A pod runs again, which its kubelet can't report.
fn unreported_run() -> impl Strategy<Value = Scene> {
    (0_u64..3_000, slot(), 25_u64..100).prop_map(|(pause, slot, hush)| {
        vec![(pause, Step::Aim(slot)), (0, Step::Crash(TARGET, None)), (hush, Step::Hush(TARGET, 15_000))]
    })
}

/// A pod is lost, and more are after it than are remembered. What is lost may lead then, beside its namesake.
fn lost_in_burst() -> BoxedStrategy<Scene> {
    let pods = select(vec![70_usize, 300]);
    (0_u64..2_000, slot(), pods, 4_000_u64..7_000, 5_000_u64..12_000, end())
        .prop_map(|(pause, slot, pods, then, last, end)| {
            vec![
                (pause, Step::Aim(slot)),
                (0, Step::Force(TARGET, Outlook::Immortal)),
                (200, Step::Burst(pods)),
                (then, Step::Favour(TARGET, 15_000)),
                (last, end),
            ]
        })
        .boxed()
}

/// A tenant's pod claims to be the mirror of another, which is lost.
fn mirrored() -> BoxedStrategy<Scene> {
    let tenant = Tenant { is_mirror: true, is_candidate: false, elects: false };
    (0_u64..2_000, slot(), 100_u64..2_500, 500_u64..2_500, 3_000_u64..6_000, 5_000_u64..12_000, end())
        .prop_map(move |(pause, slot, lost, ends, then, last, end)| {
            vec![
                (pause, Step::Aim(slot)),
                (0, Step::Tenant(TARGET, tenant)),
                (lost, Step::Force(TARGET, Outlook::Immortal)),
                (ends, Step::FinishTenant),
                (then, Step::Favour(TARGET, 15_000)),
                (last, end),
            ]
        })
        .boxed()
}

/// A tenant's pod has the leader's name for its host name, and its provider invents its end.
fn tenant_on_virtual_node() -> BoxedStrategy<Scene> {
    let tenant = Tenant { is_mirror: false, is_candidate: false, elects: true };
    let ends = select(Invention::OF_PROVIDERS.to_vec());
    (0_u64..2_000, 2_500_u64..5_000, ends, 500_u64..3_000, end())
        .prop_map(move |(pause, then, how, last, end)| {
            vec![
                (pause, Step::Aim(LEADER)),
                (0, Step::Tenant(TARGET, tenant)),
                (then, Step::InventEndOfTenant(how)),
                (last, end),
            ]
        })
        .boxed()
}

/// The leader ends by a clock that is ahead, and another goes by its name before the operator has seen the end: the next
/// pod, or a tenant's.
pub fn behind(by_tenant: bool) -> BoxedStrategy<Scene> {
    let tenant = any::<bool>().prop_map(|is_candidate| Tenant { is_mirror: false, is_candidate, elects: true });
    (0_u64..2_000, 5_000_i64..60_000, 100_u64..4_000, 2_000_u64..3_500, 325_u64..1_000, tenant)
        .prop_map(move |(pause, ahead, ends, lag, then, tenant)| {
            let end = if by_tenant { Step::Finish(TARGET) } else { Step::Delete(TARGET) };
            let begin = [
                (pause, Step::Aim(LEADER)),
                (0, Step::ClockOf(TARGET, ahead)),
                (ends, Step::Lag(Kind::Pod, lag)),
                (0, end),
            ];
            begin.into_iter().chain(by_tenant.then_some((then, Step::Tenant(TARGET, tenant)))).collect()
        })
        .boxed()
}

/// The leader restarts, and leads again after the backup that the storage is restored from.
fn restored_while_leader_restarts() -> BoxedStrategy<Scene> {
    (0_u64..3_000, 1_500_u64..5_000, 0_usize..3)
        .prop_map(|(pause, leads, age)| {
            vec![
                (pause, Step::Aim(LEADER)),
                (0, Step::Crash(TARGET, None)),
                (leads, Step::Freeze(TARGET, 12_000)),
                (25, Step::Restore(age)),
            ]
        })
        .boxed()
}

/// The leader's pod ends, and the next one leads under its name, which lives on beside what the storage has of the first.
fn restored_while_leader_is_replaced(restarts: bool) -> BoxedStrategy<Scene> {
    let restart = (prop::bool::weighted(0.7), 1_000_u64..4_000, 0_u64..500);
    (0_u64..3_000, 1_500_u64..6_000, 0_usize..3, restart)
        .prop_map(move |(pause, leads, age, (is_wanted, then, span))| {
            let begin = [
                (pause, Step::Aim(LEADER)),
                (0, Step::Favour(TARGET, 25_000)),
                (0, Step::Delete(TARGET)),
                (leads, Step::Freeze(TARGET, 15_000)),
                (0, Step::Force(TARGET, Outlook::Immortal)),
                (25, Step::Restore(age)),
            ];
            let restart = (restarts && is_wanted).then_some((then, Step::Restart(Which::Both, span, false)));
            begin.into_iter().chain(restart).collect()
        })
        .boxed()
}

/// A pod that has ended is replaced while the watch of pods is interrupted, and its successor is lost. Another is replaced
/// too, which the list tells first.
fn replaced_in_gap() -> BoxedStrategy<Scene> {
    (0_u64..3_000, 350_u64..900, 6_000_u64..8_000, 3_500_u64..5_000, 5_000_u64..12_000, end())
        .prop_map(|(pause, seen, lost, then, last, end)| {
            vec![
                (pause, Step::Aim(SLOTS - 1)),
                (0, Step::Finish(TARGET)),
                (seen, Step::Gap(Which::Both, Kind::Pod, 9_500)),
                (0, Step::Delete(0)),
                (lost, Step::Force(TARGET, Outlook::Immortal)),
                (then, Step::Favour(TARGET, 15_000)),
                (last, end),
            ]
        })
        .boxed()
}

/// The program beside the elector runs again before the elector ends that it believes.
fn program_before_elector() -> BoxedStrategy<Scene> {
    (0_u64..4_000, 300_u64..6_000)
        .prop_map(|(pause, then)| {
            vec![(pause, Step::Aim(LEADER)), (0, Step::Crash(TARGET, Some(1))), (then, Step::Crash(TARGET, Some(0)))]
        })
        .boxed()
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
    let after = (6_000_u64..9_000, 500_u64..4_000, 5_000_u64..12_000, end());
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

/// A run is lost while there is neither a group nor an operator. It may lead beside a later pod of its name, long after its
/// own was deleted.
fn recreated_after_lost_run() -> BoxedStrategy<Scene> {
    (0_u64..2_000, slot(), 100_u64..1_000, lost_run(), 4_000_u64..6_000, 5_000_u64..12_000, end())
        .prop_map(|(pause, slot, then, lost, create, last, end)| {
            let begin = [
                (pause, Step::Aim(slot)),
                (0, Step::DeleteGroup),
                (100, Step::Restart(Which::Both, 4_000, false)),
                (then, Step::Aim(slot)),
            ];
            let after = [
                (create, Step::CreateGroup),
                (3_000, Step::Delete(TARGET)),
                (66_000, Step::Favour(TARGET, 20_000)),
                (last, end),
            ];
            begin.into_iter().chain(lost).chain(after).collect()
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

/// An end is invented, perhaps while reports are held up, and the next runs end soon. Perhaps the last of them does.
fn invented(inventions: Vec<Invention>) -> BoxedStrategy<Scene> {
    let end_of = prop::option::weighted(0.3, 0_usize..2);
    let scene = (0_u64..4_000, slot(), end_of, select(inventions), 0_u32..3);
    let last = prop::option::weighted(0.4, (2_000_u64..9_000, end()));
    (scene, prop::option::weighted(0.3, 1_000_u64..5_000), last)
        .prop_map(|((pause, slot, container, invention, dooms), hush, last)| {
            let hush = hush.map(|span| Step::Hush(TARGET, span));
            let dooms = (dooms > 0).then_some(Step::Doom(TARGET, dooms));
            let lie = hush.into_iter().chain(dooms).chain([Step::InventEnd(TARGET, container, invention)]);
            let begin = [(pause, Step::Aim(slot))].into_iter().chain(lie.map(|step| (0, step)));
            begin.chain(last).collect()
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
