"""The scripts behind ./hack/up, ./hack/down and ./hack/images: one bare Linux machine becomes a Kubernetes node."""
