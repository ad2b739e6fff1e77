// A program that elects a leader with client-go the way most programs do: it holds a Lease while it works, ends when it
// loses it, and leaves it to expire when it is told to end.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// The exit codes tell what happened.
const (
	exitLost    = 1
	exitUsage   = 2
	exitCrashed = 3
)

type options struct {
	lease         string
	namespace     string
	identity      string
	leaseDuration time.Duration
	renewDeadline time.Duration
	retryPeriod   time.Duration
	release       bool
	exitAfter     time.Duration
	allocateMB    int
	allocateAfter time.Duration
	serve         string
}

// leads tells whether this candidate holds the Lease, for all that it knows.
var leads atomic.Bool

func parse() (options, error) {
	var o options
	flag.StringVar(&o.lease, "lease", os.Getenv("LEASE_NAME"), "name of the Lease (LEASE_NAME)")
	flag.StringVar(&o.namespace, "namespace", first("NAMESPACE", "POD_NAMESPACE"),
		"namespace of the Lease (NAMESPACE, POD_NAMESPACE)")
	flag.StringVar(&o.identity, "identity", first("IDENTITY", "POD_NAME"),
		"name of this candidate (IDENTITY, POD_NAME); {hostname} in it is what the machine calls itself, {run} is random")
	flag.DurationVar(&o.leaseDuration, "lease-duration", 15*time.Second, "how long others wait for a silent leader")
	flag.DurationVar(&o.renewDeadline, "renew-deadline", 10*time.Second, "how long the leader tries to renew")
	flag.DurationVar(&o.retryPeriod, "retry-period", 2*time.Second, "time between two tries")
	flag.BoolVar(&o.release, "release", false, "give the Lease up when told to end, instead of letting it expire")
	flag.DurationVar(&o.exitAfter, "exit-after", 0, "crash this long after starting to lead; 0 for never")
	flag.IntVar(&o.allocateMB, "alloc-mb-on-lead", 0, "megabytes of memory to fill while leading")
	flag.DurationVar(&o.allocateAfter, "alloc-after", 5*time.Second,
		"how long after starting to lead the memory is filled")
	flag.StringVar(&o.serve, "serve", "", "where to tell over HTTP who this is and whether it leads, such as :8080")
	flag.Parse()
	hostname, err := os.Hostname()
	if err != nil {
		return o, fmt.Errorf("cannot read the host name: %w", err)
	}
	o.identity = strings.NewReplacer("{hostname}", hostname, "{run}", rand.Text()).Replace(o.identity)
	if o.lease == "" || o.namespace == "" || o.identity == "" {
		return o, errors.New("the Lease's name and namespace and the candidate's identity must be set")
	}
	return o, nil
}

func first(names ...string) string {
	for _, name := range names {
		if value := os.Getenv(name); value != "" {
			return value
		}
	}
	return ""
}

// timed writes each line with the time in front.
type timed struct{}

func (timed) Write(line []byte) (int, error) {
	return fmt.Fprintf(os.Stdout, "%s %s", time.Now().UTC().Format(time.RFC3339Nano), line)
}

func main() {
	log.SetFlags(0)
	log.SetOutput(timed{})
	o, err := parse()
	if err != nil {
		log.Print(err)
		os.Exit(exitUsage)
	}
	if err := run(o); err != nil {
		log.Print(err)
		os.Exit(exitLost)
	}
}

func run(o options) error {
	config, err := configuration(os.Getenv("KUBECONFIG"))
	if err != nil {
		return fmt.Errorf("cannot configure the client: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("cannot make a client: %w", err)
	}

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go endOnSignal(o, cancel)
	if o.serve != "" {
		go serve(o)
	}

	lock := &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Name: o.lease, Namespace: o.namespace},
		Client:     client.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: o.identity},
	}
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock:            lock,
		LeaseDuration:   o.leaseDuration,
		RenewDeadline:   o.renewDeadline,
		RetryPeriod:     o.retryPeriod,
		ReleaseOnCancel: o.release,
		Name:            o.lease,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) { lead(ctx, o) },
			OnStoppedLeading: func() {
				leads.Store(false)
				log.Printf("%s stopped leading", o.identity)
			},
			OnNewLeader: func(leader string) { log.Printf("%s sees leader %s", o.identity, leader) },
		},
	})
	if err != nil {
		return fmt.Errorf("cannot elect a leader: %w", err)
	}
	log.Printf("%s is a candidate for %s/%s", o.identity, o.namespace, o.lease)
	elector.Run(ctx)
	if ctx.Err() != nil {
		// Told to end; the Lease was released.
		return nil
	}
	return fmt.Errorf("%s lost the lease", o.identity)
}

// configuration is what every pod has, unless a kubeconfig is given.
func configuration(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		return rest.InClusterConfig()
	}
	return clientcmd.BuildConfigFromFlags("", kubeconfig)
}

// endOnSignal ends the program at once, or, with release, after the Lease was given up.
func endOnSignal(o options, cancel context.CancelFunc) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	received := <-signals
	log.Printf("%s received %s", o.identity, received)
	if o.release {
		cancel()
		return
	}
	os.Exit(0)
}

// serve answers every request with the pod's name and "leads" or "stands by".
func serve(o options) {
	http.HandleFunc("/", func(answer http.ResponseWriter, _ *http.Request) {
		role := "stands by"
		if leads.Load() {
			role = "leads"
		}
		_, _ = fmt.Fprintf(answer, "%s %s\n", os.Getenv("POD_NAME"), role)
	})
	log.Fatal(http.ListenAndServe(o.serve, nil))
}

// lead is the work only the leader does; here, what a test wants to go wrong.
func lead(ctx context.Context, o options) {
	leads.Store(true)
	log.Printf("%s started leading", o.identity)
	var crash, allocate <-chan time.Time
	if o.exitAfter > 0 {
		crash = time.After(o.exitAfter)
	}
	if o.allocateMB > 0 {
		allocate = time.After(o.allocateAfter)
	}
	var memory [][]byte
	for {
		select {
		case <-ctx.Done():
			return
		case <-crash:
			log.Printf("%s crashes", o.identity)
			os.Exit(exitCrashed)
		case <-allocate:
			log.Printf("%s fills %d MB of memory", o.identity, o.allocateMB)
			for range o.allocateMB {
				memory = append(memory, filled())
			}
			log.Printf("%s filled %d MB of memory", o.identity, len(memory))
		}
	}
}

// filled returns a megabyte that is in memory, not only promised.
func filled() []byte {
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = 1
	}
	return block
}
