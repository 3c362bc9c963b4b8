"""The adapter against stock Kubernetes: etcd, kube-apiserver, kube-controller-manager.

`make e2e` runs what is here; `make test` doesn't come by (see `norecursedirs`).
"""
