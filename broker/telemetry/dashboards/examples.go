package dashboards

// Examples are the generated files of the repository, by their paths in it.
func Examples() ([]File, error) {
	grafana, err := Grafana()
	if err != nil {
		return nil, err
	}
	prometheus, err := Prometheus(Options{}, []string{"127.0.0.1:9644"})
	if err != nil {
		return nil, err
	}
	const dir = "examples/telemetry/"
	files := []File{{"docs/runbooks.md", []byte(Runbooks())}, {dir + "otelcol.yaml", Collector()}}
	for _, f := range grafana {
		files = append(files, File{dir + "grafana/" + f.Path, f.Text})
	}
	for _, f := range prometheus {
		files = append(files, File{dir + "prometheus/" + f.Path, f.Text})
	}
	return files, nil
}
