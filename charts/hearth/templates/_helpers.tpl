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
