{{- define "dicom-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "dicom-operator.fullname" -}}
{{- $name := include "dicom-operator.name" . }}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) }}
{{- default $full .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "dicom-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "dicom-operator.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "dicom-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "dicom-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "dicom-operator.labels" -}}
{{ include "dicom-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: dicom-operator
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* An image reference: repository:tag, the repository alone when it names a digest. */}}
{{- define "dicom-operator.image" -}}
{{- if contains "@" .image.repository }}
{{- .image.repository }}
{{- else }}
{{- printf "%s:%s" .image.repository (default .chart.AppVersion .image.tag) }}
{{- end }}
{{- end }}

{{/* What the operator does in the namespaces that it serves, and nothing more: it reads no Secrets. */}}
{{- define "dicom-operator.rules" -}}
- apiGroups: [dicomadapter.io]
  resources: [dicomadapters, dicomexports]
  verbs: [list, watch]
- apiGroups: [dicomadapter.io]
  resources: [dicomadapters/status, dicomexports/status]
  verbs: [patch]
# Where the API server enforces it, an owner reference that blocks deletion needs this right.
- apiGroups: [dicomadapter.io]
  resources: [dicomadapters/finalizers, dicomexports/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services, serviceaccounts, configmaps]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# It labels them, and deletes none: images may be on them that nobody else has.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [list, watch, patch]
# Its own, and what a cloud has told of a Service without an address.
- apiGroups: [""]
  resources: [events]
  verbs: [list, create, patch]
{{- end }}

{{/* Where the runbook of an alert is: a heading of docs/operations.md. */}}
{{- define "dicom-operator.runbook" -}}
{{- with .root.Values.metrics.prometheusRule.runbookUrl -}}
runbook_url: {{ printf "%s#%s" . (lower $.alert) }}
{{- else -}}
runbook: {{ printf "docs/operations.md, %s" .alert }}
{{- end }}
{{- end }}
