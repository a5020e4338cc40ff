{{/* The resources' name: <release>-k8s-gpu-mcp-server, or the release's where it says that already. */}}
{{- define "mcp.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "mcp.namespace" -}}
{{- default .Release.Namespace .Values.namespace.name -}}
{{- end -}}

{{- define "mcp.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "mcp.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* What tells this release's pods from others. The name is fixed: clients find the pods by it. */}}
{{- define "mcp.selectorLabels" -}}
app.kubernetes.io/name: k8s-gpu-mcp-server
app.kubernetes.io/component: gpu-diagnostics
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "mcp.labels" -}}
{{ include "mcp.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "mcp.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The capabilities that the values add, as a list; nothing where they add none. */}}
{{- define "mcp.capabilities" -}}
{{- $names := list -}}
{{- if .Values.ebpf.enabled -}}
{{- $names = concat $names (list "BPF" "PERFMON") -}}
{{- end -}}
{{- if .Values.xid.kernelLog -}}
{{- $names = append $names "SYSLOG" -}}
{{- end -}}
{{- with $names -}}
{{- toJson . -}}
{{- end -}}
{{- end -}}

{{/*
The strictest Pod Security Standard that admits the pods. `baseline` refuses every added capability but a few harmless
ones, so BPF, PERFMON and SYSLOG need `privileged`, whatever the name suggests.
*/}}
{{- define "mcp.podSecurity" -}}
{{- if .Values.rootless -}}
restricted
{{- else if or (include "mcp.capabilities" .) (eq .Values.gpuAccess.method "privileged") -}}
privileged
{{- else -}}
baseline
{{- end -}}
{{- end -}}

{{/* Refuses what cannot work or was not meant, in words; the schema has already refused what is not a value at all. */}}
{{- define "mcp.validate" -}}
{{- $method := .Values.gpuAccess.method -}}
{{- if and .Values.rootless .Values.ebpf.enabled -}}
{{- fail "\n\nrootless and ebpf.enabled contradict each other: Kubernetes gives added capabilities to UID 0 alone, and a rootless agent would run without BPF and PERFMON. Turn one of them off." -}}
{{- end -}}
{{- if and .Values.rootless .Values.xid.kernelLog -}}
{{- fail "\n\nrootless and xid.kernelLog contradict each other: Kubernetes gives added capabilities to UID 0 alone, and a rootless agent would run without SYSLOG. Turn one of them off." -}}
{{- end -}}
{{- if and .Values.rootless (eq $method "privileged") -}}
{{- fail "\n\nrootless and gpuAccess.method=privileged contradict each other. Use gpuAccess.method=runtimeClass or dra, or turn rootless off." -}}
{{- end -}}
{{- if and (eq $method "privileged") (ne .Values.gpuAccess.privileged.acknowledge "I understand that these pods can take over their nodes") -}}
{{- fail "\n\ngpuAccess.method=privileged gives the pods, and everybody who may exec into them, root on the nodes. Use gpuAccess.method=runtimeClass or dra where you can. If you cannot, say so:\n  gpuAccess.privileged.acknowledge: \"I understand that these pods can take over their nodes\"" -}}
{{- end -}}
{{- if and (eq $method "dra") (not (.Capabilities.APIVersions.Has "resource.k8s.io/v1")) -}}
{{/* Before 1.34 the gate DRAAdminAccess is off by default, and the API server then drops the field without a word: the claim would take the GPUs. */}}
{{- fail "\n\ngpuAccess.method=dra needs the API resource.k8s.io/v1 (Kubernetes 1.34): in older versions adminAccess is usually off, and a claim without it would take every GPU of the node. Rendering without a cluster? Add --api-versions resource.k8s.io/v1." -}}
{{- end -}}
{{- if and .Values.rbac.create .Values.rbac.diagnosticians (has (include "mcp.namespace" .) (list "default" "kube-system" "kube-public" "kube-node-lease")) -}}
{{- fail (printf "\n\nrbac.diagnosticians would give exec into every pod of the namespace %s, because RBAC cannot tell the agent's pods from others. Install into a namespace of its own: --namespace gpu-diagnostics --create-namespace." (include "mcp.namespace" .)) -}}
{{- end -}}
{{/* Twice the same name is an error to server-side apply and a silent override to client-side apply. */}}
{{- $reserved := list "NODE_NAME" -}}
{{- if eq $method "runtimeClass" -}}
{{- $reserved = concat $reserved (list "NVIDIA_VISIBLE_DEVICES" "NVIDIA_DRIVER_CAPABILITIES") -}}
{{- else if eq $method "privileged" -}}
{{- $reserved = concat $reserved (list "AGENT_NVML_LIBRARY" "AGENT_EBPF" "AGENT_KERNEL_LOG") -}}
{{- end -}}
{{- range .Values.extraEnv -}}
{{- if has .name $reserved -}}
{{- fail (printf "\n\nextraEnv: %s is the chart's own to set with gpuAccess.method=%s." .name $method) -}}
{{- end -}}
{{- end -}}
{{- range .Values.rbac.diagnosticians -}}
{{- if and (eq .kind "ServiceAccount") (not .namespace) -}}
{{- fail (printf "\n\nrbac.diagnosticians: the ServiceAccount %s needs a namespace." .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
