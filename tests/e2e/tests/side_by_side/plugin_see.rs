//! What `kubectl leadergroup` shows of groups whose candidates are real, and how scripts are told.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kube::ResourceExt;
use kube::api::DeleteParams;
use kube::runtime::wait::await_condition;
use kube::runtime::wait::conditions::is_deleted;
use leadergroup_api::{LeaderGroup, Policy, TransitionReason};
use leadergroup_e2e::cluster::workspace_root;
use leadergroup_e2e::{Candidates, Group, GroupView, Namespace, PATIENCE, Ran, Session};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::time::timeout;

/// A group with two candidates, once one leads and both are ready, and the pod that leads.
async fn led(place: &Namespace) -> Result<String> {
    place.create(&Group::named("billing").build()).await?;
    place.run(&Candidates::named("billing").replicas(2).deployment()).await?;
    place.until_led("billing").await?;
    let both = |group: &LeaderGroup| group.seen().candidates.ready == 2 && group.leading_pod().is_some();
    place.until("billing", "both candidates are ready", both).await?.leading_pod().context("nobody leads any more")
}

/// Deletes the leader's pod, and returns the one that leads then.
async fn replaced(place: &Namespace, leader: &str) -> Result<LeaderGroup> {
    place.delete_pod(leader).await?;
    place.until_led_by_another("billing", leader).await?;
    place.until_led("billing").await
}

#[tokio::test]
async fn the_plugin_tells_who_leads_since_when_and_after_whom() -> Result<()> {
    let promise = "the plugin shows a takeover: who leads, on what evidence, after whom and why";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("plugin").await?;
    let first = led(&place).await?;
    assert_eq!(place.plugin(&["who", "billing"]).await?.printed()?, format!("{first}\n"));
    let group = replaced(&place, &first).await?;
    let second = group.leading_pod().context("nobody leads any more")?;
    let node = group.seen().leader.and_then(|leader| leader.node_name).context("no node")?;

    assert_eq!(place.plugin(&["who", "billing"]).await?.printed()?, format!("{second}\n"));
    assert_eq!(place.plugin(&["who", "billing", "-o", "identity"]).await?.printed()?, format!("{second}\n"));
    assert_eq!(place.plugin(&["who", "billing", "-o", "node"]).await?.printed()?, format!("{node}\n"));

    let list = place.plugin(&["list"]).await?.printed()?;
    let row: Vec<_> = list.lines().nth(1).unwrap_or_default().split_whitespace().collect();
    assert_eq!(row[..4], ["billing", &*second, "True", "Leading"], "{list}");
    assert_eq!(place.plugin(&["list", "-o", "name"]).await?.printed()?, "leadergroup.leadergroup.dev/billing\n");

    let history = place.plugin(&["history", "billing", "-o", "json"]).await?.json()?;
    let leaders: Vec<_> = [0, 1].into_iter().map(|at| history[at]["leader"].as_str().unwrap_or_default()).collect();
    assert_eq!(leaders, [&*second, &*first], "{history:#}");
    assert_eq!(history[0]["reason"], "Cleared", "{history:#}");
    assert_eq!((&history[0]["from"], &history[0]["end"]), (&json!(first), &Value::Null), "{history:#}");
    assert!(history[0]["leaderlessSeconds"].as_f64().is_some_and(|gap| gap < 6.0), "{history:#}");
    assert!(history[1]["end"].is_string(), "{history:#}");

    let status = place.plugin(&["status", "billing", "-o", "json"]).await?.json()?;
    assert_eq!((&status["ready"], &status["leader"]["pod"]), (&json!(true), &json!(second)), "{status:#}");
    assert_eq!((&status["holder"]["verdict"], &status["lease"]["holder"]), (&json!("Alive"), &json!(second)));
    assert_eq!((&status["lease"]["durationSeconds"], &status["transitions"]), (&json!(6), &json!(1)), "{status:#}");
    let leads = &status["candidates"]["pods"][0];
    assert_eq!(
        (&leads["pod"], &leads["role"], &leads["status"]),
        (&json!(second), &json!("leader"), &json!("Running"))
    );
    assert_eq!(status["notes"], json!([]), "{status:#}");

    let text = place.plugin(&["status", "billing", "--verbose"]).await?.printed()?;
    for part in [&format!("Leader:       {second}, for "), "is Alive: ", "renewed ", "Cleared", "LeaderChanged", &node]
    {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    let timeline = place.plugin(&["timeline", "billing", "--ascii"]).await?.printed()?;
    for pod in [&first, &second] {
        let row = timeline.lines().find(|line| line.starts_with(pod.as_str())).context(timeline.clone())?;
        assert!(row.contains('#') && row.len() == 80, "{timeline}");
    }
    Ok(())
}

#[tokio::test]
async fn scripts_wait_for_leaders_and_are_told_by_exit_codes() -> Result<()> {
    let promise = "wait and who end with the exit codes that they promise";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("wait").await?;
    place.create(&Group::named("billing").build()).await?;
    place.until("billing", "it was looked at", |g: &LeaderGroup| g.condition("Ready").is_some()).await?;
    let early = place.plugin(&["wait", "billing", "--timeout=1s"]).await?;
    ensure!(early.code == Some(3) && early.stderr.contains("NoCandidates"), "{early:?}");
    let nobody = place.plugin(&["who", "billing"]).await?;
    ensure!(
        nobody.code == Some(3) && nobody.stdout.is_empty() && nobody.stderr.starts_with("nobody leads: "),
        "{nobody:?}"
    );
    let absent = place.plugin(&["who", "bilings"]).await?;
    ensure!(absent.code == Some(1) && absent.stderr.contains("which has billing"), "{absent:?}");

    let candidate = Candidates::named("billing").pod();
    let waiting = place.plugin(&["wait", "billing", "--timeout=45s"]);
    let (waited, run) = tokio::join!(waiting, place.run(&candidate));
    run?;
    assert_eq!(waited?.printed()?, "billing is led by billing\n");
    place.plugin(&["wait", "billing", "--for=leader=billing", "--timeout=0s"]).await?.printed()?;
    let began = Instant::now();
    place.plugin(&["wait", "billing", "--for=stable", "--timeout=45s"]).await?.printed()?;
    ensure!(began.elapsed() >= Duration::from_secs(6), "a lease lasts longer than {:?}", began.elapsed());

    let waiting = place.plugin(&["wait", "billing", "--for=leader=nobody", "--timeout=45s"]);
    let groups = place.groups();
    let parameters = DeleteParams::default();
    let (waited, deleted) = tokio::join!(waiting, groups.delete("billing", &parameters));
    deleted?;
    let waited = waited?;
    ensure!(waited.code == Some(1), "{waited:?}");
    ensure!(waited.stderr.contains("was deleted") || waited.stderr.contains("there is no LeaderGroup"), "{waited:?}");
    Ok(())
}

#[tokio::test]
async fn a_paused_group_is_only_observed_until_it_is_resumed() -> Result<()> {
    let promise = "pause keeps the operator from clearing, and resume has it clear again";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("pause").await?;
    let first = led(&place).await?;
    let before = place.groups().get("billing").await?.spec;
    let told = place.plugin(&["pause", "billing"]).await?.printed()?;
    ensure!(told.starts_with("billing: policy is now Observe: "), "{told}");
    let paused = place.groups().get("billing").await?.spec;
    let mut expected = before.clone();
    expected.stale_holder.policy = Policy::Observe;
    assert_eq!(paused, expected, "nothing else is changed");
    let again = place.plugin(&["pause", "billing"]).await?.printed()?;
    ensure!(again.starts_with("billing: policy is already Observe: "), "{again}");
    let observed = |g: &LeaderGroup| g.seen().observed_generation == g.metadata.generation;
    place.until("billing", "the operator took note", observed).await?;
    let group = replaced(&place, &first).await?;
    assert_eq!(group.reason(), Some(TransitionReason::Expired), "{:?}", group.seen().history);
    let shown = place.plugin(&["status", "billing"]).await?.printed()?;
    ensure!(shown.contains("Clearing:     paused (policy Observe)"), "{shown}");

    let told = place.plugin(&["resume", "billing"]).await?.printed()?;
    ensure!(told == "billing: policy is now Clear: holders proven dead are cleared\n", "{told}");
    assert_eq!(place.groups().get("billing").await?.spec, before);
    place.until("billing", "the operator took note", observed).await?;
    let second = group.leading_pod().context("nobody led")?;
    let group = replaced(&place, &second).await?;
    assert_eq!(group.reason(), Some(TransitionReason::Cleared), "{:?}", group.seen().history);
    Ok(())
}

/// A view of a group, for as long as it is watched.
struct Watched {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    blocks: usize,
}

impl Watched {
    async fn start(place: &Namespace) -> Result<Self> {
        let mut child = place.plugin_as(place.kubeconfig(), &["status", "billing", "--watch"]).await?.spawn()?;
        let lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        Ok(Self { child, lines, blocks: 0 })
    }

    /// Reads on until a line has this in it.
    async fn until(&mut self, wanted: &str) -> Result<()> {
        let reading = async {
            while let Some(line) = self.lines.next_line().await? {
                self.blocks += usize::from(line.starts_with("Group:"));
                if line.contains(wanted) {
                    return Ok(());
                }
            }
            anyhow::bail!("the view ended")
        };
        timeout(PATIENCE, reading).await.with_context(|| format!("not shown: {wanted}"))?
    }

    /// Ends it as ctrl-c does, and returns how many blocks came since it was last read.
    async fn end(mut self) -> Result<usize> {
        let pid = self.child.id().context("it has ended")?.to_string();
        ensure!(Command::new("kill").args(["-INT", &pid]).status()?.success(), "kill failed");
        let before = self.blocks;
        let rest = async {
            while let Some(line) = self.lines.next_line().await? {
                self.blocks += usize::from(line.starts_with("Group:"));
            }
            self.child.wait().await
        };
        let status = timeout(PATIENCE, rest).await.context("it does not end")??;
        ensure!(status.success(), "{status}");
        Ok(self.blocks - before)
    }
}

#[tokio::test]
async fn a_view_on_a_pipe_prints_changes_and_no_renewals_until_it_is_ended() -> Result<()> {
    let promise = "status --watch prints a block for each change and none for a renewal, and ends at ctrl-c";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("watch").await?;
    let first = led(&place).await?;
    let mut watched = Watched::start(&place).await?;
    watched.until(&format!("Leader:       {first}, for ")).await?;
    let gone = place.pods().get(&first).await?;
    let second = replaced(&place, &first).await?.leading_pod().context("nobody leads any more")?;
    watched.until(&format!("Leader:       {second}, for ")).await?;
    // Both are ready again and the first is gone, so nothing but renewals comes from then on.
    let both = |group: &LeaderGroup| group.seen().candidates.ready == 2;
    place.until("billing", "both candidates are ready", both).await?;
    let uid = gone.uid().context("no UID")?;
    timeout(PATIENCE, await_condition(place.pods(), &first, is_deleted(&uid))).await??;
    drop(watched);
    let mut watched = Watched::start(&place).await?;
    watched.until(&format!("Leader:       {second}, for ")).await?;
    place.until_settled("billing").await?;
    assert_eq!(watched.end().await?, 0, "blocks for five renewals");
    Ok(())
}

/// Verbs, and the resource that they are for.
type Rights = Vec<(Vec<String>, String)>;

/// The rows of README's table of rights: commands, and what each of them needs.
fn rights() -> Result<Vec<(Vec<String>, Rights)>> {
    let readme = std::fs::read_to_string(workspace_root()?.join("README.md"))?;
    let table = readme.split("| command | rights |").nth(1).context("README has no table of rights")?;
    let words = |text: &str| text.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|')).map(|line| {
        let cells: Vec<_> = line.trim_matches('|').split('|').collect();
        let commands = cells[0].split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect();
        let needs = cells[1].trim().split(", ").map(words).filter_map(|mut words| Some((words.pop()?, words)));
        (commands, needs.map(|(resource, verbs)| (verbs, resource)).collect())
    });
    Ok(rows.collect())
}

/// A kubeconfig of a user who may do just this in the namespace.
async fn user(place: &Namespace, name: &str, rights: &[(Vec<String>, String)]) -> Result<tempfile::NamedTempFile> {
    let rules: Vec<_> = rights
        .iter()
        .map(|(verbs, resource)| {
            let group = match resource.as_str() {
                "leadergroups" => "leadergroup.dev",
                "leases" => "coordination.k8s.io",
                _ => "",
            };
            json!({"apiGroups": [group], "resources": [resource], "verbs": verbs})
        })
        .collect();
    let authorization = "rbac.authorization.k8s.io";
    let user = format!("{name}-of-{}", place.name());
    let items = json!([
        {"apiVersion": format!("{authorization}/v1"), "kind": "Role", "metadata": {"name": name}, "rules": rules},
        {
            "apiVersion": format!("{authorization}/v1"), "kind": "RoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": authorization, "kind": "Role", "name": name},
            "subjects": [{"apiGroup": authorization, "kind": "User", "name": user}],
        },
    ]);
    place.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()).await?;
    let mut config: Value = serde_yaml_ng::from_str(&std::fs::read_to_string(place.kubeconfig())?)?;
    config["users"][0]["user"]["as"] = json!(user);
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), config.to_string())?;
    Ok(file)
}

#[tokio::test]
async fn the_rights_that_readme_lists_suffice_and_a_lack_of_them_is_named() -> Result<()> {
    let session = Session::start().await?;
    let place = session.namespace("rights").await?;
    place.create(&Group::named("billing").build()).await?;
    let nobody = user(&place, "nobody", &[]).await?;
    let denied = Ran::from(place.plugin_as(nobody.path(), &["list"]).await?.output().await?);
    ensure!(denied.code == Some(1) && denied.stderr.contains("cannot list resource \"leadergroups\""), "{denied:?}");
    let rows = rights()?;
    let mut tried = 0;
    for (commands, needs) in &rows {
        for command in commands {
            let args = match command.as_str() {
                "list" => vec!["list"],
                "wait" => vec!["wait", "billing", "--timeout=0s"],
                "status" | "history" | "timeline" | "who" | "pause" | "resume" => vec![command, "billing"],
                _ => continue,
            };
            tried += 1;
            let file = user(&place, command, needs).await?;
            let deadline = Instant::now() + PATIENCE;
            loop {
                let printed = Ran::from(place.plugin_as(file.path(), &args).await?.output().await?);
                let all = format!("{}{}", printed.stdout, printed.stderr);
                // Nobody leads, which is not what is asked here.
                if matches!(printed.code, Some(0 | 3)) && !all.contains("forbidden") {
                    break;
                }
                // Roles are taken up a moment after they were made.
                ensure!(Instant::now() < deadline, "{command}: {printed:?}");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
    assert_eq!(tried, 8, "{rows:?}");
    Ok(())
}
