{{/* Names. Policies and cluster roles exist once in a cluster, so their names are fixed; the rest follows the release. */}}
{{- define "regcred.name" -}}
{{- default "regcred-sync" .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "regcred.serviceAccount" -}}
{{- default (include "regcred.name" .) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "regcred.account" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "regcred.serviceAccount" . }}
{{- end -}}

{{- define "regcred.selectorLabels" -}}
app.kubernetes.io/name: regcred
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: sync
{{- end -}}

{{- define "regcred.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: regcred
{{ include "regcred.selectorLabels" . }}
{{- end -}}

{{/* Whether a namespace can be in mode serviceaccount: only then may the sync touch ServiceAccounts. */}}
{{- define "regcred.serviceAccountMode" -}}
{{- if or (eq .Values.mode "serviceaccount") .Values.serviceAccountMode.allowed -}}true{{- end -}}
{{- end -}}

{{/* Custom workload kinds as a list of {group, version, plural, kind}. */}}
{{- define "regcred.workloadKinds" -}}
{{- $kinds := list -}}
{{- range .Values.workloadKinds -}}
{{- $parts := splitList "/" (first (splitList ":" .)) -}}
{{- $kinds = append $kinds (dict "group" (index $parts 0) "version" (index $parts 1) "plural" (index $parts 2) "kind" (index $parts 3)) -}}
{{- end -}}
{{- $kinds | toYaml -}}
{{- end -}}

{{/* The namespaces that no policy touches, as a selector's expression. */}}
{{- define "regcred.notExcluded" -}}
- key: kubernetes.io/metadata.name
  operator: NotIn
  values: {{ append .Values.excludedNamespaces .Release.Namespace | uniq | sortAlpha | toJson }}
{{- end -}}

{{/* The namespaces in mode admission. */}}
{{- define "regcred.admitted" -}}
{{ include "regcred.notExcluded" . }}
- key: regcred.dev/mode
{{- if eq .Values.mode "admission" }}
  operator: NotIn
  values: [none, serviceaccount]
{{- else }}
  operator: In
  values: [admission]
{{- end }}
{{- end -}}

{{/* A policy file with the release's labels and account put in. Arguments: root, file. */}}
{{- define "regcred.policy" -}}
{{- $text := .root.Files.Get .file | replace "system:serviceaccount:regcred-system:regcred-sync" (include "regcred.account" .root) -}}
{{- $policy := fromYaml $text -}}
{{- $_ := set $policy.metadata "labels" (include "regcred.labels" .root | fromYaml) -}}
{{- $policy | toYaml -}}
{{- end -}}
