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

{{/* Whether the NVIDIA runtime, or CDI, is asked for the GPUs by what the pod says of itself. */}}
{{- define "mcp.asksRuntime" -}}
{{- if has .Values.gpuAccess.method (list "runtimeClass" "devicePlugin") -}}
true
{{- end -}}
{{- end -}}

{{/* The chart's own win. */}}
{{- define "mcp.podAnnotations" -}}
{{- /* For `kubectl logs` and for clients that name no container. */}}
{{- $own := dict "kubectl.kubernetes.io/default-container" "agent" -}}
{{- if and (include "mcp.asksRuntime" .) (eq .Values.gpuAccess.request "cdi") -}}
{{- /* The first is read by NVIDIA's NRI plugin, the second by a runtime that is told of pods' annotations. */}}
{{- $_ := set $own "nvidia.cdi.k8s.io/container.agent" .Values.gpuAccess.cdiDevice -}}
{{- $_ := set $own "cdi.k8s.io/k8s-gpu-mcp-server" .Values.gpuAccess.cdiDevice -}}
{{- end -}}
{{- merge $own .Values.podAnnotations | toYaml -}}
{{- end -}}

{{/* What is mounted from the node, all of it read-only: name, `path` there, `at` in the container. */}}
{{- define "mcp.hostPaths" -}}
{{- $paths := list -}}
{{- if eq .Values.gpuAccess.method "privileged" -}}
{{- $paths = append $paths (dict "name" "nvml" "path" .Values.gpuAccess.privileged.library "at" "/driver/libnvidia-ml.so.1" "type" "File") -}}
{{- end -}}
{{- if and (include "mcp.asksRuntime" .) (eq .Values.gpuAccess.request "volumeMount") -}}
{{- /* Nothing is read there: by the mount's name the NVIDIA runtime is asked for all GPUs. */}}
{{- $paths = append $paths (dict "name" "all-gpus" "path" "/dev/null" "at" "/var/run/nvidia-container-devices/all" "type" "CharDevice") -}}
{{- end -}}
{{- if and .Values.ebpf.enabled .Values.ebpf.podNames -}}
{{- /* Links whose names are those of pods. What they point to is not mounted: no log can be read. */}}
{{- $paths = append $paths (dict "name" "pod-names" "path" "/var/log/containers" "at" "/var/log/containers" "type" "Directory") -}}
{{- end -}}
{{- if .Values.podResources.enabled -}}
{{- /* The directory, as the kubelet makes its socket anew with each start. */}}
{{- $paths = append $paths (dict "name" "pod-resources" "path" .Values.podResources.path "at" "/var/lib/kubelet/pod-resources" "type" "Directory") -}}
{{- end -}}
{{- toYaml $paths -}}
{{- end -}}

{{/*
The strictest Pod Security Standard that admits the pods. `baseline` refuses host paths, and every added capability but a
few harmless ones, so BPF, PERFMON and SYSLOG need `privileged`, whatever the name suggests.
*/}}
{{- define "mcp.podSecurity" -}}
{{- if or (include "mcp.capabilities" .) (include "mcp.hostPaths" . | fromYamlArray) (eq .Values.gpuAccess.method "privileged") -}}
privileged
{{- else if .Values.rootless -}}
restricted
{{- else -}}
baseline
{{- end -}}
{{- end -}}

{{/* Since 1.34 the API is v1, and adminAccess is on unless somebody turned it off. */}}
{{- define "mcp.draIsV1" -}}
{{- if semverCompare ">=1.34.0-0" .Capabilities.KubeVersion.Version -}}
true
{{- end -}}
{{- end -}}

{{/* Refuses what cannot work or was not meant, in words; the schema has already refused what is not a value at all. */}}
{{- define "mcp.validate" -}}
{{- $method := .Values.gpuAccess.method -}}
{{- if and (eq $method "privileged") (ne .Values.gpuAccess.privileged.acknowledge "I understand that these pods can take over their nodes") -}}
{{- fail "\n\ngpuAccess.method=privileged gives the pods, and everybody who may exec into them, root on the nodes. Use gpuAccess.method=runtimeClass or dra where you can. If you cannot, say so:\n  gpuAccess.privileged.acknowledge: \"I understand that these pods can take over their nodes\"" -}}
{{- end -}}
{{- if and (eq $method "dra") (not (include "mcp.draIsV1" .)) -}}
{{- if semverCompare "<1.32.0-0" .Capabilities.KubeVersion.Version -}}
{{- fail (printf "\n\ngpuAccess.method=dra needs Kubernetes 1.32 or newer, and this is %s: adminAccess is not known there. Rendering without a cluster? Add --kube-version." .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{/* There the gate is off by default, and the API server then drops the field without a word: the claim would take the GPUs. */}}
{{- if ne .Values.gpuAccess.dra.acknowledge "The feature gate DRAAdminAccess is on" -}}
{{- fail (printf "\n\ngpuAccess.method=dra on Kubernetes %s: before 1.34 the feature gate DRAAdminAccess is off by default, and a claim without adminAccess takes every GPU of the node. Rendering without a cluster? Add --kube-version. Where the gate is on, in API server, controller manager and scheduler, say so:\n  gpuAccess.dra.acknowledge: \"The feature gate DRAAdminAccess is on\"" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.rbac.create .Values.rbac.diagnosticians (has (include "mcp.namespace" .) (list "default" "kube-system" "kube-public" "kube-node-lease")) -}}
{{- fail (printf "\n\nrbac.diagnosticians would give exec into every pod of the namespace %s, because RBAC cannot tell the agent's pods from others. Install into a namespace of its own: --namespace gpu-diagnostics --create-namespace." (include "mcp.namespace" .)) -}}
{{- end -}}
{{/* Twice the same name is an error to server-side apply and a silent override to client-side apply. */}}
{{- $reserved := list "NODE_NAME" -}}
{{- if include "mcp.asksRuntime" . -}}
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
