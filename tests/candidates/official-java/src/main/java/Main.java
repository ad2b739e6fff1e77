import io.kubernetes.client.extended.leaderelection.LeaderElectionConfig;
import io.kubernetes.client.extended.leaderelection.LeaderElector;
import io.kubernetes.client.extended.leaderelection.resourcelock.LeaseLock;
import io.kubernetes.client.util.Config;
import java.time.Duration;

/**
 * A program that elects a leader with the official Kubernetes client for Java as its example shows. It ends when it loses
 * the Lease, and leaves it to expire when it is told to end.
 */
public class Main {
  public static void main(String[] args) throws Exception {
    String identity = given("IDENTITY");
    LeaseLock lock = new LeaseLock(given("NAMESPACE"), given("LEASE_NAME"), identity, Config.defaultClient());
    LeaderElectionConfig config =
        new LeaderElectionConfig(lock, Duration.ofSeconds(15), Duration.ofSeconds(10), Duration.ofSeconds(2));
    try (LeaderElector elector = new LeaderElector(config)) {
      elector.run(
          () -> System.out.println(identity + " started leading"),
          () -> System.out.println(identity + " stopped leading"),
          leader -> System.out.println(identity + " sees leader " + leader));
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
