"""A program that elects a leader with the official Kubernetes client for Python as its example shows.

It ends when it loses the Lease. It handles no signals, and so leaves the Lease to expire when it is told to end.
"""

import logging
import os
import sys
import threading

from kubernetes import config
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock


def main():
    # The library reports its failures at this level.
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        config.load_incluster_config()
    else:
        config.load_kube_config()
    identity = os.environ["IDENTITY"]

    def started():
        print(f"{identity} started leading", flush=True)
        # The work; the library runs it in a thread of its own.
        threading.Event().wait()

    def stopped():
        print(f"{identity} stopped leading", flush=True)

    lock = LeaseLock(os.environ["LEASE_NAME"], os.environ["NAMESPACE"], identity)
    election = electionconfig.Config(
        lock,
        lease_duration=15,
        renew_deadline=10,
        retry_period=2,
        onstarted_leading=started,
        onstopped_leading=stopped,
    )
    leaderelection.LeaderElection(election).run()
    # The election ends with the leadership.
    sys.exit(1)


if __name__ == "__main__":
    main()
