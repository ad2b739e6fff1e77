// A program that elects a leader with a controller-runtime manager the way a scaffolded operator does: the library names
// the candidate (hostname_uuid), the program ends when it loses the Lease, and leaves it to expire when it is told to end.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

var (
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
)

func main() {
	ctrl.SetLogger(klog.Background())
	if err := run(ctrl.SetupSignalHandler()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	lease, namespace := os.Getenv("LEASE_NAME"), os.Getenv("NAMESPACE")
	if lease == "" || namespace == "" {
		return errors.New("LEASE_NAME and NAMESPACE must be set")
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("cannot configure the client: %w", err)
	}
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		LeaderElection:          true,
		LeaderElectionID:        lease,
		LeaderElectionNamespace: namespace,
		LeaseDuration:           &leaseDuration,
		RenewDeadline:           &renewDeadline,
		RetryPeriod:             &retryPeriod,
		Metrics:                 metricsserver.Options{BindAddress: "0"},
		HealthProbeBindAddress:  "0",
	})
	if err != nil {
		return fmt.Errorf("cannot make a manager: %w", err)
	}
	if err := mgr.Add(manager.RunnableFunc(lead)); err != nil {
		return fmt.Errorf("cannot add the work: %w", err)
	}
	err = mgr.Start(ctx)
	// Said here, not in the work: a manager that lost the Lease returns without waiting for it.
	select {
	case <-mgr.Elected():
		fmt.Println("stopped leading")
	default:
	}
	return err
}

// lead is the work only the leader does.
func lead(ctx context.Context) error {
	fmt.Println("started leading")
	<-ctx.Done()
	return nil
}
