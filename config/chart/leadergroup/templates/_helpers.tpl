{{/* The name of everything: leadergroup-operator for a release named leadergroup. */}}
{{- define "leadergroup.name" -}}
{{- $release := contains "leadergroup" .Release.Name | ternary .Release.Name (printf "%s-leadergroup" .Release.Name) -}}
{{- printf "%s-operator" ($release | trunc 54 | trimSuffix "-") -}}
{{- end }}

{{- define "leadergroup.selector" -}}
app.kubernetes.io/name: leadergroup-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "leadergroup.labels" -}}
{{ include "leadergroup.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "leadergroup.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (.Values.serviceAccount.create | ternary (include "leadergroup.name" .) "default") -}}
{{- end }}

{{- define "leadergroup.image" -}}
{{- with .Values.image -}}
{{- .repository }}{{ with .digest }}@{{ . }}{{ else }}:{{ .tag | default (printf "v%s" $.Chart.AppVersion) }}{{ end -}}
{{- end -}}
{{- end }}

{{/* Binds a role of that name to the operator: dict root, kind, name, and namespace if it has one. */}}
{{- define "leadergroup.binding" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ if not .namespace }}Cluster{{ end }}RoleBinding
metadata:
  name: {{ .name }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels: {{- include "leadergroup.labels" .root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ if not .namespace }}Cluster{{ end }}Role
  name: {{ .name }}
subjects:
- kind: ServiceAccount
  name: {{ include "leadergroup.serviceAccount" .root }}
  namespace: {{ .root.Release.Namespace }}
{{- end }}

{{/* What the operator may do in each namespace that it watches. */}}
{{- define "leadergroup.rules" -}}
- apiGroups: [leadergroup.dev]
  resources: [leadergroups]
  verbs: [list, watch]
- apiGroups: [leadergroup.dev]
  resources: [leadergroups/status]
  verbs: [update, patch]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch{{ if .Values.rbac.podLabels }}, patch{{ end }}]
- apiGroups: [""]
  resources: [services]
  verbs: [list, watch{{ if .Values.rbac.routing }}, get, create, patch, delete{{ end }}]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch{{ if .Values.rbac.routing }}, get, create, patch, delete{{ end }}]
{{- if .Values.rbac.routing }}
# OpenShift asks for it of whoever writes pods' addresses into a slice. Elsewhere there is no such resource.
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices/restricted]
  verbs: [create]
{{- end }}
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{/* What is in no namespace: nodes, and what the audit of candidates' rights asks. */}}
{{- define "leadergroup.clusterReads" -}}
- apiGroups: [""]
  resources: [nodes]
  verbs: [get, list, watch]
- apiGroups: [authorization.k8s.io]
  resources: [subjectaccessreviews]
  verbs: [create]
{{- end }}
