"""Prints the Grafana dashboard: python generate.py > otlpfast.json

The panels are those of panels.py; what Grafana wants around each of them is added here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from panels import CALLS, PROCESSED, ROWS, Panel

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24  # columns of Grafana's grid


def variables() -> list[dict[str, Any]]:
    """What can be chosen above the panels."""
    source = {
        "name": "datasource",
        "label": "data source",
        "type": "datasource",
        "query": "prometheus",
        "regex": "",
        "refresh": 1,
        "multi": False,
        "includeAll": False,
        "current": {},
        "options": [],
        "hide": 0,
        "skipUrlSync": False,
    }
    either = f'__name__=~"{PROCESSED}|{CALLS}"'
    return [
        source,
        values("job", "job", f"{{{either}}}"),
        values("instance", "instance", f'{{{either}, job=~"$job"}}'),
        values("service", "service_name", f'{CALLS}{{job=~"$job"}}'),
        values("kind", "span_kind", f'{CALLS}{{job=~"$job"}}'),
    ]


def values(name: str, label: str, series: str) -> dict[str, Any]:
    """A choice among the values that a label has in these series."""
    return {
        "name": name,
        "label": name,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": f"label_values({series}, {label})", "refId": name},
        "refresh": 2,  # when the time range changes
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": "All", "value": "$__all"},
        "options": [],
        "hide": 0,
        "skipUrlSync": False,
    }


def targets(panel: Panel) -> list[dict[str, Any]]:
    return [
        {
            "datasource": DATASOURCE,
            "editorMode": "code",
            "expr": expression,
            "legendFormat": legend or "__auto",
            "range": True,
            "refId": chr(ord("A") + number),
        }
        for number, (expression, legend) in enumerate(panel.queries)
    ]


def drawn(panel: Panel) -> dict[str, Any]:
    """The parts of a panel that say how it looks."""
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "min": 0,
        "color": {"mode": "thresholds" if panel.number else "palette-classic"},
        "thresholds": {
            "mode": "absolute",
            "steps": [{"color": color, "value": value} for value, color in panel.thresholds],
        },
    }
    if panel.unit == "percentunit":
        defaults["max"] = 1
    if panel.number:
        defaults["noValue"] = "none"
        options: dict[str, Any] = {
            "colorMode": "value",
            "graphMode": "area",
            "justifyMode": "auto",
            "orientation": "auto",
            "textMode": "value",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        }
    else:
        defaults["custom"] = {
            "drawStyle": "line",
            "fillOpacity": 20 if panel.stacked else 5,
            "lineWidth": 1,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        }
        options = {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    return {
        "type": "stat" if panel.number else "timeseries",
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
    }


def panels(rows: dict[str, tuple[Panel, ...]]) -> Iterable[dict[str, Any]]:
    """All of them in the grid, row under row, left to right."""
    identity, top = 1, 0
    for title, row in rows.items():
        place = {"h": 1, "w": WIDTH, "x": 0, "y": top}
        line = {"type": "row", "title": title, "collapsed": False, "panels": []}
        yield {"id": identity, "gridPos": place, **line}
        identity, top, left, height = identity + 1, top + 1, 0, 0
        for panel in row:
            if left + panel.width > WIDTH:
                left, top = 0, top + height
            height = 4 if panel.number else 8
            yield {
                "id": identity,
                "title": panel.title,
                "description": panel.description,
                "datasource": DATASOURCE,
                "gridPos": {"h": height, "w": panel.width, "x": left, "y": top},
                "targets": targets(panel),
                **drawn(panel),
            }
            identity, left = identity + 1, left + panel.width
        top += height


def dashboard() -> dict[str, Any]:
    return {
        "id": None,
        "uid": "otlpfast",
        "title": "otlpfast",
        "description": "Where spans of services with otlpfast are: made, queued, delivered, on disk, lost.",
        "tags": ["opentelemetry", "otlpfast", "python"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "30s",
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": variables()},
        "panels": list(panels(ROWS)),
    }


if __name__ == "__main__":
    print(json.dumps(dashboard(), indent=2))
