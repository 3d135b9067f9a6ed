// Package exgw is a sim of OVN-Kubernetes' controllers.
package exgw
