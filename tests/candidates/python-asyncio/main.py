"""A program that elects a leader with the asynchronous Kubernetes client for Python as its example shows.

It ends when it loses the Lease. It handles no signals, and so leaves the Lease to expire when it is told to end.
"""

import asyncio
import logging
import os
import sys

from kubernetes_asyncio import config
from kubernetes_asyncio.client.api_client import ApiClient
from kubernetes_asyncio.leaderelection import electionconfig, leaderelection
from kubernetes_asyncio.leaderelection.resourcelock.leaselock import LeaseLock


async def main():
    # The library reports its failures at this level.
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        config.load_incluster_config()
    else:
        await config.load_kube_config()
    identity = os.environ["IDENTITY"]

    async def started():
        print(f"{identity} started leading", flush=True)
        # The work; the library cancels it when the leadership is lost.
        await asyncio.Event().wait()

    async def stopped():
        print(f"{identity} stopped leading", flush=True)

    async with ApiClient() as api:
        lock = LeaseLock(os.environ["LEASE_NAME"], os.environ["NAMESPACE"], identity, api)
        election = electionconfig.Config(
            lock,
            lease_duration=15,
            renew_deadline=10,
            retry_period=2,
            onstarted_leading=started,
            onstopped_leading=stopped,
        )
        await leaderelection.LeaderElection(election).run()
    # The election ends with the leadership.
    sys.exit(1)


if __name__ == "__main__":
    asyncio.run(main())
