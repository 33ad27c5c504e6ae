// The sandbox container of every pod in the local cluster.
module hearth.banjonet.com/hack/cluster/pause

go 1.26.0
