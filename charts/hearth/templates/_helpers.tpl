{{- define "hearth.labels" -}}
app.kubernetes.io/part-of: hearth
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{ include "hearth.selector" . }}
{{- end }}

{{- define "hearth.selector" -}}
app.kubernetes.io/name: {{ .name }}
{{- end }}

{{- define "hearth.image" -}}
{{- $tag := get .root.Values.image.tags .name | default .root.Values.image.tag | default .root.Chart.AppVersion -}}
{{ .root.Values.image.registry }}/hearth-{{ .name }}:{{ $tag }}
{{- end }}

{{- define "hearth.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "hearth.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "hearth.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* A token that only the named service accepts. */}}
{{- define "hearth.token" -}}
name: token-{{ . }}
projected:
  defaultMode: 0440
  sources:
    - serviceAccountToken:
        audience: {{ . }}
        expirationSeconds: 3600
        path: token
{{- end }}

{{/* An egress rule to addresses, or nothing where there are none. */}}
{{- define "hearth.toCidrs" -}}
{{- if .cidrs }}
- to:
    {{- range .cidrs }}
    - ipBlock: {cidr: {{ . | quote }}}
    {{- end }}
  ports:
    {{- range .ports }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
{{- end }}
{{- end }}

{{/*
Where the API server is, as a JSON list of address blocks. A policy sees its addresses before or behind the Service
"kubernetes", as the network plugin has it: both are listed. Rendered without a cluster: private addresses.
*/}}
{{- define "hearth.apiServerCidrs" -}}
{{- $found := list -}}
{{- if .Values.networkPolicies.apiServer.cidrs -}}
{{- $found = .Values.networkPolicies.apiServer.cidrs -}}
{{- else -}}
{{- range (dig "spec" "clusterIPs" list (lookup "v1" "Service" "default" "kubernetes")) -}}
{{- $found = append $found . -}}
{{- end -}}
{{- range (dig "items" list (lookup "discovery.k8s.io/v1" "EndpointSlice" "default" "")) -}}
{{- if eq "kubernetes" (dig "metadata" "labels" "kubernetes.io/service-name" "" .) -}}
{{- range .endpoints -}}
{{- range .addresses -}}
{{- $found = append $found . -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $blocks := list -}}
{{- range ($found | uniq) -}}
{{- $blocks = append $blocks (printf "%s/%s" . (ternary "128" "32" (contains ":" .))) -}}
{{- end -}}
{{- $found = $blocks | default (list "10.0.0.0/8" "172.16.0.0/12" "192.168.0.0/16" "fc00::/7") -}}
{{- end -}}
{{- $found | toJson -}}
{{- end }}

{{/* Where machines outside the cluster reach the mirror of weights. */}}
{{- define "hearth.mirrorURL" -}}
{{- $mirror := .Values.mirror -}}
{{- if not $mirror.address -}}
{{- fail "mirror.address: say by which name or address of the cluster your machines reach the mirror, as t40.lan" -}}
{{- end -}}
https://{{ $mirror.address }}:{{ ternary $mirror.service.nodePort 8443 (eq $mirror.service.type "NodePort") }}
{{- end }}
