// For those who build their monitoring with jsonnet: import 'mixin.libsonnet'. The files are used as they are.
{
  grafanaDashboards+:: {
    'otlpfast.json': import 'dashboards/otlpfast.json',
  },
  prometheusRules+:: std.parseYaml(importstr 'rules/rules.yaml'),
  prometheusAlerts+:: std.parseYaml(importstr 'alerts/alerts.yaml'),
}
