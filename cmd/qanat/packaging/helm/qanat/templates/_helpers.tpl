{{- define "qanat.name" -}}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{- end }}

{{- define "qanat.labels" -}}
app.kubernetes.io/name: qanat
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "qanat.host" -}}{{ include "qanat.name" .root }}-{{ .number }}.{{ include "qanat.name" .root }}-brokers.{{ .root.Release.Namespace }}.svc.{{ .root.Values.clusterDomain }}{{- end }}

{{/* Who forms the cluster: the first three, or the first. It does not change when brokers are added. */}}
{{- define "qanat.peers" -}}
{{- $n := ternary 3 1 (ge (int .Values.brokers) 3) -}}
{{- $list := list -}}
{{- range $i := until $n }}{{ $list = append $list (printf "%d@%s:9645" $i (include "qanat.host" (dict "root" $ "number" $i))) }}{{ end -}}
{{- join "," $list -}}
{{- end }}

{{- define "qanat.protocol" -}}{{ ternary "SSL" "PLAINTEXT" (ne .Values.tls.secretName "") }}{{- end }}

{{/* A number of a values file is a float for Helm, which would write 604800000 as 6.048e+08. */}}
{{- define "qanat.value" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ printf "%.0f" . }}{{ else }}{{ . }}{{ end -}}
{{- end }}
