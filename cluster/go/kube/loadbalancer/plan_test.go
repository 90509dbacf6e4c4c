package loadbalancer

import (
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var pool = Pool{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")}

// service is a Service of type LoadBalancer; age orders Services by creation.
func service(name string, age int, change func(*corev1.Service)) *corev1.Service {
	created := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(time.Unix(int64(age), 0)), Annotations: map[string]string{}},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer},
	}
	if change != nil {
		change(created)
	}
	return created
}

func has(address string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: address}} }
}

func asks(address string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Annotations[AddressAnnotation] = address }
}

func both(changes ...func(*corev1.Service)) func(*corev1.Service) {
	return func(s *corev1.Service) {
		for _, change := range changes {
			change(s)
		}
	}
}

func class(name string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.LoadBalancerClass = &name }
}

func clusterIP(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP }

func deleted(s *corev1.Service) { s.DeletionTimestamp = &metav1.Time{Time: time.Unix(9, 0)} }

func TestPlan(t *testing.T) {
	tests := map[string]struct {
		services []*corev1.Service
		want     map[string]string // What has to change: the address, "" for none.
	}{
		"the oldest gets the first free address": {
			[]*corev1.Service{service("b", 2, nil), service("a", 1, nil)}, map[string]string{"a": "10.0.0.1", "b": "10.0.0.2"},
		},
		"who has an address keeps it": {
			[]*corev1.Service{service("a", 1, nil), service("b", 2, has("10.0.0.1"))}, map[string]string{"a": "10.0.0.2"},
		},
		"nothing is left": {
			[]*corev1.Service{service("a", 1, has("10.0.0.1")), service("b", 2, has("10.0.0.2")), service("c", 3, nil)}, nil,
		},
		"the younger of two with one address gets another": {
			[]*corev1.Service{service("a", 1, has("10.0.0.1")), service("b", 2, has("10.0.0.1"))}, map[string]string{"b": "10.0.0.2"},
		},
		"one of another type gives its address back": {
			[]*corev1.Service{service("a", 1, both(clusterIP, has("10.0.0.1"))), service("b", 2, nil)},
			map[string]string{"a": "", "b": "10.0.0.1"},
		},
		"one that goes gives its address back": {
			[]*corev1.Service{service("a", 1, both(deleted, has("10.0.0.1"))), service("b", 2, nil)},
			map[string]string{"a": "", "b": "10.0.0.1"},
		},
		"an asked address is given, in the pool or not": {
			[]*corev1.Service{service("a", 1, nil), service("b", 2, asks("10.0.0.1")), service("c", 3, asks("203.0.113.7"))},
			map[string]string{"a": "10.0.0.2", "b": "10.0.0.1", "c": "203.0.113.7"},
		},
		"an asked address that is none changes nothing": {[]*corev1.Service{service("a", 1, asks("pending"))}, nil},
		"one that asks for none gets none":              {[]*corev1.Service{service("a", 1, asks("none"))}, nil},
		"one that asks for none from now on loses its":  {[]*corev1.Service{service("a", 1, both(asks("none"), has("10.0.0.1")))}, map[string]string{"a": ""}},
		"one that asks no more gets one of the pool":    {[]*corev1.Service{service("a", 1, has("203.0.113.7"))}, map[string]string{"a": "10.0.0.1"}},
		"another class is another controller's":         {[]*corev1.Service{service("a", 1, both(class("example.com/x"), has("192.0.2.1")))}, nil},
		"our class is ours":                             {[]*corev1.Service{service("a", 1, class(Class))}, map[string]string{"a": "10.0.0.1"}},
		"of two addresses one stays":                    {[]*corev1.Service{service("a", 1, twice)}, map[string]string{"a": "10.0.0.1"}},
		"what is as it should be is not written":        {[]*corev1.Service{service("a", 1, has("10.0.0.2")), service("b", 2, clusterIP)}, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			changes := Plan(test.services, pool)
			if len(changes) != len(test.want) {
				t.Fatalf("%d changes, not %d: %v", len(changes), len(test.want), changes)
			}
			for _, change := range changes {
				got := ""
				if change.Address.IsValid() {
					got = change.Address.String()
				}
				if want, ok := test.want[change.Service.Name]; !ok || got != want {
					t.Errorf("%s: address %q, not %q", change.Service.Name, got, want)
				}
			}
		})
	}
}

func twice(s *corev1.Service) {
	s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "10.0.0.1"}, {IP: "10.0.0.2"}}
}
