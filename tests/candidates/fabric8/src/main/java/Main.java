import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.KubernetesClientBuilder;
import io.fabric8.kubernetes.client.extended.leaderelection.LeaderCallbacks;
import io.fabric8.kubernetes.client.extended.leaderelection.LeaderElectionConfigBuilder;
import io.fabric8.kubernetes.client.extended.leaderelection.resourcelock.LeaseLock;
import java.time.Duration;

/**
 * A program that elects a leader with fabric8's kubernetes-client as its documentation shows. It ends when it loses the
 * Lease, and leaves it to expire when it is told to end.
 */
public class Main {
  public static void main(String[] args) {
    // The elector logs its failures as errors; all else would hide this program's own lines.
    System.setProperty("org.slf4j.simpleLogger.defaultLogLevel", "warn");
    String identity = given("IDENTITY");
    LeaseLock lock = new LeaseLock(given("NAMESPACE"), given("LEASE_NAME"), identity);
    try (KubernetesClient client = new KubernetesClientBuilder().build()) {
      client
          .leaderElector()
          .withConfig(
              new LeaderElectionConfigBuilder()
                  .withName(given("LEASE_NAME"))
                  .withLock(lock)
                  .withLeaseDuration(Duration.ofSeconds(15))
                  .withRenewDeadline(Duration.ofSeconds(10))
                  .withRetryPeriod(Duration.ofSeconds(2))
                  .withLeaderCallbacks(
                      new LeaderCallbacks(
                          () -> System.out.println(identity + " started leading"),
                          () -> System.out.println(identity + " stopped leading"),
                          leader -> System.out.println(identity + " sees leader " + leader)))
                  .build())
          .build()
          .run();
    }
    // The elector does not campaign again once it has led.
    System.exit(1);
  }

  private static String given(String name) {
    String value = System.getenv(name);
    if (value == null || value.isEmpty()) {
      throw new IllegalArgumentException(name + " must be set");
    }
    return value;
  }
}
