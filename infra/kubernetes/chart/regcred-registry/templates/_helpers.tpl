{{/* Labels; the argument is a list of the root and a component. */}}
{{- define "registry.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: regcred-registry
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "registry.labels" -}}
{{- $root := index . 0 -}}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/part-of: regcred
{{ include "registry.selector" . }}
{{- end -}}

{{/* The common part of all Pods. */}}
{{- define "registry.pod" -}}
automountServiceAccountToken: false  # it does not use the Kubernetes API
enableServiceLinks: false
{{- if .Values.hostNetwork }}
hostNetwork: true
dnsPolicy: ClusterFirstWithHostNet
{{- end }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- include "registry.podSecurity" . | nindent 2 }}
{{- end -}}

{{/* The securityContext of a Pod. OpenShift chooses the user from the namespace's range. */}}
{{- define "registry.podSecurity" -}}
{{- if kindIs "map" .Values.podSecurityContext -}}
{{- toYaml .Values.podSecurityContext -}}
{{- else -}}
runAsNonRoot: true
{{- if not (.Capabilities.APIVersions.Has "security.openshift.io/v1/SecurityContextConstraints") }}
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
{{- end }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}
{{- end -}}

{{- define "registry.container" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "registry.claim" -}}
{{- default "regcred-registry" .Values.storage.volume.existingClaim -}}
{{- end -}}

{{- define "registry.image" -}}
{{ include "registry.imageOf" (dict "image" .Values.registry.image "version" "") }}
{{- end -}}

{{/* A value `image` as one name in quotes. The digest overrides the tag. */}}
{{- define "registry.imageOf" -}}
{{- if .image.digest -}}
{{ printf "%s@%s" .image.repository .image.digest | quote }}
{{- else -}}
{{ printf "%s:%s" .image.repository (.image.tag | default .version) | quote }}
{{- end -}}
{{- end -}}

{{/* Distribution 3's configuration: https://distribution.github.io/distribution/about/configuration/ */}}
{{- define "registry.config" -}}
version: 0.1
log:
  level: info
  accesslog: {disabled: true}
storage:
  delete: {enabled: true}
  maintenance:
    # A push that failed leaves data behind; garbage collection does not delete it.
    uploadpurging: {enabled: true, age: 24h, interval: 6h, dryrun: false}
  cache: {blobdescriptor: inmemory}
  {{- if eq .Values.storage.kind "s3" }}
  s3:
    bucket: {{ required "storage.s3.bucket is required" .Values.storage.s3.bucket | quote }}
    region: {{ required "storage.s3.region is required" .Values.storage.s3.region | quote }}
    {{- with .Values.storage.s3.endpoint }}
    regionendpoint: {{ . | quote }}
    forcepathstyle: true
    {{- end }}
    {{- with .Values.storage.s3.prefix }}
    rootdirectory: {{ . | quote }}
    {{- end }}
  {{- else }}
  filesystem: {rootdirectory: /var/lib/registry}
  {{- end }}
http:
  addr: {{ printf ":%d" (int .Values.registry.port) }}
  host: {{ printf "https://%s" .Values.host }}
  tls:
    certificate: /etc/regcred/tls/tls.crt
    key: /etc/regcred/tls/tls.key
    minimumtls: tls1.2
  headers:
    X-Content-Type-Options: [nosniff]
health:
  storagedriver: {enabled: true, interval: 30s, threshold: 3}
auth:
  token:
    realm: {{ printf "%s/token" .Values.tokenServer.url }}
    service: {{ .Values.service | default .Values.host | quote }}
    issuer: {{ .Values.issuer | quote }}
    jwks: /etc/regcred/config/jwks.json
    signingalgorithms: [ES256]
{{- end -}}

{{- define "registry.environment" -}}
- name: OTEL_TRACES_EXPORTER
  value: none
{{- with .Values.registry.httpSecret }}
- name: REGISTRY_HTTP_SECRET
  valueFrom:
    secretKeyRef: {name: {{ . | quote }}, key: secret}
{{- end }}
{{- if and (eq .Values.storage.kind "s3") .Values.storage.s3.keysSecret }}
- name: REGISTRY_STORAGE_S3_ACCESSKEY
  valueFrom:
    secretKeyRef: {name: {{ .Values.storage.s3.keysSecret | quote }}, key: accessKey}
- name: REGISTRY_STORAGE_S3_SECRETKEY
  valueFrom:
    secretKeyRef: {name: {{ .Values.storage.s3.keysSecret | quote }}, key: secretKey}
{{- end }}
{{- end -}}

{{- define "registry.mounts" -}}
- name: config
  mountPath: /etc/regcred/config
  readOnly: true
- name: tls
  mountPath: /etc/regcred/tls
  readOnly: true
- name: tmp
  mountPath: /tmp
{{- if eq .Values.storage.kind "volume" }}
- name: data
  mountPath: /var/lib/registry
{{- end }}
{{- end -}}

{{- define "registry.volumes" -}}
- name: config
  configMap: {name: regcred-registry}
- name: tls
  secret:
    secretName: {{ .Values.registry.tlsSecret
      | required "registry.tlsSecret is required: a Secret of type kubernetes.io/tls" | quote }}
    defaultMode: 0440
- name: tmp
  emptyDir: {}
{{- if eq .Values.storage.kind "volume" }}
- name: data
  persistentVolumeClaim:
    claimName: {{ include "registry.claim" . }}
{{- end }}
{{- end -}}

{{- define "registry.vaultPort" -}}
{{- $url := urlParse .Values.vault.address -}}
{{- if contains ":" $url.host -}}
{{ last (splitList ":" $url.host) }}
{{- else if eq $url.scheme "http" -}}
80
{{- else -}}
443
{{- end -}}
{{- end -}}
