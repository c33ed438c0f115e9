"""What watches a deployed stack: an exporter that wakes nothing, and Prometheus' and Grafana's files for it."""
