//! Every step that the world and the operators can take, as a model for the checker.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use leadergroup_api::AccountGap;
use leadergroup_operator::decide::Ground;
use serde::Deserialize as _;
use serde_json::json;
use stateright::{Model, Property};

use crate::bounds::{Bounds, Events, Leading};
use crate::operators::{Operators, Sight};
use crate::support::api::{Api, Kind};
use crate::support::{group, micro_time, node};
use crate::world::{Holder, Naming, Run, World};

/// The step of time, in milliseconds: one that a kubelet's clock shows.
const TICK: u64 = 1_000;
/// How often a leader renews before the model begins: its clock is known to be sane then.
const RENEWALS: u64 = 5;
/// From one of those renewals to the next, in milliseconds.
const RENEWAL_INTERVAL: u64 = 2_000;
/// The identity of a candidate that goes by another name.
const OTHER: &str = "web-1";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The process writes the Lease: it acquires or renews it.
    Renew(usize),
    Release(usize),
    OtherAcquires,
    OtherReleases,
    /// The process ends.
    End(usize),
    /// The runtime reports an end of the pod's run, whose process lives on.
    InventEnd(usize),
    /// The pod's container runs again.
    Start(usize, Report),
    /// The kubelet ends the pod, and reports so.
    Finish(usize),
    /// The kubelet reports all that it knows of the pod.
    Report(usize),
    /// The pod's object is deleted, whatever lives.
    Delete(usize),
    /// The next pod takes the name, and runs.
    Create(Report),
    Tick,
    /// The leading operator's watch of pods falls silent.
    Interrupt,
    /// That watch delivers what it has missed.
    CatchUp,
    /// That watch lists again, without what it has missed.
    Relist,
    /// The leading operator stops.
    Stop,
    /// Another operator leads, which knows nothing but what the API server has.
    Restart,
    /// The standby leads.
    TakeOver,
}

/// When the kubelet reports a run that it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Report {
    AtOnce,
    Later,
}

#[derive(Clone, Debug)]
pub struct State {
    /// How many steps led to it. Part of the state, so that whichever way was found first, none that is short enough is cut.
    steps: usize,
    pub world: World,
    pub holder: Holder,
    pub spent: Events,
    pub leading: Leading,
    pub operators: Arc<Operators>,
    /// The hash of the operators' memory.
    fingerprint: u64,
    /// A clear took the Lease from a live leader.
    pub has_cleared_live: bool,
    /// The operator that cleared a holder at once.
    pub cleared: Option<Leading>,
}

impl State {
    fn facts(&self) -> impl Hash + PartialEq + '_ {
        let memory = (self.operators.sight, self.fingerprint);
        let events = (self.spent, self.leading);
        (self.steps, &self.world, self.holder, events, memory, self.has_cleared_live, self.cleared)
    }

    /// Why the stored account of a pod's term is incomplete, if it is.
    fn stored_gap(&self) -> Option<AccountGap> {
        let group = self.operators.api.get(Kind::Group, "web").filter(|_| self.holder == Holder::Ours)?;
        AccountGap::deserialize(&group["status"]["account"]["reason"]).ok()
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.facts() == other.facts()
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.facts().hash(state);
    }
}

/// The model: what happens at most, and how it begins.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    pub bounds: Bounds,
    pub naming: Naming,
    /// Who holds the Lease when the model begins.
    pub begins_with: Holder,
    /// Steps in a row.
    pub depth: usize,
}

impl Account {
    /// The pod's first run leads, or another candidate does.
    fn beginning(naming: Naming, holder: Holder) -> State {
        let begins_at = RENEWALS * RENEWAL_INTERVAL;
        let leads_since = (holder == Holder::Ours).then_some(begins_at - RENEWAL_INTERVAL);
        let world = World::new(naming, leads_since);
        let mut api = Api::default();
        api.put(Kind::Node, node("n1", true, false));
        api.put(Kind::Group, group(&json!({"staleHolder": {"onRestart": "Clear"}})));
        api.put(Kind::Pod, world.object(0));
        let mut operators = Operators::around(api, 0);
        let identity = if holder == Holder::Ours { world.identity() } else { OTHER };
        for _ in 0..RENEWALS {
            write_lease(&mut operators, Some(identity));
            operators.settle();
            operators.pass(RENEWAL_INTERVAL);
        }
        let fingerprint = operators.fingerprint();
        State {
            steps: 0,
            world,
            holder,
            spent: Events::default(),
            leading: Leading::default(),
            operators: Arc::new(operators),
            fingerprint,
            has_cleared_live: false,
            cleared: None,
        }
    }
}

impl Model for Account {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![Self::beginning(self.naming, self.begins_with)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let State { world, spent, .. } = state;
        let (bounds, limits) = (&self.bounds, &self.bounds.events);
        // Nothing that follows a violation is of interest.
        if state.has_cleared_live || state.steps == self.depth {
            return;
        }
        let may_run = world.processes.len() < bounds.runs;
        for (at, process) in world.processes.iter().enumerate().filter(|(_, process)| process.is_alive) {
            let has_renewed = process.leads && process.wrote_at == Some(state.operators.now);
            if state.holder != Holder::Other && !has_renewed {
                actions.push(Action::Renew(at));
            }
            if process.leads && state.holder == Holder::Ours && spent.releases < limits.releases {
                actions.push(Action::Release(at));
            }
            actions.push(Action::End(at));
        }
        if let Some(at) = world.present() {
            let pod = &world.pods[at];
            match pod.known.run {
                Run::Running { .. } if spent.invented < limits.invented => actions.push(Action::InventEnd(at)),
                Run::Ended(_) if may_run && !pod.known.is_terminal => {
                    actions.extend([Action::Start(at, Report::AtOnce), Action::Start(at, Report::Later)]);
                }
                _ => {}
            }
            if !pod.known.is_terminal {
                actions.push(Action::Finish(at));
            }
            if !pod.is_reported {
                actions.push(Action::Report(at));
            }
            if may_run {
                actions.push(Action::Delete(at));
            }
        } else if may_run && world.pods.len() < bounds.pods {
            actions.extend([Action::Create(Report::AtOnce), Action::Create(Report::Later)]);
        }
        match state.holder {
            Holder::None if spent.others < limits.others => actions.push(Action::OtherAcquires),
            Holder::Other => actions.push(Action::OtherReleases),
            _ => {}
        }
        if spent.ticks < limits.ticks {
            actions.push(Action::Tick);
        }
        match state.operators.sight {
            Sight::Full if spent.gaps < limits.gaps => actions.extend([Action::Interrupt, Action::Stop]),
            Sight::WithoutPods => actions.extend([Action::CatchUp, Action::Relist]),
            _ => {}
        }
        if spent.leaders < limits.leaders {
            actions.extend([Action::Restart, Action::TakeOver]);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = State { steps: state.steps + 1, ..state.clone() };
        next.take(action);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always("no live leader is cleared", |_, state: &State| !state.has_cleared_live),
            Property::sometimes("a dead leader is cleared at once", |_, state: &State| {
                state.cleared == Some(Leading::First)
            }),
            Property::sometimes("a forced deletion is reported", |_, state: &State| {
                state.stored_gap() == Some(AccountGap::DeletedWithoutReport)
            }),
        ];
        if self.naming == Naming::Node {
            properties.push(Property::sometimes("a gap is reported", |_, state: &State| {
                state.stored_gap() == Some(AccountGap::WatchGap)
            }));
            return properties;
        }
        properties.extend([
            Property::sometimes("a restarted operator clears by the stored account", |_, state: &State| {
                state.cleared == Some(Leading::Restarted)
            }),
            Property::sometimes("a standby clears after its takeover", |_, state: &State| {
                state.cleared == Some(Leading::Standby)
            }),
            Property::sometimes("an invented end is reported", |_, state: &State| {
                state.stored_gap() == Some(AccountGap::UnwitnessedEnd)
            }),
        ]);
        if self.begins_with == Holder::Ours {
            properties.extend([
                Property::sometimes("an unseen run is reported", |_, state: &State| {
                    state.stored_gap() == Some(AccountGap::UnseenRun)
                }),
                Property::sometimes("an unseen namesake is reported", |_, state: &State| {
                    state.stored_gap() == Some(AccountGap::WatchGap)
                }),
            ]);
        }
        properties
    }
}

impl State {
    fn take(&mut self, action: Action) {
        let now = self.operators.now;
        match action {
            Action::End(process) => self.world.end(process, now),
            Action::InventEnd(pod) => {
                self.spent.invented += 1;
                self.world.invent_end(pod, now);
            }
            Action::Start(pod, Report::Later) => self.world.start(pod, now),
            action => {
                self.act_on_operators(action, now);
                self.check();
                self.fingerprint = self.operators.fingerprint();
            }
        }
    }

    fn act_on_operators(&mut self, action: Action, now: u64) {
        let Self { world, holder, spent, leading, .. } = self;
        let operators = Arc::make_mut(&mut self.operators);
        match action {
            Action::Renew(process) => {
                world.processes[process].leads = true;
                world.processes[process].wrote_at = Some(now);
                *holder = Holder::Ours;
                write_lease(operators, Some(world.identity()));
            }
            Action::Release(process) => {
                spent.releases += 1;
                world.processes[process].leads = false;
                *holder = Holder::None;
                write_lease(operators, None);
            }
            Action::OtherAcquires => {
                spent.others += 1;
                *holder = Holder::Other;
                write_lease(operators, Some(OTHER));
            }
            Action::OtherReleases => {
                *holder = Holder::None;
                write_lease(operators, None);
            }
            Action::Start(pod, _) => {
                world.start(pod, now);
                report(world, operators, pod);
            }
            Action::Finish(pod) => {
                world.finish(pod, now);
                report(world, operators, pod);
            }
            Action::Report(pod) => report(world, operators, pod),
            Action::Delete(pod) => {
                world.pods[pod].exists = false;
                world.pods[pod].is_reported = true;
                operators.api.delete(Kind::Pod, &world.pod_name(pod));
            }
            Action::Create(reported) => {
                let pod = world.pods.len();
                operators.api.put(Kind::Pod, world.object_before_report(pod));
                operators.settle();
                world.create(now);
                if reported == Report::AtOnce {
                    report(world, operators, pod);
                }
            }
            Action::Tick => {
                spent.ticks += 1;
                operators.pass(TICK);
            }
            Action::Interrupt => {
                spent.gaps += 1;
                operators.sight = Sight::WithoutPods;
            }
            Action::CatchUp => operators.catch_up(),
            Action::Relist => operators.relist_pods(),
            Action::Stop => {
                spent.gaps += 1;
                operators.sight = Sight::Stopped;
            }
            Action::Restart => {
                spent.leaders += 1;
                *leading = Leading::Restarted;
                operators.restart();
            }
            Action::TakeOver => {
                spent.leaders += 1;
                *leading = Leading::Standby;
                operators.take_over();
            }
            Action::End(_) | Action::InventEnd(_) => {}
        }
        operators.settle();
    }

    /// Looks at the clears that were carried out.
    fn check(&mut self) {
        if self.operators.api.cleared.is_empty() {
            return;
        }
        for cleared in Arc::make_mut(&mut self.operators).take_cleared() {
            assert_eq!(cleared.clear.ground, Ground::Proof, "time ends before the Lease expires");
            self.holder = Holder::None;
            self.has_cleared_live |= self.world.live_leader().is_some();
            self.cleared = Some(self.leading);
        }
    }
}

/// The kubelet reports all that it knows of the pod.
fn report(world: &mut World, operators: &mut Operators, pod: usize) {
    world.pods[pod].is_reported = true;
    operators.api.put(Kind::Pod, world.object(pod));
}

/// Writes this holder into the Lease, as client-go does.
fn write_lease(operators: &mut Operators, holder: Option<&str>) {
    let at = micro_time(i64::try_from(operators.now).expect("a short history"));
    let lease = operators.api.get(Kind::Lease, "web").map(|lease| lease["spec"].clone());
    let mut spec = lease.unwrap_or_else(|| json!({"leaseTransitions": 0}));
    if spec["holderIdentity"].as_str() != holder {
        spec["leaseTransitions"] = json!(spec["leaseTransitions"].as_i64().unwrap_or(0) + 1);
        spec["acquireTime"] = json!(at);
    }
    spec["holderIdentity"] = json!(holder.unwrap_or_default());
    spec["leaseDurationSeconds"] = json!(if holder.is_some() { 15 } else { 1 });
    spec["renewTime"] = json!(at);
    let version = operators.api.version_of(Kind::Lease, "web");
    operators.api.write_lease("web", version, &spec).expect("the version that was read");
}
