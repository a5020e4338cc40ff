{{/*
The pod's spec: of the DaemonSet, and of the test, which shows what the agent's pods can see only if it differs in nothing
that decides that. Takes a dict: `root`, the command's `arguments` as a list, and whether it `records`.
*/}}
{{- define "mcp.pod" -}}
{{- $records := .records -}}
{{- $arguments := .arguments -}}
{{- with .root -}}
{{- $method := .Values.gpuAccess.method -}}
serviceAccountName: {{ include "mcp.serviceAccountName" . }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- if and (eq $method "runtimeClass") .Values.gpuAccess.runtimeClass.name }}
runtimeClassName: {{ .Values.gpuAccess.runtimeClass.name }}
{{- end }}
# `agent pause` ends at once on SIGTERM, `agent record` when its journal is written; the rest is for the sessions beside it.
terminationGracePeriodSeconds: 5
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if eq $method "dra" }}
resourceClaims:
  - name: gpus
    resourceClaimTemplateName: {{ include "mcp.fullname" . }}
{{- end }}
containers:
  - name: agent
    image: {{ include "mcp.image" . | quote }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    command: {{ prepend $arguments "/agent" | toJson }}
    env:
      - name: NODE_NAME
        valueFrom:
          fieldRef:
            fieldPath: spec.nodeName
      {{- if include "mcp.asksRuntime" . }}
      {{- if eq .Values.gpuAccess.request "env" }}
      # The NVIDIA runtime injects only where it is asked to.
      - name: NVIDIA_VISIBLE_DEVICES
        value: all
      {{- end }}
      # `utility` is NVML without CUDA.
      - name: NVIDIA_DRIVER_CAPABILITIES
        value: utility
      {{- end }}
      {{- if eq $method "privileged" }}
      - name: AGENT_NVML_LIBRARY
        value: /driver/libnvidia-ml.so.1
      # A privileged pod could load BPF programs and read the kernel's log; it does only what is switched on.
      {{- if not .Values.ebpf.enabled }}
      - name: AGENT_EBPF
        value: "off"
      {{- end }}
      {{- if not .Values.xid.kernelLog }}
      - name: AGENT_KERNEL_LOG
        value: "off"
      {{- end }}
      {{- end }}
      {{- with .Values.extraEnv }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    securityContext:
      readOnlyRootFilesystem: true
      {{- if eq $method "privileged" }}
      privileged: true
      runAsUser: 0
      {{- else }}
      privileged: false
      allowPrivilegeEscalation: false
      {{- if .Values.rootless }}
      runAsNonRoot: true
      runAsUser: 65532
      runAsGroup: 65532
      {{- else }}
      runAsUser: 0
      {{- end }}
      capabilities:
        drop: ["ALL"]
        {{- with include "mcp.capabilities" . }}
        # By these names: container runtimes ignore CAP_BPF without a word.
        add: {{ . }}
        {{- end }}
      seccompProfile:
        type: RuntimeDefault
      {{- end }}
    resources:
      {{- toYaml .Values.resources | nindent 6 }}
      {{- if eq $method "dra" }}
      claims:
        - name: gpus
      {{- end }}
    {{- $host := include "mcp.hostPaths" . | fromYamlArray }}
    {{- if or $records $host }}
    volumeMounts:
      {{- if $records }}
      # Where the agent has its socket and its journal by default: the one place that the container can write to.
      - name: recorder
        mountPath: /run/k8s-gpu-mcp-server
      {{- end }}
      {{- range $host }}
      - name: {{ .name }}
        mountPath: {{ .at }}
        readOnly: true
      {{- end }}
    {{- end }}
{{- if or $records $host }}
volumes:
  {{- if $records }}
  # On the node's disk: it outlives the container and goes with the pod. A pod that exceeds the limit is evicted;
  # the journal, which is bounded, stays far below it.
  - name: recorder
    emptyDir:
      sizeLimit: 64Mi
  {{- end }}
  {{- range $host }}
  - name: {{ .name }}
    hostPath:
      path: {{ .path }}
      type: {{ .type }}
  {{- end }}
{{- end }}
{{- end -}}
{{- end -}}
