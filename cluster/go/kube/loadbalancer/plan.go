package loadbalancer

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

const (
	// AddressAnnotation names the address a Service is to get, or "none".
	AddressAnnotation = "test.dicomadapter.io/address"
	// Class is the loadBalancerClass served, beside Services that name none.
	Class = "test.dicomadapter.io/loadbalancer"
)

// Pool is a range of addresses, both ends in it.
type Pool struct{ First, Last netip.Addr }

// Change is a Service whose status has to say Address; the zero Address: has to say none.
type Change struct {
	Service *corev1.Service
	Address netip.Addr
}

// Plan says what has to change for each Service to have the address that it should have.
//
// A Service keeps an address of the pool that no older one has; free addresses go to the oldest Service first, so that the
// outcome does not depend on the order of the list.
func Plan(services []*corev1.Service, pool Pool) []Change {
	services = slices.Clone(services)
	slices.SortFunc(services, func(a, b *corev1.Service) int {
		return cmp.Or(
			a.CreationTimestamp.Compare(b.CreationTimestamp.Time),
			cmp.Compare(a.Namespace, b.Namespace),
			cmp.Compare(a.Name, b.Name),
		)
	})
	taken := map[netip.Addr]bool{}
	desired := map[*corev1.Service]netip.Addr{}
	var waiting []*corev1.Service
	for _, service := range services {
		asked, given := service.Annotations[AddressAnnotation], current(service)
		switch {
		case !served(service) || asked == "none":
			// Nothing is its address.
		case asked != "":
			address, err := netip.ParseAddr(asked)
			if err == nil {
				desired[service] = address
				taken[address] = true
			}
		case pool.contains(given) && !taken[given]:
			desired[service] = given
			taken[given] = true
		default:
			waiting = append(waiting, service)
		}
	}
	free := pool.First
	for _, service := range waiting {
		for pool.contains(free) && taken[free] {
			free = free.Next()
		}
		if pool.contains(free) {
			desired[service] = free
			taken[free] = true
		}
	}
	var changes []Change
	for _, service := range services {
		if owned(service) && (len(service.Status.LoadBalancer.Ingress) > 1 || current(service) != desired[service]) {
			changes = append(changes, Change{service, desired[service]})
		}
	}
	return changes
}

func (p Pool) contains(address netip.Addr) bool {
	return address.IsValid() && p.First.Compare(address) <= 0 && address.Compare(p.Last) <= 0
}

// owned says whether the status of the Service is ours to write: another class is another controller's.
func owned(service *corev1.Service) bool {
	class := service.Spec.LoadBalancerClass
	return class == nil || *class == Class
}

func served(service *corev1.Service) bool {
	return owned(service) && service.Spec.Type == corev1.ServiceTypeLoadBalancer && service.DeletionTimestamp == nil
}

func current(service *corev1.Service) netip.Addr {
	if len(service.Status.LoadBalancer.Ingress) == 0 {
		return netip.Addr{}
	}
	address, err := netip.ParseAddr(service.Status.LoadBalancer.Ingress[0].IP)
	if err != nil {
		return netip.Addr{}
	}
	return address
}
