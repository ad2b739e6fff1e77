//! The main job, shown on a real cluster: what a user types, what the user sees, and what it saves.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use leadergroup_e2e::cluster::CANDIDATE_IMAGE;
use leadergroup_e2e::packages::sample;
use leadergroup_e2e::{LeaseView, Namespace, Operator, Session, Timeline};

const SAMPLE: &str = include_str!("../../../../config/samples/billing.yaml");

/// Longer than client-go's candidates ever take to acquire a Lease that nobody clears.
const LONG: Duration = Duration::from_mins(1);

#[tokio::main]
async fn main() -> Result<()> {
    let session = Session::start().await?;
    if !session.cluster().has_real_node() {
        println!(
            "This machine has no real node, so pods are simulated: what follows shows the operator, not a kubelet."
        );
    }
    let shop = session.namespace("demo").await?;
    let demo = Demo { timeline: shop.timeline().await?, operator: session.operator(), shop };
    let summary = demo.run().await?;

    heading("Summary");
    println!("{summary}");
    if std::env::var_os("KEEP").is_some_and(|keep| !keep.is_empty()) {
        println!(
            "\nKEEP is set, so all of it is left running: kubectl -n {} get leadergroups,pods,leases",
            demo.shop.name()
        );
        std::mem::forget(demo.shop);
    }
    Ok(())
}

struct Demo {
    shop: Namespace,
    timeline: Timeline,
    operator: Operator,
}

impl Demo {
    async fn run(&self) -> Result<String> {
        let start = Instant::now();
        heading("Two groups of the same client-go program; only `billing` has a LeaderGroup");
        let billing = sample(SAMPLE, CANDIDATE_IMAGE, "")?;
        self.apply("billing.yaml     # config/samples/billing.yaml with the program's image", &billing).await?;
        self.apply("invoices.yaml    # the same as `invoices`, without the LeaderGroup", &without_group(&billing))
            .await?;
        self.shop.until_settled("billing").await?;
        let (_, invoices) = self.next_holder("invoices", "", start).await?;
        self.show(&["get", "leadergroups"]).await?;
        self.show(&["get", "pods", "-L", "leadergroup.dev/group"]).await?;

        heading("Both leaders' pods are deleted; client-go ends without releasing, as it does by default");
        let billing = self.leader().await?;
        let from = Instant::now();
        let deleted = ["delete", "pod", &billing, &invoices, "--wait=false"];
        self.show(&deleted).await?;
        let cleared = self.next_holder("billing", &billing, from).await?;
        println!("\n{:>5.1} s  billing is led by {}", cleared.0.as_secs_f64(), cleared.1);
        self.shop.until_led_by_another("billing", &billing).await?;
        self.show(&["get", "leadergroups", "-o", "wide"]).await?;
        let waited = self.next_holder("invoices", &invoices, from).await?;
        println!(
            "\n{:>5.1} s  invoices is led by {}: its Lease had to run out first",
            waited.0.as_secs_f64(),
            waited.1
        );

        heading("A forced deletion proves nothing: the pod object is gone, its process may live on");
        self.shop.until_settled("billing").await?;
        let billing = self.leader().await?;
        let from = Instant::now();
        self.show(&["delete", "pod", &billing, "--force", "--grace-period=0", "--wait=false"]).await?;
        let note = self.shop.until_event("billing", "HolderVanished").await?;
        println!("\nThe operator says: {note}");
        let unproven = self.next_holder("billing", &billing, from).await?;
        println!(
            "{:>5.1} s  billing is led by {}: no clear before the Lease had run out",
            unproven.0.as_secs_f64(),
            unproven.1
        );
        self.shop.until_led_by_another("billing", &billing).await?;

        heading("What the user can read afterwards");
        self.show(&[
            "get",
            "leadergroup",
            "billing",
            "-o",
            "jsonpath={range .status.history[*]}{.time}  {.reason}  {.leader}  {.leaderlessSeconds} s{\"\\n\"}{end}",
        ])
        .await?;
        self.show(&[
            "get",
            "events",
            "--field-selector",
            "involvedObject.kind=LeaderGroup",
            "-o",
            "custom-columns=REASON:.reason,MESSAGE:.message",
        ])
        .await?;
        heading("The same story in the operator's log");
        for line in self.operator.log_about(self.shop.name()).await? {
            println!("{line}");
        }
        Ok(format!(
            "from `kubectl delete pod` to the next leader's acquisition:\n\
             {:>6.1} s  with a LeaderGroup: cleared on the kubelet's proof, then client-go's own polling\n\
             {:>6.1} s  without: the Lease has to run out\n\
             {:>6.1} s  with a LeaderGroup after a forced deletion: no proof, so no early clear",
            cleared.0.as_secs_f64(),
            waited.0.as_secs_f64(),
            unproven.0.as_secs_f64(),
        ))
    }

    async fn apply(&self, what: &str, manifest: &str) -> Result<()> {
        println!("$ kubectl apply -f {what}");
        self.shop.apply(manifest).await
    }

    async fn show(&self, args: &[&str]) -> Result<()> {
        println!("$ kubectl {}", args.join(" "));
        print!("{}", self.shop.kubectl(args).await?);
        Ok(())
    }

    async fn leader(&self) -> Result<String> {
        let group = self.shop.until_led("billing").await?;
        let leader = group.status.and_then(|s| s.leader).and_then(|l| l.pod_name);
        leader.context("billing has no leader")
    }

    /// How long after `from` another holder than that one had the Lease, and who.
    async fn next_holder(&self, lease: &str, before: &str, from: Instant) -> Result<(Duration, String)> {
        let is_next = |at: Instant, holder: &str| at > from && holder != before;
        let find = |entries: &[leadergroup_e2e::Entry]| {
            entries.iter().find_map(|entry| match &entry.seen {
                leadergroup_e2e::Seen::Lease(seen) if seen.metadata.name.as_deref() == Some(lease) => {
                    seen.holder().filter(|holder| is_next(entry.at, holder)).map(|holder| (entry.at - from, holder))
                }
                _ => None,
            })
        };
        self.timeline.find(&format!("a new holder of {lease}"), LONG, find).await
    }
}

/// The sample under another name, without the LeaderGroup in it.
fn without_group(sample: &str) -> String {
    let documents = sample.split("\n---\n").filter(|document| !document.contains("kind: LeaderGroup"));
    let unlabelled =
        documents.map(|d| d.replace("        leadergroup.dev/group: billing\n", "").replace("billing", "invoices"));
    unlabelled.collect::<Vec<_>>().join("\n---\n")
}

fn heading(text: &str) {
    println!("\n━━ {text}\n");
}
