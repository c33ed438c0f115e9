"""The Grafana dashboard of a stack: the JSON that Grafana imports, of the panels in monitoring/panels.py.

python -m monitoring.dashboard > monitoring/dashboard.json
"""

from __future__ import annotations

import json
import sys
from typing import Any

from monitoring.panels import ROWS, Number, Panel

_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_STACK = 'stack=~"$stack"'
_WINDOW = "$__rate_interval"
_COLUMNS = 24
_HEIGHT, _HEIGHT_OF_NUMBERS = 8, 4


def expression(query: str, stack: str = _STACK, window: str = _WINDOW) -> str:
    """PromQL with the stacks' matcher and the window in their places."""
    return query.replace("{S,", "{" + stack + ",").replace("{S}", "{" + stack + "}").replace("[W]", f"[{window}]")


def dashboard() -> dict[str, Any]:
    return {
        "uid": "glm-serving",
        "title": "GLM serving",
        "tags": ["glm-serving"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "timezone": "browser",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [_datasource_variable(), _stack_variable()]},
        "annotations": {"list": []},
        "links": [],
        "panels": _panels(),
    }


def _panels() -> list[dict[str, Any]]:
    """Left to right, the next line where the 24 columns are full. Rows and panels are numbered together."""
    made: list[dict[str, Any]] = []
    y = 0
    for title, panels in ROWS.items():
        place = {"h": 1, "w": _COLUMNS, "x": 0, "y": y}
        made.append(
            {"id": len(made) + 1, "type": "row", "title": title, "gridPos": place, "collapsed": False, "panels": []}
        )
        x, y = 0, y + 1
        for panel in panels:
            height = _HEIGHT_OF_NUMBERS if isinstance(panel, Number) else _HEIGHT
            made.append(_panel(len(made) + 1, panel, {"h": height, "w": panel.width, "x": x, "y": y}))
            x += panel.width
            if x == _COLUMNS:
                x, y = 0, y + height
    return made


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": "stat" if isinstance(panel, Number) else "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": _DATASOURCE,
        "gridPos": place,
        **(_as_number(panel) if isinstance(panel, Number) else _as_graph(panel)),
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": _DATASOURCE,
                "expr": expression(query),
                "legendFormat": legend,
                **({"instant": True, "range": False} if isinstance(panel, Number) else {}),
            }
            for place, (legend, query) in enumerate(panel.queries)
        ],
    }


def _as_graph(panel: Panel) -> dict[str, Any]:
    custom: dict[str, Any] = {"lineWidth": 2, "spanNulls": 120000}
    if panel.limits:
        custom["thresholdsStyle"] = {"mode": "dashed"}
    if panel.top is not None:
        custom["axisSoftMax"] = panel.top
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0, "custom": custom, "thresholds": _thresholds(panel)}
    if panel.decimals is not None:
        defaults["decimals"] = panel.decimals
    overrides = [_override(pattern, "color", _fixed(colour)) for pattern, colour in panel.colours]
    if panel.dashed:
        overrides.append(_override(panel.dashed, "custom.lineStyle", {"fill": "dash", "dash": [10, 10]}))
    return {
        "fieldConfig": {"defaults": defaults, "overrides": overrides},
        "options": {
            "legend": _legend(panel),
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    }


def _legend(panel: Panel) -> dict[str, Any]:
    """A table beside a graph of half the width; a third would have no room for both."""
    if panel.width < _COLUMNS // 2:
        return {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
    return {"displayMode": "table", "placement": "right", "showLegend": True, "calcs": ["lastNotNull", "max"]}


def _as_number(panel: Number) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "thresholds": _thresholds(panel)}
    if panel.words:
        words = {str(value): {"text": word, "color": colour} for value, word, colour in panel.words}
        defaults["mappings"] = [{"type": "value", "options": words}]
    if panel.missing:
        defaults["noValue"] = panel.missing
    return {
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "orientation": "horizontal",
            "textMode": "name" if panel.name_only else "value_and_name",
            "wideLayout": True,
            "colorMode": "background" if panel.name_only else "value",
            "graphMode": "none",
            "justifyMode": "auto",
            "showPercentChange": False,
            "percentChangeColorMode": "standard",
        },
    }


def _thresholds(panel: Panel) -> dict[str, Any]:
    """The first step is from -∞ on, which Grafana writes as null. A graph's own part stays as it is, without colour."""
    below = "green" if isinstance(panel, Number) else "transparent"
    steps = [{"value": None, "color": below}, *({"value": value, "color": colour} for value, colour in panel.limits)]
    return {"mode": "absolute", "steps": steps}


def _fixed(colour: str) -> dict[str, str]:
    return {"mode": "fixed", "fixedColor": colour}


def _override(pattern: str, setting: str, value: Any) -> dict[str, Any]:
    """Without its slashes Grafana takes a pattern for the whole legend."""
    return {"matcher": {"id": "byRegexp", "options": f"/{pattern}/"}, "properties": [{"id": setting, "value": value}]}


def _datasource_variable() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "hide": 0,
    }


def _stack_variable() -> dict[str, Any]:
    return {
        "name": "stack",
        "label": "Stack",
        "type": "query",
        "datasource": _DATASOURCE,
        "query": {"query": "label_values(glm_serving_modal_answered, stack)", "refId": "stacks"},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "current": {"text": ["All"], "value": ["$__all"]},
        "hide": 0,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(dashboard(), indent=1) + "\n")
