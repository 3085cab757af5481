{{/* Names. Policies and cluster roles exist once in a cluster, so their names are fixed. Other names follow
     the release. */}}
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
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: sync
{{- end -}}

{{- define "regcred.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: regcred
{{ include "regcred.selectorLabels" . }}
{{- end -}}

{{- define "regcred.consoleSelector" -}}
app.kubernetes.io/name: regcred
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: console
{{- end -}}

{{- define "regcred.consoleLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Values.console.image.tag | default .Chart.AppVersion | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: regcred
{{ include "regcred.consoleSelector" . }}
{{- end -}}

{{/* The API version of MutatingAdmissionPolicy that this cluster serves; empty if it serves none. Beta
     versions are off by default, but `helm template` knows them all. So `auto` trusts only a cluster that
     answers. */}}
{{- define "regcred.mutatingVersion" -}}
{{- if semverCompare ">=1.36.0-0" .Capabilities.KubeVersion.Version -}}
admissionregistration.k8s.io/v1
{{- else if and
  (semverCompare ">=1.34.0-0" .Capabilities.KubeVersion.Version)
  (.Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1beta1/MutatingAdmissionPolicy")
  (or (eq .Values.mode "admission") (lookup "v1" "Namespace" "" "kube-system")) -}}
admissionregistration.k8s.io/v1beta1
{{- end -}}
{{- end -}}

{{/* The mode. With `auto`, the API of the cluster decides. */}}
{{- define "regcred.mode" -}}
{{- if ne .Values.mode "auto" -}}
{{- .Values.mode -}}
{{- else if include "regcred.admissionMode" . -}}
admission
{{- else -}}
serviceaccount
{{- end -}}
{{- end -}}

{{/* Whether a namespace can be in mode admission. */}}
{{- define "regcred.admissionMode" -}}
{{- if and .Values.admissionPolicies.enabled (include "regcred.mutatingVersion" .) -}}true{{- end -}}
{{- end -}}

{{/* Whether a namespace can be in mode serviceaccount: only then may the sync touch ServiceAccounts. */}}
{{- define "regcred.serviceAccountMode" -}}
{{- if or (eq (include "regcred.mode" .) "serviceaccount") .Values.serviceAccountMode.allowed -}}
true
{{- end -}}
{{- end -}}

{{/* Whether the sync evicts Pods that are stuck: only Pods of mode serviceaccount are. */}}
{{- define "regcred.evicts" -}}
{{- if and .Values.evictStuckPods (include "regcred.serviceAccountMode" .) -}}true{{- end -}}
{{- end -}}

{{/* The securityContext of a Pod. OpenShift chooses the user from the namespace's range. */}}
{{- define "regcred.podSecurity" -}}
{{- if kindIs "map" .Values.podSecurityContext -}}
{{- toYaml .Values.podSecurityContext -}}
{{- else -}}
runAsNonRoot: true
{{- if not (.Capabilities.APIVersions.Has "security.openshift.io/v1/SecurityContextConstraints") }}
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}
{{- end -}}

{{/* The modes that a namespace can choose. */}}
{{- define "regcred.allowedModes" -}}
{{- if include "regcred.admissionMode" . }}admission,{{ end -}}
{{- if include "regcred.serviceAccountMode" . }}serviceaccount,{{ end -}}
none
{{- end -}}

{{/* Custom workload kinds as a list of {group, version, plural, kind}. */}}
{{- define "regcred.workloadKinds" -}}
{{- $kinds := list -}}
{{- range .Values.workloadKinds -}}
{{- $parts := splitList "/" (first (splitList ":" .)) -}}
{{- $kinds = append $kinds (dict
  "group" (index $parts 0) "version" (index $parts 1) "plural" (index $parts 2) "kind" (index $parts 3)) -}}
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
{{- if eq (include "regcred.mode" .) "admission" }}
  operator: NotIn
  values: [none, serviceaccount]
{{- else }}
  operator: In
  values: [admission]
{{- end }}
{{- end -}}

{{/* A policy file with the release's labels and account. Arguments: root, file. */}}
{{- define "regcred.policy" -}}
{{- $account := include "regcred.account" .root -}}
{{- $text := .root.Files.Get .file | replace "system:serviceaccount:regcred-system:regcred-sync" $account -}}
{{- $policy := fromYaml $text -}}
{{- $_ := set $policy.metadata "labels" (include "regcred.labels" .root | fromYaml) -}}
{{- $policy | toYaml -}}
{{- end -}}

{{- define "regcred.image" -}}
{{ include "regcred.imageOf" (dict "image" .Values.image "version" .Chart.AppVersion) }}
{{- end -}}

{{/* A value `image` as one name. The digest overrides the tag. */}}
{{- define "regcred.imageOf" -}}
{{ .image.repository }}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ .image.tag | default .version }}{{ end }}
{{- end -}}

{{/* The mount path of this cluster's sign-in method in Vault. */}}
{{- define "regcred.authMount" -}}
{{- .Values.vault.authMount | default (printf "regcred-cluster-%s" .Values.cluster) -}}
{{- end -}}

{{- define "regcred.vaultPort" -}}
{{- $url := urlParse .Values.vault.address -}}
{{- $port := regexFind ":[0-9]+$" $url.host -}}
{{- if $port -}}{{ trimPrefix ":" $port }}{{- else if eq $url.scheme "http" -}}80{{- else -}}443{{- end -}}
{{- end -}}

{{/* The Pod of the Deployment, of the CronJob and of the test. Arguments: root, args, server (whether it
     serves HTTP), restart. */}}
{{- define "regcred.podSpec" -}}
{{- $ := .root -}}
serviceAccountName: {{ include "regcred.serviceAccount" $ | quote }}
automountServiceAccountToken: true
enableServiceLinks: false
restartPolicy: {{ .restart }}
terminationGracePeriodSeconds: 30
{{- with $.Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- if $.Values.hostNetwork }}
hostNetwork: true
dnsPolicy: ClusterFirstWithHostNet
{{- end }}
{{- with $.Values.priorityClassName | default (ternary "regcred-sync" "" $.Values.priorityClass.create) }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with $.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $.Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- include "regcred.podSecurity" $ | nindent 2 }}
containers:
  - name: sync
    image: {{ include "regcred.image" $ | quote }}
    imagePullPolicy: {{ $.Values.image.pullPolicy }}
    {{- with .args }}
    args: {{ toJson . }}
    {{- end }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities:
        drop: [ALL]
    env:
      {{- include "regcred.env" $ | nindent 6 }}
    {{- if .server }}
    ports:
      - name: http
        containerPort: {{ $.Values.metrics.port }}
    livenessProbe:
      httpGet: {path: /healthz, port: http}
      periodSeconds: 20
      failureThreshold: 6
    readinessProbe:
      httpGet: {path: /readyz, port: http}
      periodSeconds: 5
    {{- end }}
    resources:
      {{- toYaml $.Values.resources | nindent 6 }}
    volumeMounts:
      - name: vault-token
        mountPath: /var/run/secrets/regcred
        readOnly: true
      {{- if $.Values.vault.caConfigMap }}
      - name: vault-ca
        mountPath: /etc/regcred/vault-ca
        readOnly: true
      {{- end }}
volumes:
  - name: vault-token
    projected:
      defaultMode: 0440
      sources:
        - serviceAccountToken:
            path: vault-token
            audience: {{ $.Values.vault.audience | quote }}
            expirationSeconds: {{ int $.Values.vault.tokenSeconds }}
  {{- if $.Values.vault.caConfigMap }}
  - name: vault-ca
    configMap:
      name: {{ $.Values.vault.caConfigMap | quote }}
  {{- end }}
{{- end -}}

{{/* All settings of the sync, as environment variables (regcred.wiring.sync.settings). None is a secret. */}}
{{- define "regcred.env" -}}
- name: REGCRED_CLUSTER
  value: {{ .Values.cluster | quote }}
- name: REGCRED_MODE
  value: {{ include "regcred.mode" . }}
- name: REGCRED_ALLOWED_MODES
  value: {{ include "regcred.allowedModes" . | quote }}
- name: REGCRED_VAULT_ADDR
  value: {{ .Values.vault.address | quote }}
- name: REGCRED_VAULT_MOUNT
  value: {{ .Values.vault.mount | quote }}
- name: REGCRED_VAULT_AUTH_MOUNT
  value: {{ include "regcred.authMount" . | quote }}
- name: REGCRED_VAULT_ROLE
  value: {{ .Values.vault.role | quote }}
- name: REGCRED_VAULT_TOKEN_FILE
  value: /var/run/secrets/regcred/vault-token
{{- with .Values.vault.namespace }}
- name: REGCRED_VAULT_NAMESPACE
  value: {{ . | quote }}
{{- end }}
{{- if .Values.vault.caConfigMap }}
- name: REGCRED_VAULT_CA_FILE
  value: {{ printf "/etc/regcred/vault-ca/%s" .Values.vault.caKey | quote }}
{{- end }}
{{- with .Values.workloadKinds }}
- name: REGCRED_WORKLOAD_KINDS
  value: {{ join "," . | quote }}
{{- end }}
- name: REGCRED_EXCLUDED_NAMESPACES
  value: {{ append .Values.excludedNamespaces .Release.Namespace | uniq | sortAlpha | join "," | quote }}
{{- if include "regcred.evicts" . }}
- name: REGCRED_EVICT_STUCK_PODS
  value: "true"
{{- end }}
{{- if and .Values.serviceAccountMode.prepare (include "regcred.serviceAccountMode" .) }}
- name: REGCRED_PREPARE_GRANTED
  value: "true"
{{- end }}
- name: REGCRED_POLL_SECONDS
  value: {{ .Values.sync.pollSeconds | quote }}
- name: REGCRED_GRACE_SECONDS
  value: {{ .Values.sync.graceSeconds | quote }}
- name: REGCRED_MAX_REMOVAL_SHARE
  value: {{ .Values.sync.maxRemovalShare | quote }}
- name: REGCRED_LOG_LEVEL
  value: {{ .Values.sync.logLevel | quote }}
- name: REGCRED_METRICS_PORT
  value: {{ .Values.metrics.port | quote }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}
