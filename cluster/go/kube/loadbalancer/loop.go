// Package loadbalancer stands in for a cloud: it gives Services of type LoadBalancer an address of the node's network.
package loadbalancer

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

// Failed patches are tried again after this long, or on the next event.
const retryInterval = time.Second

// NewCommand returns the command that runs the loop until it is killed.
func NewCommand() *cobra.Command {
	var kubeconfig, addresses, healthz string
	command := &cobra.Command{
		Use:   "loadbalancer --kubeconfig FILE --addresses FIRST-LAST --healthz HOST:PORT",
		Short: "Give Services of type LoadBalancer an address",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			pool, err := parsePool(addresses)
			if err != nil {
				return err
			}
			config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
			if err != nil {
				return err
			}
			client, err := kubernetes.NewForConfig(config)
			if err != nil {
				return err
			}
			return run(command.Context(), client, pool, healthz)
		},
		SilenceUsage: true,
	}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "", "whom to talk to")
	command.Flags().StringVar(&addresses, "addresses", "", "first and last address to give, as in 10.10.0.100-10.10.0.199")
	command.Flags().StringVar(&healthz, "healthz", "127.0.0.1:10260", "where to answer 200 to GET /healthz once Services are being served")
	return command
}

func parsePool(text string) (Pool, error) {
	first, last, _ := strings.Cut(text, "-")
	var pool Pool
	var err error
	if pool.First, err = netip.ParseAddr(first); err == nil {
		pool.Last, err = netip.ParseAddr(last)
	}
	if err != nil {
		return pool, fmt.Errorf("--addresses: %q is not FIRST-LAST, two IP addresses: %w", text, err)
	}
	return pool, nil
}

func run(ctx context.Context, client kubernetes.Interface, pool Pool, healthz string) error {
	changed := make(chan struct{}, 1)
	notify := func() {
		select {
		case changed <- struct{}{}:
		default: // One is waiting already, and it will see this change too.
		}
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	services := factory.Core().V1().Services()
	if _, err := services.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { notify() },
		UpdateFunc: func(any, any) { notify() },
		DeleteFunc: func(any) { notify() },
	}); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	klog.Infof("serving %s-%s", pool.First, pool.Last)
	failed := make(chan error, 1)
	go func() { failed <- serveHealth(healthz) }()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case <-changed:
		}
		if err := reconcile(ctx, client, services.Lister(), pool); err != nil {
			klog.Errorf("%v; trying again", err)
			time.AfterFunc(retryInterval, notify)
		}
	}
}

func serveHealth(address string) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	server := http.Server{Addr: address, Handler: mux, ReadHeaderTimeout: time.Second}
	return server.ListenAndServe()
}

func reconcile(ctx context.Context, client kubernetes.Interface, lister listers.ServiceLister, pool Pool) error {
	services, err := lister.List(labels.Everything())
	if err != nil {
		return err
	}
	for _, change := range Plan(services, pool) {
		// The resourceVersion makes a patch planned on a stale cache fail rather than take back somebody's change.
		patch, err := json.Marshal(map[string]any{
			"metadata": map[string]any{"resourceVersion": change.Service.ResourceVersion},
			"status":   map[string]any{"loadBalancer": status(change.Address)},
		})
		if err != nil {
			return err
		}
		name := change.Service.Namespace + "/" + change.Service.Name
		_, err = client.CoreV1().Services(change.Service.Namespace).
			Patch(ctx, change.Service.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
		switch {
		case apierrors.IsNotFound(err) || apierrors.IsConflict(err):
			// An event tells of the newer state.
		case err != nil:
			return fmt.Errorf("%s: %w", name, err)
		default:
			klog.Infof("%s: address was %v, is %v", name, current(change.Service), change.Address)
		}
	}
	return nil
}

func status(address netip.Addr) map[string]any {
	if !address.IsValid() {
		return map[string]any{"ingress": nil}
	}
	return map[string]any{"ingress": []corev1.LoadBalancerIngress{{IP: address.String()}}}
}
