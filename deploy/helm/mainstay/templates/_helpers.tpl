{{- define "mainstay.fullname" -}}
{{- if contains "mainstay" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-mainstay" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "mainstay.mesh" -}}{{ .Values.mesh.name | default .Release.Name }}{{- end }}
{{- define "mainstay.cluster" -}}{{ .Values.mesh.cluster | default (include "mainstay.mesh" .) }}{{- end }}
{{- define "mainstay.image" -}}{{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}{{- end }}

{{- define "mainstay.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: mainstay
{{ include "mainstay.common" . }}
{{- end }}

{{- define "mainstay.common" -}}
app.kubernetes.io/name: mainstay
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Labels of one component's pods: (list . "coordinator") */}}
{{- define "mainstay.selector" -}}
{{ include "mainstay.common" (index . 0) }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* host:port of all members, (list . PORT) */}}
{{- define "mainstay.members" -}}
{{- $root := index . 0 }}{{ $port := index . 1 }}{{ $full := include "mainstay.fullname" $root }}{{ $all := list }}
{{- range $i := until (int $root.Values.coordinator.replicas) }}
{{- $pod := printf "%s-coordinator-%d" $full $i }}
{{- if $root.Values.coordinator.advertise }}
{{- $address := $root.Values.coordinator.advertise | replace "POD" $pod }}
{{- $host := regexReplaceAll ":[0-9]+$" $address "" }}
{{- $all = append $all (eq (int $port) 7401 | ternary (printf "%s:7401" $host) $address) }}
{{- else }}
{{- $all = append $all (printf "%s.%s-coordinator.%s.svc:%d" $pod $full $root.Release.Namespace (int $port)) }}
{{- end }}
{{- end }}
{{- join "," $all }}
{{- end }}

{{- define "mainstay.coordinators" -}}
{{- if .Values.coordinator.enabled }}{{ include "mainstay.members" (list . 7400) }}{{ else }}{{ join "," .Values.external.coordinators }}{{ end }}
{{- end }}
{{- define "mainstay.enrol" -}}
{{- if .Values.coordinator.enabled }}{{ include "mainstay.members" (list . 7401) }}{{ else }}{{ join "," .Values.external.enrol }}{{ end }}
{{- end }}

{{/* Where a component's pods go, and what else is said of them: (list . "coordinator") */}}
{{- define "mainstay.placement" -}}
{{- $root := index . 0 }}{{ $name := index . 1 }}{{ $own := index . 2 }}
{{- with $own.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- if $own.affinity }}
affinity: {{- toYaml $own.affinity | nindent 2 }}
{{- else if not (has $name (list "node-agent" "hands")) }}
affinity:
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels: {{- include "mainstay.selector" (list $root $name) | nindent 14 }}
{{- end }}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Of a container that Pod Security `restricted` admits. */}}
{{- define "mainstay.restricted" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}
{{- define "mainstay.restrictedPod" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "mainstay.rootSha256" -}}
- name: MAINSTAY_ROOT_SHA256
{{- if .Values.mesh.rootSha256 }}
  value: {{ .Values.mesh.rootSha256 | quote }}
{{- else }}
  valueFrom:
    configMapKeyRef: { name: {{ include "mainstay.fullname" . }}-mesh, key: rootSha256 }
{{- end }}
{{- end }}

{{/* Settings and policy of an agent, as its ConfigMap has them: (list "name" .Values.nodeAgent root) */}}
{{- define "mainstay.settings" -}}
{{- $name := index . 0 }}{{ $own := index . 1 }}{{ $root := index . 2 -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace }}
  labels: {{- include "mainstay.labels" $root | nindent 4 }}
data:
  agent.toml: {{ $own.settings | toYaml | indent 4 | trim }}
  {{- with $own.policy }}
  policy.toml: {{ . | toYaml | indent 4 | trim }}
  {{- end }}
{{- end }}
{{/* An agent reads them when it begins, so its pods change with them. */}}
{{- define "mainstay.settingsSum" -}}
{{ printf "%s\n%s" .settings .policy | sha256sum }}
{{- end }}
{{- define "mainstay.settingsMounts" -}}
- { name: settings, mountPath: /etc/mainstay/settings, readOnly: true }
{{- range $i, $secret := .secrets }}
- { name: secret-{{ $i }}, mountPath: /etc/mainstay/secrets/{{ $secret }}, readOnly: true }
{{- end }}
{{- end }}
{{- define "mainstay.settingsVolumes" -}}
{{- $name := index . 0 }}{{ $own := index . 1 -}}
- { name: settings, configMap: { name: {{ $name }} } }
{{- range $i, $secret := $own.secrets }}
- { name: secret-{{ $i }}, secret: { secretName: {{ $secret }}, defaultMode: 0440 } }
{{- end }}
{{- end }}
