// A program that elects a leader with @codedependant/kubernetes-leader-election as its documentation shows. The library
// names the candidate (elector-hostname-pid) and gives the Lease up when the program is told to end. It elects nobody, and
// has every process lead, where KUBERNETES_SERVICE_HOST is not set.
import leaderElection from '@codedependant/kubernetes-leader-election'

const {Elector, EVENTS} = leaderElection

const given = (name) => {
  if (!process.env[name]) throw new Error(`${name} must be set`)
  return process.env[name]
}

const elector = new Elector({
  lease_name: given('LEASE_NAME'),
  namespace: given('NAMESPACE'),
  lease_duration_sec: 15,
  renew_interval_ms: 2000,
  // The library is silent unless given a logger.
  log: {
    child() { return this },
    debug() {},
    error(error) { console.error(error?.message ?? error) },
  },
})

elector.on(EVENTS.LEADERSHIP_ACQUIRED, () => console.log(`${elector.identity} started leading`))
elector.on(EVENTS.LEADERSHIP_LOST, () => console.log(`${elector.identity} stopped leading`))

await elector.start()
