// A minimal operator by controller-runtime: what Hearth's operator is compared with.
//
// For each of the four kinds it does what a generated controller does: read the object from the cache, and report
// through server-side apply of the status that this generation was seen and is Ready. It talks to nothing else.
package main

import (
	"context"
	"flag"
	"os"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const workers = 6

var group = schema.GroupVersion{Group: "hearth.banjonet.com", Version: "v1alpha1"}

type reporter struct {
	client client.Client
	kind   schema.GroupVersionKind
}

func (r *reporter) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	seen := &unstructured.Unstructured{}
	seen.SetGroupVersionKind(r.kind)
	if err := r.client.Get(ctx, request.NamespacedName, seen); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	generation := seen.GetGeneration()
	if known, _, _ := unstructured.NestedInt64(seen.Object, "status", "observedGeneration"); known == generation {
		return ctrl.Result{}, nil
	}
	condition := map[string]any{
		"type": "Ready", "status": "True", "reason": "Ready", "message": "seen",
		"observedGeneration": generation, "lastTransitionTime": metav1.Now().UTC().Format("2006-01-02T15:04:05Z"),
	}
	report := &unstructured.Unstructured{Object: map[string]any{
		"status": map[string]any{"observedGeneration": generation, "conditions": []any{condition}},
	}}
	report.SetGroupVersionKind(r.kind)
	report.SetNamespace(request.Namespace)
	report.SetName(request.Name)
	apply := client.ApplyConfigurationFromUnstructured(report)
	return ctrl.Result{}, r.client.Status().Apply(ctx, apply, client.FieldOwner("peer"), client.ForceOwnership)
}

func main() {
	namespace := flag.String("namespace", "default", "the only namespace that is watched")
	flag.Parse()
	ctrl.SetLogger(zap.New())
	config := ctrl.GetConfigOrDie()
	config.QPS, config.Burst = -1, -1 // the bench measures the operator, not client-go's throttle
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Cache:   cache.Options{DefaultNamespaces: map[string]cache.Config{*namespace: {}}},
		Metrics: server.Options{BindAddress: "0"},
	})
	must(err)
	for _, kind := range []string{"InferenceNode", "ModelDeployment", "KnowledgeBase", "IngestionSource"} {
		object := &unstructured.Unstructured{}
		object.SetGroupVersionKind(group.WithKind(kind))
		must(ctrl.NewControllerManagedBy(manager).For(object).
			WithOptions(controller.Options{MaxConcurrentReconciles: workers}).
			Complete(&reporter{client: manager.GetClient(), kind: group.WithKind(kind)}))
	}
	must(manager.Start(ctrl.SetupSignalHandler()))
}

func must(err error) {
	if err != nil {
		ctrl.Log.Error(err, "cannot go on")
		os.Exit(1)
	}
}
